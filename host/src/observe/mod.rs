//! What the engine tells of itself.

pub mod metrics;
