//! Runs `tests/cases/*.json`: a configuration, a batch, what is left of each span (its tracestate) or log record (its attributes), null
//! where it was dropped, and by which rules; or the error that the configuration gives, or the call.
//!
//! A batch is a list of rows in order: `level`, `attributes`, and fields by their names in paths; `id` is a trace id in hexadecimal digits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;

use guest_cases::{differ, run_all};
use probabilistic_sampler::ProbabilisticSampler;
use serde_json::{Value, json};
use sluicebox_guest::testing::{Outcome, Tester};
use sluicebox_guest::{Level, NewValue};

#[test]
fn cases() {
    run_all(env!("CARGO_MANIFEST_DIR"), |case| {
        let keys = ["spans", "logs", "dropped", "edited", "error", "fault"].into_iter();
        let keys = keys.filter(|key| case.get(key).is_some());
        let expected = Value::Object(keys.map(|key| (key.to_owned(), case[key].clone())).collect());
        differ("outcome", &expected, &run(case, &expected)).into_iter().collect()
    });
}

fn run(case: &Value, expected: &Value) -> Value {
    let mut tester = match Tester::<ProbabilisticSampler>::configure(&case["config"].to_string()) {
        Err(error) => return json!({ "error": error.lines().collect::<Vec<_>>() }),
        Ok(tester) => tester,
    };
    let outcome = match tester.process(&guest_cases::batch(&with_ids(&case["batch"]))) {
        Err(fault) => return json!({ "fault": fault }),
        Ok(outcome) => outcome,
    };
    let by_rule = |rows_of: &dyn Fn(&str) -> Vec<(Level, u32)>| {
        let rows = tester.rules().iter().map(|rule| (rule.clone(), rows_of(rule)));
        let numbers =
            |(rule, rows): (String, Vec<(Level, u32)>)| (rule, rows.into_iter().map(|(_, row)| row).collect());
        rows.filter(|(_, rows)| !rows.is_empty()).map(numbers).collect::<BTreeMap<String, Vec<u32>>>()
    };
    let count = case["batch"].as_array().unwrap().len() as u32;
    let mut actual = json!({});
    for key in expected.as_object().unwrap().keys() {
        actual[key] = match key.as_str() {
            "spans" => left(&outcome, Level::Span, count, tracestate),
            "logs" => left(&outcome, Level::Log, count, attributes),
            "dropped" => json!(by_rule(&|rule| outcome.dropped_by(rule))),
            "edited" => json!(by_rule(&|rule| outcome.edited_by(rule))),
            _ => Value::Null,
        };
    }
    actual
}

/// Something of each row, null of those that were dropped.
fn left(outcome: &Outcome, level: Level, count: u32, of: fn(&Outcome, u32) -> Value) -> Value {
    let left = outcome.left(level);
    (0..count).map(|row| if left.contains(&row) { of(outcome, row) } else { Value::Null }).collect()
}

fn tracestate(outcome: &Outcome, row: u32) -> Value {
    text(outcome.value(Level::Span, row, "trace_state"))
}

fn attributes(outcome: &Outcome, row: u32) -> Value {
    Value::Object(outcome.attributes(Level::Log, row).into_iter().map(|(key, value)| (key, text(value))).collect())
}

fn text(value: NewValue) -> Value {
    match value {
        NewValue::Str(text) => json!(text),
        NewValue::Int(int) => json!(int),
        NewValue::Double(double) => json!(double),
        NewValue::Bytes(_) => json!("bytes"),
        NewValue::Map(_) => json!("map"),
        other => panic!("{other:?}"),
    }
}

fn with_ids(batch: &Value) -> Value {
    let mut batch = batch.clone();
    for row in batch.as_array_mut().unwrap() {
        if let Some(id) = row.as_object_mut().unwrap().remove("id") {
            row["trace_id"] = json!({ "bytes": id });
        }
    }
    batch
}
