//! A guest that misbehaves costs nobody else anything: the process lives, other pipelines flow, counters say what happened.

use std::sync::Arc;
use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Connection, Plan, Protocol, Settled};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::{Engine, get};
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::soak_factor;

const STAGE: &str = "wasm/bad";
const BOUND: Duration = Duration::from_secs(30);
const ITEMS: u64 = 64;
const MIB: u64 = 1 << 20;
/// Records that a leaking guest sees in a soak.
const RECORDS_SOAK: u64 = 10_000_000;

/// Misdeeds of guests/misbehaving and what they are called.
const MISDEEDS: [(&str, &str); 10] = [
    ("trap", "trap"),
    ("panic", "trap"),
    ("recurse", "trap"),
    ("spin", "deadline"),
    ("allocate", "memory"),
    ("flood", "host_call_budget"),
    ("much_output", "host_call_budget"),
    ("bad_utf8", "bad_output"),
    ("foreign_field", "bad_output"),
    ("return_error", "returned_error"),
];

fn workload(signal: Signal) -> Arc<Workload> {
    Workload::new(Shape { requests: 5, items_per_request: ITEMS as usize, ..Shape::new(signal) })
}

fn config(sink: &Sink, behaviour: &str, keys: &str) -> String {
    let component = guest("misbehaving").unwrap();
    Config::new()
        .processor_of(
            Signal::Traces,
            STAGE,
            &format!("component: {component}, grants: [state], config: {}{keys}", block(behaviour)),
        )
        .processor_of(Signal::Logs, "filter/logs", &format!("logs: {{ log_record: ['{EARLY_RULE}'] }}"))
        .processor_of(Signal::Metrics, "filter/metrics", &format!("metrics: {{ datapoint: ['{EARLY_RULE}'] }}"))
        .sink(sink.address, "")
        .text()
}

fn block(behaviour: &str) -> String {
    format!("{{ \"behaviour\": \"{behaviour}\" }}")
}

fn of_stage(metrics: &Metrics, name: &str) -> u64 {
    metrics.sum(name, &[("stage", STAGE)])
}

