//! Actors for tests and benchmarks of the whole engine: what sends, what receives, what runs the engine, what checks.
//!
//! They know OTLP and the engine's public surfaces, nothing of its inside: the walker in [`scan`] is their own, so that
//! the engine's reading of the bytes is judged by another's.

#![warn(clippy::unwrap_used, clippy::expect_used)]

pub mod account;
pub mod client;
pub mod command;
pub mod config;
pub mod cost;
pub mod engine;
pub mod generate;
pub mod golden;
pub mod hostile;
pub mod items;
pub mod plant;
pub mod scan;
pub mod seen;
pub mod sink;
pub mod traces;

/// How many times longer than usual a test runs: `SLUICEBOX_SOAK`, 1 unless `make soak` sets it.
pub fn soak_factor() -> u64 {
    std::env::var("SLUICEBOX_SOAK").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}
