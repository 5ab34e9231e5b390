//! The contract (`wit/telemetry.wit`) as Rust types: the only generated code of the runtime.

#![allow(warnings, clippy::all, unsafe_code, missing_docs, reason = "generated")]

pub use super::state::{BatchHandle, FieldHandle, RowsHandle, RuleHandle};

wasmtime::component::bindgen!({
    path: "../wit",
    world: "filter",
    imports: { default: trappable },
    with: {
        "sluicebox:telemetry/fields.field": FieldHandle,
        "sluicebox:telemetry/fields.rule": RuleHandle,
        "sluicebox:telemetry/batches.rows": RowsHandle,
        "sluicebox:telemetry/batches.batch": BatchHandle,
    },
});

pub use sluicebox::telemetry::batches::Values;
pub use sluicebox::telemetry::fields::Signal;
pub use sluicebox::telemetry::{batches, dropping, fields};
