//! What the engine tells of itself.

pub mod guests;
pub mod log;
pub mod metrics;
pub mod sampling;
pub mod throttle;
