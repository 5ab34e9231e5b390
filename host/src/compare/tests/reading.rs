//! Single fields: where they are found, and what they look like.

use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Sum};
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use serde_json::json;

use super::*;

fn attribute(value: Option<Any>) -> Value {
    let value = Some(AnyValue { value });
    let attributes = vec![KeyValue { key: "k".to_owned(), value, ..KeyValue::default() }];
    let span = read_span(Span { attributes, ..Span::default() });
    span.get(r#"span.attributes["k"]"#).expect("it is there").clone()
}

#[test]
fn no_two_values_look_the_same() {
    let list = |values: Vec<Any>| {
        let values = values.into_iter().map(|value| AnyValue { value: Some(value) }).collect();
        Some(Any::ArrayValue(ArrayValue { values }))
    };
    let map = |pairs: &[(&str, Any)]| {
        let values = pairs.iter().map(|(key, value)| pair(key, value.clone())).collect();
        Some(Any::KvlistValue(KeyValueList { values }))
    };
    let shown = [
        (None, json!(null)),
        (Some(text("1")), json!("1")),
        (Some(Any::IntValue(1)), json!(1)),
        (Some(Any::IntValue(i64::MIN)), json!(i64::MIN)),
        (Some(Any::DoubleValue(1.0)), json!(1.0)),
        (Some(text("NaN")), json!("NaN")),
        (Some(Any::DoubleValue(f64::NAN)), json!({"doubleValue": "NaN"})),
        (Some(Any::BoolValue(true)), json!(true)),
        (Some(Any::BytesValue(vec![1, 2])), json!({"bytesValue": "AQI="})),
        (list(vec![]), json!([])),
        (list(vec![Any::IntValue(1), text("a")]), json!([1, "a"])),
        (map(&[]), json!({})),
        (map(&[("a", text("x")), ("b", Any::BoolValue(false))]), json!({"a": "x", "b": false})),
        (
            map(&[("a", text("x")), ("a", text("y"))]),
            json!({"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "x"}},
                {"key": "a", "value": {"stringValue": "y"}}]}}),
        ),
        (
            map(&[("bytesValue", text("AQI="))]),
            json!({"kvlistValue": {"values": [{"key": "bytesValue", "value": {"stringValue": "AQI="}}]}}),
        ),
    ];
    let found: Vec<_> = shown.iter().map(|(value, _)| attribute(value.clone())).collect();
    let expected: Vec<_> = shown.iter().map(|(_, expected)| expected.clone()).collect();
    assert_eq!(found, expected);
    for (place, value) in found.iter().enumerate() {
        assert!(!found[..place].contains(value), "{value}");
    }
}

