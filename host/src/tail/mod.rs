//! Tail sampling: traces wait here, in bounded memory, until policies decide on them.
//!
//! Knows neither Wasm nor sockets nor threads: whoever owns a shard gives it spans, the time, and the verdicts of policies.

pub mod arrivals;
pub mod explain;
pub mod shard;
pub mod traces;
pub mod verdict;
