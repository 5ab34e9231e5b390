//! Single values in both directions, and what errors say.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric};
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use prost::Message;

use crate::json::{DEPTH_MAX, JsonError, ProtobufError, Root, to_json, to_protobuf, to_protobuf_within};
use crate::signal::Signal;

fn spans(fields: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#)
}

fn span(fields: &str) -> Result<Span, JsonError> {
    let bytes = to_protobuf(Signal::Traces, spans(fields).as_bytes())?;
    let mut request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("decodes");
    Ok(request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0))
}

fn log(fields: &str) -> Result<LogRecord, JsonError> {
    let json = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#);
    let bytes = to_protobuf(Signal::Logs, json.as_bytes())?;
    let mut request = ExportLogsServiceRequest::decode(bytes.as_slice()).expect("decodes");
    Ok(request.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0))
}

fn body(value: &str) -> Option<Value> {
    log(&format!(r#""body":{value}"#)).expect(value).body.expect("is there").value
}

fn points(fields: &str) -> String {
    let point = format!(r#""histogram":{{"dataPoints":[{{{fields}}}]}}"#);
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{{point}}}]}}]}}]}}"#)
}

fn point(fields: &str) -> Result<HistogramDataPoint, JsonError> {
    let bytes = to_protobuf(Signal::Metrics, points(fields).as_bytes())?;
    let mut request = ExportMetricsServiceRequest::decode(bytes.as_slice()).expect("decodes");
    let Metric { data, .. } = request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0);
    match data {
        Some(Data::Histogram(mut histogram)) => Ok(histogram.data_points.remove(0)),
        other => panic!("{other:?}"),
    }
}

