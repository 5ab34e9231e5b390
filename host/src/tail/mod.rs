//! Tail sampling: traces wait here, in bounded memory, until policies decide on them.
//!
//! Knows neither Wasm nor sockets nor threads: whoever owns a shard gives it spans, the time, and the verdicts of policies. Nothing here reads
//! a clock, and nothing depends on chance.

pub mod arrivals;
pub mod explain;
pub mod shard;
pub mod traces;
pub mod verdict;

mod due;
mod facts;
mod headers;
mod history;
mod ingest;
mod log;
mod reconfigure;
mod remembered;
mod requests;
mod rewrite;
mod settle;
mod slab;
mod table;
mod trace;
mod tracestate;
mod waiting;

#[cfg(test)]
mod tests;
