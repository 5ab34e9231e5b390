//! What senders are told, and that it is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Connection, Plan, Protocol, send_once};
use sluicebox_tests::config::{Config, otlp};
use sluicebox_tests::engine::{Addresses, Engine};
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::sink::{Attempt, Behaviour, Script, Sink};

const BOUND: Duration = Duration::from_secs(30);
const ITEMS: u64 = 10;
const ACCEPTED: Answer = Answer::Accepted { warning: None };
const WAIT: &str = "sending_queue: { wait_for_result: true }";
const ONCE: &str = "sending_queue: { wait_for_result: true }, retry_on_failure: { enabled: false }";

fn workload(signal: Signal) -> Arc<Workload> {
    Workload::new(Shape { requests: 3, items_per_request: ITEMS as usize, ..Shape::new(signal) })
}

/// A sink that answers as `script` says.
async fn sink(script: impl Fn(&Attempt) -> Answer + Send + Sync + 'static) -> Sink {
    let script: Script = Arc::new(move |attempt| (Duration::ZERO, script(attempt)));
    Sink::start(Behaviour { script: Some(script), ..Behaviour::default() }).await.unwrap()
}

/// A sink that asks to come again until the gate is open.
async fn gated() -> (Sink, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let later = || Answer::Retry { after: None, message: "not yet".to_owned() };
    (sink(move |_| if gate.load(Ordering::Relaxed) { ACCEPTED } else { later() }).await, open)
}

