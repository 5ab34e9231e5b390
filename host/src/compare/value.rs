//! Attribute values without their envelopes.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::json::UNKNOWN_FIELDS;

/// What stands for itself in the place of a value. Maps with one of these keys keep their envelope, so that no two values look
/// the same.
const ENVELOPES: [&str; 7] =
    ["arrayValue", "bytesValue", "doubleValue", "kvlistValue", "stringValueStrindex", "keyStrindex", UNKNOWN_FIELDS];

/// `{"stringValue": "x"}` is `"x"`, an empty value is null. Integers are integers and doubles have a point; what has no JSON of its own
/// (bytes, numbers that are none) keeps its envelope.
pub(super) fn plain(value: Value) -> Value {
    let Value::Object(mut envelope) = value else { return value };
    if envelope.len() > 1 {
        return Value::Object(envelope);
    }
    let Some(kind) = envelope.keys().next().cloned() else { return Value::Null };
    match (kind.as_str(), envelope.remove(&kind)) {
        ("arrayValue", Some(Value::Object(list))) if is_plain_list(&list) => {
            Value::Array(values(list).into_iter().map(plain).collect())
        }
        ("kvlistValue", Some(Value::Object(list))) if is_plain_map(&list) => {
            let pairs = values(list).into_iter().filter_map(|pair| match pair {
                Value::Object(mut pair) => Some((key_of(&pair), plain(pair.remove("value").unwrap_or_default()))),
                _ => None,
            });
            Value::Object(pairs.collect())
        }
        ("intValue", Some(Value::String(digits))) => digits.parse::<i64>().map_or(Value::String(digits), Value::from),
        // JSON has one kind of number, and an integer that became a double is a change.
        ("doubleValue", Some(Value::Number(number))) => number.as_f64().map_or(Value::Number(number), Value::from),
        ("stringValue" | "boolValue", Some(inner)) => inner,
        (_, inner) => Value::Object(Map::from_iter(inner.map(|inner| (kind, inner)))),
    }
}

/// A pair of a list of attributes: its key and its value. What has more than that is told whole.
pub(super) fn pair(pair: Value) -> (String, Value) {
    let Value::Object(mut members) = pair else { return (String::new(), pair) };
    let key = key_of(&members);
    if is_plain_pair(&members) {
        let value = plain(members.remove("value").unwrap_or_default());
        return (key, value);
    }
    (key, Value::Object(members))
}

fn key_of(pair: &Map<String, Value>) -> String {
    pair.get("key").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn is_plain_pair(pair: &Map<String, Value>) -> bool {
    pair.keys().all(|name| name == "key" || name == "value")
}

fn is_plain_list(list: &Map<String, Value>) -> bool {
    list.keys().all(|name| name == "values")
}

/// Whether a map's keys are all different and say nothing else.
fn is_plain_map(list: &Map<String, Value>) -> bool {
    let Some(Value::Array(pairs)) = list.get("values") else { return list.is_empty() };
    let mut keys = BTreeSet::new();
    let is_plain = |pair: &Value| pair.as_object().is_some_and(|pair| is_plain_pair(pair) && keys.insert(key_of(pair)));
    let are_plain = pairs.iter().all(is_plain);
    let is_envelope = keys.iter().any(|key| ENVELOPES.contains(&key.as_str()));
    is_plain_list(list) && are_plain && !is_envelope
}

fn values(mut list: Map<String, Value>) -> Vec<Value> {
    match list.remove("values") {
        Some(Value::Array(values)) => values,
        _ => Vec::new(),
    }
}
