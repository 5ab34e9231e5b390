//! Commands.

pub mod components;
pub mod output;
pub mod validate;
