//! Taps through real processes: what is shown, how soon, to whom, and what it is bounded by.

#![allow(clippy::unwrap_used, reason = "a test whose engine does not start fails")]

mod access;
mod changes;
mod command;
mod exact;
mod limits;
mod shows;
mod support;
