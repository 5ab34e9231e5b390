//! Limits that are reached show it.

use std::sync::atomic::Ordering;

use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Answer, Plan};
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::Engine;

use crate::lab::{ACCEPTED, BOUND, dropper, gated, page, send, send_once, sink, workload};

const MIB: u64 = 1 << 20;

fn limit<'a>(limits: &'a Value, of: &str, name: &str) -> &'a Value {
    let is_it = |limit: &&Value| limit["of"] == of && limit["limit"] == name;
    let found = limits["limits"].as_array().unwrap().iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {name} of {of}: {limits:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_shows_its_high_water() {
    const ITEMS: u64 = 16;
    let (sink, gate) = gated().await;
    let config = Config::new().sink(sink.address, "sending_queue: { queue_size: 3, num_consumers: 1 }");
    let engine = Engine::start(&config.text()).await.unwrap();
    let load = workload(Signal::Traces, ITEMS as usize);
    let (mut refused, mut taken_bytes) = (0, 0);
    for number in 0..20 {
        let body = load.request(1, number);
        let bytes = body.len() as u64;
        match send_once(engine.addresses.grpc, body).await {
            ACCEPTED => taken_bytes += bytes,
            Answer::Retry { .. } => refused += 1,
            answer => panic!("{answer:?}"),
        }
    }
    assert!(refused > 0);
    let full = page(&engine, "/v1/limits").await;
    let requests = limit(&full, "exporter \"otlp/sink\"", "queue_requests");
    assert_eq!((&requests["max"], &requests["used"], &requests["high_water"]), (&3.into(), &3.into(), &3.into()));
    assert_eq!(requests["reached"], refused * ITEMS);
    assert!(requests["then"].as_str().unwrap().contains("retry"));
    let bytes = limit(&full, "exporter \"otlp/sink\"", "queue_bytes");
    assert_eq!((&bytes["used"], &bytes["high_water"]), (&taken_bytes.into(), &taken_bytes.into()));

    gate.store(true, Ordering::Relaxed);
    engine.settled_account(BOUND).await.unwrap();
    let after = page(&engine, "/v1/limits").await;
    let requests = limit(&after, "exporter \"otlp/sink\"", "queue_requests");
    assert_eq!((&requests["used"], &requests["high_water"]), (&0.into(), &3.into()));
    let done = engine.command(&["limits"]).await.unwrap();
    assert_eq!(done.code, Some(0));
    assert!(
        done.stdout.contains("exporter \"otlp/sink\"\n") && done.stdout.contains("queue_requests"),
        "{}",
        done.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_shows_its_high_water() {
    let (sink, _gate) = gated().await;
    let config = Config::new()
        .processor("memory_limiter", "check_interval: 1s, limit_mib: 16, spike_limit_mib: 8")
        .sink(sink.address, "sending_queue: { queue_size: 100000 }");
    let engine = Engine::start(&config.text()).await.unwrap();
    let load = workload(Signal::Traces, 512);
    let request_bytes = load.request(1, 0).len() as u64;
    let plan = Plan { tries: 1, ..Plan::grpc(2 * 8 * MIB / request_bytes) };
    let report = client::run(engine.addresses.grpc, &load, 1, plan).await.unwrap();
    assert!(report.first_failure().is_some(), "not all of it fits");
    let limits = page(&engine, "/v1/limits").await;
    let memory = limit(&limits, "process", "memory_bytes");
    let (used, high) = (memory["used"].as_u64().unwrap(), memory["high_water"].as_u64().unwrap());
    assert_eq!(memory["max"], 8 * MIB);
    // What waits in the queue is charged; what was refused was for a moment.
    assert!(used >= report.accepted() * request_bytes && high >= used && high <= 8 * MIB + request_bytes, "{memory}");
    // The one queue has a quarter of the budget, and is what is full.
    let queue = limit(&limits, "exporter \"otlp/sink\"", "queue_bytes");
    assert!(queue["high_water"].as_u64() >= queue["max"].as_u64(), "{queue}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_wants_too_much_shows_it() {
    let sink = sink().await;
    let keys = dropper("allocate", "memory_mib: 4, deadline: 1s");
    let config = Config::new().processor("wasm/greedy", &keys).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    send(&engine, &workload(Signal::Traces, 8), 1, 1).await;
    engine.settled_account(BOUND).await.unwrap();
    let limits = page(&engine, "/v1/limits").await;
    let memory = limit(&limits, "stage \"wasm/greedy\"", "instance_memory_bytes");
    assert_eq!(memory["max"], 4 * MIB);
    assert!(memory["reached"].as_u64() >= Some(1), "{memory}");
    let high = memory["high_water"].as_u64().unwrap();
    assert!(high > 0 && high <= 4 * MIB, "{memory}");
    let deadline = limit(&limits, "stage \"wasm/greedy\"", "call_microseconds");
    assert_eq!((&deadline["max"], &deadline["reached"]), (&1_000_000.into(), &0.into()));
    assert!(deadline["high_water"].as_u64() > Some(0));
}
