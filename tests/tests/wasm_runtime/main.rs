//! The runtime against a component that misbehaves, and against one that behaves.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod bad_edits;
mod building;
mod editing;
mod lab;
mod misbehaving;
