//! Capabilities through the engine: what is granted in the file, tables that change while it runs, and what is told of it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{Answer, Protocol, send_once};
use sluicebox_tests::command::{guest, run};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Addresses, Engine, get};
use sluicebox_tests::sink::{Behaviour, Sink};

const STAGE: &str = "lookup/owners";
const BOUND: Duration = Duration::from_secs(30);
const SECRET: &str = "planted-in-a-span";

/// A component that imports `lookup` and `logging` and exports what a processor does, without any code.
const ASKS: &str = r#"(component
    (import "sluicebox:telemetry/logging@0.1.0" (instance)) (import "sluicebox:telemetry/lookup@0.1.0" (instance))
    (instance $plugin) (export "sluicebox:telemetry/plugin@0.1.0" (instance $plugin))
    (instance $processor) (export "sluicebox:telemetry/processor@0.1.0" (instance $processor)))"#;

fn asks() -> Vec<u8> {
    wat::parse_str(ASKS).expect("valid text")
}

/// What `validate` prints of a file beside that component.
async fn validated(processor: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("asks.wasm"), asks()).unwrap();
    let nobody = Addresses::free().unwrap().grpc;
    let text = Config::new().processor("wasm/asks", processor).sink(nobody, "").text();
    std::fs::write(directory.path().join("sluicebox.yaml"), Addresses::free().unwrap().fill(&text)).unwrap();
    let done = run(directory.path(), &["validate", "--config", "sluicebox.yaml"]).await.unwrap();
    assert_eq!(done.code, Some(3), "{done:?}");
    done.stdout.replace(&directory.path().display().to_string(), "DIRECTORY")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_not_granted_is_refused_at_its_line() {
    let digest = sluicebox::wasm::digest(&asks());
    let told = validated("component: ./asks.wasm, grants: [log, clock]").await;
    let expected = format!(
        "error[E0312]: processor \"wasm/asks\" asks for a capability it was not granted\n  --> sluicebox.yaml:8:48\n   |  8 |   \
         wasm/asks: {{ component: ./asks.wasm, grants: [log, clock] }}\n   |{:>54}\n  detail: ./asks.wasm (sha256:{}) imports \
         `lookup`, which has to be granted as `lookup`\n  help:   add \"lookup\" to \"grants\", or see what the component may do: \
         sluicebox inspect ./asks.wasm\n\nsluicebox.yaml: 1 error, 0 warnings\n",
        "^",
        &digest[..12],
    );
    assert_eq!(told, expected);
    let told = validated("component: ./asks.wasm").await;
    let detail = "imports `logging`, which has to be granted as `log`, `lookup`, which has to be granted as `lookup`";
    for part in ["--> sluicebox.yaml:8:3\n", detail, "help:   add \"log\" and \"lookup\" to \"grants\""] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // With its grants it fails where it should: it has no code.
    let told = validated("component: ./asks.wasm, grants: [log, lookup]").await;
    assert!(told.contains("error[E0310]") && told.contains("does not match sluicebox:telemetry@0.1.0"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_says_which_grants_are_needed() {
    let directory = tempfile::tempdir().unwrap();
    let file = guest("misbehaving-enricher").unwrap();
    let done = run(directory.path(), &["inspect", &file]).await.unwrap();
    assert!(done.stdout.contains("\ngrants     [log, metrics, clock, lookup]\n"), "{}", done.stdout);
    let done = run(directory.path(), &["inspect", &file, "--output", "json"]).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(json["grants"], serde_json::json!(["log", "metrics", "clock", "lookup"]));
    let done = run(directory.path(), &["inspect", "filter"]).await.unwrap();
    assert!(done.stdout.contains("\ngrants     none needed\n"), "{}", done.stdout);
}

fn keys(set: &str) -> String {
    let key = "resource.attributes[\"service.name\"]";
    format!("tables: {{ owners: {{ file: owners.csv, key: service }} }}, table: owners, key: '{key}', set: {{ {set} }}")
}

/// `lookup/owners`, and a stage that nothing happens to.
async fn engine(sink: &Sink, arguments: &[&str], table: &str) -> Engine {
    let config = Config::new()
        .processor(STAGE, &keys("team: team"))
        .processor("filter/other", &drop_spans("name == \"nothing has this name\""))
        .sink(sink.address, "")
        .verbose()
        .text();
    let started = Engine::start_in(arguments, |directory, addresses| {
        std::fs::write(directory.join("owners.csv"), table)?;
        Ok(std::fs::write(directory.join("sluicebox.yaml"), addresses.fill(&config))?)
    });
    started.await.unwrap()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn request(service: &str) -> Bytes {
    let resource = Resource { attributes: vec![attribute("service.name", service)], ..Resource::default() };
    let span = Span { trace_id: vec![1; 16], span_id: vec![1; 8], name: SECRET.to_owned(), ..Span::default() };
    let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    let spans = ResourceSpans { resource: Some(resource), scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec().into()
}

/// The team that the resource of a request of `cart` has when it arrives.
async fn team(engine: &Engine, sink: &Sink) -> Option<String> {
    let before = sink.kept(Signal::Traces).len();
    let answer = send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, request("cart")).await.unwrap();
    assert_eq!(answer, Answer::Accepted { warning: None });
    engine.settled_account(BOUND).await.unwrap();
    let arrived = sink.kept(Signal::Traces);
    assert_eq!(arrived.len(), before + 1);
    let request = ExportTraceServiceRequest::decode(arrived[before].clone()).unwrap();
    let attributes = &request.resource_spans[0].resource.as_ref().unwrap().attributes;
    let team = attributes.iter().find(|attribute| attribute.key == "team")?;
    match team.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

async fn until_generation(engine: &Engine, stage: &str, generation: u64) {
    let serves = |m: &Metrics| m.sum("stage_generation", &[("stage", stage)]) == generation;
    engine.until(BOUND, &format!("generation {generation}"), serves).await.unwrap();
}

async fn until_said(engine: &Engine, parts: &[&str]) {
    let said = |_: &Metrics| {
        let stderr = engine.process.stderr();
        parts.iter().all(|part| stderr.contains(part))
    };
    engine.until(BOUND, &format!("it says {parts:?}"), said).await.unwrap();
}

fn write(directory: &Path, file: &str, text: &str) {
    let new = directory.join(format!("{file}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, directory.join(file)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_is_followed_and_a_broken_one_changes_nothing() {
    let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
    let engine = engine(&sink, &["--watch"], "service,team\ncart,red\n").await;
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("red"));
    write(engine.directory(), "owners.csv", "service,team\ncart,blue\n");
    until_generation(&engine, STAGE, 2).await;
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("blue"));

    // Of every kind: no table, no such column, no memory of what was there before.
    for (text, told) in [
        ("service,team\ncart,red\ncart,blue\n", "line 3: the key is that of line 2, too"),
        ("service,team\ncart\n", "line 2: 1 values, but the header has 2"),
        ("name,team\ncart,red\n", "it has no column \"service\"; it has: name, team"),
    ] {
        write(engine.directory(), "owners.csv", text);
        until_said(&engine, &["error[E0313]", told]).await;
        assert_eq!(team(&engine, &sink).await.as_deref(), Some("blue"), "{told}");
    }
    write(engine.directory(), "owners.csv", "service,group\ncart,red\n");
    until_said(&engine, &["failed at step configure", "table `owners` has no column `team`"]).await;
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("blue"));
    std::fs::remove_file(engine.directory().join("owners.csv")).unwrap();
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("blue"));

    write(engine.directory(), "owners.csv", "service,team\ncheckout,green\n");
    until_generation(&engine, STAGE, 3).await;
    assert_eq!(team(&engine, &sink).await, None);
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("stage_generation", &[("stage", "filter/other")]), 1);
    assert_eq!(metrics.sum("stage_swaps", &[("stage", "filter/other")]), 0);
    let keys = |what: &str| metrics.sum(&format!("guest_lookup_keys_{what}"), &[("stage", STAGE), ("table", "owners")]);
    assert_eq!((keys("found"), keys("missed")), (7, 1), "kept over swaps");
    tells_no_telemetry(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reads_tables_again() {
    let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
    let mut engine = engine(&sink, &[], "service,team\ncart,red\n").await;
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("red"));
    write(engine.directory(), "owners.csv", "service,team\ncart,blue\n");
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("red"), "nobody has asked yet");
    engine.process.signal(rustix::process::Signal::HUP);
    until_generation(&engine, STAGE, 2).await;
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("blue"));
    write(engine.directory(), "owners.csv", "service,team\n,blue\n");
    engine.process.signal(rustix::process::Signal::HUP);
    until_said(&engine, &["error[E0313]", "line 2: there is no key", "nothing was changed"]).await;
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("blue"));
}

