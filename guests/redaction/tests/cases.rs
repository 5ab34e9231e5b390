//! Runs `tests/cases/*.json`: a configuration, a batch, and what its rows hold after it was redacted and which rules edited which rows; or
//! the error that the configuration gives.
//!
//! A batch is a list of rows in order: `level`, `attributes`, and fields by their names in paths. `after` is a list of rows by `level` and
//! `row`, with what they hold: `attributes` are all of them, other fields are those named. `edited` are numbers of rows, by rules.
//! Values are JSON's; `{"bytes": "00ff"}`, `{"empty": true}`, `{"absent": true}`, `{"array": [...]}` and `{"map": {...}}` stand for the others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;

use guest_cases::{batch, differ, run_all, value as convert};
use redaction::Redaction;
use serde_json::Value;
use sluicebox_guest::testing::{Outcome, TestBatch, Tester};
use sluicebox_guest::{Level, NewValue};

const KEYS: &[(&str, &[u8])] = &[("pseudonyms", b"key")];

#[test]
fn cases() {
    run_all(env!("CARGO_MANIFEST_DIR"), run);
}

/// Where what happens is not what a case expects.
fn run(case: &Value) -> Vec<String> {
    let configured = Tester::<Redaction>::configure_with_keys(&case["config"].to_string(), KEYS);
    let mut tester = match configured {
        Ok(tester) => tester,
        Err(error) => {
            let lines: Value = error.lines().collect::<Vec<_>>().into();
            return differ("error", &case["error"], &lines).into_iter().collect();
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
