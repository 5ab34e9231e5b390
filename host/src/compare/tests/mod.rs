//! What is found is what was done: requests are built and edited as prost structs.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::*;

mod cases;
mod counting;
mod done;
mod reading;

/// A span, a log record or a data point, and what stands above it.
#[derive(Clone, Debug, PartialEq)]
struct Flat {
    /// Neighbours of one number are of one resource.
    resource: u32,
    tier: String,
    /// A span's name, a record's body, a metric's name.
    text: String,
    attributes: Vec<(String, Any)>,
}

/// Where [`Flat::text`] and [`Flat::attributes`] are.
fn paths(signal: Signal) -> (&'static str, &'static str) {
    match signal {
        Signal::Traces => ("span.name", "span.attributes"),
        Signal::Logs => ("log.body", "log.attributes"),
        Signal::Metrics => ("metric.name", "datapoint.attributes"),
    }
}

/// Of each resource one scope, of each metric one point.
fn encode(signal: Signal, flats: &[Flat]) -> Bytes {
    let groups: Vec<&[Flat]> = flats.chunk_by(|a, b| a.resource == b.resource).collect();
    let resource = |flats: &[Flat]| {
        let attributes = vec![pair("tier", text(&flats[0].tier))];
        Some(Resource { attributes, ..Resource::default() })
    };
    let scope = Some(InstrumentationScope { name: "lib".to_owned(), ..InstrumentationScope::default() });
    let bytes = match signal {
        Signal::Traces => ExportTraceServiceRequest {
            resource_spans: (groups.iter())
                .map(|flats| ResourceSpans {
                    resource: resource(flats),
                    scope_spans: vec![ScopeSpans {
                        scope: scope.clone(),
                        spans: flats.iter().map(Flat::span).collect(),
                        ..ScopeSpans::default()
                    }],
                    ..ResourceSpans::default()
                })
                .collect(),
        }
        .encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest {
            resource_logs: (groups.iter())
                .map(|flats| ResourceLogs {
                    resource: resource(flats),
                    scope_logs: vec![ScopeLogs {
                        scope: scope.clone(),
                        log_records: flats.iter().map(Flat::log).collect(),
                        ..ScopeLogs::default()
                    }],
                    ..ResourceLogs::default()
                })
                .collect(),
        }
        .encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest {
            resource_metrics: (groups.iter())
                .map(|flats| ResourceMetrics {
                    resource: resource(flats),
                    scope_metrics: vec![ScopeMetrics {
                        scope: scope.clone(),
                        metrics: flats.iter().map(Flat::metric).collect(),
                        ..ScopeMetrics::default()
                    }],
                    ..ResourceMetrics::default()
                })
                .collect(),
        }
        .encode_to_vec(),
    };
    bytes.into()
}

impl Flat {
    fn pairs(&self) -> Vec<KeyValue> {
        self.attributes.iter().map(|(key, value)| pair(key, value.clone())).collect()
    }

    fn span(&self) -> Span {
        Span { name: self.text.clone(), attributes: self.pairs(), ..Span::default() }
    }

    fn log(&self) -> LogRecord {
        let body = Some(AnyValue { value: Some(text(&self.text)) });
        LogRecord { body, attributes: self.pairs(), ..LogRecord::default() }
    }

    fn metric(&self) -> Metric {
        let point = NumberDataPoint { attributes: self.pairs(), ..NumberDataPoint::default() };
        let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
        Metric { name: self.text.clone(), data, ..Metric::default() }
    }
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

/// One span, read.
fn read_span(span: Span) -> Record {
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let records = records(Signal::Traces, &[request.encode_to_vec().into()]).expect("it can be read");
    records.into_iter().next().expect("one span")
}
