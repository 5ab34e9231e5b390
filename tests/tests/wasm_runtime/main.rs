//! The runtime against a component that misbehaves, and against one that behaves.

mod building;
mod lab;
mod misbehaving;