async fn start(config: Config) -> Engine {
    Engine::start(&config.text()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_mode_a_sink_that_is_down_is_no_concern_of_senders() {
    let address = Addresses::free().unwrap().grpc;
    let engine = start(Config::new().sink(address, "")).await;
    let mut reports = Vec::new();
    for signal in Signal::ALL {
        let workload = workload(signal);
        let report = client::run(engine.addresses.grpc, &workload, 1, Plan::grpc(50)).await.unwrap();
        assert_eq!((report.first_failure(), report.retries.len()), (None, 0), "{signal}");
        reports.push((workload, report));
    }
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(metrics.imbalances(), []);
    assert_eq!(metrics.sum("exporter_queued_items", &[]), 150 * ITEMS);
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), 150 * ITEMS);

    let sink = Sink::start(Behaviour { port: address.port(), ..Behaviour::default() }).await.unwrap();
    let metrics = engine.settled_account(BOUND).await.unwrap();
    for (workload, report) in reports {
        let seen = sink.take_seen(workload.signal(), 1);
        assert_eq!(workload.check(&report.settled, &seen, false).unwrap().arrived, 50 * ITEMS);
    }
    assert_eq!(metrics.sum("exporter_sent_items", &[]), 150 * ITEMS);
    assert!(metrics.sum("exporter_requests", &[("reason", "retry")]) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_wait_for_result_senders_hear_the_sinks_own_answer() {
    let told = Arc::new(std::sync::Mutex::new(ACCEPTED));
    let tell = Arc::clone(&told);
    let sink = sink(move |_| tell.lock().unwrap().clone()).await;
    let engine = start(Config::new().sink(sink.address, ONCE)).await;
    let warning = || "mind the gap".to_owned();
    let answers = [
        ACCEPTED,
        Answer::Accepted { warning: Some(warning()) },
        Answer::Partial { rejected: 7, message: warning() },
        Answer::Refused { code: 3, message: warning() },
        Answer::Retry { after: None, message: warning() },
    ];
    let mut number = 0;
    for signal in Signal::ALL {
        for wanted in &answers {
            *told.lock().unwrap() = wanted.clone();
            for (protocol, address) in
                [(Protocol::Grpc, engine.addresses.grpc), (Protocol::Http, engine.addresses.http)]
            {
                number += 1;
                let body = workload(signal).request(1, number);
                let answer = send_once(address, protocol, signal, body).await.unwrap();
                let same = match (wanted, &answer) {
                    (Answer::Refused { .. }, Answer::Refused { .. }) | (Answer::Retry { .. }, Answer::Retry { .. }) => {
                        // Over HTTP the client shows the status alone.
                        protocol == Protocol::Http || format!("{answer:?}").contains("mind the gap")
                    }
                    (wanted, answer) => wanted == answer,
                };
                assert!(same, "{signal} over {protocol:?}: the sink said {wanted:?}, the sender heard {answer:?}");
            }
        }
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let requests_each = 2 * Signal::ALL.len() as u64;
    assert_eq!(metrics.sum("exporter_sent_items", &[]), requests_each * (2 * ITEMS + 3));
    assert_eq!(metrics.sum("exporter_rejected_items", &[]), requests_each * (7 + ITEMS));
    assert_eq!(metrics.sum("exporter_dropped_items", &[("reason", "retry_disabled")]), requests_each * ITEMS);
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), requests_each * (2 * ITEMS + 3));
    assert_eq!(metrics.sum("receiver_refused_items", &[]), requests_each * (7 + 2 * ITEMS));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_wait_for_result_nothing_is_acknowledged_before_the_sink_has_it() {
    let (sink, gate) = gated().await;
    let engine = start(Config::new().sink(sink.address, WAIT)).await;
    let workload = workload(Signal::Traces);
    let (address, load) = (engine.addresses.grpc, Arc::clone(&workload));
    let sending = tokio::spawn(async move { client::run(address, &load, 1, Plan::grpc(8)).await });
    let waiting = |m: &Metrics| m.sum("exporter_queued_items", &[]) == 8 * ITEMS;
    engine.until(BOUND, "all requests wait for the sink", waiting).await.unwrap();
    let tries = sink.attempts();
    while sink.attempts() < tries + 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), 0);
    assert!(!sending.is_finished());

    gate.store(true, Ordering::Relaxed);
    let report = sending.await.unwrap().unwrap();
    assert_eq!((report.first_failure(), report.retries.len()), (None, 0));
    engine.settled_account(BOUND).await.unwrap();
    let seen = sink.take_seen(Signal::Traces, 1);
    assert_eq!(workload.check(&report.settled, &seen, false).unwrap().arrived, 8 * ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_a_retry_and_loses_nothing() {
    let (sink, gate) = gated().await;
    let engine = start(Config::new().sink(sink.address, "sending_queue: { queue_size: 3, num_consumers: 1 }")).await;
    let workload = workload(Signal::Logs);
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    let mut refused = 0;
    for number in 0..20 {
        match connection.send(Signal::Logs, workload.request(1, number), BOUND).await {
            ACCEPTED => {}
            Answer::Retry { after: Some(_), message } => {
                assert!(message.contains("otlp/sink") && message.contains("full"), "{message}");
                refused += 1;
            }
            answer => panic!("{answer:?}"),
        }
    }
    // Three wait and one is under way; a place may come free between two requests only once, when the first is taken out.
    assert!((16..=17).contains(&refused), "{refused}");
    let http = send_once(engine.addresses.http, Protocol::Http, Signal::Logs, workload.request(1, 20)).await.unwrap();
    assert!(matches!(http, Answer::Retry { after: Some(_), .. }), "{http:?}");
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(metrics.imbalances(), []);
    assert_eq!(metrics.sum("pipeline_dropped_items", &[("reason", "queue_full")]), (refused + 1) * ITEMS);

    let (address, load) = (engine.addresses.grpc, Arc::clone(&workload));
    let sending = tokio::spawn(async move { client::run(address, &load, 2, Plan::grpc(20)).await });
    let refused_more =
        |m: &Metrics| m.sum("pipeline_dropped_items", &[("reason", "queue_full")]) > (refused + 1) * ITEMS;
    engine.until(BOUND, "new requests meet the full queue", refused_more).await.unwrap();
    gate.store(true, Ordering::Relaxed);
    let report = sending.await.unwrap().unwrap();
    assert_eq!(report.first_failure(), None);
    engine.settled_account(BOUND).await.unwrap();
    assert_eq!(sink.items(Signal::Logs, 1), (20 - refused) * ITEMS);
    let seen = sink.take_seen(Signal::Logs, 2);
    assert_eq!(workload.check(&report.settled, &seen, false).unwrap().arrived, 20 * ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_block_on_overflow_senders_wait_for_a_place() {
    let (sink, gate) = gated().await;
    let keys = "sending_queue: { queue_size: 1, num_consumers: 1, block_on_overflow: true }";
    let engine = start(Config::new().sink(sink.address, keys)).await;
    let workload = workload(Signal::Traces);
    let (address, load) = (engine.addresses.grpc, Arc::clone(&workload));
    let plan = Plan { connections: 2, in_flight: 5, tries: 1, ..Plan::grpc(10) };
    let sending = tokio::spawn(async move { client::run(address, &load, 1, plan).await });
    // One is under way, one in the queue, eight are held.
    let held = |m: &Metrics| m.sum("pipeline_held_items", &[]) == 8 * ITEMS;
    engine.until(BOUND, "eight requests are held", held).await.unwrap();
    gate.store(true, Ordering::Relaxed);
    let report = sending.await.unwrap().unwrap();
    assert_eq!((report.first_failure(), report.retries.len()), (None, 0));
    engine.settled_account(BOUND).await.unwrap();
    let seen = sink.take_seen(Signal::Traces, 1);
    assert_eq!(workload.check(&report.settled, &seen, false).unwrap().arrived, 10 * ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_exporters_the_worse_answer_counts_but_one_refusal_is_a_warning() {
    let told = Arc::new(std::sync::Mutex::new(ACCEPTED));
    let tell = Arc::clone(&told);
    let other = sink(move |_| tell.lock().unwrap().clone()).await;
    let good = sink(|_| ACCEPTED).await;
    let engine = start(Config::new().sink(good.address, ONCE).exporter("otlp/other", &otlp(other.address, ONCE))).await;
    let workload = workload(Signal::Metrics);
    let cases = [
        (ACCEPTED, "Accepted { warning: None }"),
        (Answer::Refused { code: 3, message: "never".to_owned() }, "Accepted { warning: Some("),
        (Answer::Retry { after: None, message: "later".to_owned() }, "Retry {"),
        (Answer::Partial { rejected: 4, message: "four".to_owned() }, "Partial { rejected: 4"),
    ];
    for (number, (answer, heard)) in (0..).zip(cases) {
        *told.lock().unwrap() = answer.clone();
        let body = workload.request(1, number);
        let sender = send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Metrics, body).await.unwrap();
        assert!(format!("{sender:?}").starts_with(heard), "the other said {answer:?}, the sender heard {sender:?}");
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("exporter_sent_items", &[("exporter", "otlp/sink")]), 4 * ITEMS);
    assert_eq!(metrics.sum("exporter_rejected_items", &[("exporter", "otlp/other")]), ITEMS + 4);
    assert_eq!(metrics.sum("exporter_dropped_items", &[("exporter", "otlp/other")]), ITEMS);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_mode_one_dead_exporter_does_not_hold_up_the_other() {
    let (dead, gate) = gated().await;
    let good = sink(|_| ACCEPTED).await;
    let engine = start(Config::new().sink(good.address, "").exporter("otlp/dead", &otlp(dead.address, ""))).await;
    let workload = workload(Signal::Traces);
    let report = client::run(engine.addresses.grpc, &workload, 1, Plan::grpc(60)).await.unwrap();
    assert_eq!((report.first_failure(), report.retries.len()), (None, 0));
    assert_eq!(good.wait_for(Signal::Traces, 1, 60 * ITEMS, BOUND).await, 60 * ITEMS);
    assert_eq!(dead.items(Signal::Traces, 1), 0);
    gate.store(true, Ordering::Relaxed);
    engine.settled_account(BOUND).await.unwrap();
    for sink in [good, dead] {
        let seen = sink.take_seen(Signal::Traces, 1);
        assert_eq!(workload.check(&report.settled, &seen, false).unwrap().arrived, 60 * ITEMS);
    }
}
