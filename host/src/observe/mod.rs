//! What the engine tells of itself.

pub mod dead_letter;
pub mod guests;
pub mod health;
pub mod log;
pub mod marks;
pub mod metrics;
pub mod rates;
pub mod readiness;
pub mod sampling;
pub mod throttle;
