//! Paused stages: what is promised of them holds, whatever comes meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Connection, Protocol};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Engine, ask};
use sluicebox_tests::generate::{EARLY_RULE, Workload};
use sluicebox_tests::items::{Request, text};
use sluicebox_tests::sink::Sink;

use crate::lab::{ACCEPTED, BOUND, named, page, redactor, send, sink, telling, until, workload};

const REDACTOR: &str = "wasm/redactor";
const ITEMS: u64 = 16;

fn state(status: &Value, stage: &str) -> String {
    named(&status["stages"], "stage", stage)["health"]["state"].as_str().unwrap().to_owned()
}

/// Results of the history of a stage.
async fn results(engine: &Engine, stage: &str) -> Vec<String> {
    let history = page(engine, "/v1/generations").await;
    let generations = named(&history["stages"], "stage", stage)["generations"].clone();
    generations.as_array().unwrap().iter().map(|record| record["result"].as_str().unwrap().to_owned()).collect()
}

/// Sends requests that tell secrets, each until it is accepted, as OTLP asks of senders; how many there were.
fn load(
    engine: &Engine,
    load: &Arc<Workload>,
    stop: &Arc<AtomicBool>,
    sent: &Arc<AtomicU64>,
) -> tokio::task::JoinHandle<()> {
    let (address, load) = (engine.addresses.grpc, Arc::clone(load));
    let (stop, sent) = (Arc::clone(stop), Arc::clone(sent));
    tokio::spawn(async move {
        let mut connection = Connection::open(address, Protocol::Grpc, false).await.unwrap();
        while !stop.load(Ordering::Relaxed) {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let body = telling(&load, 1, number);
            loop {
                match connection.send(Signal::Traces, body.clone(), BOUND).await {
                    ACCEPTED => break,
                    Answer::Retry { after: Some(_), .. } => tokio::time::sleep(Duration::from_millis(5)).await,
                    answer => panic!("{answer:?}"),
                }
            }
        }
    })
}

