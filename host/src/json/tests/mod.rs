//! What holds of the table and of single values; whole messages are compared with independent encoders in the tests crate.

mod descriptors;
mod values;