/// A broken table does not start, and what is wrong is told at its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_table_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("owners.csv"), "service,team\ncart,red\ncart,blue\n").unwrap();
    let nobody = Addresses::free().unwrap().grpc;
    let text = Config::new().processor(STAGE, &keys("team: team")).sink(nobody, "").text();
    std::fs::write(directory.path().join("sluicebox.yaml"), Addresses::free().unwrap().fill(&text)).unwrap();
    for arguments in [&["validate", "--config", "sluicebox.yaml"][..], &["--config", "sluicebox.yaml"]] {
        let done = run(directory.path(), arguments).await.unwrap();
        assert_eq!(done.code, Some(3), "{done:?}");
        let told = done.stdout + &done.stderr;
        for part in ["error[E0313]", "--> sluicebox.yaml:8:", "line 3: the key is that of line 2, too"] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}

fn misbehaving(behaviour: &str) -> String {
    let component = guest("misbehaving-enricher").unwrap();
    let config = serde_json::json!({
        "behaviour": behaviour, "say": ["configured"], "lines": ["{} spans and {}"], "metrics": [{"name": "seen", "help": "What was seen"}],
    });
    format!("component: {component}, grants: [log, metrics, clock, lookup], config: {config}")
}

async fn tells_no_telemetry(engine: &Engine) {
    let page = get(engine.addresses.metrics, "/metrics").await.unwrap();
    for (what, text) in [("stderr", engine.process.stderr()), ("stdout", engine.process.stdout()), ("/metrics", page)] {
        assert!(!text.contains(SECRET), "{what}: {text}");
    }
}

