//! Attributes as services send them.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use rand::Rng;
use rand::rngs::StdRng;

use super::Shape;

/// Services, most frequent first.
pub const SERVICES: [&str; 12] = [
    "frontend",
    "cart",
    "checkout",
    "payment",
    "shipping",
    "search",
    "catalog",
    "currency",
    "email",
    "ads",
    "quote",
    "fraud-detection",
];

/// Nanoseconds of the epoch at which generated telemetry happened.
pub const EPOCH: u64 = 1_767_225_600_000_000_000;

/// An index below `n`, the first ones most often (Zipf with exponent 1).
pub fn zipf(rng: &mut StdRng, n: usize) -> usize {
    let total: f64 = (1..=n).map(|k| 1.0 / k as f64).sum();
    let mut left = rng.random::<f64>() * total;
    for k in 1..=n {
        left -= 1.0 / k as f64;
        if left <= 0.0 {
            return k - 1;
        }
    }
    n - 1
}

/// A resource of one service.
pub fn resource(service: usize) -> Resource {
    let name = SERVICES[service % SERVICES.len()];
    Resource {
        attributes: vec![
            text("service.name", name),
            text("service.version", "2.8.1"),
            text("host.name", &format!("{name}-7d9f8b6c5-{service:05}")),
            text("k8s.namespace.name", "shop"),
        ],
        ..Resource::default()
    }
}

/// A tenth of the items match; the others have one of `routes - 1` routes.
pub fn route(rng: &mut StdRng, shape: &Shape) -> (bool, String) {
    if rng.random_range(0..10) == 0 {
        return (true, "/health".to_owned());
    }
    (false, format!("/api/v1/items/{}", rng.random_range(1..shape.routes.max(2))))
}

/// The last attribute of an item, which matches exactly where its route does.
pub fn ring(rng: &mut StdRng, matches: bool) -> KeyValue {
    let other = ["blue", "green", "stable"][rng.random_range(0..3)];
    text("deployment.ring", if matches { "canary" } else { other })
}

/// Values of every kind and nesting that OTLP allows.
pub fn odd(rng: &mut StdRng) -> Vec<KeyValue> {
    let map = KeyValueList {
        values: vec![
            text("email", "ada@example.com"),
            attribute("deep", Value::KvlistValue(KeyValueList { values: vec![text("card", "4111 1111 1111 1111")] })),
        ],
    };
    let array = ArrayValue {
        values: vec![any(Value::IntValue(-1)), any(Value::StringValue("two".to_owned())), AnyValue { value: None }],
    };
    vec![
        attribute("odd.map", Value::KvlistValue(map)),
        attribute("odd.array", Value::ArrayValue(array)),
        attribute("odd.bytes", Value::BytesValue((0..rng.random_range(0..40)).collect())),
        attribute("odd.double", Value::DoubleValue(f64::NEG_INFINITY)),
        attribute("odd.bool", Value::BoolValue(false)),
        KeyValue { key: "odd.empty".to_owned(), value: Some(AnyValue { value: None }), ..KeyValue::default() },
        KeyValue { key: "odd.absent".to_owned(), value: None, ..KeyValue::default() },
        text("", "an empty key"),
        text("odd.unicode", "Grüße, 世界"),
    ]
}

/// Makes every text one of its own, of the same length; addresses stay addresses.
pub fn freshen(rng: &mut StdRng, attributes: &mut [KeyValue]) {
    for entry in attributes.iter_mut().filter(|entry| entry.key != "client.address") {
        if let Some(AnyValue { value: Some(Value::StringValue(text)) }) = &mut entry.value {
            let kept = text.len().saturating_sub(8);
            let fresh = hex(rng, text.len() - kept);
            text.truncate(kept);
            text.push_str(&fresh);
        }
    }
}

/// A text attribute.
pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

/// An integer attribute.
pub fn int(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

/// An attribute of any kind.
pub fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

/// A value.
pub fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// So many random lower-case hex digits.
pub fn hex(rng: &mut StdRng, digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)])).collect()
}
