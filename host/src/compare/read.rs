//! Requests to records, by way of their JSON.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Fields, JSON_BYTES_MAX, REQUEST_BYTES_MAX, Record, Unreadable, path, value};
use crate::json::{self, ProtobufError, UNKNOWN_FIELDS};
use crate::signal::Signal;

/// Names of the levels of a signal in OTLP/JSON.
struct Names {
    resources: &'static str,
    scopes: &'static str,
    items: &'static str,
}

/// Where OTLP/JSON keeps the data points of a metric.
const POINTS: [&str; 5] = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];

pub(super) fn records(signal: Signal, bodies: &[Bytes]) -> Result<Vec<Record>, Unreadable> {
    let names = Names::of(signal);
    if bodies.iter().map(Bytes::len).fold(0, usize::saturating_add) > REQUEST_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    let mut records = Vec::new();
    let mut json_bytes_left = JSON_BYTES_MAX;
    for body in bodies {
        let json = json::to_json_with_unknown(signal, body)?;
        json_bytes_left = json_bytes_left.checked_sub(json.len()).ok_or(Unreadable::TooLarge)?;
        let mut request = parse(&json)?;
        drop(json);
        for resource in children(&mut request, names.resources) {
            records_of_resource(signal, &names, resource, &mut records);
        }
    }
    Ok(records)
}

fn records_of_resource(signal: Signal, names: &Names, mut message: Map<String, Value>, records: &mut Vec<Record>) {
    let scopes = children(&mut message, names.scopes);
    let resource = Arc::new(level("resource", names.resources, message));
    for mut scope in scopes {
        let items = children(&mut scope, names.items);
        let scope = Arc::new(level("scope", names.scopes, scope));
        for item in items {
            let above = [&resource, &scope].map(Arc::clone);
            match signal {
                Signal::Traces => records.push(Record::of(&above, "span", item)),
                Signal::Logs => records.push(Record::of(&above, "log", item)),
                Signal::Metrics => records_of_metric(&above, item, records),
            }
        }
    }
}

fn records_of_metric(above: &[Arc<Fields>], mut metric: Map<String, Value>, records: &mut Vec<Record>) {
    let data = POINTS.into_iter().find_map(|kind| match metric.remove(kind) {
        Some(Value::Object(data)) => Some((kind, data)),
        _ => None,
    });
    let Some((kind, mut data)) = data else { return };
    let points = children(&mut data, "dataPoints");
    let mut fields = Fields::new();
    members(&mut fields, "metric", metric);
    fields.insert("metric.type".to_owned(), Value::from(kind));
    if let Some(unknown) = data.remove(UNKNOWN_FIELDS) {
        fields.insert("metric.data.unknown_fields".to_owned(), unknown);
    }
    members(&mut fields, "metric", data);
    let above: Vec<_> = above.iter().cloned().chain([Arc::new(fields)]).collect();
    records.extend(points.into_iter().map(|point| Record::of(&above, "datapoint", point)));
}

/// A resource or a scope, which is a message in the list's element.
fn level(context: &'static str, list: &str, mut element: Map<String, Value>) -> Fields {
    let mut fields = Fields::new();
    if let Some(Value::Object(message)) = element.remove(context) {
        members(&mut fields, context, message);
    }
    if let Some(unknown) = element.remove(UNKNOWN_FIELDS) {
        let mut outer = String::new();
        path::push_snake(list, &mut outer);
        fields.insert(path::of_member(&outer, UNKNOWN_FIELDS), unknown);
    }
    members(&mut fields, context, element);
    fields
}

fn members(fields: &mut Fields, context: &str, message: Map<String, Value>) {
    for (name, value) in message {
        member(fields, path::of_member(context, &name), &name, value);
    }
}

fn member(fields: &mut Fields, path: String, name: &str, value: Value) {
    match (name, value) {
        ("attributes" | "filteredAttributes" | "metadata", Value::Array(pairs)) => {
            let mut times = HashMap::<String, usize>::new();
            for pair in pairs {
                let (key, value) = value::pair(pair);
                let before = times.entry(key.clone()).or_default();
                fields.insert(path::of_key(&path, &key, *before), value);
                *before += 1;
            }
        }
        ("events" | "links" | "exemplars" | "quantileValues", Value::Array(list)) => {
            for (place, child) in list.into_iter().enumerate() {
                let path = format!("{path}[{place}]");
                match child {
                    Value::Object(child) if !child.is_empty() => members(fields, &path, child),
                    empty => drop(fields.insert(path, empty)),
                }
            }
        }
        ("status", Value::Object(message)) => members(fields, &path, message),
        ("body", value) => drop(fields.insert(path, value::plain(value))),
        (_, value) => drop(fields.insert(path, value)),
    }
}

fn children(message: &mut Map<String, Value>, name: &str) -> Vec<Map<String, Value>> {
    let Some(Value::Array(list)) = message.remove(name) else { return Vec::new() };
    let objects = list.into_iter().filter_map(|child| match child {
        Value::Object(child) => Some(child),
        _ => None,
    });
    objects.collect()
}

/// What our own writer wrote, which bounds how deep it nests.
fn parse(json: &[u8]) -> Result<Map<String, Value>, ProtobufError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    deserializer.disable_recursion_limit();
    Map::deserialize(&mut deserializer).map_err(|_| ProtobufError::Malformed)
}

impl Names {
    const fn of(signal: Signal) -> Names {
        match signal {
            Signal::Traces => Names { resources: "resourceSpans", scopes: "scopeSpans", items: "spans" },
            Signal::Logs => Names { resources: "resourceLogs", scopes: "scopeLogs", items: "logRecords" },
            Signal::Metrics => Names { resources: "resourceMetrics", scopes: "scopeMetrics", items: "metrics" },
        }
    }
}

impl Record {
    fn of(above: &[Arc<Fields>], context: &str, item: Map<String, Value>) -> Record {
        let mut fields = Fields::new();
        members(&mut fields, context, item);
        Record { levels: above.iter().cloned().chain([Arc::new(fields)]).collect() }
    }
}
