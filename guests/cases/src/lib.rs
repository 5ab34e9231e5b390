//! Reads `tests/cases/*.json` of a bundled component: batches and values as cases write them.
//!
//! A batch is a list of rows in order: `level`, `attributes`, and fields by their names in paths. Values are JSON's; `{"bytes": "00ff"}`,
//! `{"empty": true}` and `{"absent": true}` stand for kinds that JSON lacks, `{"map": {...}}` for maps, `{"array": [...]}` or a list for lists.
//! How cases of policies write traces and verdicts is said at [`traces`] and [`decided`].

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "for tests: a case that cannot be read fails at once")]

mod policy;

pub use policy::{decided, traces};

use std::fs;
use std::path::Path;

use serde_json::Value;
use sluicebox_guest::testing::TestBatch;
use sluicebox_guest::{Level, NewValue};

/// Runs every case of the `tests/cases` of the package in `folder`; `differences` says where what happens is not what a case expects.
/// Panics with all of them, and where there is no case.
pub fn run_all(folder: &str, mut differences: impl FnMut(&Value) -> Vec<String>) {
    let mut count = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(Path::new(folder).join("tests/cases")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let cases: Vec<Value> =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{file}: {error}"));
        for case in cases {
            count += 1;
            let found = differences(&case);
            failures.extend(found.iter().map(|difference| format!("{file}: {}\n  {difference}", case["case"])));
        }
    }
    assert!(failures.is_empty(), "{} differences in {count} cases\n{}", failures.len(), failures.join("\n"));
    assert!(count > 0, "there are no cases");
}

/// None where a case has what it expects.
pub fn differ<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, actual: &T) -> Option<String> {
    (expected != actual).then(|| format!("{what}\n  expected {expected:?}\n  actual   {actual:?}"))
}

/// A batch, of the signal that its lowest level is of.
pub fn batch(rows: &Value) -> TestBatch {
    let rows = rows.as_array().expect("a batch is a list of rows");
    let level = |row: &Value| Level::parse(row["level"].as_str().unwrap()).expect("a level");
    let empty = match rows.iter().map(level).max().expect("at least one row") {
        Level::Log => TestBatch::logs(),
        Level::Metric | Level::DataPoint => TestBatch::metrics(),
        _ => TestBatch::traces(),
    };
    rows.iter().fold(empty, |batch, row| {
        let fields = row.as_object().unwrap().iter().filter(|(key, _)| *key != "level");
        fields.fold(batch.row(level(row)), |batch, (key, field)| match key.as_str() {
            "trace" => batch.set("trace_id", policy::trace_id(field.as_u64().expect("the number of a trace"))),
            "attributes" => {
                let attributes = field.as_object().unwrap().iter();
                attributes.fold(batch, |batch, (key, of_key)| batch.attribute(key, value(of_key)))
            }
            _ => batch.set(key, value(field)),
        })
    })
}

/// A value.
pub fn value(json: &Value) -> NewValue {
    match json {
        Value::Null => panic!("null is not a value"),
        Value::Bool(bool) => NewValue::Bool(*bool),
        Value::String(text) => NewValue::Str(text.clone()),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| NewValue::Double(number.as_f64().unwrap()), NewValue::Int)
        }
        Value::Array(elements) => NewValue::array(elements.iter().map(value)),
        Value::Object(other) => {
            let (kind, json) = other.iter().next().unwrap();
            match kind.as_str() {
                "bytes" => NewValue::Bytes(from_hex(json.as_str().unwrap())),
                "array" => NewValue::array(json.as_array().unwrap().iter().map(value)),
                "map" => NewValue::map(json.as_object().unwrap().iter().map(|(key, json)| (key, value(json)))),
                "empty" => NewValue::Empty,
                "absent" => NewValue::Absent,
                _ => panic!("no kind is called {kind}"),
            }
        }
    }
}

fn from_hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
