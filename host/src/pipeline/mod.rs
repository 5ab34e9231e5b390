//! From an admitted request to the exporters' queues.

pub mod ack;
pub mod stage;
