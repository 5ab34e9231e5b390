//! Runs `tests/cases/*.json`: a configuration, a batch, and the attributes that its rows of `level` have then; or the error that the
//! configuration gives, or the call. `counted` is what the metrics say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use guest_cases::{differ, run_all, value};
use lookup::Lookup;
use serde_json::Value;
use sluicebox_guest::testing::{Given, Measured, TestTable, Tester};
use sluicebox_guest::{Level, NewValue};

fn given() -> Given {
    let int = NewValue::Int;
    let owners = TestTable::new("owners", "service", &["service", "team", "mail", "tier", "critical"])
        .row::<NewValue>(["cart".into(), "red".into(), "red@example.com".into(), int(1), true.into()])
        .row::<NewValue>(["checkout".into(), "blue".into(), NewValue::Absent, int(2), false.into()])
        .row::<NewValue>(["404".into(), "not found".into(), NewValue::Absent, NewValue::Absent, NewValue::Absent]);
    Given::new().table(owners).table(TestTable::new("empty", "id", &["id"]))
}

#[test]
fn cases() {
    run_all(env!("CARGO_MANIFEST_DIR"), |case| {
        let mut tester = match Tester::<Lookup>::configure_with(&case["config"].to_string(), &given()) {
            Err(error) => return differ("error", &case["error"], &error.lines().collect()).into_iter().collect(),
            Ok(tester) => tester,
        };
        let outcome = match tester.process(&guest_cases::batch(&case["batch"])) {
            Err(fault) => return differ("fault", &case["fault"], &fault.into()).into_iter().collect(),
            Ok(outcome) => outcome,
        };
        let level = Level::parse(case["level"].as_str().unwrap()).unwrap();
        let rows = case["expected"].as_array().expect("what is expected");
        let attributes = |row: &Value| -> Vec<(String, NewValue)> {
            row.as_object().unwrap().iter().map(|(key, of_key)| (key.clone(), value(of_key))).collect()
        };
        let expected: Vec<_> = rows.iter().map(attributes).collect();
        let sorted = |row: u32| {
            let mut attributes = outcome.attributes(level, row);
            attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
            attributes
        };
        let actual: Vec<_> = (0..rows.len() as u32).map(sorted).collect();
        let counted = ["lookup_keys_found", "lookup_keys_missed"].map(|name| tester.metric(name).unwrap());
        let count = |metric: &Measured| if let Measured::Counter(count) = metric { *count } else { u64::MAX };
        let told: Value = counted.iter().map(count).collect();
        differ("attributes", &expected, &actual).into_iter().chain(differ("counted", &case["counted"], &told)).collect()
    });
}
