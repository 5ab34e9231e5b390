//! A try beside what serves: counts stay exact, and state of guests is not touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Answer, Plan, Protocol, send_once};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};

use crate::lab::{as_json, printed, write};

const BOUND: Duration = Duration::from_secs(60);
const REQUESTS: u64 = 400;

#[tokio::test(flavor = "multi_thread")]
async fn under_load_the_engine_counts_its_own_and_nothing_else() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config =
        Config::new().processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE)).sink(sink.address, "");
    let engine = Arc::new(Engine::start(&config.text()).await.unwrap());
    let workload = Workload::new(Shape { requests: 16, items_per_request: 128, ..Shape::new(Signal::Traces) });
    let input: Value = serde_json::from_str(&as_json(Signal::Traces, &workload.request(7, 0))).unwrap();
    let body = json!({"pipeline": "traces", "input": input}).to_string();

    let is_over = Arc::new(AtomicBool::new(false));
    let trying = {
        let (engine, is_over) = (Arc::clone(&engine), Arc::clone(&is_over));
        tokio::spawn(async move {
            let mut tries = 0;
            // At least some of them, however fast the load is.
            while !is_over.load(Ordering::Relaxed) || tries < 5 {
                let (status, tried) = engine.post("/v1/try", "application/json", body.clone().into()).await.unwrap();
                assert_eq!((status, &tried["records"]), (200, &json!(128)), "{tried}");
                tries += 1;
            }
            tries
        })
    };
    let sent = client::run(engine.addresses.grpc, &workload, 1, Plan::grpc(REQUESTS)).await.unwrap();
    is_over.store(true, Ordering::Relaxed);
    assert_eq!(sent.first_failure(), None);
    let tries = trying.await.unwrap();
    assert!(tries >= 5);

    let metrics = engine.settled_account(BOUND).await.unwrap();
    let (all, dropped) = (REQUESTS * 128, workload.matching(REQUESTS));
    assert_eq!(metrics.sum("receiver_received_items", &[]), all);
    assert_eq!(metrics.sum("pipeline_dropped_items", &[]), dropped);
    assert_eq!(sink.items(Signal::Traces, 1), all - dropped);
    assert_eq!(sink.items(Signal::Traces, 7), 0, "nothing that was tried was sent");
    assert_eq!(metrics.sum("stage_faults", &[]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_what_serves_are_not_taken() {
    let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
    // Three tokens, and next to none in a minute.
    let config = Config::new().processor("rate_limiting", "items_per_second: 0.0001, burst: 3").sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"a"},{"severityText":"b"}]}]}]}"#;
    let input = write(engine.directory(), "input.json", logs);
    for _ in 0..4 {
        let done = engine.command(&["try", "rate_limiting", "--input", &input, "--output", "json"]).await.unwrap();
        let tried = printed(&done);
        assert_eq!((done.code, &tried["left"]), (Some(0), &json!(2)), "each try has tokens of its own");
    }
    let request = sluicebox::json::to_protobuf(Signal::Logs, logs.as_bytes()).unwrap();
    for _ in 0..2 {
        let sent =
            send_once(engine.addresses.http, Protocol::Http, Signal::Logs, request.clone().into()).await.unwrap();
        assert_eq!(sent, Answer::Accepted { warning: None });
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("pipeline_dropped_items", &[]), 1, "four items had three tokens");
}
