//! A sampler whose surroundings change while traces wait in it: it goes on with them, and decides each once.

use std::time::{Duration, Instant};

use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Plan};
use sluicebox_tests::config::otlp;
use sluicebox_tests::engine::Engine;

use crate::lab::*;

/// Keeps every trace, but only once it is due: a span that has it may still come.
const KEEP: &str =
    "{ name: mine, type: string_attribute, string_attribute: { key: not.there, values: [x], invert_match: true } }";
const REQUESTS: u64 = 20;

fn sampler(wait: &str, more: &str) -> String {
    format!("decision_wait: {wait}, policies: [{KEEP}]{more}")
}

async fn send(engine: &Engine, traffic: &Traffic) -> u64 {
    let plan = Plan::grpc(REQUESTS);
    let report = client::run(engine.addresses.grpc, &traffic.workload, traffic.run, plan).await.unwrap();
    assert_eq!(report.first_failure(), None);
    let spans = REQUESTS * traffic.workload.items_per_request();
    engine.until(BOUND, "all spans wait", |m| m.sum("tail_waiting_spans", &[]) == spans).await.unwrap();
    engine.metrics().await.unwrap().sum("tail_waiting_traces", &[])
}

fn waiting(metrics: &Metrics) -> u64 {
    metrics.sum("tail_waiting_traces", &[])
}

async fn until_decided(engine: &Engine) -> Metrics {
    let end = Instant::now() + BOUND;
    while waiting(&engine.metrics().await.unwrap()) > 0 {
        assert!(Instant::now() < end, "traces wait for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.settled_account(BOUND).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_wait_through_changes_around_their_sampler() {
    let [first, second] = [sink().await, sink().await];
    let base = File::new(&first, &[("tail_sampling", &sampler("600s", ""))]);
    let mut engine = start(&base).await;
    let traffic = Traffic::new(1);
    let traces = send(&engine, &traffic).await;
    let before = base.with(|file| {
        file.processors.push(("filter/before".into(), drop_ring("no ring has this name")));
        file.pipelines[0].processors.insert(0, "filter/before".into());
    });
    let behind = before.with(|file| {
        file.processors.push(("filter/behind".into(), drop_ring("blue")));
        file.pipelines[0].processors.push("filter/behind".into());
    });
    let exported = behind.with(|file| {
        file.exporters.push(("otlp/second".into(), otlp(second.address, "")));
        file.pipelines[0].exporters.push("otlp/second".into());
    });
    let more = ", num_traces: 60000, record_decisions: true";
    let tuned = exported.with(|file| *file.keys("tail_sampling") = sampler("500s", more));
    let ruled = tuned.with(|file| *file.keys("tail_sampling") = sampler("500s", more).replace("not.there", "not.here"));
    let other = ruled.with(|file| file.pipelines.push(pipeline("logs", "otlp", &[], "otlp/sink")));
    for file in [&before, &behind, &exported, &tuned, &ruled, &other] {
        change(&mut engine, file).await.unwrap();
        let metrics = engine.metrics().await.unwrap();
        assert_eq!((waiting(&metrics), metrics.sum("tail_decided_traces", &[])), (traces, 0), "nothing is decided");
    }
    change(&mut engine, &other.with(|file| *file.keys("tail_sampling") = sampler("100ms", more))).await.unwrap();
    let metrics = until_decided(&engine).await;
    let by = |trigger: &str| metrics.sum("tail_decided_traces", &[("decision", "kept"), ("trigger", trigger)]);
    assert_eq!((by("decision_wait"), metrics.sum("tail_decided_traces", &[])), (traces, traces), "each once");
    for sink in [&first, &second] {
        assert_eq!(judged_by_one(&traffic, sink, REQUESTS, &["blue"]).len(), 1, "by the stage behind");
    }
    // What was decided is remembered where it moved to: late spans follow, without another decision.
    let report =
        client::run(engine.addresses.grpc, &traffic.workload, traffic.run, Plan::grpc(REQUESTS)).await.unwrap();
    assert_eq!(report.first_failure(), None);
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("tail_decided_traces", &[]), traces);
    assert_eq!(metrics.sum("tail_late_spans", &[("decision", "kept")]), REQUESTS * 200);
}

/// A sampler that the next file does not have decides what waits at once, and it leaves as the old file says.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_sampler_decides_what_waits() {
    let sink = sink().await;
    let with = File::new(&sink, &[("tail_sampling", &sampler("600s", "")), ("filter/behind", &drop_ring("blue"))]);
    let without = with.with(|file| {
        file.processors = vec![("filter/before".into(), drop_ring("green"))];
        file.pipelines[0].processors = vec!["filter/before".into()];
    });
    let mut engine = start(&with).await;
    let traffic = Traffic::new(1);
    let traces = send(&engine, &traffic).await;
    change(&mut engine, &without).await.unwrap();
    let metrics = until_decided(&engine).await;
    assert_eq!(metrics.sum("tail_decided_traces", &[("trigger", "shutdown")]), traces);
    engine.until(BOUND, "it holds nothing any more", |m| m.sum("tail_bytes_limit", &[]) == 0).await.unwrap();
    judged_by_one(&traffic, &sink, REQUESTS, &["blue"]);
    let direct = Traffic::new(2);
    assert_eq!(direct.one(&engine, engine.addresses.grpc, &sink, 0).await, "green");
    // And one that comes again begins anew.
    change(&mut engine, &with).await.unwrap();
    assert_eq!(send(&engine, &Traffic::new(3)).await, traces);
}

/// A rule that stood behind the sampler and now stands before it: what waits did not pass it yet, so it leaves by the old file.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_moves_before_the_sampler_is_not_missed_by_what_waits() {
    let sink = sink().await;
    let behind = File::new(&sink, &[("tail_sampling", &sampler("600s", "")), ("filter/a", &drop_ring("blue"))]);
    let before = behind.with(|file| file.pipelines[0].processors.reverse());
    let mut engine = start(&behind).await;
    let old = Traffic::new(1);
    let traces = send(&engine, &old).await;
    change(&mut engine, &before).await.unwrap();
    let metrics = until_decided(&engine).await;
    assert_eq!(metrics.sum("tail_decided_traces", &[("trigger", "shutdown")]), traces);
    judged_by_one(&old, &sink, REQUESTS, &["blue"]);
    let new = Traffic::new(2);
    let report = client::run(engine.addresses.grpc, &new.workload, new.run, Plan::grpc(REQUESTS)).await.unwrap();
    assert_eq!(report.first_failure(), None);
    // Back behind it: what waits passed the rule before, and does again.
    change(&mut engine, &behind.with(|file| *file.keys("tail_sampling") = sampler("100ms", ""))).await.unwrap();
    until_decided(&engine).await;
    judged_by_one(&new, &sink, REQUESTS, &["blue"]);
}
