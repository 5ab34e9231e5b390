use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Protocol, send_once};
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::identity;
use sluicebox_tests::traces::hex;

use crate::support::{BOUND, DROPPER, REDACTOR, dropper, keeping, redactor, telling, workload};

const ITEMS: u64 = 8;

async fn engine(config: &Config, keys: &str) -> Engine {
    Engine::start(&format!("dead_letter: {{ {keys} }}\n{}", config.text())).await.unwrap()
}

fn entries(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What is sent until the answer is another than to come again.
async fn send(engine: &Engine, signal: Signal, body: bytes::Bytes) -> Answer {
    let end = Instant::now() + BOUND;
    loop {
        match send_once(engine.addresses.grpc, Protocol::Grpc, signal, body.clone()).await.unwrap() {
            Answer::Retry { .. } if Instant::now() < end => {}
            answer => return answer,
        }
    }
}

/// Records of each signal that fault alone: the file tells which they were, and nothing that was in them.
#[tokio::test(flavor = "multi_thread")]
async fn it_tells_ids_and_sizes_and_nothing_else() {
    let sink = keeping().await;
    let config = Config::new().processor(REDACTOR, &redactor("trap_on_poison")).sink(sink.address, "");
    let engine = engine(&config, "path: dead.jsonl").await;
    let file = engine.directory().join("dead.jsonl");
    let is_poison = |sequence: u64| matches!(sequence, 9 | 12);
    for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
        let workload = workload(signal, ITEMS as usize);
        assert_eq!(send(&engine, signal, telling(&workload, 0, |_| false)).await, Answer::Accepted { warning: None });
        let answer = send(&engine, signal, telling(&workload, 1, is_poison)).await;
        assert!(matches!(answer, Answer::Partial { .. }), "{answer:?}");
    }
    engine.settled_account(BOUND).await.unwrap();
    let rejected = |entry: &&Value| entry["outcome"] == "rejected";
    let end = Instant::now() + BOUND;
    while !file.exists() || entries(&file).iter().filter(rejected).count() < 3 {
        assert!(Instant::now() < end);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    for entry in entries(&file).iter().filter(rejected) {
        let ids: BTreeSet<_> =
            entry["ids"].as_array().unwrap().iter().map(|id| id["span_id"].as_str().unwrap().to_owned()).collect();
        let sent: BTreeSet<_> = [9, 12].map(|sequence| hex(&identity(1, sequence))).into();
        assert_eq!(ids, if entry["signal"] == "metrics" { BTreeSet::new() } else { sent }, "{entry}");
        assert_eq!(
            (&entry["stage"], &entry["fault"], &entry["generation"]),
            (&REDACTOR.into(), &"trap".into(), &1.into())
        );
        assert!(entry["items"].as_u64().unwrap() >= 2 && entry["bytes"].as_u64().unwrap() > 50, "{entry}");
        assert_eq!(entry["digest"].as_str().unwrap().len(), 64);
        let keys: BTreeSet<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        let known = "at_unix_milli bytes digest fault generation ids items outcome pipeline signal stage";
        assert_eq!(keys, known.split(' ').collect());
    }
    let text = std::fs::read_to_string(&file).unwrap();
    for planted in ["secret", "poison", "note", "/api/v1/items", "service.name"] {
        assert!(!text.contains(planted) || planted == "poison" && !text.contains(" poison"), "{planted}: {text}");
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Telemetry is in it only where all that edits has judged it.
#[tokio::test(flavor = "multi_thread")]
async fn payload_is_only_what_editing_stages_have_judged() {
    let sink = keeping().await;
    let (mask, fails) = (redactor("mask"), dropper("trap", "reject"));
    let spans = workload(Signal::Traces, ITEMS as usize);
    for (order, has_payload) in [([REDACTOR, DROPPER], true), ([DROPPER, REDACTOR], false)] {
        let keys = |stage: &str| if stage == REDACTOR { mask.clone() } else { fails.clone() };
        let config = order.iter().fold(Config::new(), |config, stage| config.processor(stage, &keys(stage)));
        let engine = engine(&config.sink(sink.address, ""), "path: dead.jsonl, payload: true").await;
        let answer =
            send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, telling(&spans, 0, |_| false)).await;
        assert!(matches!(answer.unwrap(), Answer::Retry { .. }));
        engine.until(BOUND, "it is written", |m| m.sum("dead_letter_entries", &[]) >= 1).await.unwrap();
        let stderr = engine.process.stderr();
        let text = std::fs::read_to_string(engine.directory().join("dead.jsonl")).unwrap();
        assert!(!text.contains("secret") && !stderr.contains("secret"), "{text}");
        assert_eq!(text.contains("*** 3"), has_payload, "{text}");
        let first = entries(&engine.directory().join("dead.jsonl")).remove(0);
        assert_eq!((&first["outcome"], &first["stage"]), (&"retry".into(), &DROPPER.into()));
        assert_eq!(first["payload"]["resourceSpans"].is_array(), has_payload, "{first}");
        assert_eq!(stderr.contains("holds no payload of this pipeline"), !has_payload, "{stderr}");
    }
}

/// What it cannot be written to is a warning and a number; the engine does its work.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_stops_nothing() {
    let sink = keeping().await;
    let config = Config::new().processor(DROPPER, &dropper("trap", "pass")).sink(sink.address, "");
    let engine = engine(&config, "path: no/such/folder/dead.jsonl").await;
    let spans = workload(Signal::Traces, ITEMS as usize);
    let answer = send(&engine, Signal::Traces, spans.request(1, 0)).await;
    assert_eq!(answer, Answer::Accepted { warning: None });
    let counted =
        |m: &sluicebox_tests::account::Metrics| m.sum("dead_letter_left_out_entries", &[("reason", "unwritable")]) == 1;
    engine.until(BOUND, "it is counted", counted).await.unwrap();
    assert!(engine.process.stderr().contains("the dead letter cannot be written"), "{}", engine.process.stderr());
    std::fs::create_dir_all(engine.directory().join("no/such/folder")).unwrap();
    assert_eq!(send(&engine, Signal::Traces, spans.request(1, 1)).await, Answer::Accepted { warning: None });
    engine.until(BOUND, "it is written", |m| m.sum("dead_letter_entries", &[]) == 1).await.unwrap();
    let entry = entries(&engine.directory().join("no/such/folder/dead.jsonl")).remove(0);
    assert_eq!((&entry["outcome"], &entry["items"]), (&"passed".into(), &ITEMS.into()));
}
