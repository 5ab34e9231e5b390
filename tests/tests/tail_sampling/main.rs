//! Tail sampling through the engine's sockets: which traces are kept, swaps while traces wait, pressure, explanations, the end.
//!
//! `SLUICEBOX_TAIL_SPANS` says how many spans the larger runs have: 20,000 by default, a million in a soak.

mod faults;
mod kept;
mod lab;
mod pressure;
mod shutdown;
mod swaps;
mod why;
