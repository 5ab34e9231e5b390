//! Stages one by one, the file without its secrets, and a stage that hangs.

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Engine, ask};
use sluicebox_tests::generate::EARLY_RULE;

use crate::lab::{BOUND, dropper, page, redactor, send, send_once, sink, until, workload};

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_tells_what_it_is_and_what_it_did() {
    const REQUESTS: u64 = 10;
    let sink = sink().await;
    let config = Config::new()
        .processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE))
        .processor_of(Signal::Traces, "wasm/trap", &dropper("trap", "memory_mib: 4, deadline: 750ms"))
        .sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let load = workload(Signal::Traces, 64);
    send(&engine, &load, 1, REQUESTS).await;
    engine.settled_account(BOUND).await.unwrap();

    let filter = page(&engine, "/v1/stages/filter%2Fhealth?window=5m").await;
    for (key, expected) in [
        ("stage", json!("filter/health")),
        ("role", json!("processor")),
        ("generation", json!(1)),
        ("component", json!("bundled filter")),
        ("edits", json!(false)),
        ("pipelines", json!(["traces"])),
    ] {
        assert_eq!(filter[key], expected, "{key}");
    }
    assert_eq!((&filter["health"]["state"], &filter["health"]["on_fault"]), (&"ok".into(), &"pass".into()));
    assert_eq!(filter["digest"].as_str().map(str::len), Some(64));
    assert_eq!(filter["items_in"]["count"], REQUESTS * load.items_per_request());
    let rules = filter["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0]["dropped"]["count"], load.matching(REQUESTS));
    let (p50, p99, max) = (
        &filter["timings"]["p50_microseconds"],
        &filter["timings"]["p99_microseconds"],
        &filter["timings"]["max_microseconds"],
    );
    assert!(p50.as_u64() > Some(0) && p50.as_u64() <= p99.as_u64() && p99.as_u64() <= max.as_u64(), "{filter:#}");
    assert_eq!(filter["timings"]["calls"], filter["calls"]["total"]);

    let trapping = page(&engine, "/v1/stages/wasm%2Ftrap").await;
    assert_eq!(trapping["last_fault"]["kind"], "trap");
    let message = trapping["last_fault"]["message"].as_str().unwrap();
    assert!(message.contains("unreachable"), "{message}");
    assert_eq!(trapping["limits"]["memory_bytes_max"], 4 << 20);
    assert_eq!((&trapping["limits"]["deadline_milliseconds"], &trapping["grants"]), (&750.into(), &json!(["state"])));
    let passed = REQUESTS * load.items_per_request() - load.matching(REQUESTS);
    assert_eq!(
        (&trapping["passed_unjudged"]["total"], &trapping["items_in"]["total"]),
        (&passed.into(), &passed.into())
    );
    assert!(trapping["faults"].as_array().unwrap().iter().any(|fault| fault["kind"] == "trap"));
    let names: Vec<_> = page(&engine, "/v1/stages").await["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["stage"].clone())
        .collect();
    assert_eq!(names, ["filter/health", "wasm/trap"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said() {
    let sink = sink().await;
    let engine = Engine::start(&Config::new().sink(sink.address, "").text()).await.unwrap();
    for (path, status, code) in [
        ("/v1/stages/filter%2Fnobody", 404, "E0523"),
        ("/v1/stages?window=0", 400, "E0530"),
        ("/v1/graph?window=1h", 400, "E0530"),
        ("/v1/status?window=soon", 400, "E0530"),
        ("/v1/config?view=raw", 400, "E0531"),
    ] {
        let (told, refusal) = ask(engine.addresses.admin, path, "application/json").await.unwrap();
        let refusal: Value = serde_json::from_str(&refusal).unwrap();
        assert_eq!((told, &refusal["code"]), (status, &Value::from(code)), "{path}: {refusal}");
    }
}

/// alloy#1835: a stage that hangs does not blank what is told of the others, nor of itself.
#[tokio::test(flavor = "multi_thread")]
async fn ui_survives_hung_stage() {
    let sink = sink().await;
    let config = Config::new()
        .processor_of(Signal::Traces, "wasm/hung", &dropper("spin", "memory_mib: 4, deadline: 20s"))
        .sink(sink.address, "");
    let engine = Engine::start_with(&config.text(), &["--workers", "1"]).await.unwrap();
    let (address, body) = (engine.addresses.grpc, workload(Signal::Traces, 4).request(1, 0));
    let hung = tokio::spawn(send_once(address, body));
    // The only worker has taken an instance into use, and is in its call.
    until(&engine, "/v1/stages/wasm%2Fhung", "it is called", |stage| stage["instances"]["total"] == 1).await;
    for path in ["/v1/status", "/v1/stages", "/v1/stages/wasm%2Fhung", "/v1/graph", "/v1/limits", "/v1/config"] {
        page(&engine, path).await;
    }
    for verb in ["status", "limits", "graph", "generations"] {
        assert_eq!(engine.command(&[verb]).await.unwrap().code, Some(0), "{verb}");
    }
    assert!(!hung.is_finished(), "all of this was asked while it hung");
    hung.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_shown_without_its_secrets() {
    let sink = sink().await;
    let headers = "headers: { authorization: Bearer hunter2, x-tenant: hunter3 }";
    let config = Config::new().processor_of(Signal::Traces, "wasm/redactor", &redactor("")).sink(sink.address, headers);
    let engine = Engine::start(&config.text()).await.unwrap();
    for view in ["source", "resolved"] {
        let shown = page(&engine, &format!("/v1/config?view={view}")).await;
        assert!(!shown.to_string().contains("hunter"), "{shown}");
        assert_eq!(shown["view"], view);
        let exporter = &shown["config"]["exporters"]["otlp/sink"];
        assert_eq!(exporter["headers"], json!({ "authorization": "(secret)", "x-tenant": "(secret)" }));
        assert_eq!(exporter["endpoint"], sink.address.to_string());
        assert_eq!(shown["config"]["processors"]["wasm/redactor"]["config"], json!({ "behaviour": "mask" }));
    }
}
