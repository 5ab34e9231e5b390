//! Bounds hold: past them senders are told so, and what was acknowledged is not lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Connection, Plan, Protocol, Settled, send_once};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};

const BOUND: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
const ACCEPTED: Answer = Answer::Accepted { warning: None };

fn small(signal: Signal) -> Arc<Workload> {
    Workload::new(Shape { requests: 3, items_per_request: 10, ..Shape::new(signal) })
}

async fn gated() -> (Sink, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let script = Arc::new(move |_: &_| {
        let later = || Answer::Retry { after: None, message: "not yet".to_owned() };
        (Duration::ZERO, if gate.load(Ordering::Relaxed) { ACCEPTED } else { later() })
    });
    (Sink::start(Behaviour { script: Some(script), ..Behaviour::default() }).await.unwrap(), open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_share_of_the_budget_is_a_retry_and_recovers() {
    let (sink, gate) = gated().await;
    let config = Config::new()
        .processor("memory_limiter", "check_interval: 1s, limit_mib: 40, spike_limit_mib: 8")
        .sink(sink.address, "sending_queue: { queue_size: 100000 }");
    let engine = Engine::start(&config.text()).await.unwrap();
    let budget = engine.metrics().await.unwrap().sum("memory_limit_bytes", &[]);
    assert_eq!(budget, 32 * MIB);
    let workload = Workload::new(Shape { requests: 20, ..Shape::new(Signal::Traces) });
    let request_bytes = workload.request(1, 0).len() as u64;
    let rss = engine.process.rss_bytes().unwrap();

    // Twice over what fits, in two runs: no queue and no allocator grows with what is refused.
    let plan = Plan { tries: 1, ..Plan::grpc(3 * budget / request_bytes) };
    let mut told = Vec::new();
    for run in 1..=2 {
        let report = client::run(engine.addresses.grpc, &workload, run, plan).await.unwrap();
        for (_, settled) in &report.settled {
            let is_right = matches!(settled, Settled::Accepted { warning: None } | Settled::GaveUp { .. });
            assert!(is_right, "{settled:?}");
        }
        told.push(report);
    }
    let accepted: Vec<_> = told.iter().map(client::Report::accepted).collect();
    // Its one queue has a quarter of the budget; those that come at the same moment may pass it together.
    let fit = budget / 4 / request_bytes;
    let bound = fit + plan.in_flight as u64 * plan.connections as u64;
    assert!(accepted[0] > fit / 2 && accepted.iter().sum::<u64>() <= bound, "{accepted:?} of {fit} that fit");
    for (protocol, address) in [(Protocol::Grpc, engine.addresses.grpc), (Protocol::Http, engine.addresses.http)] {
        let answer = send_once(address, protocol, Signal::Traces, workload.request(9, 0)).await.unwrap();
        assert!(matches!(answer, Answer::Retry { after: Some(_), .. }), "{protocol:?}: {answer:?}");
    }
    let metrics = engine.metrics().await.unwrap();
    let used = metrics.sum("memory_used_bytes", &[]);
    assert!(used <= budget && used > budget / 8, "{used} of {budget}");
    assert!(metrics.sum("receiver_requests", &[("outcome", "retry")]) > 0);
    let grown = engine.process.rss_bytes().unwrap() - rss;
    assert!(grown < 2 * budget + 32 * MIB, "{} MiB resident for a budget of {} MiB", grown / MIB, budget / MIB);

    gate.store(true, Ordering::Relaxed);
    engine.settled_account(BOUND).await.unwrap();
    let freed = |m: &Metrics| m.sum("memory_used_bytes", &[]) == 0;
    engine.until(BOUND, "the budget is whole again", freed).await.unwrap();
    for (run, report) in (1..).zip(told) {
        workload.check(&report.settled, &sink.take_seen(Signal::Traces, run), false).unwrap();
    }
    let report = client::run(engine.addresses.grpc, &workload, 3, Plan::grpc(200)).await.unwrap();
    assert_eq!(report.first_failure(), None);
    engine.settled_account(BOUND).await.unwrap();
    let seen = sink.take_seen(Signal::Traces, 3);
    assert_eq!(workload.check(&report.settled, &seen, false).unwrap().arrived, 200 * 512);
}

/// Told not to come again: what is too large stays too large (OTLP specification, "Failures").
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_for_good() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config = Config::new().receiver("max_recv_msg_size_mib: 1", "max_request_body_size: 1048576");
    let engine = Engine::start(&config.sink(sink.address, "").text()).await.unwrap();
    let normal = small(Signal::Traces);
    let mut number = 0;
    for (protocol, address, code) in
        [(Protocol::Grpc, engine.addresses.grpc, 8), (Protocol::Http, engine.addresses.http, 413)]
    {
        for gzip in [false, true] {
            let mut connection = Connection::open(address, protocol, gzip).await.unwrap();
            // A megabyte and a bit as it is; a bomb of a few kilobytes when it is compressed.
            let size = if gzip { 64 * MIB } else { MIB + MIB / 2 };
            let zeros = Bytes::from(vec![0; size as usize]);
            let answer = connection.send(Signal::Traces, zeros, BOUND).await;
            assert!(matches!(answer, Answer::Refused { code: c, .. } if c == code), "{protocol:?}, {gzip}: {answer:?}");
            let answer = connection.send(Signal::Traces, normal.request(1, number), BOUND).await;
            assert_eq!(answer, ACCEPTED, "{protocol:?}: the next request");
            number += 1;
        }
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("receiver_requests", &[("outcome", "too_large")]), 4);
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), 40);
    // A request's bytes go a moment after its answer.
    engine.until(BOUND, "nothing stays charged", |m| m.sum("memory_used_bytes", &[]) == 0).await.unwrap();
    assert_eq!(sink.take_seen(Signal::Traces, 1).items, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_otlp_is_refused_for_good() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config = Config::new().processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE));
    let engine = Engine::start(&config.sink(sink.address, "").text()).await.unwrap();
    let good = small(Signal::Traces);
    let cut = good.request(1, 0);
    let cut = cut.slice(..cut.len() - 3);
    for signal in [Signal::Traces, Signal::Logs] {
        for (protocol, address, code) in
            [(Protocol::Grpc, engine.addresses.grpc, 3), (Protocol::Http, engine.addresses.http, 400)]
        {
            for body in [cut.clone(), Bytes::from_static(b"\xff\xff\xff\xff")] {
                let answer = send_once(address, protocol, signal, body).await.unwrap();
                assert!(matches!(answer, Answer::Refused { code: c, .. } if c == code), "{protocol:?}: {answer:?}");
            }
            let empty = send_once(address, protocol, signal, Bytes::new()).await.unwrap();
            assert_eq!(empty, ACCEPTED, "an empty request succeeds (OTLP specification, \"Full Success\")");
        }
    }
    assert_eq!(
        send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, good.request(1, 0)).await.unwrap(),
        ACCEPTED
    );
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), 10);
    assert_eq!(sink.attempts(), 1, "nothing goes out for an empty or a bad request");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_connections_are_served_side_by_side() {
    const CONNECTIONS: u64 = 300;
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config = Config::new().processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE));
    let engine = Engine::start(&config.sink(sink.address, "").text()).await.unwrap();
    let start = engine.metrics().await.unwrap().sum("memory_used_bytes", &[]);
    // Peers that say nothing take a place and nothing else.
    let silent: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(engine.addresses.grpc).unwrap()).collect();
    let workload = small(Signal::Traces);
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..CONNECTIONS {
        let (protocol, address) = match number % 2 {
            0 => (Protocol::Grpc, engine.addresses.grpc),
            _ => (Protocol::Http, engine.addresses.http),
        };
        let workload = Arc::clone(&workload);
        senders.spawn(async move {
            let mut connection = Connection::open(address, protocol, false).await.unwrap();
            for round in 0..3 {
                let body = workload.request(1, round * CONNECTIONS + number);
                assert_eq!(connection.send(Signal::Traces, body, BOUND).await, ACCEPTED);
            }
            connection
        });
    }
    let connections = senders.join_all().await;
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let settled: Vec<_> = (0..3 * CONNECTIONS).map(|number| (number, Settled::Accepted { warning: None })).collect();
    let delivered = workload.check(&settled, &sink.take_seen(Signal::Traces, 1), true).unwrap();
    assert_eq!(delivered.arrived + delivered.dropped, 30 * CONNECTIONS);
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), 30 * CONNECTIONS);
    drop((silent, connections));
    let back = |m: &Metrics| m.sum("memory_used_bytes", &[]) < start + 8 * MIB;
    engine.until(BOUND, "nothing stays charged", back).await.unwrap();
}
