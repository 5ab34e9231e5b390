//! Runs `tests/cases/*.json`: a configuration, traces, and what is decided on them and by which policy; or the errors that the
//! configuration gives. How they are written is said at `guest_cases::decided`.

#![allow(clippy::unwrap_used, reason = "a test")]

use guest_cases::{decided, differ, run_all};
use serde_json::{Value, json};
use sluicebox_guest::testing::PolicyTester;
use tail_sampling::TailSampling;

#[test]
fn cases() {
    run_all(env!("CARGO_MANIFEST_DIR"), |case| {
        let (expected, actual) = decided::<TailSampling>(case);
        differ("outcome", &expected, &actual).into_iter().collect()
    });
}

fn error(policies: &Value) -> String {
    PolicyTester::<TailSampling>::configure(&json!({ "policies": policies }).to_string()).unwrap_err()
}

#[test]
fn more_policies_than_rules_are_refused() {
    let policies = |count| {
        (0..count).map(|number| json!({ "name": format!("p{number}"), "always_sample": {} })).collect::<Value>()
    };
    assert!(PolicyTester::<TailSampling>::configure(&json!({ "policies": policies(64) }).to_string()).is_ok());
    assert_eq!(error(&policies(65)), "policies: 65 policies, at most 64 can be told apart; join some of them");
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth| {
        (0..depth).fold(json!({ "always_sample": {} }), |inner, _| json!({ "not": { "not_sub_policy": inner } }))
    };
    let named = |depth| {
        let mut policy = nested(depth);
        policy["name"] = json!("deep");
        json!([policy])
    };
    assert!(PolicyTester::<TailSampling>::configure(&json!({ "policies": named(16) }).to_string()).is_ok());
    assert!(error(&named(17)).ends_with(": more than 16 policies within one another"), "{}", error(&named(17)));
}

#[test]
fn fields_that_there_are_not_are_found_when_they_are_opened() {
    let error = error(&json!([{ "name": "a", "ottl_condition": { "span": ["name == nil or nam == nil"] } }]));
    assert!(error.starts_with("policies[0].ottl_condition.span[0]: no field is called `span.nam`"), "{error}");
    assert!(error.ends_with("  name == nil or nam == nil\n                 ^"), "{error}");
}

#[test]
fn long_names_of_states_are_cut_and_stay_different() {
    let limited = |end: &str| {
        let name = "n".repeat(63) + end;
        json!({ "name": name, "and": { "and_sub_policy": [{ "name": "ä".repeat(60), "rate_limiting": { "spans_per_second": 1 } }] } })
    };
    let config = json!({ "policies": [limited("1"), limited("2")] }).to_string();
    assert!(PolicyTester::<TailSampling>::configure(&config).is_ok());
}
