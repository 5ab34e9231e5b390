//! Random requests.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use rand::Rng;
use rand::rngs::StdRng;

use super::Request;
use crate::signal::Signal;

/// Keys of generated attributes: few, so that they repeat within a message too.
pub const KEYS: [&str; 5] =
    ["", "k", "http.route", "key.of.more.than.63.bytes.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "é"];

pub fn request(signal: Signal, rng: &mut StdRng) -> Request {
    match signal {
        Signal::Traces => Request::Traces(ExportTraceServiceRequest {
            resource_spans: some(rng, 3, |rng| ResourceSpans {
                resource: maybe(rng, resource),
                scope_spans: some(rng, 3, |rng| ScopeSpans {
                    scope: maybe(rng, scope),
                    spans: some(rng, 5, span),
                    schema_url: text(rng),
                }),
                schema_url: text(rng),
            }),
        }),
        Signal::Logs => Request::Logs(ExportLogsServiceRequest {
            resource_logs: some(rng, 3, |rng| ResourceLogs {
                resource: maybe(rng, resource),
                scope_logs: some(rng, 3, |rng| ScopeLogs {
                    scope: maybe(rng, scope),
                    log_records: some(rng, 5, log),
                    schema_url: text(rng),
                }),
                schema_url: text(rng),
            }),
        }),
        Signal::Metrics => Request::Metrics(ExportMetricsServiceRequest {
            resource_metrics: some(rng, 3, |rng| ResourceMetrics {
                resource: maybe(rng, resource),
                scope_metrics: some(rng, 3, |rng| ScopeMetrics {
                    scope: maybe(rng, scope),
                    metrics: some(rng, 4, metric),
                    schema_url: text(rng),
                }),
                schema_url: text(rng),
            }),
        }),
    }
}

fn some<T>(rng: &mut StdRng, max: usize, mut of: impl FnMut(&mut StdRng) -> T) -> Vec<T> {
    (0..rng.random_range(0..=max)).map(|_| of(rng)).collect()
}

fn maybe<T>(rng: &mut StdRng, of: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    rng.random_ratio(4, 5).then(|| of(rng))
}

fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..6) {
        0 => String::new(),
        1 => "x".repeat(rng.random_range(100..300)),
        _ => ["GET /", "SELECT", "a", "ü"][rng.random_range(0..4)].to_owned(),
    }
}

fn id(rng: &mut StdRng, len: usize) -> Vec<u8> {
    let len = if rng.random_ratio(1, 5) { 0 } else { len };
    vec![rng.random_range(0..3); len]
}

fn number(rng: &mut StdRng) -> u64 {
    match rng.random_range(0..4) {
        0 => 0,
        1 => rng.random(),
        _ => rng.random_range(0..3),
    }
}

fn small(rng: &mut StdRng) -> u32 {
    number(rng) as u32
}

pub fn attributes(rng: &mut StdRng) -> Vec<KeyValue> {
    some(rng, 6, |rng| KeyValue {
        key: KEYS[rng.random_range(0..KEYS.len())].to_owned(),
        value: maybe(rng, |rng| any_value(rng, 3)),
        key_strindex: 0,
    })
}

fn any_value(rng: &mut StdRng, depth: u32) -> AnyValue {
    let value = match rng.random_range(0..if depth == 0 { 6 } else { 9 }) {
        0 => return AnyValue { value: None },
        1 => Value::BoolValue(rng.random()),
        2 => Value::IntValue(number(rng) as i64),
        3 => Value::DoubleValue(f64::from(small(rng)) / 2.0),
        4 => Value::BytesValue(id(rng, 4)),
        6 => Value::ArrayValue(ArrayValue { values: some(rng, 3, |rng| any_value(rng, depth - 1)) }),
        7 => Value::KvlistValue(KeyValueList {
            values: some(rng, 3, |rng| KeyValue {
                key: KEYS[rng.random_range(0..3)].to_owned(),
                value: maybe(rng, |rng| any_value(rng, depth - 1)),
                key_strindex: 0,
            }),
        }),
        _ => Value::StringValue(text(rng)),
    };
    AnyValue { value: Some(value) }
}

