//! The contract, as generated: all that a filter may do, and host state.

#![allow(warnings, clippy::all, unsafe_code, missing_docs, reason = "generated")]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package sluicebox:misbehaving;
        world misbehaving {
            include sluicebox:telemetry/filter@0.1.0;
            import sluicebox:telemetry/host-state@0.1.0;
        }
    ",
    world: "sluicebox:misbehaving/misbehaving",
    generate_all,
});

pub use sluicebox::telemetry::batches::{Batch, Rows};
pub use sluicebox::telemetry::dropping::drop as drop_rows;
pub use sluicebox::telemetry::fields::{Field, Rule};
pub use sluicebox::telemetry::host_state::Bucket;
