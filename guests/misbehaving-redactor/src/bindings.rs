//! The contract, as generated: all that a redactor may do and all that an enricher may.

#![allow(warnings, clippy::all, unsafe_code, missing_docs, reason = "generated")]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package sluicebox:misbehaving;
        world misbehaving-redactor {
            include sluicebox:telemetry/enricher@0.1.0;
            include sluicebox:telemetry/redactor@0.1.0;
        }
    ",
    world: "sluicebox:misbehaving/misbehaving-redactor",
    generate_all,
});

pub use sluicebox::telemetry::adding::{insert, insert_values};
pub use sluicebox::telemetry::batches::{Batch, Rows, Values};
pub use sluicebox::telemetry::contents::{self, Leaves};
pub use sluicebox::telemetry::editing::{remove_keys, rename_keys, replace_leaves, set_rows, set_values};
pub use sluicebox::telemetry::fields::{Field, Rule, Signal};
pub use sluicebox::telemetry::host_hash::Key;
