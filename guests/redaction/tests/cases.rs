//! Runs `tests/cases/*.json`: a configuration, a batch, and what its rows hold after it was redacted and which rules edited which rows; or
//! the error that the configuration gives.
//!
//! A batch is a list of rows in order: `level`, `attributes`, and fields by their names in paths. `after` is a list of rows by `level` and
//! `row`, with what they hold: `attributes` are all of them, other fields are those named. `edited` are numbers of rows, by rules.
//! Values are JSON's; `{"bytes": "00ff"}`, `{"empty": true}`, `{"absent": true}`, `{"array": [...]}` and `{"map": {...}}` stand for the others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use redaction::Redaction;
use serde_json::Value;
use sluicebox_guest::testing::{Outcome, TestBatch, Tester};
use sluicebox_guest::{Level, NewValue};

const KEYS: &[(&str, &[u8])] = &[("pseudonyms", b"key")];

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
            for difference in run(&case) {
                failures.push(format!("{file}: {}\n  {difference}", case["case"]));
            }
        }
    }
    assert!(failures.is_empty(), "{} differences in {count} cases\n{}", failures.len(), failures.join("\n"));
    assert!(count > 0, "there are no cases");
}

/// Where what happens is not what a case expects.
fn run(case: &Value) -> Vec<String> {
    let configured = Tester::<Redaction>::configure_with_keys(&case["config"].to_string(), KEYS);
    let mut tester = match configured {
        Ok(tester) => tester,
        Err(error) => {
            let lines: Value = error.lines().collect::<Vec<_>>().into();
            return differ("error", &case["error"], &lines);
        }
    };
    if case.get("error").is_some() {
        return vec!["there is no error".to_owned()];
    }
    let outcome = tester.process(&batch(&case["batch"])).unwrap();
    let mut differences: Vec<String> =
        case["after"].as_array().into_iter().flatten().flat_map(|row| row_differs(&outcome, row)).collect();
    if let Some(expected) = case.get("edited") {
        let edited: BTreeMap<&String, Vec<u32>> = tester
            .rules()
            .iter()
            .map(|rule| (rule, outcome.edited_by(rule).into_iter().map(|(_, row)| row).collect::<Vec<_>>()))
            .filter(|(_, rows)| !rows.is_empty())
            .collect();
        differences.extend(differ("edited", expected, &serde_json::json!(edited)));
    }
    if case.get("unchanged").is_some() && !outcome.is_unchanged() {
        differences.push("something was changed".to_owned());
    }
    differences
}

fn row_differs(outcome: &Outcome, expected: &Value) -> Vec<String> {
    let level = Level::parse(expected["level"].as_str().unwrap()).expect("a level");
    let row = expected["row"].as_u64().unwrap_or(0) as u32;
    let mut differences = Vec::new();
    for (name, value) in
        expected.as_object().unwrap().iter().filter(|(name, _)| !["level", "row"].contains(&name.as_str()))
    {
        if name == "attributes" {
            let expected: BTreeMap<String, NewValue> =
                value.as_object().unwrap().iter().map(|(key, value)| (key.clone(), convert(value))).collect();
            let actual: BTreeMap<String, NewValue> = outcome.attributes(level, row).into_iter().collect();
            differences.extend(differ(&format!("{level:?} {row} attributes"), &expected, &actual));
        } else {
            differences.extend(differ(
                &format!("{level:?} {row} {name}"),
                &convert(value),
                &outcome.value(level, row, name),
            ));
        }
    }
    differences
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, actual: &T) -> Vec<String> {
    if expected == actual {
        Vec::new()
    } else {
        vec![format!("{what}\n  expected {expected:?}\n  actual   {actual:?}")]
    }
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
    rows.iter().fold(empty, |batch, row| {
        row.as_object().unwrap().iter().filter(|(key, _)| *key != "level").fold(
            batch.row(level(row)),
            |batch, (key, value)| match key.as_str() {
                "attributes" => {
                    let attributes = value.as_object().unwrap().iter();
                    attributes.fold(batch, |batch, (key, value)| batch.attribute(key, convert(value)))
                }
                _ => batch.set(key, convert(value)),
            },
        )
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
                "absent" => NewValue::Absent,
                _ => panic!("no kind is called {kind}"),
            }
        }
        _ => panic!("{value} is not a value"),
    }
}

#[test]
fn more_patterns_than_rules_share_the_last_rule() {
    let patterns: Vec<String> = (0..100).map(|number| format!("secret-{number}-")).collect();
    let config = serde_json::json!({ "allow_all_keys": true, "blocked_values": patterns, "detectors": ["card"] });
    let mut tester = Tester::<Redaction>::configure(&config.to_string()).unwrap();
    assert_eq!(tester.rules().len(), 64);
    let batch = TestBatch::logs().log("secret-3-").log("secret-62-").log("secret-99-").log("4111111111111111");
    let outcome = tester.process(&batch).unwrap();
    assert_eq!(outcome.edited_by("blocked_values[3]"), [(Level::Log, 0)]);
    assert_eq!(outcome.edited_by("blocked_values[62..]"), [(Level::Log, 1), (Level::Log, 2)]);
    assert_eq!(outcome.edited_by("detectors.card"), [(Level::Log, 3)]);
    assert!((0..4).all(|row| outcome.value(Level::Log, row, "body") == NewValue::Str("****".to_owned())));
}
