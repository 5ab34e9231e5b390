//! Runs `tests/cases/*.json`: a configuration, a batch, and what is left of it and by which rules the rest went; or the error that
//! the configuration gives.
//!
//! A batch is a list of rows in order: `level`, `attributes`, and fields by their names in paths. `left` and `dropped` are numbers of rows.
//! Values are JSON's; `{"bytes": "00ff"}` and `{"empty": true}` stand for kinds that JSON lacks, `{"array": []}` and
//! `{"map": {}}` for lists and maps of values.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;

use filter::Filter;
use guest_cases::{batch, differ, run_all};
use serde_json::Value;
use sluicebox_guest::Level;
use sluicebox_guest::testing::Tester;

#[test]
fn cases() {
    run_all(env!("CARGO_MANIFEST_DIR"), |case| {
        let (expected, actual) = run(case);
        differ("outcome", &expected, &actual).into_iter().collect()
    });
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
