//! Requests to records, by way of their JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::Record;
use crate::json::{self, ProtobufError};
use crate::signal::Signal;

/// Names of the levels of a signal in OTLP/JSON.
struct Names {
    resources: &'static str,
    scopes: &'static str,
    items: &'static str,
    /// The item's context in paths.
    item: &'static str,
}

/// Where OTLP/JSON keeps the data points of a metric.
const POINTS: [&str; 5] = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];

pub(super) fn records(signal: Signal, bodies: &[Bytes]) -> Result<Vec<Record>, ProtobufError> {
    let names = match signal {
        Signal::Traces => Names { resources: "resourceSpans", scopes: "scopeSpans", items: "spans", item: "span" },
        Signal::Logs => Names { resources: "resourceLogs", scopes: "scopeLogs", items: "logRecords", item: "log" },
        Signal::Metrics => {
            Names { resources: "resourceMetrics", scopes: "scopeMetrics", items: "metrics", item: "metric" }
        }
    };
    let mut records = Vec::new();
    for body in bodies {
        let json = json::to_json(signal, body)?;
        // Our own writer's.
        let request: Value = serde_json::from_slice(&json).map_err(|_| ProtobufError::Malformed)?;
        for resource in list(&request, names.resources) {
            let above = with(&BTreeMap::new(), "resource", resource, &[names.scopes]);
            for scope in list(resource, names.scopes) {
                let above = with(&above, "scope", scope, &[names.items]);
                for item in list(scope, names.items) {
                    match signal {
                        Signal::Traces | Signal::Logs => {
                            records.push(Record { fields: with(&above, names.item, item, &[]) });
                        }
                        Signal::Metrics => points(&above, item, &mut records),
                    }
                }
            }
        }
    }
    Ok(records)
}

fn points(above: &BTreeMap<String, Value>, metric: &Value, records: &mut Vec<Record>) {
    let kind = POINTS.into_iter().find(|kind| metric.get(kind).is_some());
    let mut above = with(above, "metric", metric, &POINTS);
    let Some((kind, data)) = kind.and_then(|kind| Some((kind, metric.get(kind)?))) else { return };
    above.insert("metric.type".to_owned(), Value::from(kind));
    let above = with(&above, "metric", data, &["dataPoints"]);
    for point in list(data, "dataPoints") {
        records.push(Record { fields: with(&above, "datapoint", point, &[]) });
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The fields above, and those of this message but for some.
fn with(above: &BTreeMap<String, Value>, context: &str, message: &Value, without: &[&str]) -> BTreeMap<String, Value> {
    let mut fields = above.clone();
    if let Value::Object(members) = message {
        for (name, value) in members.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
            // The resource's and the scope's own messages lie beside their children.
            if name == context {
                member(&mut fields, context, value);
            } else {
                field(&mut fields, &format!("{context}.{}", snake(name)), name, value);
            }
        }
    }
    fields
}

/// A message's members.
fn member(fields: &mut BTreeMap<String, Value>, path: &str, message: &Value) {
    if let Value::Object(members) = message {
        for (name, value) in members {
            field(fields, &format!("{path}.{}", snake(name)), name, value);
        }
    }
}

fn field(fields: &mut BTreeMap<String, Value>, path: &str, name: &str, value: &Value) {
    match (name, value) {
        ("attributes" | "filteredAttributes", Value::Array(pairs)) => {
            for (place, pair) in pairs.iter().enumerate() {
                let key = pair.get("key").and_then(Value::as_str).unwrap_or_default();
                let mut named = format!("{path}[{}]", Value::from(key));
                if fields.contains_key(&named) {
                    // A key that comes twice is not lost.
                    named = format!("{named}[{place}]");
                }
                fields.insert(named, pair.get("value").map_or(Value::Null, plain));
            }
        }
        ("events" | "links" | "exemplars" | "quantileValues", Value::Array(children)) => {
            for (place, child) in children.iter().enumerate() {
                member(fields, &format!("{path}[{place}]"), child);
            }
        }
        ("body", value) => {
            fields.insert(path.to_owned(), plain(value));
        }
        ("status", message @ Value::Object(_)) => member(fields, path, message),
        (_, value) => {
            fields.insert(path.to_owned(), value.clone());
        }
    }
}

/// An attribute's value without its envelope: `{"stringValue": "x"}` is `"x"`.
fn plain(value: &Value) -> Value {
    let Value::Object(envelope) = value else { return value.clone() };
    let Some((kind, inner)) = envelope.iter().next() else { return Value::Null };
    match kind.as_str() {
        "arrayValue" => Value::Array(list(inner, "values").iter().map(plain).collect()),
        "kvlistValue" => {
            let pair = |pair: &Value| {
                let key = pair.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
                (key, pair.get("value").map_or(Value::Null, plain))
            };
            Value::Object(list(inner, "values").iter().map(pair).collect::<Map<_, _>>())
        }
        "intValue" => inner.as_str().and_then(|digits| digits.parse::<i64>().ok()).map_or(inner.clone(), Value::from),
        "bytesValue" => Value::Object(Map::from_iter([("bytes".to_owned(), inner.clone())])),
        _ => inner.clone(),
    }
}

/// OTLP's names as protobuf and OTTL write them.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