#[test]
fn a_key_that_comes_twice_is_two_fields() {
    let span = |attributes| read_span(Span { attributes, ..Span::default() });
    let (one, two, other) = (pair("k", text("1")), pair("k", text("2")), pair("o", text("o")));
    let before = span(vec![other, one.clone(), two]);
    // What comes before does not move the keys.
    let after = span(vec![one]);
    let told: Vec<_> = changes(&before, &after).iter().map(Difference::to_change).collect();
    let gone = |path: &str, before| Change { path: path.to_owned(), before: Some(before), after: None };
    let expected = [gone(r#"span.attributes["k"][1]"#, json!("2")), gone(r#"span.attributes["o"]"#, json!("o"))];
    assert_eq!(told, expected);
}

#[test]
fn what_a_span_holds_has_paths_as_in_ottl() {
    let event =
        |name: &str| Event { name: name.to_owned(), attributes: vec![pair("e", text("v"))], ..Event::default() };
    let status = Some(Status { message: "no".to_owned(), code: 2 });
    let span = read_span(Span {
        trace_id: vec![0xab; 16],
        start_time_unix_nano: u64::MAX,
        trace_state: "a=b".to_owned(),
        status,
        events: vec![event("first"), Event::default(), event("")],
        ..Span::default()
    });
    let fields: Vec<_> = span.fields().map(|(path, value)| (path.to_owned(), value.clone())).collect();
    let expected = [
        (r#"span.events[0].attributes["e"]"#, json!("v")),
        ("span.events[0].name", json!("first")),
        ("span.events[1]", json!({})),
        (r#"span.events[2].attributes["e"]"#, json!("v")),
        ("span.start_time_unix_nano", json!(u64::MAX.to_string())),
        ("span.status.code", json!(2)),
        ("span.status.message", json!("no")),
        ("span.trace_id", json!("ab".repeat(16))),
        ("span.trace_state", json!("a=b")),
    ];
    assert_eq!(fields, expected.map(|(path, value)| (path.to_owned(), value)));
}

#[test]
fn each_point_is_a_record_of_its_metric() {
    let exemplar = Exemplar { filtered_attributes: vec![pair("x", Any::IntValue(1))], ..Exemplar::default() };
    let point = |exemplars: Vec<Exemplar>| NumberDataPoint { exemplars, ..NumberDataPoint::default() };
    let points = vec![point(vec![]), point(vec![exemplar])];
    let data = Some(Data::Sum(Sum { data_points: points, aggregation_temporality: 2, is_monotonic: true }));
    let metadata = vec![pair("m", text("v"))];
    let metrics = vec![Metric { data, metadata, ..Metric::default() }, Metric::default()];
    let scope = ScopeMetrics { metrics, schema_url: "s".to_owned(), ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    let records = records(Signal::Metrics, &[request.encode_to_vec().into()]).expect("it can be read");
    assert_eq!(records.len(), 2, "a metric without points is no record");
    assert_eq!(records[0].get("metric.type"), Some(&json!("sum")));
    assert_eq!(records[0].get("metric.aggregation_temporality"), Some(&json!(2)));
    assert_eq!(records[0].get("scope.schema_url"), Some(&json!("s")));
    assert_eq!(records[1].get(r#"metric.metadata["m"]"#), Some(&json!("v")));
    assert_eq!(records[1].get(r#"datapoint.exemplars[0].filtered_attributes["x"]"#), Some(&json!(1)));
    let told: Vec<_> = changes(&records[1], &records[0]).iter().map(|change| change.path.to_owned()).collect();
    assert_eq!(told, [r#"datapoint.exemplars[0].filtered_attributes["x"]"#]);
}

/// Length-delimited field 1 or 2, all below 128 bytes.
fn nested(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

#[test]
fn what_otlp_does_not_know_is_there() {
    // Field 99 as a varint, field 98 as bytes.
    let future: &[u8] = &[0x98, 0x06, 5, 0x92, 0x06, 2, b'h', b'i'];
    let span = nested(2, &[&nested(5, b"GET")[..], future].concat());
    let scope = nested(2, &[&span[..], future].concat());
    let known = nested(1, &[&nested(1, future)[..], &scope, future].concat());
    let records_of = |body: Vec<u8>| records(Signal::Traces, &[body.into()]).expect("it can be read");
    let before = records_of(known);
    let plain = nested(2, &nested(2, &nested(5, b"GET")));
    let after = records_of(nested(1, &[&nested(1, &[])[..], &plain].concat()));
    let told: Vec<_> = changes(&before[0], &after[0]).iter().map(Difference::to_change).collect();
    let paths = [
        "resource.unknown_fields",
        "resource_spans.unknown_fields",
        "scope_spans.unknown_fields",
        "span.unknown_fields",
    ];
    let there = Some(json!([[99, "5"], [98, "aGk="]]));
    let expected = paths.map(|path| Change { path: path.to_owned(), before: there.clone(), after: None });
    assert_eq!(told, expected);
}

#[test]
fn what_cannot_be_decoded_or_held_is_told() {
    let read = |body: Bytes| records(Signal::Logs, &[body]);
    assert_eq!(read(Bytes::from_static(&[0x0a, 5, 1])), Err(Unreadable::Protobuf(ProtobufError::Malformed)));
    // Not decoded at all.
    assert_eq!(read(Bytes::from(vec![0; REQUEST_BYTES_MAX + 1])), Err(Unreadable::TooLarge));
    // Records of a metric that has many empty points share what stands above them.
    let points = vec![NumberDataPoint::default(); 100_000];
    let data = Some(Data::Gauge(Gauge { data_points: points }));
    let metrics = vec![Metric { name: "x".repeat(1 << 20), data, ..Metric::default() }];
    let scope = ScopeMetrics { metrics, ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    let body: Bytes = request.encode_to_vec().into();
    let read = || records(Signal::Metrics, std::slice::from_ref(&body)).expect("it can be read");
    let (before, after) = (read(), read());
    assert_eq!(before.len(), 100_000);
    // A megabyte is compared once, not a hundred thousand times.
    assert!(fates(&before, &after, &[]).all(|fate| fate == Fate::Kept(Vec::new())));
}

#[test]
fn values_nest_as_deep_as_requests_may() {
    let mut value = text("deep");
    for _ in 0..45 {
        value = Any::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] });
    }
    let mut found = attribute(Some(value));
    for _ in 0..45 {
        found = found[0].take();
    }
    assert_eq!(found, json!("deep"));
}
