//! What policies with a history come to over many calls, with traffic whose rates are known.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use sluicebox_guest::testing::{PolicyTester, TestBatch, TestTraces, Vote};
use tail_sampling::TailSampling;

/// The traffic of a service: traces each second, and spans in each.
struct Service {
    name: &'static str,
    traces_per_second: u32,
    spans: u32,
}

const SERVICES: [Service; 3] = [
    Service { name: "often", traces_per_second: 60, spans: 4 },
    Service { name: "now-and-then", traces_per_second: 10, spans: 2 },
    Service { name: "seldom", traces_per_second: 1, spans: 1 },
];

/// What was kept of a service in [`SECONDS`] after the history has filled.
#[derive(Debug, Default)]
struct Kept {
    spans: f64,
    /// Each kept span stands for as many as its threshold says.
    estimate: f64,
}

const WARM_UP: u32 = 60;
const SECONDS: u32 = 300;

fn run(policy: &Value) -> BTreeMap<&'static str, Kept> {
    let mut rng = StdRng::seed_from_u64(1);
    let config = json!({ "policies": [policy] }).to_string();
    let mut tester = PolicyTester::<TailSampling>::configure(&config).unwrap();
    let mut kept: BTreeMap<&str, Kept> = BTreeMap::new();
    for second in 0..WARM_UP + SECONDS {
        tester.advance(Duration::from_secs(1));
        let mut batch = TestBatch::traces();
        let mut of_traces = Vec::new();
        for service in &SERVICES {
            batch = batch.resource().attribute("service.name", service.name);
            for _ in 0..service.traces_per_second {
                let id: [u8; 16] = rng.random();
                batch = (0..service.spans).fold(batch, |batch, span| {
                    let parent = if span == 0 { [0; 8] } else { [1; 8] };
                    batch.span("root").set("trace_id", id).set("parent_span_id", parent)
                });
                of_traces.push(service);
            }
        }
        let verdicts = tester.decide(&TestTraces::of(&batch)).unwrap();
        for (service, verdict) in of_traces.into_iter().zip(verdicts).filter(|_| second >= WARM_UP) {
            if let Vote::Keep(threshold) = verdict.vote {
                let of_service = kept.entry(service.name).or_default();
                of_service.spans += f64::from(service.spans);
                of_service.estimate += f64::from(service.spans) / threshold.probability().unwrap();
            }
        }
    }
    kept
}

fn assert_near(what: &str, actual: f64, expected: f64) {
    assert!((actual / expected - 1.0).abs() < 0.1, "{what}: {actual}, expected {expected}");
}

/// Rates are 240, 20 and 1 spans a second. Of 61 the last two need 21, so the first may have 40.
#[test]
fn a_goal_of_spans_is_met_and_thresholds_tell_what_there_was() {
    let kept = run(&json!({ "name": "a", "adaptive": { "goal_throughput": 61, "half_life": "10s" } }));
    let seconds = f64::from(SECONDS);
    assert_near("often", kept["often"].spans / seconds, 40.0);
    assert_eq!(kept["now-and-then"].spans / seconds, 20.0);
    assert_eq!(kept["seldom"].spans / seconds, 1.0);
    for service in &SERVICES {
        let there_was = f64::from(service.traces_per_second * service.spans);
        assert_near(service.name, kept[service.name].estimate / seconds, there_was);
    }
}

/// A tenth of 261 is 26.1; the last needs 1, the others have 12.55 each.
#[test]
fn a_goal_of_a_percentage_is_met() {
    let kept = run(&json!({ "name": "a", "adaptive": { "goal_percentage": 10 } }));
    let seconds = f64::from(SECONDS);
    assert_near("often", kept["often"].spans / seconds, 12.55);
    assert_near("now-and-then", kept["now-and-then"].spans / seconds, 12.55);
    assert_eq!(kept["seldom"].spans / seconds, 1.0);
}

#[test]
fn rare_keeps_so_many_of_each() {
    let config = json!({ "policies": [{ "name": "r", "rare": { "keep_per_hour": 720, "burst": 1, "traces_per_second": 100 } }] });
    let mut tester = PolicyTester::<TailSampling>::configure(&config.to_string()).unwrap();
    let mut kept = BTreeMap::new();
    for number in 0..600_u32 {
        tester.advance(Duration::from_secs(1));
        // One trace a second of one name, one in four seconds of another, one in a minute of a third.
        let names = [("often", 1), ("seldom", 4), ("rare", 60)].into_iter().filter(|(_, every)| number % every == 0);
        let names: Vec<&str> = names.map(|(name, _)| name).collect();
        let batch = names.iter().fold(TestBatch::traces(), |batch, name| {
            let mut id = [0; 16];
            id[..name.len()].copy_from_slice(name.as_bytes());
            batch.span(name).set("trace_id", id)
        });
        for (name, verdict) in names.iter().zip(tester.decide(&TestTraces::of(&batch)).unwrap()) {
            *kept.entry(*name).or_insert(0) += u32::from(verdict.vote != Vote::None);
        }
    }
    // 720 an hour are one in five seconds; every eighth second is the first at which a trace of "seldom" finds its token.
    assert_eq!(kept, BTreeMap::from([("often", 120), ("seldom", 75), ("rare", 10)]));
}

#[test]
fn the_slowest_percent_is_kept() {
    let mut rng = StdRng::seed_from_u64(2);
    let config =
        json!({ "policies": [{ "name": "p", "latency_percentile": { "percentile": 95, "half_life": "1h" } }] });
    let mut tester = PolicyTester::<TailSampling>::configure(&config.to_string()).unwrap();
    let (mut kept, mut all, mut fastest_kept, mut slowest_left) = (0, 0, u64::MAX, 0);
    for call in 0..60 {
        let durations: Vec<u64> = (0..100).map(|_| rng.random_range(1_000_000..1_000_000_000)).collect();
        let batch = durations.iter().fold(TestBatch::traces(), |batch, duration| {
            batch.span("s").set("trace_id", rng.random::<[u8; 16]>()).set("end_time_unix_nano", duration.cast_signed())
        });
        let verdicts = tester.decide(&TestTraces::of(&batch)).unwrap();
        // Once enough is known.
        for (duration, verdict) in durations.into_iter().zip(verdicts).filter(|_| call >= 10) {
            all += 1;
            if verdict.vote == Vote::None {
                slowest_left = slowest_left.max(duration);
            } else {
                kept += 1;
                fastest_kept = fastest_kept.min(duration);
            }
        }
    }
    let share = f64::from(kept) / f64::from(all);
    assert!((0.03..0.07).contains(&share), "{share}");
    // The limit moves a little, between the buckets' borders.
    assert!(fastest_kept > 900_000_000 && slowest_left < 980_000_000, "{fastest_kept} {slowest_left}");
}
