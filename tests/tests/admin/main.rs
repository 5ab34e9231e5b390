//! The admin API through real processes: who may ask, what is answered, what takes long, how it is described.

#![allow(clippy::unwrap_used, reason = "a test whose engine does not start fails")]

mod access;
mod described;
mod drain;
mod exit_codes;
mod limits;
mod operations;
mod repeated;
mod schema;
mod support;
mod tls;
