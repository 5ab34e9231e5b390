//! Runs `tests/cases/*.json`: a configuration, calls, and the rows that each call drops; or the error that the configuration gives, or a
//! call.
//!
//! A call has a batch, and before it `advance_seconds` pass, and a `reconfigure` is another configuration that follows the first.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use guest_cases::{differ, run_all};
use rate_limiting::RateLimiting;
use serde_json::{Value, json};
use sluicebox_guest::testing::Tester;

#[test]
fn cases() {
    run_all(env!("CARGO_MANIFEST_DIR"), |case| {
        let expected = case.get("error").cloned().unwrap_or_else(|| {
            let told = |call: &Value| call.get("fault").or(call.get("dropped")).expect("what is expected").clone();
            case["calls"].as_array().expect("calls").iter().map(told).collect()
        });
        differ("outcome", &expected, &run(case)).into_iter().collect()
    });
}

fn run(case: &Value) -> Value {
    let mut tester = match Tester::<RateLimiting>::configure(&case["config"].to_string()) {
        Err(error) => return error.lines().collect(),
        Ok(tester) => tester,
    };
    let mut call = |call: &Value| {
        if let Some(config) = call.get("reconfigure") {
            tester.reconfigure(&config.to_string()).expect("a configuration");
        }
        tester.advance(Duration::from_secs_f64(call["advance_seconds"].as_f64().unwrap_or_default()));
        match tester.process(&guest_cases::batch(&call["batch"])) {
            Err(fault) => json!(fault),
            Ok(outcome) => outcome.dropped_by("rate").into_iter().map(|(_, row)| row).collect(),
        }
    };
    case["calls"].as_array().into_iter().flatten().map(&mut call).collect()
}
