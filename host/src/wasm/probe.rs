//! The first call of an instance, before it serves: a made-up batch with one item of each signal that the guest reads.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event};
use prost::Message as _;

use super::error::ProbeError;
use super::instance::{CallError, GuestInstance};
use crate::batch::Batch;
use crate::pipeline::stage::{Fault, FaultKind};
use crate::signal::Signal;

/// Calls the instance once for each signal whose fields it opened, or for all signals if it opened none of any.
pub(super) fn probe(instance: &mut GuestInstance) -> Result<(), ProbeError> {
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
        let (_, result) = instance.process(batch, items);
        // The batch is made up, so what the guest says of it is no telemetry.
        result.map_err(|error| ProbeError { signal, fault: CallError::with_text(error) })?;
    }
    Ok(())
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
    let event = Event { name: "probe".to_owned(), ..Event::default() };
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        name: "probe".to_owned(),
        attributes: attributes("http.route", "/probe"),
        events: vec![event],
        ..Span::default()
    };
    let scope = ScopeSpans { scope: Some(scope()), spans: vec![span], ..ScopeSpans::default() };
    ResourceSpans { resource: Some(resource()), scope_spans: vec![scope], ..ResourceSpans::default() }
}

fn metrics() -> ResourceMetrics {
    let point = NumberDataPoint {
        attributes: attributes("host", "probe"),
        value: Some(number_data_point::Value::AsInt(1)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: "probe".to_owned(),
        data: Some(metric::Data::Gauge(Gauge { data_points: vec![point] })),
        ..Metric::default()
    };
    let scope = ScopeMetrics { scope: Some(scope()), metrics: vec![metric], ..ScopeMetrics::default() };
    ResourceMetrics { resource: Some(resource()), scope_metrics: vec![scope], ..ResourceMetrics::default() }
}

fn logs() -> ResourceLogs {
    let body = AnyValue { value: Some(Value::StringValue("probe".to_owned())) };
    let record = LogRecord { body: Some(body), attributes: attributes("level", "probe"), ..LogRecord::default() };
    let scope = ScopeLogs { scope: Some(scope()), log_records: vec![record], ..ScopeLogs::default() };
    ResourceLogs { resource: Some(resource()), scope_logs: vec![scope], ..ResourceLogs::default() }
}

fn resource() -> Resource {
    Resource { attributes: attributes("service.name", "probe"), ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "probe".to_owned(), ..InstrumentationScope::default() }
}

fn attributes(key: &str, value: &str) -> Vec<KeyValue> {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    vec![KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }]
}
