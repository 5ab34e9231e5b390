//! The contract (`wit/telemetry.wit`) as Rust types: the only generated code of the runtime.
//!
//! The worlds of all processors are one here: what of it a component gets is what it imports, one interface after the other. Policies
//! export something else, so theirs is another, over the same interfaces.

#![allow(warnings, clippy::all, unsafe_code, missing_docs, reason = "generated")]

pub use super::state::{
    BatchHandle, BucketHandle, CounterHandle, FieldHandle, GaugeHandle, HistogramHandle, KeyHandle, LineHandle,
    RowsHandle, RuleHandle, TableHandle, TallyHandle, TraceBatchHandle,
};

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package sluicebox:host;
        world guest {
            include sluicebox:telemetry/filter@0.1.0;
            include sluicebox:telemetry/enricher@0.1.0;
            include sluicebox:telemetry/redactor@0.1.0;
            import sluicebox:telemetry/host-state@0.1.0;
            import sluicebox:telemetry/logging@0.1.0;
            import sluicebox:telemetry/metering@0.1.0;
            import sluicebox:telemetry/clock@0.1.0;
            import sluicebox:telemetry/lookup@0.1.0;
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
        "sluicebox:telemetry/host-state.bucket": BucketHandle,
        "sluicebox:telemetry/host-state.tally": TallyHandle,
        "sluicebox:telemetry/logging.line": LineHandle,
        "sluicebox:telemetry/metering.counter": CounterHandle,
        "sluicebox:telemetry/metering.gauge": GaugeHandle,
        "sluicebox:telemetry/metering.histogram": HistogramHandle,
        "sluicebox:telemetry/lookup.table": TableHandle,
    },
});

pub mod sampler {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "sluicebox:telemetry/sampler",
        imports: { default: trappable },
        with: {
            "sluicebox:telemetry/fields": super::sluicebox::telemetry::fields,
            "sluicebox:telemetry/batches": super::sluicebox::telemetry::batches,
            "sluicebox:telemetry/host-state": super::sluicebox::telemetry::host_state,
            "sluicebox:telemetry/traces.trace-batch": super::TraceBatchHandle,
        },
    });
}

pub use sampler::sluicebox::telemetry::traces::Verdicts;
pub use sampler::{Sampler, SamplerPre};

pub use sluicebox::telemetry::batches::Values;
pub use sluicebox::telemetry::contents::Leaves;
pub use sluicebox::telemetry::fields::Signal;
pub use sluicebox::telemetry::{
    adding, batches, clock, contents, dropping, editing, fields, host_hash, host_state, logging, lookup, metering,
};
