//! Sluicebox: a WebAssembly-programmable telemetry processing engine.
//!
//! The modules stand in the order in which data flows; ARCHITECTURE.md tells the rest.

pub mod admin;
pub mod batch;
pub mod cli;
pub mod compare;
pub mod config;
pub mod control;
pub mod export;
pub mod json;
pub mod observe;
pub mod pipeline;
pub mod receive;
pub mod scratch;
pub mod table;
pub mod tail;
pub mod tap;
pub mod view;
pub mod wasm;

pub mod ack;
pub mod engine;
pub mod memory;
pub mod otlp;
pub mod signal;
