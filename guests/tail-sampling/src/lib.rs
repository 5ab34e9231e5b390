//! Decides which traces are kept: the policies of the Collector's tail_sampling processor, and more. See README.md.

mod config;
