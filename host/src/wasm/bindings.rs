//! The contract (`wit/telemetry.wit`) as Rust types: the only generated code of the runtime.
//!
//! The worlds of all roles are one here: what of it a component gets is what it imports, one interface after the other.

#![allow(warnings, clippy::all, unsafe_code, missing_docs, reason = "generated")]

pub use super::state::{BatchHandle, FieldHandle, KeyHandle, RowsHandle, RuleHandle};

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package sluicebox:host;
        world guest {
            include sluicebox:telemetry/filter@0.1.0;
            include sluicebox:telemetry/enricher@0.1.0;
            include sluicebox:telemetry/redactor@0.1.0;
        }
    ",
    world: "sluicebox:host/guest",
    imports: { default: trappable },
    with: {
        "sluicebox:telemetry/fields.field": FieldHandle,
        "sluicebox:telemetry/fields.rule": RuleHandle,
        "sluicebox:telemetry/batches.rows": RowsHandle,
        "sluicebox:telemetry/batches.batch": BatchHandle,
        "sluicebox:telemetry/host-hash.key": KeyHandle,
    },
});

pub use sluicebox::telemetry::batches::Values;
pub use sluicebox::telemetry::contents::Leaves;
pub use sluicebox::telemetry::fields::Signal;
pub use sluicebox::telemetry::{adding, batches, contents, dropping, editing, fields, host_hash};
