//! How many of a hundred log records the Collector keeps: numbers that its own tests expect of it (contrib, `logsprocessor_test.go`).

#![allow(clippy::unwrap_used, reason = "a test")]

use probabilistic_sampler::ProbabilisticSampler;
use serde_json::{Value, json};
use sluicebox_guest::Level;
use sluicebox_guest::testing::{TestBatch, Tester};

/// Record `i` has eight zeros and eight bytes of `i` as its trace id, in every second record also as an attribute `foo`, and in hexadecimal
/// digits as `bar`; in `rando` a hash of it, and in every fourth record 100 percent as `priority`.
fn records() -> TestBatch {
    (0..100).fold(TestBatch::logs(), |batch, number| {
        let id: [u8; 16] = (u128::from_be_bytes([number; 16]) & u128::from(u64::MAX)).to_be_bytes();
        let mut batch = batch.log("x").set("trace_id", id).attribute("rando", i64::from(fnv1a(123, &id)));
        if number % 2 == 0 {
            // Of an id of zeros the Collector writes no digits.
            let digits: String = id.iter().filter(|_| number > 0).map(|byte| format!("{byte:02x}")).collect();
            batch = batch.attribute("foo", id).attribute("bar", digits);
        }
        if number % 4 == 0 { batch.attribute("priority", 100.0) } else { batch }
    })
}

fn fnv1a(seed: u32, bytes: &[u8]) -> u32 {
    let mut hash = 2_166_136_261u32;
    for byte in [&seed.to_le_bytes()[..], bytes].concat() {
        hash ^= u32::from(byte);
        hash = hash.wrapping_mul(16_777_619);
    }
    hash
}

fn kept(config: &Value) -> usize {
    let mut tester = Tester::<ProbabilisticSampler>::configure(&config.to_string()).unwrap();
    tester.process(&records()).unwrap().left(Level::Log).len()
}

#[test]
fn as_many_are_kept_as_by_the_collector() {
    let record = |attribute: &str| json!({ "attribute_source": "record", "from_attribute": attribute, "sampling_percentage": 50 });
    assert_eq!(kept(&json!({ "sampling_percentage": 50, "mode": "hash_seed" })), 45);
    assert_eq!(kept(&record("foo")), 23);
    assert_eq!(kept(&record("bar")), 29);
    let priority = |percentage: u32, more: Value| {
        let mut config =
            json!({ "sampling_percentage": percentage, "sampling_priority": "priority", "fail_closed": false });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        kept(&config)
    };
    let rando = json!({ "attribute_source": "record", "from_attribute": "rando" });
    for (percentage, by_rando, by_trace_id) in [(0, 25, 25), (50, 64, 57), (100, 100, 100)] {
        assert_eq!(priority(percentage, rando.clone()), by_rando, "{percentage} %");
        assert_eq!(priority(percentage, json!({})), by_trace_id, "{percentage} %");
    }
}
