//! Of a processor: a made-up batch of each signal that it reads, with some text in every kind of place. What the guest wants of it is tried too, on this batch and no other.

use std::ops::Range;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event, span::Link};
use prost::Message as _;

use crate::batch::{Batch, Drops, EditError};
use crate::pipeline::stage::{Effects, Fault, FaultKind};
use crate::signal::Signal;
use crate::wasm::bindings::Guest;
use crate::wasm::error::ProbeError;
use crate::wasm::instance::{CallError, GuestInstance};

/// Calls the instance once for each signal whose fields it opened, or for all signals if it opened none of any.
pub(in crate::wasm) fn probe(instance: &mut GuestInstance<Guest>) -> Result<(), ProbeError> {
    let mut signals: Vec<Signal> = instance.opened().fields.iter().filter_map(|field| field.signal()).collect();
    signals.sort_unstable();
    signals.dedup();
    if signals.is_empty() {
        signals = Signal::ALL.to_vec();
    }
    for signal in signals {
        let batch = Batch::index(signal, vec![request(signal)]).map_err(|malformed| ProbeError {
            signal,
            fault: Fault { kind: FaultKind::Trap, message: malformed.to_string() },
        })?;
        let items = 0..batch.items();
        let (batch, result) = instance.process(batch, items.clone());
        // The batch is made up, so what the guest says of it is no telemetry.
        let effects =
            result.map_err(|error| ProbeError { signal, fault: instance.with_lines(CallError::with_text(error)) })?;
        try_on(batch, items, effects).map_err(|error| ProbeError {
            signal,
            fault: Fault { kind: FaultKind::BadOutput, message: error.to_string() },
        })?;
    }
    Ok(())
}

/// Whether these effects can be had together.
fn try_on(mut batch: Batch, items: Range<u32>, effects: Effects) -> Result<(), EditError> {
    let slice = batch.slice(items);
    let mut drops = Drops::new(&batch);
    for wanted in &effects.drops {
        drops.add(&batch, &slice, &wanted.rows);
    }
    batch.apply(drops, effects.edits)?;
    batch.into_segments().map(drop)
}

fn request(signal: Signal) -> Bytes {
    let bytes = match signal {
        Signal::Traces => ExportTraceServiceRequest { resource_spans: vec![spans()] }.encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest { resource_metrics: vec![metrics()] }.encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest { resource_logs: vec![logs()] }.encode_to_vec(),
    };
    Bytes::from(bytes)
}

fn spans() -> ResourceSpans {
    let event = Event { name: "probe".to_owned(), attributes: attributes("message", "probe"), ..Event::default() };
    let link = Link {
        trace_id: vec![2; 16],
        span_id: vec![2; 8],
        trace_state: "probe=1".to_owned(),
        attributes: attributes("reason", "probe"),
        ..Link::default()
    };
    let status = Status { message: "probe".to_owned(), ..Status::default() };
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        name: "probe".to_owned(),
        attributes: attributes("http.route", "/probe"),
        trace_state: "probe=1".to_owned(),
        events: vec![event],
        links: vec![link],
        status: Some(status),
        ..Span::default()
    };
    let scope = ScopeSpans { scope: Some(scope()), spans: vec![span], ..ScopeSpans::default() };
    ResourceSpans { resource: Some(resource()), scope_spans: vec![scope], ..ResourceSpans::default() }
}

fn metrics() -> ResourceMetrics {
    let point = NumberDataPoint {
        attributes: attributes("host", "probe"),
        value: Some(number_data_point::Value::AsInt(1)),
        exemplars: vec![Exemplar { filtered_attributes: attributes("user", "probe"), ..Exemplar::default() }],
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: "probe".to_owned(),
        description: "probe".to_owned(),
        unit: "probe".to_owned(),
        data: Some(metric::Data::Gauge(Gauge { data_points: vec![point] })),
        ..Metric::default()
    };
    let scope = ScopeMetrics { scope: Some(scope()), metrics: vec![metric], ..ScopeMetrics::default() };
    ResourceMetrics { resource: Some(resource()), scope_metrics: vec![scope], ..ResourceMetrics::default() }
}

fn logs() -> ResourceLogs {
    let body = AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: attributes("message", "probe") })) };
    let record = LogRecord {
        severity_text: "probe".to_owned(),
        body: Some(body),
        attributes: attributes("level", "probe"),
        ..LogRecord::default()
    };
    let scope = ScopeLogs { scope: Some(scope()), log_records: vec![record], ..ScopeLogs::default() };
    ResourceLogs { resource: Some(resource()), scope_logs: vec![scope], ..ResourceLogs::default() }
}

fn resource() -> Resource {
    resource_of("probe")
}

pub(super) fn resource_of(service: &str) -> Resource {
    Resource { attributes: attributes("service.name", service), ..Resource::default() }
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "probe".to_owned(),
        version: "1.0".to_owned(),
        attributes: attributes("module", "probe"),
        ..InstrumentationScope::default()
    }
}

pub(super) fn attributes(key: &str, value: &str) -> Vec<KeyValue> {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    vec![KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }]
}
