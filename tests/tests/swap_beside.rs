//! What a swap leaves alone: other stages, sockets, and requests that wait further down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{Answer, Protocol, send_once};
use sluicebox_tests::config::{Config, drop_spans, drop_spans_json};
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::sink::{Attempt, Behaviour, Sink};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const STAGE: &str = "filter/health";
const BOUND: Duration = Duration::from_secs(30);
const ITEMS: u64 = 10;

fn workload() -> Arc<Workload> {
    Workload::new(Shape { requests: 3, items_per_request: ITEMS as usize, ..Shape::new(Signal::Traces) })
}

/// One request by hand, so that a lost connection cannot be opened again unseen.
async fn post(socket: &mut tokio::net::TcpStream, body: &[u8]) {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = [0; 1024];
    let read = tokio::time::timeout(BOUND, socket.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

/// vector PR#25911: other stages keep their instances, senders their connections.
#[tokio::test(flavor = "multi_thread")]
async fn swap_touches_only_its_stage() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config = Config::new()
        .processor(STAGE, &drop_spans(EARLY_RULE))
        .processor("filter/other", &drop_spans("name == \"nothing has this name\""))
        .sink(sink.address, "")
        .text();
    let engine = Engine::start_with(&config, &["--workers", "1"]).await.unwrap();
    let workload = workload();
    let mut socket = tokio::net::TcpStream::connect(engine.addresses.http).await.unwrap();
    let other = |m: &Metrics, name: &str| m.sum(name, &[("stage", "filter/other")]);
    for number in 0..10 {
        post(&mut socket, &workload.request(1, number)).await;
        engine.swap_config(STAGE, &drop_spans_json(EARLY_RULE)).await.unwrap();
    }
    post(&mut socket, &workload.request(1, 10)).await;
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("stage_generation", &[("stage", STAGE)]), 11);
    assert_eq!((other(&metrics, "stage_generation"), other(&metrics, "stage_swaps")), (1, 0));
    assert_eq!(other(&metrics, "stage_calls"), 11);
    assert_eq!(sink.take_seen(Signal::Traces, 1).items, 11 * ITEMS - workload.matching(11));
}

/// vector#15952: what is stuck before an exporter is no reason for a swap to wait.
#[tokio::test(flavor = "multi_thread")]
async fn swap_with_backlog_finishes() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let script = Arc::new(move |_: &Attempt| {
        let later = || Answer::Retry { after: None, message: "not yet".to_owned() };
        let accepted = Answer::Accepted { warning: None };
        (Duration::ZERO, if gate.load(Ordering::Relaxed) { accepted } else { later() })
    });
    let sink = Sink::start(Behaviour { script: Some(script), ..Behaviour::default() }).await.unwrap();
    let keys = "sending_queue: { queue_size: 1, num_consumers: 1, block_on_overflow: true }";
    let config = Config::new().processor(STAGE, &drop_spans(EARLY_RULE)).sink(sink.address, keys);
    let engine = Engine::start(&config.text()).await.unwrap();
    let workload = workload();
    let (mut senders, mut settled) = (tokio::task::JoinSet::new(), Vec::new());
    // One by one: requests that wait together for a worker go on together.
    for number in 0..6 {
        let (address, body) = (engine.addresses.grpc, workload.request(1, number));
        senders.spawn(async move { (number, send_once(address, Protocol::Grpc, Signal::Traces, body).await.unwrap()) });
        let judged = |m: &Metrics| m.sum("stage_calls", &[]) > number;
        engine.until(BOUND, "it is judged", judged).await.unwrap();
        while sink.attempts() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // One is under way and one in the queue; they are answered. The others wait for a place.
        if number < 2 {
            settled.push(senders.join_next().await.unwrap().unwrap());
        }
    }
    let held = |m: &Metrics| m.sum("pipeline_held_items", &[]);
    let left = |requests: std::ops::Range<u64>| {
        requests.map(|n| ITEMS - workload.matching(n + 1) + workload.matching(n)).sum::<u64>()
    };
    engine.until(BOUND, "four are stuck", |m| held(m) == left(2..6)).await.unwrap();
    for generation in 2..6 {
        let answer = engine.swap_config(STAGE, &drop_spans_json(EARLY_RULE)).await.unwrap();
        assert_eq!((&answer["new"]["generation"], &answer["drained"]), (&generation.into(), &true.into()));
    }
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(held(&metrics), left(2..6), "the backlog is still there");
    assert_eq!(metrics.sum("stage_generations_live", &[]), 1);
    open.store(true, Ordering::Relaxed);
    settled.extend(senders.join_all().await);
    assert!(settled.iter().all(|(_, answer)| *answer == Answer::Accepted { warning: None }), "{settled:?}");
    engine.settled_account(BOUND).await.unwrap();
    assert_eq!(sink.take_seen(Signal::Traces, 1).items, left(0..6));
}