/// Nothing that was in a span may be told: names of the generated spans hold this.
async fn tells_no_telemetry(engine: &Engine) {
    let page = get(engine.addresses.metrics, "/metrics").await.unwrap();
    for (what, text) in [("stderr", engine.process.stderr()), ("stdout", engine.process.stdout()), ("/metrics", page)] {
        assert!(!text.contains("/api/v1/items") && !text.contains("/health"), "{what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropping_guest_that_faults_is_passed_and_counted() {
    let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
    // Only what never ends is to meet the deadline, on a slow machine too.
    let mut engine = Engine::start(&config(&sink, "noop", ", limits: { deadline: 500ms }")).await.unwrap();
    let (spans, logs) = (workload(Signal::Traces), workload(Signal::Logs));
    // Another pipeline, of which every request has to be accepted at its first try.
    let plan = Plan { connections: 1, in_flight: 2, rate: Some(100.0), tries: 1, ..Plan::grpc(500) };
    let (address, other) = (engine.addresses.grpc, Arc::clone(&logs));
    let others = tokio::spawn(async move { client::run(address, &other, 2, plan).await });

    let mut connection = Connection::open(address, Protocol::Grpc, false).await.unwrap();
    let mut number = 0;
    for (behaviour, kind) in MISDEEDS {
        engine.swap_config(STAGE, &block(behaviour)).await.unwrap();
        let before = engine.metrics().await.unwrap();
        for _ in 0..2 {
            let body = spans.request(1, number);
            let answer = connection.send(Signal::Traces, body.clone(), BOUND).await;
            assert_eq!(answer, Answer::Accepted { warning: None }, "{behaviour}");
            number += 1;
            assert_eq!(sink.wait_for(Signal::Traces, 1, number * ITEMS, BOUND).await, number * ITEMS, "{behaviour}");
            assert_eq!(sink.kept(Signal::Traces).last(), Some(&body), "{behaviour}: it went on as it came");
        }
        let after = engine.metrics().await.unwrap();
        let new = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
        assert_eq!(new("stage_faults", &[("stage", STAGE), ("kind", kind)]), 2, "{behaviour} is {kind}");
        assert_eq!(new("stage_faults", &[]), 2, "{behaviour} is nothing else");
        assert_eq!(new("stage_passed_unjudged_items", &[("stage", STAGE)]), 2 * ITEMS, "{behaviour}");
        assert!(engine.process.alive(), "{behaviour}");
    }

    let others = others.await.unwrap().unwrap();
    assert_eq!(others.first_failure(), None);
    assert_eq!(others.retries.len(), 0);
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let delivered = logs.check(&others.settled, &sink.take_seen(Signal::Logs, 2), true).unwrap();
    assert!(delivered.dropped > 0);
    assert_eq!(metrics.sum("stage_faults", &[]), 2 * MISDEEDS.len() as u64);
    assert_eq!(sink.take_seen(Signal::Traces, 1).duplicates, 0);
    tells_no_telemetry(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_call_traps_and_the_rest_is_judged() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start_with(&config(&sink, "alternate", ""), &["--workers", "1"]).await.unwrap();
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    let spans = workload(Signal::Traces);
    for number in 0..40 {
        let answer = connection.send(Signal::Traces, spans.request(1, number), BOUND).await;
        assert_eq!(answer, Answer::Accepted { warning: None });
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    // Each instance judges one batch and traps at its second, which a new one judges.
    assert_eq!(of_stage(&metrics, "stage_faults"), 39);
    assert_eq!(of_stage(&metrics, "stage_restarts"), 39);
    assert_eq!(of_stage(&metrics, "stage_calls"), 40 + 39);
    assert_eq!(of_stage(&metrics, "stage_passed_unjudged_items"), 0);
    let seen = sink.take_seen(Signal::Traces, 1);
    assert_eq!((seen.items, seen.duplicates), (40 * ITEMS, 0));
}

/// Who must act is told: a stage that edits and lets pass what it fails to judge was asked for, and is dangerous.
#[tokio::test(flavor = "multi_thread")]
async fn passing_what_an_editing_stage_fails_to_judge_is_warned_of() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let component = guest("misbehaving-redactor").unwrap();
    for (keys, is_warned_of) in [("", false), (", on_fault: reject", false), (", on_fault: pass", true)] {
        let config = Config::new()
            .processor_of(Signal::Traces, STAGE, &format!("component: {component}, config: {}{keys}", block("mask")))
            .sink(sink.address, "")
            .text();
        let engine = Engine::start(&config).await.unwrap();
        let stderr = engine.process.stderr();
        assert_eq!(stderr.contains("`on_fault: pass` on a stage that edits"), is_warned_of, "{keys}: {stderr}");
    }
}

/// envoy#39395: a loop is cut at its deadline and the thread is free again.
#[tokio::test(flavor = "multi_thread")]
async fn looping_guest_is_cut() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config = config(&sink, "spin", ", limits: { deadline: 20ms }");
    let mut engine = Engine::start_with(&config, &["--workers", "1"]).await.unwrap();
    let (spans, logs) = (workload(Signal::Traces), workload(Signal::Logs));
    let (address, mixed) = (engine.addresses.grpc, Plan { connections: 2, in_flight: 4, tries: 1, ..Plan::grpc(40) });
    let (looping, others) = tokio::join!(client::run(address, &spans, 1, mixed), client::run(address, &logs, 2, mixed));
    assert_eq!((looping.unwrap().first_failure(), others.unwrap().first_failure()), (None, None));
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(of_stage(&metrics, "stage_passed_unjudged_items"), 40 * ITEMS);
    assert!(of_stage(&metrics, "stage_faults") > 0);
    assert_eq!(metrics.sum("stage_faults", &[("kind", "deadline")]), metrics.sum("stage_faults", &[]));
    // No thread is left that spins.
    let before = engine.process.cpu_time().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = engine.process.cpu_time().unwrap() - before;
    assert!(spent < Duration::from_millis(500), "{spent:?} of CPU in an idle second");
    assert!(engine.process.stop().unwrap().success());
}

/// fluent-bit#11072: what a guest leaks is given back before it hits the limit.
#[tokio::test(flavor = "multi_thread")]
async fn leaking_guest_is_recycled() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start_with(&config(&sink, "leak", ""), &["--workers", "1"]).await.unwrap();
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    let spans = workload(Signal::Traces);
    let (used, rss) =
        (engine.metrics().await.unwrap().sum("memory_used_bytes", &[]), engine.process.rss_bytes().unwrap());
    let mut most = 0;
    // 8 MiB a call, of 64 that it may have.
    let requests = if soak_factor() > 1 { RECORDS_SOAK / ITEMS } else { 60 };
    for number in 0..requests {
        let answer = connection.send(Signal::Traces, spans.request(1, number), BOUND).await;
        assert_eq!(answer, Answer::Accepted { warning: None });
        if number < 60 || number % 1000 == 0 {
            most = most.max(engine.metrics().await.unwrap().sum("memory_used_bytes", &[]));
        }
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("stage_faults", &[]), 0);
    assert!(most > used + 8 * MIB, "the leak is charged: {used} to {most} bytes");
    assert!(most < used + 80 * MIB, "one instance's worth: {used} to {most} bytes");
    assert!(engine.process.rss_bytes().unwrap() < rss + 100 * MIB);
    assert_eq!(sink.take_seen(Signal::Traces, 1).items, requests * ITEMS);
    assert_eq!(of_stage(&metrics, "stage_restarts"), 0, "they were replaced in time");
    assert!(of_stage(&metrics, "stage_instances") >= requests / 8);

    engine.swap_config(STAGE, &block("noop")).await.unwrap();
    let given_back = |m: &Metrics| m.sum("memory_used_bytes", &[]) < used + 2 * MIB;
    engine.until(BOUND, "the memory is given back", given_back).await.unwrap();
}

/// vector#17709: what a fail-closed guest did not judge does not pass, and the sender is told to come again.
#[tokio::test(flavor = "multi_thread")]
async fn drop_is_acked_right() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, "noop", ", on_fault: reject")).await.unwrap();
    let spans = workload(Signal::Traces);
    let mut number = 0;
    for (behaviour, kind) in MISDEEDS {
        engine.swap_config(STAGE, &block(behaviour)).await.unwrap();
        for (protocol, address) in [(Protocol::Grpc, engine.addresses.grpc), (Protocol::Http, engine.addresses.http)] {
            let answer = client::send_once(address, protocol, Signal::Traces, spans.request(1, number)).await.unwrap();
            let Answer::Retry { after: Some(_), message } = answer else { panic!("{behaviour}: {answer:?}") };
            if protocol == Protocol::Grpc {
                assert!(message.contains(STAGE), "{message}");
            }
            number += 1;
        }
        let metrics = engine.settled_account(BOUND).await.unwrap();
        assert_eq!(
            metrics.sum("pipeline_dropped_items", &[("reason", "fault"), ("intended", "false")]),
            number * ITEMS
        );
        assert!(metrics.has("stage_faults", &[("stage", STAGE), ("kind", kind)]), "{behaviour} is {kind}");
        assert_eq!(metrics.sum("receiver_refused_items", &[("signal", "traces")]), number * ITEMS);
        assert_eq!(metrics.sum("stage_passed_unjudged_items", &[]), 0);
    }
    assert_eq!(sink.attempts(), 0, "nothing goes round it");

    engine.swap_config(STAGE, &block("alternate")).await.unwrap();
    let plan = Plan { tries: 40, ..Plan::grpc(40) };
    let report = client::run(engine.addresses.grpc, &spans, 2, plan).await.unwrap();
    assert!(report.settled.iter().all(|(_, settled)| *settled == Settled::Accepted { warning: None }));
    engine.settled_account(BOUND).await.unwrap();
    assert_eq!(spans.check(&report.settled, &sink.take_seen(Signal::Traces, 2), false).unwrap().arrived, 40 * ITEMS);
    tells_no_telemetry(&engine).await;
}