/// What a component says is in the log, what it counts on the page; what it tries to smuggle out is in neither.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_component_tells_is_told_and_no_telemetry() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config =
        Config::new().processor_of(Signal::Traces, "wasm/bad", &misbehaving("say")).sink(sink.address, "").verbose();
    let engine = Engine::start(&config.text()).await.unwrap();
    let send =
        async || send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, request("cart")).await.unwrap();
    assert_eq!(send().await, Answer::Accepted { warning: None });
    until_said(&engine, &["component: configured", "component: 1 spans and 0.5"]).await;
    assert_eq!(engine.process.stderr().matches("component: configured").count(), 1);
    for behaviour in ["say_telemetry", "open_line", "open_metric", "open_table", "count_and_fail", "say_and_trap"] {
        let (_, config) =
            misbehaving(behaviour).split_once("config: ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        engine.swap_config("wasm/bad", &config).await.unwrap();
        assert_eq!(send().await, Answer::Accepted { warning: None }, "an enricher that faults is passed");
    }
    engine.settled_account(BOUND).await.unwrap();
    let metrics = engine.metrics().await.unwrap();
    assert!(metrics.sum("stage_faults", &[("stage", "wasm/bad")]) >= 6);
    assert!(metrics.has("guest_seen", &[("stage", "wasm/bad")]));
    assert!(metrics.sum("stage_log_lines", &[("stage", "wasm/bad")]) >= 2);
    tells_no_telemetry(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_to_what_was_not_granted_is_refused_at_link() {
    let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
    let engine = engine(&sink, &[], "service,team\ncart,red\n").await;
    let file = guest("misbehaving-enricher").unwrap();
    let done = engine.command(&["swap", STAGE, &file]).await.unwrap();
    assert_eq!(done.code, Some(6), "{done:?}");
    for part in ["step link", "generation 1 is still serving", "imports `logging`, which has to be granted as `log`"] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("red"));
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("stage_swaps", &[("stage", STAGE), ("result", "link")]), 1);
    // What has the grants of the bundled one may take its place.
    let done = engine.command(&["swap", STAGE, &guest("lookup").unwrap()]).await.unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert_eq!(team(&engine, &sink).await.as_deref(), Some("red"));
}
