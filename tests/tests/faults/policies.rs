use std::time::Duration;
use std::time::Instant;

use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Connection, Protocol};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::ask;
use sluicebox_tests::sink::{Behaviour, Sink};

use crate::support::{BOUND, block, start, tells_nothing, until_ready, workload};

const STAGE: &str = "tail_sampling:bad";

/// A policy that traps always: the fallback stands in, it is called less and less, and a good one decides at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_always_traps_is_called_now_and_then() {
    const ITEMS: u64 = 8;
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let policy =
        format!("{{ name: bad, component: {}, config: {} }}", guest("misbehaving-policy").unwrap(), block("trap"));
    let sampler = format!("decision_wait: 10ms, fallback_percentage: 50, policies: [{policy}]");
    let config = Config::new().processor_of(Signal::Traces, "tail_sampling", &sampler).sink(sink.address, "");
    let (engine, health) = start(&config, &["--workers", "1"]).await;
    let spans = workload(Signal::Traces, ITEMS as usize);
    let started = Instant::now();
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    let mut number = 0;
    let calls = loop {
        let answer = connection.send(Signal::Traces, spans.request(1, number), BOUND).await;
        assert_eq!(answer, Answer::Accepted { warning: None }, "faults of policies are no sender's concern");
        number += 1;
        tokio::time::sleep(Duration::from_millis(15)).await;
        let metrics = engine.metrics().await.unwrap();
        if number >= 60 && metrics.sum("stage_state", &[("stage", STAGE), ("state", "recoverable")]) == 1 {
            break metrics.sum("stage_calls", &[("stage", STAGE)]);
        }
        assert!(started.elapsed() < BOUND);
    };
    let tries = 8 + started.elapsed().as_millis() as u64 / 100 + 1;
    assert!(calls <= tries, "{calls} calls, {tries} tries");
    let (status, told) = ask(health, "/readyz?verbose", "").await.unwrap();
    assert!(status == 200 && told.contains("stage \"tail_sampling:bad\" is recoverable: trap"), "{told}");
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert!(metrics.sum("tail_fallback_traces", &[("reason", "fault")]) > 0);
    assert_eq!(metrics.sum("tail_decided_spans", &[]), number * ITEMS, "each is decided");
    assert_eq!(
        metrics.sum("stage_restarts", &[("stage", STAGE)]) + 1,
        metrics.sum("stage_instances", &[("stage", STAGE)])
    );
    let before = sink.items(Signal::Traces, 1);
    assert!(before > 0 && before < number * ITEMS, "{before} kept");

    engine.swap_config(STAGE, &block("keep")).await.unwrap();
    until_ready(health, "/readyz?verbose", |_, text| text.contains("stage \"tail_sampling:bad\" is ok\n")).await;
    let answer = connection.send(Signal::Traces, spans.request(1, number), BOUND).await;
    assert_eq!(answer, Answer::Accepted { warning: None });
    engine.settled_account(BOUND).await.unwrap();
    assert!(sink.items(Signal::Traces, 1) > before);
    tells_nothing(&engine, health).await;
}
