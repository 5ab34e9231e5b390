//! The graph of a file, drawn; and of the engine that runs it.

use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::command::run;
use sluicebox_tests::engine::{Engine, TELEMETRY};
use sluicebox_tests::golden::golden;

use crate::lab::{page, send, sink, workload};

/// Receivers that are shared and that are not, stages in several pipelines, all kinds of steps, two exporters.
const FILE: &str = "\
receivers:
  otlp: { protocols: { grpc: { endpoint: \"$GRPC\" } } }
  otlp/more: { protocols: { http: { endpoint: \"$HTTP\" } } }
processors:
  memory_limiter: { check_interval: 1s, limit_mib: 400, spike_limit_mib: 10 }
  filter/health: { error_mode: ignore, traces: { span: ['attributes[\"http.route\"] == \"/health\"'] } }
  attributes: { actions: [{ key: env, value: \"a\\\"b<c>\", action: insert }] }
  tail_sampling:
    decision_wait: 200ms
    num_shards: 1
    policies:
      - { name: errors, type: status_code, status_code: { status_codes: [ERROR] } }
      - { name: some, type: probabilistic, probabilistic: { sampling_percentage: 10 } }
  batch: { timeout: 100ms }
exporters:
  otlp/sink: { endpoint: \"$SINK\", tls: { insecure: true } }
  debug: { verbosity: basic }
service:
  $TELEMETRY
  pipelines:
    traces: { receivers: [otlp, otlp/more], processors: [memory_limiter, filter/health, tail_sampling, attributes, batch], exporters: [otlp/sink, debug] }
    logs: { receivers: [otlp], processors: [attributes], exporters: [otlp/sink] }
    metrics/bare: { receivers: [otlp/more], exporters: [debug] }
";

fn file(sink: &str) -> String {
    FILE.replace("$SINK", sink).replace("$TELEMETRY", TELEMETRY)
}

async fn drawn(format: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let addresses = ["$GRPC", "$HTTP", "$METRICS"];
    let text = addresses
        .iter()
        .zip(1..)
        .fold(file("127.0.0.1:4"), |text, (place, port)| text.replace(place, &format!("127.0.0.1:{port}")));
    std::fs::write(directory.path().join("all.yaml"), text).unwrap();
    let done = run(directory.path(), &["graph", "--config", "all.yaml", "--format", format]).await.unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{format}");
    done.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_everything_is_drawn() {
    for format in ["mermaid", "dot", "json"] {
        golden(&format!("graph-{format}"), &drawn(format).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_valid_is_3() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bad.yaml"), "receivers: 5\n").unwrap();
    let done = run(directory.path(), &["graph", "--config", "bad.yaml"]).await.unwrap();
    assert_eq!((done.code, done.stdout.as_str()), (Some(3), ""));
    assert!(done.stderr.contains("error[E") && done.stderr.contains("bad.yaml:1"), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_what_the_file_says_and_rates_come_on_top() {
    let sink = sink().await;
    let engine = Engine::start(&file(&sink.address.to_string())).await.unwrap();
    let graph = engine.command(&["graph", "--output", "json"]).await.unwrap();
    let (running, of_file): (Value, Value) =
        (serde_json::from_str(&graph.stdout).unwrap(), serde_json::from_str(&drawn("json").await).unwrap());
    assert_eq!(running, of_file);

    send(&engine, &workload(Signal::Traces, 64), 1, 4).await;
    engine
        .until(crate::lab::BOUND, "all are decided", |metrics| {
            metrics.sum("tail_waiting_spans", &[]) == 0 && metrics.sum("tail_decided_spans", &[]) > 0
        })
        .await
        .unwrap();
    let live = page(&engine, "/v1/graph").await;
    let shape = |graph: &Value, key: &str| -> Vec<String> {
        let is_flow = |one: &&Value| one["drop"].is_null() && one["kind"] != "dropped";
        let name = |one: &Value| format!("{} {} {}", one["id"], one["from"], one["to"]);
        graph[key].as_array().unwrap().iter().filter(is_flow).map(name).collect()
    };
    for key in ["nodes", "edges"] {
        assert_eq!(shape(&live, key), shape(&of_file, key));
    }
    let drops: Vec<_> = live["edges"].as_array().unwrap().iter().filter(|edge| !edge["drop"].is_null()).collect();
    let reasons: Vec<_> = drops.iter().map(|edge| edge["drop"]["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains(&"rule") && reasons.contains(&"not_sampled"), "{reasons:?}");
    let done = engine.command(&["graph", "--live"]).await.unwrap();
    assert!(done.stdout.starts_with("flowchart LR\n") && done.stdout.contains("-.->|\"rule "), "{}", done.stdout);
}
