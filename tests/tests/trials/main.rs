//! Candidates on trial, in real processes between real senders and a sink: probe, shadow and canary show what is worse, stop it, and cost nobody
//! a record.

#![allow(clippy::unwrap_used, reason = "a test whose engine does not start fails")]

mod canary;
mod during;
mod lab;
mod policies;
mod probe;
mod shadow;
