//! What these tests share.

use std::path::Path;

use bytes::Bytes;
use serde_json::Value;
use sluicebox::json;
use sluicebox::signal::Signal;
use sluicebox_tests::command::Done;
use sluicebox_tests::items::Request;

/// Rules that drop, rewrite and redact some items of each signal.
pub const FILTER: &str = r#"{
  "error_mode": "ignore",
  "traces": {"span": ["attributes[\"http.route\"] == \"/health\""]},
  "metrics": {"datapoint": ["attributes[\"http.route\"] == \"/health\""]},
  "logs": {"log_record": ["attributes[\"http.route\"] == \"/health\""]}
}"#;
/// See [`FILTER`].
pub const ATTRIBUTES: &str = r#"{"actions": [
  {"key": "deployment.ring", "action": "upsert", "value": "all"},
  {"key": "http.route", "action": "delete"}
]}"#;

/// A request as OTLP/JSON.
pub fn as_json(signal: Signal, request: &[u8]) -> String {
    String::from_utf8(json::to_json(signal, request).unwrap()).unwrap()
}

/// What came out, decoded: JSON to structs by way of the encoding that the other tests compare with independent encoders.
pub fn output(signal: Signal, tried: &Value) -> Vec<Request> {
    let requests = tried["output"].as_array().unwrap();
    let body = |request: &Value| json::to_protobuf(signal, request.to_string().as_bytes()).unwrap();
    requests.iter().map(|request| Request::decode(signal, &body(request)).unwrap()).collect()
}

/// What a sink has kept, decoded.
pub fn decoded(signal: Signal, bodies: &[Bytes]) -> Vec<Request> {
    bodies.iter().map(|body| Request::decode(signal, body).unwrap()).collect()
}

/// What `--output json` printed.
pub fn printed(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"))
}

/// Writes a file into a directory; its name.
pub fn write(directory: &Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    std::fs::write(&file, text).unwrap();
    file.display().to_string()
}

/// The step of this name.
pub fn step<'a>(tried: &'a Value, name: &str) -> &'a Value {
    let steps = tried["steps"].as_array().unwrap();
    steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("{name}: {tried:#}"))
}
