//! Configuration: the Collector's YAML shape, read with positions, checked whole, every error at once.

pub mod model;
