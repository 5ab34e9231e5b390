//! Runs `tests/cases/*.json`: a configuration, a batch, and the attributes that the rows of a level have then, and which rules edited
//! which rows; or the error that the configuration gives, or the call.
//!
//! A batch is a list of rows in order: `level`, `attributes`, and fields by their names in paths. Values are JSON's; `{"bytes": "00ff"}`
//! and `{"empty": true}` stand for kinds that JSON lacks, `{"map": {}}` for maps. The key `pepper` for hashes is `secret`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;

use attributes::Attributes;
use guest_cases::{differ, run_all};
use serde_json::{Value, json};
use sluicebox_guest::Level;
use sluicebox_guest::testing::{Outcome, Tester};

#[test]
fn cases() {
    run_all(env!("CARGO_MANIFEST_DIR"), |case| {
        let keys = ["after", "edited", "error", "fault"].into_iter().filter(|key| case.get(key).is_some());
        let expected = Value::Object(keys.map(|key| (key.to_owned(), case[key].clone())).collect());
        differ("outcome", &expected, &run(case, &expected)).into_iter().collect()
    });
}

fn run(case: &Value, expected: &Value) -> Value {
    let configured = Tester::<Attributes>::configure_with_keys(&case["config"].to_string(), &[("pepper", b"secret")]);
    let mut tester = match configured {
        Err(error) => return json!({ "error": error.lines().collect::<Vec<_>>() }),
        Ok(tester) => tester,
    };
    let batch = &case["batch"];
    match tester.process(&guest_cases::batch(batch)) {
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
