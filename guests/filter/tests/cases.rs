//! Runs `tests/cases/*.json`: a configuration, a batch, and what is left of it and by which rules the rest went; or the error that
//! the configuration gives.
//!
//! A batch is a list of rows in order: `level`, `attributes`, and fields by their names in paths. `left` and `dropped` are numbers of rows.
//! Values are JSON's; `{"bytes": "00ff"}` and `{"empty": true}` stand for kinds that JSON lacks, `{"array": []}` and
//! `{"map": {}}` for lists and maps of values.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use filter::Filter;
use serde_json::Value;
use sluicebox_guest::testing::{TestBatch, Tester};
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
            let (expected, actual) = run(&case);
            if expected != actual {
                failures.push(format!("{file}: {}\n  expected {expected}\n  actual   {actual}", case["case"]));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases failed\n{}", failures.len(), failures.join("\n"));
    assert!(count > 0, "there are no cases");
}

/// What a case expects and what happens.
fn run(case: &Value) -> (Value, Value) {
    let keys = ["left", "dropped", "error", "fault"];
    let expected =
        keys.into_iter().filter(|key| case.get(key).is_some()).map(|key| (key.to_owned(), case[key].clone()));
    let expected = Value::Object(expected.collect());
    let actual = match Tester::<Filter>::configure(&case["config"].to_string()) {
        Err(error) => serde_json::json!({ "error": error.lines().collect::<Vec<_>>() }),
        Ok(mut tester) => match tester.process(&batch(&case["batch"])) {
            Err(fault) => serde_json::json!({ "fault": fault }),
            Ok(outcome) => {
                let levels = expected["left"].as_object().into_iter().flatten().map(|(level, _)| level.clone());
                let left: BTreeMap<String, Vec<u32>> =
                    levels.map(|level| (level.clone(), outcome.left(Level::parse(&level).unwrap()))).collect();
                let rules = tester.rules().iter().map(|rule| (rule.clone(), outcome.dropped_by(rule)));
                let dropped: BTreeMap<String, Vec<u32>> = rules
                    .map(|(rule, rows)| (rule, rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>()))
                    .filter(|(_, rows)| !rows.is_empty())
                    .collect();
                match expected.get("dropped") {
                    Some(_) => serde_json::json!({ "left": left, "dropped": dropped }),
                    None => serde_json::json!({ "left": left }),
                }
            }
        },
    };
    (expected, actual)
}

fn batch(rows: &Value) -> TestBatch {
    let rows = rows.as_array().expect("a batch is a list of rows");
    let level = |row: &Value| Level::parse(row["level"].as_str().unwrap()).expect("a level");
    let signal = rows.iter().map(level).max().expect("at least one row");
    let empty = match signal {
        Level::Log => TestBatch::logs(),
        Level::Metric | Level::DataPoint => TestBatch::metrics(),
        _ => TestBatch::traces(),
    };
    rows.iter().fold(empty, |mut batch, row| {
        batch = batch.row(level(row));
        for (key, value) in row.as_object().unwrap() {
            batch = match key.as_str() {
                "level" => batch,
                "attributes" => value
                    .as_object()
                    .unwrap()
                    .iter()
                    .fold(batch, |batch, (key, value)| batch.attribute(key, convert(value))),
                _ => batch.set(key, convert(value)),
            };
        }
        batch
    })
}

fn convert(value: &Value) -> NewValue {
    match value {
        Value::String(text) => NewValue::Str(text.clone()),
        Value::Bool(bool) => NewValue::Bool(*bool),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| NewValue::Double(number.as_f64().unwrap()), NewValue::Int)
        }
        Value::Object(other) => {
            let (kind, value) = other.iter().next().unwrap();
            let bytes = || {
                let hex = value.as_str().unwrap();
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
            };
            match kind.as_str() {
                "bytes" => NewValue::Bytes(bytes()),
                "array" => NewValue::array(value.as_array().unwrap().iter().map(convert)),
                "map" => NewValue::map(value.as_object().unwrap().iter().map(|(key, value)| (key, convert(value)))),
                "empty" => NewValue::Empty,
                _ => panic!("no kind is called {kind}"),
            }
        }
        _ => panic!("{value} is not a value"),
    }
}

#[test]
fn more_conditions_than_rules_are_refused() {
    let conditions = |count| serde_json::json!({ "logs": { "log_record": vec!["body == 1"; count] } }).to_string();
    assert!(Tester::<Filter>::configure(&conditions(64)).is_ok());
    let error = Tester::<Filter>::configure(&conditions(65)).unwrap_err();
    assert!(error.starts_with("65 conditions, at most 64"), "{error}");
}

#[test]
fn deep_nesting_is_refused() {
    let nested = format!("{}true{}", "(".repeat(1000), ")".repeat(1000));
    let calls = format!("{}true{}", "IsBool(".repeat(1000), ")".repeat(1000));
    for text in [nested, calls] {
        let config = serde_json::json!({ "logs": { "log_record": [text] } }).to_string();
        let error = Tester::<Filter>::configure(&config).unwrap_err();
        assert!(error.contains("more than 64 levels deep"), "{error}");
    }
}
