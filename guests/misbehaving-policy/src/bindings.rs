//! The contract, as generated.

#![allow(warnings, clippy::all, unsafe_code, missing_docs, reason = "generated")]

wit_bindgen::generate!({ path: "../../wit", world: "sampler" });

pub use sluicebox::telemetry::batches::{Batch, Rows};
pub use sluicebox::telemetry::fields::{Field, Rule};
pub use sluicebox::telemetry::host_state::{Bucket, Tally};
pub use sluicebox::telemetry::traces::{TraceBatch, Verdicts};
