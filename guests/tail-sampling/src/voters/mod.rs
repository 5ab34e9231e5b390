//! Every type of policy.

pub mod adaptive;
pub mod attribute;
pub mod condition;
pub mod key;
pub mod limit;
pub mod nested;
pub mod numbers;
pub mod parent;
pub mod percentile;
pub mod probability;
pub mod rare;
pub mod tracestate;