/// Sequence numbers of what arrived, each of them redacted and once.
fn redacted(sink: &Sink) -> BTreeSet<u64> {
    let mut arrived = BTreeSet::new();
    for body in sink.kept(Signal::Traces) {
        assert!(!body.windows(6).any(|window| window == b"secret"), "a secret got out");
        Request::decode(Signal::Traces, &body).unwrap().each_item(|(_, sequence), attributes| {
            assert!(text(attributes, "note").unwrap().starts_with("***"));
            assert!(arrived.insert(sequence), "{sequence} arrived twice");
        });
    }
    arrived
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_redactor_lets_nothing_out_and_loses_nothing() {
    let sink = sink().await;
    let config = Config::new().processor(REDACTOR, &redactor("")).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let traffic = workload(Signal::Traces, ITEMS as usize);
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders: Vec<_> = (0..2).map(|_| load(&engine, &traffic, &stop, &sent)).collect();
    engine.until(BOUND, "traffic flows", |metrics| metrics.sum("exporter_sent_items", &[]) > 0).await.unwrap();

    let done = engine.command(&["pause", REDACTOR]).await.unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert!(
        done.stdout.contains("senders are told to retry") && done.stdout.contains("undo: sluicebox resume"),
        "{}",
        done.stdout
    );
    let paused =
        |metrics: &sluicebox_tests::account::Metrics| metrics.sum("pipeline_dropped_items", &[("reason", "paused")]);
    engine.until(BOUND, "senders are told to retry", |metrics| paused(metrics) > 0).await.unwrap();
    let calls = engine.metrics().await.unwrap().sum("stage_calls", &[("stage", REDACTOR)]);
    let told = paused(&engine.metrics().await.unwrap());
    engine.until(BOUND, "more are", |metrics| paused(metrics) >= told + 10 * ITEMS).await.unwrap();
    assert_eq!(engine.metrics().await.unwrap().sum("stage_calls", &[("stage", REDACTOR)]), calls, "it is not called");
    let (status, ready) = ask(engine.addresses.admin, "/readyz", "text/plain").await.unwrap();
    assert!(status == 503 && ready.contains(&format!("stage \"{REDACTOR}\" is paused")), "{ready}");

    // It stays through a swap and through a changed file.
    engine.swap_config(REDACTOR, "{\"behaviour\": \"mask\"}").await.unwrap();
    let changed = config.clone().processor_of(Signal::Logs, "filter/more", &drop_spans(EARLY_RULE)).text();
    engine.rewrite(&changed).unwrap();
    let done = engine.command(&["reload"]).await.unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(state(&page(&engine, "/v1/status").await, REDACTOR), "paused");
    assert_eq!(page(&engine, "/v1/status").await["paused"], serde_json::json!([REDACTOR]));
    let held = paused(&engine.metrics().await.unwrap());
    engine.until(BOUND, "still none gets through", |metrics| paused(metrics) > held).await.unwrap();

    let done = engine.command(&["resume", REDACTOR]).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "wasm/redactor: is called again\n"), "{done:?}");
    let before = engine.metrics().await.unwrap().sum("exporter_sent_items", &[]);
    engine.until(BOUND, "it flows again", |metrics| metrics.sum("exporter_sent_items", &[]) > before).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    engine.settled_account(BOUND).await.unwrap();
    let all = sent.load(Ordering::Relaxed) * ITEMS;
    assert_eq!(redacted(&sink), (0..all).collect());
    let results = results(&engine, REDACTOR).await;
    let told: Vec<_> = results.iter().filter(|result| ["paused", "resumed"].contains(&result.as_str())).collect();
    assert_eq!(told, ["paused", "resumed"], "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_paused_filter_did_not_judge_goes_on_and_is_counted() {
    const REQUESTS: u64 = 8;
    let sink = sink().await;
    let config =
        Config::new().processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE)).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let traffic = workload(Signal::Traces, 64);
    let done = engine.command(&["pause", "filter/health", "--output", "json"]).await.unwrap();
    let paused: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&paused["on_fault"], &paused["edits"], &paused["pipelines"]),
        (&"pass".into(), &false.into(), &serde_json::json!(["traces"]))
    );
    send(&engine, &traffic, 1, REQUESTS).await;
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let all = REQUESTS * traffic.items_per_request();
    assert_eq!((sink.items(Signal::Traces, 1), metrics.sum("stage_passed_unjudged_items", &[])), (all, all));
    assert!(metrics.has("stage_state", &[("stage", "filter/health"), ("state", "paused")]));
    assert_eq!(metrics.sum("stage_state", &[("stage", "filter/health"), ("state", "paused")]), 1);
    // Everything gets through, so whoever sends may go on sending; it is told nevertheless.
    let (status, ready) = ask(engine.addresses.admin, "/readyz", "text/plain").await.unwrap();
    assert!(status == 200 && ready.contains("stage \"filter/health\" is paused"), "{status} {ready}");

    engine.command(&["resume", "filter/health"]).await.unwrap();
    send(&engine, &traffic, 2, REQUESTS).await;
    engine.settled_account(BOUND).await.unwrap();
    assert_eq!(sink.items(Signal::Traces, 2), all - traffic.matching(REQUESTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_by_itself_and_the_history_says_so() {
    let sink = sink().await;
    let config =
        Config::new().processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE)).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let done = engine.command(&["pause", "filter/health", "--for", "1s"]).await.unwrap();
    assert!(done.code == Some(0) && done.stdout.contains("\nuntil "), "{done:?}");
    until(&engine, "/v1/status", "it is called again", |status| state(status, "filter/health") == "ok").await;
    let ended = "resumed: the time of its pause is over";
    until(&engine, "/v1/generations", "the history has its end", |history| history.to_string().contains(ended)).await;
    assert_eq!(results(&engine, "filter/health").await[1..], ["paused for 1 s", ended]);
    let done = engine.command(&["resume", "filter/health"]).await.unwrap();
    assert_eq!(done.stdout, "filter/health: was not paused\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_let_unredacted_data_out_needs_force() {
    let sink = sink().await;
    let config = Config::new().processor(REDACTOR, &redactor(", on_fault: pass")).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let done = engine.command(&["pause", REDACTOR]).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{done:?}");
    assert!(done.stderr.starts_with("error[E0532]: ") && done.stderr.contains("--force"), "{}", done.stderr);
    assert_eq!(state(&page(&engine, "/v1/status").await, REDACTOR), "ok");
    let done = engine.command(&["pause", REDACTOR, "--force"]).await.unwrap();
    assert!(done.code == Some(0) && done.stdout.contains("goes on as it came"), "{done:?}");
    for (arguments, code) in [(["pause", "wasm/nobody"], "E0523"), (["resume", "wasm/nobody"], "E0523")] {
        let done = engine.command(&arguments).await.unwrap();
        assert!(done.code == Some(1) && done.stderr.contains(code), "{done:?}");
    }
    let done = engine.command(&["pause", REDACTOR, "--for", "ten"]).await.unwrap();
    assert_eq!(done.code, Some(2), "{done:?}");
    let done = engine.command(&["pause", REDACTOR, "--for", "1000h"]).await.unwrap();
    assert!(done.code == Some(1) && done.stderr.contains("E0533"), "{done:?}");
}
