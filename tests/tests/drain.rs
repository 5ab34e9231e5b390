//! SIGTERM: what was acknowledged is sent, in bounded time.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal as UnixSignal;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Plan, Settled};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Addresses, Engine};
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};

const BOUND: Duration = Duration::from_secs(30);
const ITEMS: u64 = 10;

fn workload() -> Arc<Workload> {
    Workload::new(Shape { requests: 3, items_per_request: ITEMS as usize, ..Shape::new(Signal::Traces) })
}

/// A sink that takes everything, each request after a while.
async fn slow_sink(milliseconds: u64) -> Sink {
    let delay = Duration::from_millis(milliseconds);
    let script = Arc::new(move |_: &_| (delay, Answer::Accepted { warning: None }));
    Sink::start(Behaviour { script: Some(script), ..Behaviour::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_sent_before_the_end() {
    let sink = slow_sink(40).await;
    let keys = "sending_queue: { num_consumers: 2 }";
    let config = Config::new().processor("filter/health", &drop_spans(EARLY_RULE)).sink(sink.address, keys);
    let mut engine = Engine::start(&config.text()).await.unwrap();
    let workload = workload();
    let report = client::run(engine.addresses.grpc, &workload, 1, Plan::grpc(100)).await.unwrap();
    assert_eq!(report.first_failure(), None);
    assert!(sink.items(Signal::Traces, 1) < 90 * ITEMS, "most of it is still in the queue");
    engine.process.signal(UnixSignal::TERM);
    let status = engine.process.wait(BOUND).unwrap();
    assert_eq!(status.code(), Some(0), "{}", engine.process.stderr());
    let delivered = workload.check(&report.settled, &sink.take_seen(Signal::Traces, 1), true).unwrap();
    assert!(delivered.dropped > 0 && delivered.arrived > 0);
}

/// A stop in the middle of traffic: each request was either acknowledged and arrives, or was not and may be sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_traffic_loses_nothing_acknowledged() {
    for keys in ["", "sending_queue: { wait_for_result: true }"] {
        let sink = slow_sink(5).await;
        let batch = "send_batch_size: 200, timeout: 5s";
        let config = Config::new()
            .processor("filter/health", &drop_spans(EARLY_RULE))
            .processor("batch", batch)
            .sink(sink.address, keys);
        let mut engine = Engine::start(&config.text()).await.unwrap();
        let workload = workload();
        let (address, load) = (engine.addresses.grpc, Arc::clone(&workload));
        let plan = Plan { tries: 1, rate: Some(1000.0), ..Plan::grpc(2000) };
        let sending = tokio::spawn(async move { client::run(address, &load, 1, plan).await });
        assert!(sink.wait_for(Signal::Traces, 1, 300 * ITEMS, BOUND).await >= 300 * ITEMS);
        engine.process.signal(UnixSignal::TERM);
        let status = engine.process.wait(BOUND).unwrap();
        assert_eq!(status.code(), Some(0), "{}", engine.process.stderr());
        let report = sending.await.unwrap().unwrap();
        let cut = report.settled.iter().filter(|(_, s)| matches!(s, Settled::GaveUp { .. })).count();
        assert!(cut > 0 && report.accepted() >= 300, "it stopped in the middle: {cut} were not acknowledged");
        workload.check(&report.settled, &sink.take_seen(Signal::Traces, 1), true).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_does_not_hold_up_the_end() {
    for keys in ["", "sending_queue: { wait_for_result: true }"] {
        let address = Addresses::free().unwrap().grpc;
        let config = Config::new().sink(address, keys).verbose().text();
        let mut engine = Engine::start_with(&config, &["--drain-timeout", "2"]).await.unwrap();
        let workload = workload();
        let (address, load) = (engine.addresses.grpc, Arc::clone(&workload));
        let plan = Plan { tries: 1, ..Plan::grpc(8) };
        let sending = tokio::spawn(async move { client::run(address, &load, 1, plan).await });
        let queued = |m: &Metrics| m.sum("exporter_queued_items", &[]) == 8 * ITEMS;
        engine.until(BOUND, "all requests are queued", queued).await.unwrap();
        engine.process.signal(UnixSignal::TERM);
        // The drain takes 2 s; the rest is what a busy machine may need.
        let status = engine.process.wait(Duration::from_secs(15)).unwrap();
        assert_eq!(status.code(), Some(0), "{}", engine.process.stderr());
        let report = sending.await.unwrap().unwrap();
        if keys.is_empty() {
            assert_eq!(report.accepted(), 8);
            let stderr = engine.process.stderr();
            assert!(stderr.contains("otlp/sink") && stderr.contains(&(8 * ITEMS).to_string()), "{stderr}");
        } else {
            assert!(report.settled.iter().all(|(_, s)| matches!(s, Settled::GaveUp { .. })), "{:?}", report.settled);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_drains_no_new_request_is_let_in() {
    let sink = slow_sink(2000).await;
    let mut engine = Engine::start(&Config::new().sink(sink.address, "").text()).await.unwrap();
    let workload = workload();
    let plan = Plan { connections: 1, in_flight: 1, ..Plan::grpc(1) };
    assert_eq!(client::run(engine.addresses.grpc, &workload, 1, plan).await.unwrap().accepted(), 1);
    engine.process.signal(UnixSignal::TERM);
    let end = tokio::time::Instant::now() + BOUND;
    while std::net::TcpStream::connect(engine.addresses.grpc).is_ok() {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(engine.process.alive(), "the queue is not yet empty");
    assert_eq!(engine.process.wait(BOUND).unwrap().code(), Some(0));
    assert_eq!(sink.items(Signal::Traces, 1), ITEMS);
}
