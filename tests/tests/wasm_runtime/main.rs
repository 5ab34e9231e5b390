//! The runtime against a component that misbehaves, and against one that behaves.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod bad_edits;
mod bad_policies;
mod bombs;
mod building;
mod capabilities;
mod editing;
mod host_state;
mod lab;
mod misbehaving;
mod policies;
mod refusals;
