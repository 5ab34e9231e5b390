//! What cannot be tried says why, and by its exit code; what fails while it is tried is shown.

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::command::{Done, guest, run};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::EARLY_RULE;
use sluicebox_tests::sink::{Behaviour, Sink};

use crate::lab::{printed, write};

const SPANS: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"},{"name":"b"}]}]}]}"#;
const LOGS: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityText":"a"}]}]}]}"#;
const FILTER: &str = "error_mode: ignore\ntraces: {span: ['name == \"a\"']}\n";

/// Exit code, nothing on stdout, and these in stderr.
fn said(done: &Done, code: i32, parts: &[&str]) {
    assert_eq!((done.code, done.stdout.as_str()), (Some(code), ""), "{done:?}");
    for part in parts {
        assert!(done.stderr.contains(part), "{part:?} in {}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let config = write(at, "filter.yaml", FILTER);
    let tried = async |text: &str| {
        let input = write(at, "input.json", text);
        run(at, &["try", "filter", "--config", &config, "--input", &input]).await.unwrap()
    };
    said(&tried("").await, 1, &["error[E0545]", "the input is empty", "help:"]);
    said(&tried("{\n  spans: 3}").await, 1, &["error[E0545]", "input.json", "not JSON", "line 2 column 3"]);
    said(&tried(&SPANS.replace("\"b\"", "7")).await, 1, &["not OTLP", "spans[1].name must be a string", "line 1"]);
    said(&tried("{\"spans\": []}").await, 1, &["resourceSpans"]);
    said(&tried(&format!("{SPANS}\n{LOGS}")).await, 1, &["the input is logs, and traces were to come"]);
    let large = SPANS.replace("\"b\"", &format!("\"{}\"", "b".repeat(9 << 20)));
    said(&tried(&large).await, 1, &["the input is larger than is tried", "8 MiB"]);
    let missing = run(at, &["try", "filter", "--config", &config, "--input", "nowhere.json"]).await.unwrap();
    said(&missing, 1, &["cannot read nowhere.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_that_are_none() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let input = write(at, "input.json", SPANS);
    let tried = async |arguments: &[&str]| run(at, &[&["try", "--input", &input], arguments].concat()).await.unwrap();
    let usage = tried(&[]).await;
    assert_eq!(usage.code, Some(2), "{usage:?}");
    let wrong = write(at, "wrong.yaml", "error_mode: ignore\ntraces: {span: ['name ==']}\n");
    said(&tried(&["filter", "--config", &wrong]).await, 3, &["error[E0310]", "refuses its configuration"]);
    let text = write(at, "text.wasm", "(module)");
    said(&tried(&[&text]).await, 3, &["error[E0547]", "text.wasm"]);
    said(&tried(&["missing.wasm"]).await, 3, &["missing.wasm"]);
    let engine = write(at, "engine.yaml", "receivers: 5\n");
    said(&tried(&["--config", &engine]).await, 3, &["error["]);
    let unreachable = ["filter/health", "--admin", "127.0.0.1:9"];
    said(&tried(&unreachable).await, 5, &["error[E0506]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_do_not_fit_the_input() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let pipelines =
        "{traces: {receivers: [otlp], exporters: [debug]}, traces/lab: {receivers: [otlp], exporters: [debug]}}";
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:4317'}}}}}}}}\nexporters: {{debug: }}\nservice: {{pipelines: {pipelines}}}\n"
    );
    let config = write(at, "engine.yaml", &text);
    let (spans, logs) = (write(at, "spans.json", SPANS), write(at, "logs.json", LOGS));
    let tried = async |input: &str, more: &[&str]| {
        run(at, &[&["try", "--config", &config, "--input", input], more].concat()).await.unwrap()
    };
    said(&tried(&spans, &[]).await, 1, &["error[E0546]", "traces, traces/lab", "--pipeline NAME"]);
    said(&tried(&logs, &[]).await, 1, &["no pipeline takes logs"]);
    said(&tried(&spans, &["--pipeline", "nope"]).await, 1, &["no pipeline \"nope\""]);
    said(&tried(&logs, &["--pipeline", "traces"]).await, 1, &["is for traces, and the input is logs"]);
    let good = tried(&spans, &["--pipeline", "traces/lab"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.contains("traces/lab: 2 of 2 spans come out"), "{}", good.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_fails_is_shown_with_how_it_failed() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let (bad, input) = (guest("misbehaving").unwrap(), write(at, "input.json", SPANS));
    let config = write(at, "config.yaml", "behaviour: trap\n");
    let arguments = ["try", &bad, "--config", &config, "--input", &input];
    let done = run(at, &arguments).await.unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (Some(1), ""), "{done:?}");
    assert!(done.stdout.contains("fault (trap) on 2, which pass"), "{}", done.stdout);
    assert!(done.stdout.contains("wasm trap: wasm `unreachable` instruction executed"), "{}", done.stdout);
    let done = run(at, &[&arguments[..], &["--output", "json"]].concat()).await.unwrap();
    let faults = &printed(&done)["steps"][0]["faults"];
    assert_eq!((done.code, &faults[0]["kind"]), (Some(1), &json!("trap")), "{faults}");
    // An endless loop meets its deadline.
    let config = write(at, "config.yaml", "behaviour: spin\n");
    let done = run(at, &["try", &bad, "--config", &config, "--input", &input]).await.unwrap();
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.stdout.contains("fault (deadline)"), "{}", done.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_refuses_with_codes() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config =
        Config::new().processor_of(Signal::Traces, "filter/health", &drop_spans(EARLY_RULE)).sink(sink.address, "");
    let engine = Engine::start(&config.text()).await.unwrap();
    let spans: Value = serde_json::from_str(SPANS).unwrap();
    let logs: Value = serde_json::from_str(LOGS).unwrap();
    let refused = async |body: Value, status: u16, code: &str, part: &str| {
        let (found, answer) = engine.post("/v1/try", "application/json", body.to_string().into()).await.unwrap();
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{body}: {answer}");
        assert!(answer.to_string().contains(part), "{part} in {answer}");
    };
    refused(json!({"stage": "filter/nope", "input": spans}), 404, "E0546", "filter/health").await;
    refused(json!({"pipeline": "nope", "input": spans}), 404, "E0546", "traces").await;
    refused(json!({"stage": "filter/health", "input": logs}), 400, "E0546", "is for traces").await;
    refused(json!({"stage": "filter/health", "pipeline": "traces", "input": spans}), 422, "E0546", "only one").await;
    refused(json!({"input": spans}), 422, "E0546", "name a stage or a pipeline").await;
    refused(json!({"stage": "filter/health", "input": 5}), 422, "E0545", "resourceSpans").await;
    refused(json!({"stage": "filter/health", "input": spans, "signal": "spans"}), 422, "E0545", "signal").await;
    refused(json!({"stage": "filter/health", "nope": 1, "input": spans}), 400, "E0545", "nope").await;
    refused(json!({"stage": "filter/health", "digest": "ab", "input": spans}), 404, "E0546", "/v1/components").await;
    let broken = json!({"traces": {"span": ["name =="]}});
    refused(json!({"stage": "filter/health", "config": broken, "input": spans}), 422, "E0547", "configure").await;
    let (input, config) = (
        write(engine.directory(), "input.json", SPANS),
        write(engine.directory(), "c.json", "{traces: {span: ['x==']}}"),
    );
    let done = engine.command(&["try", "filter/health", "--config", &config, "--input", &input]).await.unwrap();
    said(&done, 3, &["error[E0547]", "at step configure"]);
    let large = SPANS.replace("\"b\"", &format!("\"{}\"", "b".repeat(10 << 20)));
    let large = format!(r#"{{"stage": "filter/health", "input": {large}}}"#);
    let (status, _) = engine.post("/v1/try", "application/json", large.into()).await.unwrap();
    assert_eq!(status, 413);
    // A configuration that is sent may not look at the engine's files and environment.
    let text = "receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:4317'}}}}\nprocessors: {wasm/a: {component: /a.wasm}}\n\
                exporters: {debug: }\nservice: {pipelines: {traces: {receivers: [otlp], processors: [wasm/a], exporters: [debug]}}}\n";
    refused(json!({"config_text": text, "input": spans}), 422, "E0546", "names a file").await;
    let text = text.replace("{component: /a.wasm}", "${file:/etc/hostname}");
    refused(json!({"config_text": text, "input": spans}), 422, "E0546", "/etc/hostname").await;
    let text =
        text.replace("wasm/a: ${file:/etc/hostname}", "filter: {traces: {span: ['true']}}").replace("wasm/a", "filter");
    let body = json!({"config_text": text, "input": spans}).to_string();
    let (status, tried) = engine.post("/v1/try", "application/json", body.into()).await.unwrap();
    assert_eq!((status, &tried["records"], &tried["left"]), (200, &json!(2), &json!(0)), "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_tried() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&Config::new().sink(sink.address, "").text()).await.unwrap();
    let body = json!({"pipeline": "traces", "input": {}, "signal": "traces"}).to_string();
    let post = sluicebox_tests::client::post(engine.addresses.admin, "/v1/try", "application/json", body.into());
    assert_eq!(post.await.unwrap().0, 401);
}
