//! Which traces are kept, trace by trace, against a separate script: the blocks of files that users bring along, and more policies.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Protocol, Source, send_once};
use sluicebox_tests::engine::{Engine, Process, binary, environment, workspace};
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::traces::{Shape, Traces};

use crate::lab::{
    BOUND, DECIDED_TRACES, LATE_SPANS, Lab, config, decided_in_time, expected, late_dropped, of_sampler, same_traces,
    spans,
};

const BASICS: &str = "collector-tail-sampling-basics";

#[tokio::test(flavor = "multi_thread")]
async fn basics_with_defaults() {
    let policies = json!([
        { "name": "error-traces", "status_code": { "status_codes": ["ERROR"] } },
        { "name": "slow-traces", "latency": { "threshold_ms": 1000 } },
    ]);
    check_block(BASICS, "tail_sampling", &policies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn basics_lab() {
    let policies = json!([
        { "type": "status_code", "status_code": { "status_codes": ["ERROR", "UNSET"] } },
        { "type": "latency", "latency": { "threshold_ms": 1000 } },
        { "type": "probabilistic", "probabilistic": { "sampling_percentage": 10 } },
    ]);
    check_block(BASICS, "tail_sampling/lab", &policies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn basics_two_percent() {
    let policies = json!([
        { "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
        { "type": "latency", "latency": { "threshold_ms": 1000 } },
        { "type": "probabilistic", "probabilistic": { "sampling_percentage": 2 } },
    ]);
    check_block(BASICS, "tail_sampling/two-percent", &policies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn production_template() {
    let policies = json!([
        { "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
        { "type": "latency", "latency": { "threshold_ms": 500 } },
        { "type": "probabilistic", "probabilistic": { "sampling_percentage": 10 } },
    ]);
    check_block("collector-production-template", "tail_sampling", &policies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_reference() {
    let policies = json!([
        { "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
        { "type": "latency", "latency": { "threshold_ms": 1000 } },
    ]);
    check_block("collector-quick-reference", "tail_sampling", &policies).await;
}

/// Attributes of spans and resources, nested policies, one that drops.
#[tokio::test(flavor = "multi_thread")]
async fn policies_of_many_types() {
    let policies = json!([
        { "name": "checkout", "type": "and", "and": { "and_sub_policy": [
            { "name": "service", "type": "string_attribute",
              "string_attribute": { "key": "service.name", "values": ["payment", "checkout"] } },
            { "name": "not-small", "type": "span_count", "span_count": { "min_spans": 4 } },
            { "name": "some", "type": "probabilistic", "probabilistic": { "sampling_percentage": 50 } },
        ] } },
        { "name": "slowish", "type": "latency", "latency": { "threshold_ms": 500, "upper_threshold_ms": 1000 } },
        { "name": "paths", "type": "string_attribute", "string_attribute":
            { "key": "http.route", "values": ["^/api/v[0-9]+/"], "enabled_regex_matching": true } },
        { "name": "failed", "type": "and", "and": { "and_sub_policy": [
            { "name": "code", "type": "numeric_attribute",
              "numeric_attribute": { "key": "http.response.status_code", "min_value": 500, "max_value": 599 } },
            { "name": "retried", "type": "boolean_attribute", "boolean_attribute": { "key": "retried", "value": true } },
        ] } },
        { "name": "single", "type": "and", "and": { "and_sub_policy": [
            { "name": "one", "type": "span_count", "span_count": { "max_spans": 1 } },
            { "name": "not-ok", "type": "not", "not": { "not_sub_policy":
                { "name": "ok", "type": "status_code", "status_code": { "status_codes": ["OK"] } } } },
        ] } },
        { "name": "no-health", "type": "drop", "drop": { "drop_sub_policy": [
            { "name": "health", "type": "string_attribute", "string_attribute": { "key": "http.route", "values": ["/health"] } },
            { "name": "blue", "type": "string_attribute", "string_attribute": { "key": "deployment.ring", "values": ["blue"] } },
        ] } },
    ]);
    check(&format!("{{ policies: {policies}, $KEYS }}"), &policies).await;
}

/// A block of a file as it stands there, but for how long traces wait and how many may.
async fn check_block(case: &str, name: &str, policies: &Value) {
    let lines = block(case, name);
    let own =
        lines.iter().filter(|line| !["    decision_wait:", "    num_traces:"].iter().any(|key| line.starts_with(key)));
    let own: Vec<_> = own.cloned().collect();
    check(&format!("\n{}\n    $KEYS", own.join("\n")), policies).await;
}

/// Sends late and mixed traces; what arrives is what the script says. `$KEYS` in the block stands for the test's own keys.
async fn check(block: &str, policies: &Value) {
    let spans = spans();
    let traces = Traces::new(Shape::new(7, spans));
    let expected = expected(&traces, policies);
    let share = expected.len() as f64 / traces.all().len() as f64;
    assert!((0.01..0.99).contains(&share), "{share} of the traces are to be kept, which shows little");
    // All that is not late comes in this time, on a slow machine too.
    let wait = Duration::from_secs(5 + spans / 20_000);
    let memory_mib = 64 + spans / 1024;
    let keys = [
        ("decision_wait", format!("{}s", wait.as_secs())),
        ("num_traces", spans.to_string()),
        ("memory_mib", memory_mib.to_string()),
    ];
    let is_flow = block.starts_with('{');
    let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    let block = block.replace("$KEYS", &keys.join(if is_flow { ", " } else { "\n    " }));
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&block, 2 * memory_mib + 256, &sink)).await.unwrap();
    let lab = Lab { sink, engine };

    let (on_time, late) = (traces.on_time(), traces.late());
    lab.send(&on_time).await;
    let metrics = lab.decided(wait).await;
    assert_eq!(decided_in_time(&metrics), traces.all().len() as u64);
    // Only what drops for good can drop early.
    assert!(policies.to_string().contains("drop_sub_policy") || late_dropped(&metrics) == 0, "all came in time");
    let followed = of_sampler(&metrics, LATE_SPANS);
    lab.send(&late).await;
    let metrics = lab.decided(Duration::ZERO).await;

    assert_eq!(of_sampler(&metrics, LATE_SPANS), followed + late.spans());
    assert_eq!(of_sampler(&metrics, DECIDED_TRACES), traces.all().len() as u64, "one decision for each trace");
    same_traces(&traces, &lab.sink, &expected);
}

/// The lines of a processor's block.
fn block(case: &str, name: &str) -> Vec<String> {
    let file = workspace().join("tests/cases/config").join(case).join("config.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let head = format!("  {name}:");
    let lines = text.lines().skip_while(|line| **line != head).skip(1);
    let lines: Vec<_> = lines.take_while(|line| line.starts_with("   ")).map(str::to_owned).collect();
    assert!(lines.iter().any(|line| line == "    policies:"), "no block {name} in {case}");
    lines
}

/// Three samplers in one file, on the usual ports, for which the test waits.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_basics_runs_unchanged() {
    let file = workspace().join("tests/cases/config").join(BASICS).join("config.yaml");
    let addresses = ["127.0.0.1:4317", "127.0.0.1:4318"];
    let end = Instant::now() + BOUND;
    while addresses.iter().any(|address| std::net::TcpListener::bind(address).is_err()) {
        assert!(Instant::now() < end, "{addresses:?} are taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(binary().unwrap());
    command.arg("--config").arg(file).envs(environment(directory.path())).current_dir(directory.path());
    let mut process = Process::spawn(command, directory).unwrap();
    let listens = || addresses.iter().all(|address| std::net::TcpStream::connect(address).is_ok());
    process.until(BOUND, "accept", listens).await.unwrap();

    let traces = Traces::new(Shape { late_percent: 0, ..Shape::new(1, 200) });
    let requests = traces.on_time();
    for number in 0..requests.count() {
        let answer =
            send_once(addresses[0].parse().unwrap(), Protocol::Grpc, Signal::Traces, requests.request(1, number));
        assert_eq!(answer.await.unwrap(), Answer::Accepted { warning: None });
    }
    let status = process.stop().unwrap();
    assert!(status.success(), "{status}: {}", process.stderr());
}