/// The path and the expectation of a refusal.
fn refused<T: std::fmt::Debug>(result: Result<T, JsonError>) -> (String, &'static str) {
    match result {
        Err(JsonError::Unexpected { path, expected, .. }) => {
            (path.rsplit("[0].").next().unwrap_or_default().to_owned(), expected)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn ids_are_hexadecimal_of_either_case_and_of_their_length() {
    let good = span(r#""traceId":"5B8EFFF798038103D269B633813fc60c","spanId":"","parentSpanId":"EeE19b7ec3C1b174""#);
    let good = good.expect("is taken");
    assert_eq!(good.trace_id[..3], [0x5b, 0x8e, 0xff]);
    assert_eq!((good.trace_id.len(), good.span_id.len(), good.parent_span_id[0]), (16, 0, 0xee));
    for wrong in ["5b8efff798038103", "5b8efff798038103d269b633813fc60", "zz8efff798038103d269b633813fc60c", "é"] {
        let wrong = span(&format!(r#""traceId":"{wrong}""#));
        assert_eq!(refused(wrong), ("traceId".to_owned(), "a string of 32 hexadecimal digits, or an empty one"));
    }
    let wrong = span(r#""links":[{},{"spanId":7}]"#);
    assert_eq!(refused(wrong), ("links[1].spanId".to_owned(), "a string of 16 hexadecimal digits, or an empty one"));
}

#[test]
fn integers_come_as_numbers_and_strings_within_their_range() {
    for (text, expected) in [
        ("0", 0),
        ("18446744073709551615", u64::MAX),
        (r#""18446744073709551615""#, u64::MAX),
        ("1e3", 1000),
        (r#""1.5e3""#, 1500),
        ("7.0", 7),
    ] {
        assert_eq!(point(&format!(r#""count":{text}"#)).expect(text).count, expected, "{text}");
    }
    for text in ["-1", "18446744073709551616", "1.5", r#""""#, r#"" 1""#, r#""inf""#, "true", "{}", "[1]", r#""0x10""#]
    {
        let (path, expected) = refused(point(&format!(r#""count":{text}"#)));
        assert_eq!(
            (path.as_str(), expected),
            ("count", "an unsigned 64-bit integer, as a string or a number"),
            "{text}"
        );
    }
    for (text, expected) in [("-9223372036854775808", i64::MIN), (r#""-1""#, -1), ("-0", 0), ("9.0e0", 9)] {
        assert_eq!(body(&format!(r#"{{"intValue":{text}}}"#)), Some(Value::IntValue(expected)), "{text}");
    }
    assert_eq!(refused(log(r#""body":{"intValue":9223372036854775808}"#)).0, "body.intValue");
    assert_eq!(refused(log(r#""flags":4294967296"#)).1, "an unsigned 32-bit integer");
    assert_eq!(log(r#""flags":"4294967295""#).expect("is taken").flags, u32::MAX);
    assert_eq!(
        log(r#""severityNumber":2147483648"#).expect_err("is too large").to_string().split(" (").next(),
        Some("resourceLogs[0].scopeLogs[0].logRecords[0].severityNumber must be the integer of an enum value")
    );
}

#[test]
fn doubles_come_as_numbers_strings_and_words() {
    for (text, expected) in [
        ("1", 1.0),
        ("-0.0", -0.0),
        (r#""2.5""#, 2.5),
        (r#""-0""#, -0.0),
        ("5e-324", 5e-324),
        ("1.7976931348623157e308", f64::MAX),
        ("0.1234567890123456789", 0.123_456_789_012_345_68),
        (r#""Infinity""#, f64::INFINITY),
        (r#""-Infinity""#, f64::NEG_INFINITY),
        ("18446744073709551615", 18_446_744_073_709_551_615.0),
    ] {
        let read = body(&format!(r#"{{"doubleValue":{text}}}"#));
        assert!(
            matches!(read, Some(Value::DoubleValue(value)) if value.to_bits() == expected.to_bits()),
            "{text}: {read:?}"
        );
    }
    assert!(matches!(body(r#"{"doubleValue":"NaN"}"#), Some(Value::DoubleValue(value)) if value.is_nan()));
    for text in [r#""nan""#, r#""inf""#, r#""1e400""#, r#""""#, "false", r#""+Infinity""#] {
        assert_eq!(refused(log(&format!(r#""body":{{"doubleValue":{text}}}"#))).0, "body.doubleValue", "{text}");
    }
}

#[test]
fn other_values_are_read_liberally_where_they_can_mean_one_thing() {
    assert_eq!(span(r#""kind":"SPAN_KIND_CLIENT","status":{"code":2}"#).expect("is taken").kind, 3);
    assert_eq!(span(r#""kind":"5""#).expect("is taken").kind, 5);
    assert_eq!(span(r#""kind":-77"#).expect("enums are open").kind, -77);
    assert_eq!(refused(span(r#""kind":"CLIENT""#)).0, "kind");
    for text in ["-_8=", "-_8", "+/8", "+/8="] {
        assert_eq!(body(&format!(r#"{{"bytesValue":"{text}"}}"#)), Some(Value::BytesValue(vec![0xfb, 0xff])), "{text}");
    }
    assert_eq!(refused(log(r#""body":{"bytesValue":"é"}"#)).1, "a string in base64");
    let snake = span(r#""trace_state":"a=b","start_time_unix_nano":"7""#).expect("is taken");
    assert_eq!((snake.trace_state.as_str(), snake.start_time_unix_nano), ("a=b", 7));
    assert_eq!(body(r#"{"stringValue":"cut \ud83d end"}"#), Some(Value::StringValue("cut \u{fffd} end".to_owned())));
    assert_eq!(body(r#"{"stringValue":"\ud83d\ude00\ud83d"}"#), Some(Value::StringValue("😀\u{fffd}".to_owned())));
    let not_text = [&br#"{"resourceLogs":[{"schemaUrl":"a"#[..], b"\xff", br#""}]}"#].concat();
    assert_eq!(refused(to_protobuf(Signal::Logs, &not_text)), ("schemaUrl".to_owned(), "a string in UTF-8"));
}

#[test]
fn null_is_absent_and_unknown_names_are_skipped_with_all_they_hold() {
    let quiet = span(r#""name":null,"traceId":null,"kind":null,"events":null,"status":null,"flags":null"#);
    assert_eq!(quiet.expect("is taken"), Span::default());
    assert_eq!(body(r#"{"stringValue":null,"intValue":1,"boolValue":null}"#), Some(Value::IntValue(1)));
    let array = body(r#"{"arrayValue":{"values":[null,{"boolValue":false},{}]}}"#);
    let Some(Value::ArrayValue(array)) = array else { panic!("{array:?}") };
    let bool_value = AnyValue { value: Some(Value::BoolValue(false)) };
    assert_eq!(array.values, [AnyValue::default(), bool_value, AnyValue::default()]);
    assert_eq!(refused(span(r#""events":[null]"#)), ("events[0]".to_owned(), "an object"));

    let deep = format!("{}1{}", r#"{"a":["#.repeat(5_000), "]}".repeat(5_000));
    let unknown = format!(r#""x":{deep},"na\u006de":"n","":[1e999,"\ud800"],"\ud800":0,"Name":"other""#);
    let mut request = span(&unknown).expect("is taken");
    assert_eq!(std::mem::take(&mut request.name), "n");
    assert_eq!(request, Span::default());
}

#[test]
fn what_is_ambiguous_is_refused() {
    for (fields, path) in [
        (r#""name":"a","name":"""#, "name"),
        (r#""traceState":"a","trace_state":"a""#, "traceState"),
        (r#""events":[],"events":[{}]"#, "events"),
    ] {
        assert_eq!(refused(span(fields)), (path.to_owned(), "given once"));
    }
    let two = log(r#""body":{"stringValue":"","intValue":0}"#);
    assert_eq!(refused(two), ("body.intValue".to_owned(), "the only one of its kind"));
}

#[test]
fn errors_name_the_place_and_nothing_of_the_request() {
    let secret = spans(r#""attributes":[{"key":"a"},{"key":"hunter2","value":{"hunter2":{},"intValue":"hunter2"}}]"#);
    let error = to_protobuf(Signal::Traces, secret.as_bytes()).expect_err("is refused").to_string();
    assert_eq!(
        error,
        "resourceSpans[0].scopeSpans[0].spans[0].attributes[1].value.intValue must be a 64-bit integer, as a string or a \
         number (line 1, column 129)"
    );
    let unfinished = "{\n  \"hunter2\": \"hunter2\",\n  hunter2";
    let error = to_protobuf(Signal::Traces, unfinished.as_bytes()).expect_err("is refused");
    assert_eq!(error, JsonError::Syntax { line: 3, column: 3 });
    assert_eq!(error.to_string(), "the body is not JSON: line 3, column 3");
    for (text, expected) in [
        ("[]", Some("the body must be an object")),
        ("null", Some("the body must be an object")),
        (r#"{"resourceSpans":{}}"#, Some("resourceSpans must be an array")),
        (r#"{"resourceSpans":["hunter2"]}"#, Some("resourceSpans[0] must be an object")),
        ("", None),
        ("{} x", None),
        ("{}{}", None),
        ("\u{feff}{}", None),
    ] {
        let error = to_protobuf(Signal::Traces, text.as_bytes()).expect_err(text);
        match expected {
            Some(expected) => assert!(error.to_string().starts_with(&format!("{expected} (line")), "{error}"),
            None => assert!(matches!(error, JsonError::Syntax { .. }), "{text}: {error}"),
        }
    }
}

#[test]
fn nesting_is_bounded_in_both_directions() {
    // The request, its resource, scope and record lie around; each array is two messages.
    let nested = |arrays: usize| {
        let (open, close) = (r#"{"arrayValue":{"values":["#.repeat(arrays), "]}}".repeat(arrays));
        log(&format!(r#""body":{open}{close}"#))
    };
    let deepest = (DEPTH_MAX - 4) / 2;
    let record = nested(deepest).expect("is taken");
    let expected = "nested less deep: at most 100 messages in each other";
    assert_eq!(refused(nested(deepest + 1)).1, expected);
    assert_eq!(refused(nested(100_000)).1, expected);

    let mut bytes = Vec::new();
    for number in [5, 2, 2, 1] {
        let inner = if number == 5 { record.body.as_ref().expect("is there").encode_to_vec() } else { bytes };
        bytes = [&[number << 3 | 2][..], &varint(inner.len()), &inner].concat();
    }
    assert!(to_json(Signal::Logs, &bytes).is_ok());
    let mut deep = Vec::new();
    for level in 0..2_000 {
        let number = if level % 2 == 0 { 1 } else { 5 };
        deep = [&[number << 3 | 2][..], &varint(deep.len()), &deep].concat();
    }
    for number in [5, 2, 2, 1] {
        deep = [&[number << 3 | 2][..], &varint(deep.len()), &deep].concat();
    }
    assert_eq!(to_json(Signal::Logs, &deep), Err(ProtobufError::TooDeep));
}

fn varint(value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(value as u64, &mut bytes);
    bytes
}

#[test]
fn growth_is_asked_for_and_may_be_refused() {
    let zeros = points(&format!(r#""bucketCounts":[{}0]"#, "0,".repeat(100_000)));
    let mut largest = 0;
    let bytes = to_protobuf_within(Signal::Metrics, zeros.as_bytes(), &mut |bytes| {
        assert!(bytes > largest, "grows");
        largest = bytes;
        true
    })
    .expect("is taken");
    assert!(bytes.capacity() <= largest && bytes.len() > 800_000 && bytes.len() <= 4 * zeros.len());
    let limited = to_protobuf_within(Signal::Metrics, zeros.as_bytes(), &mut |bytes| bytes <= 400_000);
    assert_eq!(limited, Err(JsonError::NoRoom));
    // From six bytes of room per number to nine: twice as much would be too much.
    let tens = points(&format!(r#""bucketCounts":[{}10]"#, "10,".repeat(100_000)));
    let narrow = to_protobuf_within(Signal::Metrics, tens.as_bytes(), &mut |bytes| bytes <= 900_000);
    assert!(narrow.expect("an eighth of slack will do").len() > 800_000);
}

#[test]
fn any_legal_encoding_has_the_same_json() {
    let json = |bytes: &[u8]| to_json(Signal::Metrics, bytes).map(|json| String::from_utf8(json).expect("is text"));
    let point = |fields: &[u8]| {
        let mut bytes = fields.to_vec();
        for number in [1, 9, 2, 2, 1] {
            bytes = [&[number << 3 | 2][..], &varint(bytes.len()), &bytes].concat();
        }
        bytes
    };
    let count = |number: u8, value: u8| [&[number << 3 | 1, value][..], &[0; 7]].concat();
    let expected = points(r#""count":"2","bucketCounts":["1","2"],"flags":3"#);
    let packed = [&[6 << 3 | 2, 16][..], &1u64.to_le_bytes(), &2u64.to_le_bytes()].concat();
    let apart = [count(4, 9), vec![10 << 3, 1], count(6, 1), count(4, 2), vec![10 << 3, 0x83, 0], count(6, 2)].concat();
    let group = [&[0x6b, 0x08, 0x01, 0x6c][..], &count(4, 2), &packed, &[10 << 3, 3]].concat();
    for fields in [[count(4, 2), packed, vec![10 << 3, 3]].concat(), apart, group] {
        assert_eq!(json(&point(&fields)).as_deref(), Ok(expected.as_str()), "{fields:?}");
    }
    // A single message in two parts is one; of a oneof the last member counts.
    let metric = |fields: &[u8]| {
        let mut bytes = fields.to_vec();
        for number in [2, 2, 1] {
            bytes = [&[number << 3 | 2][..], &varint(bytes.len()), &bytes].concat();
        }
        bytes
    };
    let parts = [5 << 3 | 2, 0, 9 << 3 | 2, 2, 1 << 3 | 2, 0, 9 << 3 | 2, 2, 2 << 3, 1];
    let expected = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{}],"aggregationTemporality":1}}]}]}]}"#;
    assert_eq!(json(&metric(&parts)).as_deref(), Ok(expected));
    let two = [metric(&[]), metric(&[])].concat();
    let once = r#"{"scopeMetrics":[{"metrics":[{}]}]}"#;
    assert_eq!(json(&two).as_deref(), Ok(format!(r#"{{"resourceMetrics":[{once},{once}]}}"#).as_str()));
    for wrong in [&[0x08, 1][..], &[0x0a, 2, 0], &[0x0b, 0x0c], &[0x0c], &[0x80], &[0x0a, 2, 0x0d, 0]] {
        assert_eq!(json(wrong), Err(ProtobufError::Malformed), "{wrong:?}");
    }
}

#[test]
fn answers_and_statuses_are_transcoded_too() {
    let partial = br#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"three"}}"#;
    let bytes = to_protobuf(Root::Response(Signal::Metrics), partial).expect("is taken");
    assert_eq!(to_json(Root::Response(Signal::Metrics), &bytes).expect("is taken"), partial);
    let status = to_protobuf(Root::Status, br#"{"code":3,"message":"m","details":[{"@type":"x"}]}"#).expect("is taken");
    assert_eq!(to_json(Root::Status, &status).expect("is taken"), br#"{"code":3,"message":"m"}"#);
}

fn fragments() -> impl Strategy<Value = Vec<u8>> {
    const FRAGMENTS: [&str; 24] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "true",
        "1",
        "-",
        "1e9",
        "\"NaN\"",
        "\"resourceMetrics\":[{",
        "\"scopeMetrics\":[{",
        "\"metrics\":[{",
        "\"sum\":{",
        "\"dataPoints\":[{",
        "\"asInt\":",
        "\"attributes\":[{",
        "\"value\":{",
        "\"arrayValue\":{\"values\":[",
        "\u{fffd}",
    ];
    prop::collection::vec(prop::sample::select(FRAGMENTS.as_slice()), 0..40)
        .prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn whatever_comes_is_taken_or_refused(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), fragments()]) {
        for signal in Signal::ALL {
            if let Ok(protobuf) = to_protobuf(signal, &bytes) {
                prop_assert!(protobuf.len() <= 4 * bytes.len());
                prop_assert!(to_json(signal, &protobuf).is_ok());
            }
            if let Ok(json) = to_json(signal, &bytes) {
                prop_assert!(json.len() <= 16 * bytes.len() + 2);
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&json).is_ok());
            }
        }
    }
}