fn resource(rng: &mut StdRng) -> Resource {
    Resource { attributes: attributes(rng), dropped_attributes_count: small(rng), entity_refs: Vec::new() }
}

fn scope(rng: &mut StdRng) -> InstrumentationScope {
    InstrumentationScope {
        name: text(rng),
        version: text(rng),
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
    }
}

fn span(rng: &mut StdRng) -> Span {
    Span {
        trace_id: id(rng, 16),
        span_id: id(rng, 8),
        trace_state: text(rng),
        parent_span_id: id(rng, 8),
        flags: small(rng),
        name: text(rng),
        kind: small(rng) as i32,
        start_time_unix_nano: number(rng),
        end_time_unix_nano: number(rng),
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
        events: some(rng, 3, |rng| Event {
            time_unix_nano: number(rng),
            name: text(rng),
            attributes: attributes(rng),
            dropped_attributes_count: small(rng),
        }),
        dropped_events_count: small(rng),
        links: some(rng, 2, |rng| Link {
            trace_id: id(rng, 16),
            span_id: id(rng, 8),
            trace_state: text(rng),
            attributes: attributes(rng),
            dropped_attributes_count: small(rng),
            flags: small(rng),
        }),
        dropped_links_count: small(rng),
        status: maybe(rng, |rng| Status { message: text(rng), code: small(rng) as i32 }),
    }
}

fn log(rng: &mut StdRng) -> LogRecord {
    LogRecord {
        time_unix_nano: number(rng),
        observed_time_unix_nano: number(rng),
        severity_number: small(rng) as i32,
        severity_text: text(rng),
        body: maybe(rng, |rng| any_value(rng, 3)),
        attributes: attributes(rng),
        dropped_attributes_count: small(rng),
        flags: small(rng),
        trace_id: id(rng, 16),
        span_id: id(rng, 8),
        event_name: text(rng),
    }
}

fn metric(rng: &mut StdRng) -> Metric {
    let data = match rng.random_range(0..6) {
        0 => None,
        1 => Some(Data::Gauge(Gauge { data_points: some(rng, 3, number_point) })),
        2 => Some(Data::Sum(Sum {
            data_points: some(rng, 3, number_point),
            aggregation_temporality: small(rng) as i32,
            is_monotonic: rng.random(),
        })),
        3 => Some(Data::Histogram(Histogram {
            data_points: some(rng, 3, |rng| HistogramDataPoint {
                attributes: attributes(rng),
                start_time_unix_nano: number(rng),
                time_unix_nano: number(rng),
                count: number(rng),
                sum: maybe(rng, |rng| f64::from(small(rng))),
                bucket_counts: some(rng, 3, number),
                explicit_bounds: vec![1.0, 2.0],
                flags: small(rng),
                max: maybe(rng, |rng| f64::from(small(rng))),
                ..Default::default()
            }),
            aggregation_temporality: small(rng) as i32,
        })),
        4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
            data_points: some(rng, 3, |rng| ExponentialHistogramDataPoint {
                attributes: attributes(rng),
                start_time_unix_nano: number(rng),
                time_unix_nano: number(rng),
                count: number(rng),
                sum: maybe(rng, |rng| f64::from(small(rng))),
                scale: small(rng) as i32,
                flags: small(rng),
                ..Default::default()
            }),
            aggregation_temporality: small(rng) as i32,
        })),
        _ => Some(Data::Summary(Summary {
            data_points: some(rng, 3, |rng| SummaryDataPoint {
                attributes: attributes(rng),
                start_time_unix_nano: number(rng),
                time_unix_nano: number(rng),
                count: number(rng),
                sum: f64::from(small(rng)),
                flags: small(rng),
                ..Default::default()
            }),
        })),
    };
    Metric { name: text(rng), description: text(rng), unit: text(rng), metadata: attributes(rng), data }
}

fn number_point(rng: &mut StdRng) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(rng),
        start_time_unix_nano: number(rng),
        time_unix_nano: number(rng),
        flags: small(rng),
        value: maybe(rng, |rng| match rng.random() {
            true => number_data_point::Value::AsInt(number(rng) as i64),
            false => number_data_point::Value::AsDouble(f64::from(small(rng))),
        }),
        ..Default::default()
    }
}
