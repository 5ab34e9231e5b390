//! Log records with text and structured bodies.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use rand::Rng;
use rand::rngs::StdRng;

use super::values::{self, EPOCH, any, int, text};
use super::{Shape, envelope};

/// The next log record, encoded; whether it matches is pushed.
pub fn record(rng: &mut StdRng, shape: &Shape, matches: &mut Vec<bool>) -> Vec<u8> {
    let (matched, route) = values::route(rng, shape);
    let time = EPOCH + rng.random_range(0..3_600_000_000_000_u64);
    let (number, severity) =
        [(5, "DEBUG"), (9, "INFO"), (9, "INFO"), (13, "WARN"), (17, "ERROR")][rng.random_range(0..5)];
    let mut attributes = vec![
        text("logger.name", "com.example.shop.OrderController"),
        int("thread.id", rng.random_range(1..64)),
        text("http.route", &route),
        text("enduser.id", &values::hex(rng, 16)),
    ];
    if shape.odd && rng.random_range(0..4) == 0 {
        attributes.extend(values::odd(rng));
    }
    attributes.push(values::ring(rng, matched));
    let body = match rng.random_range(0..10) {
        0..6 => {
            Value::StringValue(format!("order {} accepted in {} ms", values::hex(rng, 12), rng.random_range(1..900)))
        }
        6..9 => Value::KvlistValue(KeyValueList {
            values: vec![text("message", "order accepted"), int("items", rng.random_range(1..9))],
        }),
        _ => Value::ArrayValue(ArrayValue { values: vec![any(Value::StringValue("part".to_owned()))] }),
    };
    let record = LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time + 1_000_000,
        severity_number: number,
        severity_text: severity.to_owned(),
        body: if shape.odd && rng.random_range(0..20) == 0 { None } else { Some(any(body)) },
        attributes,
        flags: 1,
        // Identities are patched in; here only their places.
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        event_name: if shape.odd { "shop.order".to_owned() } else { String::new() },
        ..LogRecord::default()
    };
    matches.push(matched);
    let mut bytes = record.encode_to_vec();
    if shape.odd && rng.random_range(0..4) == 0 {
        envelope::future_fields(&mut bytes);
    }
    bytes
}
