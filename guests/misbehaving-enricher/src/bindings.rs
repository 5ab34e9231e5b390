//! The contract, as generated: an enricher with every capability.

#![allow(warnings, clippy::all, unsafe_code, missing_docs, reason = "generated")]

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package sluicebox:misbehaving;
        world enricher {
            include sluicebox:telemetry/lookup-enricher@0.1.0;
            import sluicebox:telemetry/clock@0.1.0;
        }
    ",
    world: "sluicebox:misbehaving/enricher",
    generate_all,
});

pub use sluicebox::telemetry::adding::insert_values;
pub use sluicebox::telemetry::batches::{Batch, Values};
pub use sluicebox::telemetry::clock::now_unix_nano;
pub use sluicebox::telemetry::fields::{Field, Rule, Signal};
pub use sluicebox::telemetry::logging::{Line, Severity, write as write_log};
pub use sluicebox::telemetry::lookup::Table;
pub use sluicebox::telemetry::metering::{Counter, Gauge, Histogram};