/// Faults by the hundred leave nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_back_where_it_was_after_many_faults() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, "allocate", "")).await.unwrap();
    let spans = workload(Signal::Traces);
    let plan = |requests| Plan { tries: 1, ..Plan::grpc(requests) };
    for (run, behaviour) in (1..).zip(["allocate", "trap", "return_error"]) {
        engine.swap_config(STAGE, &block(behaviour)).await.unwrap();
        let warm = client::run(engine.addresses.grpc, &spans, run, plan(40)).await.unwrap();
        assert_eq!(warm.first_failure(), None);
        let metrics = engine.settled_account(BOUND).await.unwrap();
        let (used, rss) = (metrics.sum("memory_used_bytes", &[]), engine.process.rss_bytes().unwrap());
        let report = client::run(engine.addresses.grpc, &spans, run + 10, plan(300)).await.unwrap();
        assert_eq!(report.first_failure(), None, "{behaviour}");
        engine.settled_account(BOUND).await.unwrap();
        let back = |m: &Metrics| m.sum("memory_used_bytes", &[]) < used + 4 * MIB;
        engine.until(BOUND, "memory is given back", back).await.unwrap();
        let now = engine.process.rss_bytes().unwrap();
        assert!(now < rss + 32 * MIB, "{behaviour}: {rss} to {now} bytes resident");
    }
}
