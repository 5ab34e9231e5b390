//! The contract, as generated.

#![allow(warnings, clippy::all, unsafe_code, missing_docs, reason = "generated")]

wit_bindgen::generate!({ path: "../../wit", world: "filter" });

pub use sluicebox::telemetry::batches::{Batch, Rows};
pub use sluicebox::telemetry::dropping::drop as drop_rows;
pub use sluicebox::telemetry::fields::{Field, Rule};
