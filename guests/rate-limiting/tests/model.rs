//! Requests at random, beside a bucket for each tenant that is filled and emptied span by span.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rate_limiting::RateLimiting;
use sluicebox_guest::Level;
use sluicebox_guest::testing::{TestBatch, Tester};

const RATE: f64 = 12.0;
const BURST: f64 = 37.0;
const CONFIG: &str =
    r#"{"items_per_second": 12, "burst": 37, "key": ["resource.attributes[\"tenant\"]", "span.name"]}"#;

#[test]
fn the_first_spans_of_a_key_pass_and_the_rest_is_dropped() {
    let mut random = StdRng::seed_from_u64(7);
    let mut tester = Tester::<RateLimiting>::configure(CONFIG).unwrap();
    let mut buckets: BTreeMap<(u8, u8), f64> = BTreeMap::new();
    let (mut passed, mut dropped) = (0, 0);
    for _ in 0..200 {
        // Quarters of a second leave nothing to round.
        let quarters = random.random_range(0..8);
        tester.advance(Duration::from_millis(250 * quarters));
        buckets.values_mut().for_each(|held| *held = (*held + RATE * 0.25 * quarters as f64).min(BURST));
        let mut batch = TestBatch::traces();
        let mut expected = Vec::new();
        for _ in 0..random.random_range(1..4) {
            let tenant = random.random_range(0..3);
            batch = batch.resource().attribute("tenant", i64::from(tenant));
            for _ in 0..random.random_range(0..60) {
                let name = random.random_range(0..2);
                batch = batch.span(if name == 0 { "read" } else { "write" }).set("kind", random.random_range(0..6));
                let held = buckets.entry((tenant, name)).or_insert(BURST);
                expected.push(*held >= 1.0);
                *held -= f64::from(u8::from(*held >= 1.0));
            }
        }
        let left = tester.process(&batch).unwrap().left(Level::Span);
        let expected: Vec<u32> = (0..).zip(expected).filter(|(_, passes)| *passes).map(|(row, _)| row).collect();
        assert_eq!(left, expected);
        passed += left.len();
        dropped += batch_len(&batch) - left.len();
    }
    assert!(passed > 1000 && dropped > 1000, "{passed} passed, {dropped} did not");
}

/// Spans of a batch.
fn batch_len(batch: &TestBatch) -> usize {
    let everything = r#"{"items_per_second": 1, "burst": 1e6}"#;
    Tester::<RateLimiting>::configure(everything).unwrap().process(batch).unwrap().left(Level::Span).len()
}
