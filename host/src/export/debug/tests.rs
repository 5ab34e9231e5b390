use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::*;

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn texts(signal: Signal, message: &impl Message) -> [String; 3] {
    let body = [Bytes::from(message.encode_to_vec())];
    [Verbosity::Basic, Verbosity::Normal, Verbosity::Detailed].map(|v| text(signal, &body, v).expect("decodes"))
}

#[test]
fn spans_are_printed() {
    let span = Span {
        name: "GET /\u{1b}[31m".to_owned(),
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        kind: 2,
        start_time_unix_nano: 5,
        end_time_unix_nano: 9,
        attributes: vec![attribute("http.status", Value::IntValue(200))],
        events: vec![Event { name: "retry".to_owned(), time_unix_nano: 6, ..Event::default() }],
        status: Some(Status { code: 2, message: "bad".to_owned() }),
        ..Span::default()
    };
    let resource = Resource {
        attributes: vec![attribute("service.name", Value::StringValue("shop".to_owned()))],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "lib".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() };
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], ..ResourceSpans::default() }];
    let [basic, normal, detailed] = texts(Signal::Traces, &ExportTraceServiceRequest { resource_spans });
    assert!(basic.starts_with("traces: 1 resources, 1 spans, ") && basic.lines().count() == 1);
    let line = format!(r#""GET /\u{{1b}}[31m" {} 0101010101010101 http.status=200"#, "ab".repeat(16));
    assert_eq!(normal.lines().nth(1), Some(line.as_str()));
    let expected = r#"resource
  attributes:
    service.name: "shop"
  scope
    name: "lib"
    span
      name: "GET /\u{1b}[31m"
      trace_id: abababababababababababababababab
      span_id: 0101010101010101
      kind: SPAN_KIND_SERVER
      start_time_unix_nano: 5
      end_time_unix_nano: 9
      status: STATUS_CODE_ERROR
      status_message: "bad"
      attributes:
        http.status: 200
      event
        name: "retry"
        time_unix_nano: 6
"#;
    assert_eq!(detailed.split_once('\n').map(|(_, rest)| rest), Some(expected));
}

#[test]
fn data_points_are_printed() {
    let gauge = Gauge {
        data_points: vec![NumberDataPoint {
            attributes: vec![attribute("cpu", Value::StringValue("0".to_owned()))],
            value: Some(number_data_point::Value::AsDouble(0.5)),
            ..NumberDataPoint::default()
        }],
    };
    let histogram = Histogram {
        data_points: vec![HistogramDataPoint {
            count: 3,
            sum: Some(1.5),
            explicit_bounds: vec![1.0],
            bucket_counts: vec![2, 1],
            ..HistogramDataPoint::default()
        }],
        aggregation_temporality: 2,
    };
    let metric = |name: &str, data| Metric { name: name.to_owned(), data: Some(data), ..Metric::default() };
    let metrics = vec![metric("load", Data::Gauge(gauge)), metric("size", Data::Histogram(histogram))];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    let [basic, normal, detailed] = texts(Signal::Metrics, &ExportMetricsServiceRequest { resource_metrics });
    assert!(basic.starts_with("metrics: 1 resources, 2 metrics, 2 data points, "));
    let lines: Vec<&str> = normal.lines().skip(1).collect();
    assert_eq!(lines, [r#""load" cpu="0" 0.5"#, r#""size" count=3 sum=1.5 bounds=[1.0] buckets=[2, 1]"#]);
    assert!(detailed.contains("aggregation_temporality: AGGREGATION_TEMPORALITY_CUMULATIVE"), "{detailed}");
}

#[test]
fn log_records_are_printed() {
    let nested =
        ArrayValue { values: vec![AnyValue { value: Some(Value::BytesValue(vec![0xfe, 1])) }, AnyValue::default()] };
    let record = LogRecord {
        body: Some(AnyValue { value: Some(Value::StringValue("it\nbroke".to_owned())) }),
        severity_text: "ERROR".to_owned(),
        attributes: vec![attribute("list", Value::ArrayValue(nested))],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let [basic, normal, detailed] = texts(Signal::Logs, &ExportLogsServiceRequest { resource_logs });
    assert!(basic.starts_with("logs: 1 resources, 1 log records, "));
    assert_eq!(normal.lines().nth(1), Some(r#""it\nbroke" list=[0xfe01, null]"#));
    assert!(detailed.contains("severity_text: \"ERROR\"\n      body: \"it\\nbroke\"\n"), "{detailed}");
}

#[test]
fn what_cannot_be_decoded_is_an_error() {
    assert!(text(Signal::Logs, &[Bytes::from_static(b"\xff")], Verbosity::Basic).is_err());
}
