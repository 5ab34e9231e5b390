//! What happens after faults, in real processes: retries on new instances, a breaker, a budget of restarts, health checks, the dead letter.

#![allow(clippy::unwrap_used, reason = "a test whose engine does not start fails")]

mod after_faults;
mod dead_letter;
mod health;
mod policies;
mod support;
