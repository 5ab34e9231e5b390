//! `POST /v1/drain` and the verb: as SIGTERM, watched until the process is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Answer, Plan};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Addresses, Engine};
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::sink::{Behaviour, Sink};
use tokio::net::UnixStream;

use crate::support::{BOUND, change, engine, open, request, socket};

const STAGE: &str = "filter/health";

/// An engine whose queue is full of what a slow sink still has to take; spans that were acknowledged.
async fn busy() -> (Engine, Sink, Arc<Workload>, client::Report) {
    let slow = Arc::new(|_: &_| (Duration::from_millis(40), Answer::Accepted { warning: None }));
    let sink = Sink::start(Behaviour { script: Some(slow), ..Behaviour::default() }).await.unwrap();
    let keys = "sending_queue: { num_consumers: 2 }";
    let config = Config::new().processor(STAGE, &drop_spans(EARLY_RULE)).sink(sink.address, keys).verbose();
    let engine = Engine::start(&config.text()).await.unwrap();
    let workload = Workload::new(Shape { requests: 3, items_per_request: 10, ..Shape::new(Signal::Traces) });
    let report = client::run(engine.addresses.grpc, &workload, 1, Plan::grpc(100)).await.unwrap();
    assert_eq!(report.first_failure(), None);
    (engine, sink, workload, report)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_sends_what_it_has_and_is_watched_until_the_end() {
    let (mut engine, sink, workload, report) = busy().await;
    let begun = change(&engine, "POST", "/v1/drain", &Value::Null).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let stream = UnixStream::connect(socket(&engine)).await.unwrap();
    let watched = open(stream, request("GET", begun.header("location"), &[], Bytes::new())).await;
    assert_eq!(watched.status(), 200);
    let stream = UnixStream::connect(socket(&engine)).await.unwrap();
    let path = format!("{}/events", begun.header("location"));
    let watched = open(stream, request("GET", &path, &[], Bytes::new())).await;
    let text = tokio::time::timeout(BOUND, watched.into_body().collect()).await.unwrap().unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let last: Value =
        serde_json::from_str(text.lines().filter_map(|line| line.strip_prefix("data:")).last().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["state"]), (&json!("drain"), &json!("succeeded")), "{last}");
    assert_eq!(last["result"], json!({ "dropped_items": 0 }));
    let steps: Vec<_> = last["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(steps, ["receivers", "samplers", "workers", "exporters"]);
    assert_eq!(last["numbers"]["held_items"].as_u64().map(|_| ()), Some(()), "{last}");
    assert_eq!(engine.process.wait(BOUND).unwrap().code(), Some(0), "{}", engine.process.stderr());
    let delivered = workload.check(&report.settled, &sink.take_seen(Signal::Traces, 1), true).unwrap();
    assert!(delivered.dropped > 0 && delivered.arrived > 0);
    assert!(engine.process.stderr().contains("stopping: no more requests are let in"));
}

/// Who waits gets the end of it; nothing else begins meanwhile, and a second drain is told of the first.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_while_it_drains() {
    let (mut engine, _sink, _, _) = busy().await;
    let stream = UnixStream::connect(socket(&engine)).await.unwrap();
    let waits = tokio::spawn(crate::support::over(stream, request("POST", "/v1/drain?wait=true", &[], Bytes::new())));
    let end = tokio::time::Instant::now() + BOUND;
    while crate::support::ask(&engine, "GET", "/readyz", &[], "").await.status == 200 {
        assert!(tokio::time::Instant::now() < end, "it stays ready");
    }
    for (path, body) in [("/v1/drain", Value::Null), ("/v1/swap", json!({ "stage": STAGE })), ("/v1/reload", json!({}))]
    {
        let refused = change(&engine, "POST", path, &body).await;
        assert_eq!(refused.refused(), (409, "E0526".to_owned()), "{path}");
        assert!(refused.json()["error"].as_str().unwrap().contains("drain"), "{refused:?}");
    }
    let stays = change(&engine, "DELETE", "/v1/operations/1", &Value::Null).await;
    assert_eq!(stays.refused(), (409, "E0526".to_owned()), "a process that stops does not stay");
    let answer = waits.await.unwrap();
    assert_eq!((answer.status, answer.json()), (200, json!({ "dropped_items": 0 })), "{answer:?}");
    assert_eq!(engine.process.wait(BOUND).unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verb_waits_until_the_engine_is_gone() {
    let (mut engine, sink, _, report) = busy().await;
    let done = engine.command(&["drain"]).await.unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(done.stdout.ends_with("the engine is gone; nothing was left\n"), "{done:?}");
    assert!(engine.process.wait(BOUND).unwrap().success());
    assert_eq!(report.settled.len(), 100);
    assert!(sink.attempts() >= 100);
    let done = engine.command(&["drain"]).await.unwrap();
    assert_eq!(done.code, Some(5), "{done:?}");
}

/// What cannot be sent in time is lost: that is said, and is no success.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_is_told() {
    let nobody = Addresses::free().unwrap().grpc;
    let config = Config::new().processor(STAGE, &drop_spans(EARLY_RULE)).sink(nobody, "").verbose();
    let engine = Engine::start_with(&config.text(), &["--drain-timeout", "1"]).await.unwrap();
    let workload = Workload::new(Shape { requests: 1, items_per_request: 10, ..Shape::new(Signal::Traces) });
    let left = 10 - workload.matching(1);
    assert!(left > 0);
    client::run(engine.addresses.grpc, &workload, 1, Plan::grpc(1)).await.unwrap();
    let done = engine.command(&["drain", "--output", "json"]).await.unwrap();
    assert_eq!(done.code, Some(1), "{done:?}");
    let said: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        said,
        json!({ "left": { "held_items": 0, "queued_items": left }, "drained": { "dropped_items": left } })
    );
}

/// SIGTERM is the same, and is told in the same way.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_an_operation_too() {
    let (mut engine, _sink, _, _) = busy().await;
    engine.process.signal(rustix::process::Signal::TERM);
    let end = tokio::time::Instant::now() + BOUND;
    loop {
        let all = crate::support::ask(&engine, "GET", "/v1/operations", &[], "").await.json();
        if let Some(drain) = all["operations"].as_array().unwrap().first() {
            assert_eq!((&drain["kind"], &drain["who"]), (&json!("drain"), &json!("signal")));
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{all}");
    }
    assert!(engine.process.wait(BOUND).unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_more_when_it_is_told_to() {
    let engine = engine().await;
    let set = async |level: &str| change(&engine, "PUT", "/v1/log-level", &json!({ "level": level })).await.status;
    assert_eq!(set("error").await, 200);
    let swapped = |engine: &Engine| engine.process.stderr().matches("INFO swapped").count();
    change(&engine, "POST", "/v1/swap?wait=true", &json!({ "stage": STAGE })).await;
    assert_eq!(swapped(&engine), 0);
    assert_eq!(set("info").await, 200);
    change(&engine, "POST", "/v1/swap?wait=true", &json!({ "stage": STAGE })).await;
    assert_eq!(swapped(&engine), 1);
    let changes = crate::support::ask(&engine, "GET", "/v1/generations", &[], "").await.json()["changes"].clone();
    let told: Vec<_> = changes.as_array().unwrap().iter().map(|change| change["result"].clone()).collect();
    assert!(told.contains(&json!("set to error")) && told.contains(&json!("set to info")), "{changes}");
}
