//! The first call of an instance, before it serves.

pub(super) mod batches;
pub(super) mod traces;
