//! Runs `tests/cases/*.json`: a configuration, a batch, and the attributes that the rows of a level have then, and which rules edited
//! which rows; or the error that the configuration gives, or the call.
//!
//! A batch is a list of rows in order: `level`, `attributes`, and fields by their names in paths. Values are JSON's; `{"bytes": "00ff"}`
//! and `{"empty": true}` stand for kinds that JSON lacks, `{"map": {}}` for maps. The key `pepper` for hashes is `secret`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use attributes::Attributes;
use serde_json::{Value, json};
use sluicebox_guest::testing::{Outcome, TestBatch, Tester};
use sluicebox_guest::{Level, NewValue};

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut count = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let cases: Vec<Value> =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap_or_else(|error| panic!("{file}: {error}"));
        for case in cases {
            count += 1;
            let keys = ["after", "edited", "error", "fault"].into_iter().filter(|key| case.get(key).is_some());
            let expected = Value::Object(keys.map(|key| (key.to_owned(), case[key].clone())).collect());
            let actual = run(&case, &expected);
            if expected != actual {
                failures.push(format!("{file}: {}\n  expected {expected}\n  actual   {actual}", case["case"]));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases failed\n{}", failures.len(), failures.join("\n"));
    assert!(count > 0, "there are no cases");
}

fn run(case: &Value, expected: &Value) -> Value {
    let configured = Tester::<Attributes>::configure_with_keys(&case["config"].to_string(), &[("pepper", b"secret")]);
    let mut tester = match configured {
        Err(error) => return json!({ "error": error.lines().collect::<Vec<_>>() }),
        Ok(tester) => tester,
    };
    let batch = &case["batch"];
    match tester.process(&to_batch(batch)) {
        Err(fault) => json!({ "fault": fault }),
        Ok(outcome) => {
            let levels = expected["after"].as_object().into_iter().flatten().map(|(level, _)| level.clone());
            let after: BTreeMap<String, Value> =
                levels.map(|level| (level.clone(), rows(&outcome, Level::parse(&level).unwrap()))).collect();
            let edited: BTreeMap<String, Vec<u32>> = tester
                .rules()
                .iter()
                .map(|rule| (rule.clone(), outcome.edited_by(rule).into_iter().map(|(_, row)| row).collect()))
                .filter(|(_, rows): &(String, Vec<u32>)| !rows.is_empty())
                .collect();
            match expected.get("edited") {
                Some(_) => json!({ "after": after, "edited": edited }),
                None => json!({ "after": after }),
            }
        }
    }
}

fn rows(outcome: &Outcome, level: Level) -> Value {
    let attributes = |row| {
        let attributes = outcome.attributes(level, row).into_iter();
        Value::Object(attributes.map(|(key, value)| (key, to_json(value.as_value()))).collect())
    };
    outcome.left(level).into_iter().map(attributes).collect()
}

fn to_batch(rows: &Value) -> TestBatch {
    let rows = rows.as_array().expect("a batch is a list of rows");
    let level = |row: &Value| Level::parse(row["level"].as_str().unwrap()).expect("a level");
    let empty = match rows.iter().map(level).max().expect("at least one row") {
        Level::Log => TestBatch::logs(),
        Level::Metric | Level::DataPoint => TestBatch::metrics(),
        _ => TestBatch::traces(),
    };
    rows.iter().fold(empty, |batch, row| {
        let fields = row.as_object().unwrap().iter().filter(|(key, _)| *key != "level");
        fields.fold(batch.row(level(row)), |batch, (key, value)| match key.as_str() {
            "attributes" => value
                .as_object()
                .unwrap()
                .iter()
                .fold(batch, |batch, (key, value)| batch.attribute(key, to_value(value))),
            _ => batch.set(key, to_value(value)),
        })
    })
}

fn to_value(value: &Value) -> NewValue {
    match value {
        Value::Null => panic!("null is not a value"),
        Value::Bool(bool) => (*bool).into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => number.as_i64().map_or_else(|| number.as_f64().unwrap().into(), NewValue::Int),
        Value::Array(elements) => NewValue::array(elements.iter().map(to_value)),
        Value::Object(other) => match other.iter().next().unwrap() {
            (kind, Value::String(hex)) if kind == "bytes" => {
                let digits = (0..hex.len()).step_by(2);
                NewValue::Bytes(digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect())
            }
            (kind, Value::Object(entries)) if kind == "map" => {
                NewValue::map(entries.iter().map(|(key, value)| (key, to_value(value))))
            }
            (kind, _) if kind == "empty" => NewValue::Empty,
            (kind, _) => panic!("no kind is called {kind}"),
        },
    }
}

fn to_json(value: sluicebox_guest::Value<'_>) -> Value {
    use sluicebox_guest::Value::{Absent, Array, Bool, Bytes, Double, Empty, Int, Map, Str, Unknown};
    match value {
        Str(text) => json!(text),
        Bool(bool) => json!(bool),
        Int(int) => json!(int),
        Double(double) => json!(double),
        Bytes(bytes) => json!({ "bytes": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
        Array(_) => value.elements().map(to_json).collect(),
        Map(_) => {
            let entries = value.entries().map(|(key, value)| (key.as_str().unwrap().to_owned(), to_json(value)));
            json!({ "map": entries.collect::<serde_json::Map<_, _>>() })
        }
        Empty => json!({ "empty": true }),
        Absent | Unknown => Value::Null,
    }
}
