//! Tail samplers decide at once, and as the engine's do: `sluicebox why` is the oracle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Plan, Source as _};
use sluicebox_tests::config::otlp;
use sluicebox_tests::engine::{Engine, TELEMETRY};
use sluicebox_tests::items::Request;
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::traces::{Shape, Traces, hex};

use crate::lab::{as_json, decoded, output, printed, step, write};

const SAMPLER: &str = "tail_sampling/lab";
const BOUND: Duration = Duration::from_secs(60);
/// Traces that `why` is asked about.
const ASKED: usize = 12;

fn config(sink: &Sink) -> String {
    let policies = json!([
        { "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
        { "name": "blue", "type": "string_attribute", "string_attribute": { "key": "deployment.ring", "values": ["blue"] } },
        { "name": "some", "type": "probabilistic", "probabilistic": { "sampling_percentage": 25 } },
    ]);
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"$GRPC\" }} }} }} }}\n\
         processors:\n  {SAMPLER}: {{ policies: {policies}, decision_wait: 2s }}\n  attributes/after: {{ actions: [ {{ key: tried, value: 1, action: insert }} ] }}\n\
         exporters:\n  otlp: {{ {} }}\n\
         service:\n  {TELEMETRY}\n  pipelines: {{ traces: {{ receivers: [otlp], processors: [{SAMPLER}, attributes/after], exporters: [otlp] }} }}\n",
        otlp(sink.address, ""),
    )
}

/// Each span with its attributes, in any order of requests.
fn spans(requests: Vec<Request>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for request in requests {
        let Request::Traces(request) = request else { panic!("of spans") };
        for span in request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|scope| &scope.spans) {
            assert!(all.insert(format!("{span:?}")), "once: {span:?}");
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_the_engines() {
    let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
    let engine = Engine::start(&config(&sink)).await.unwrap();
    let traces = Traces::new(Shape { late_percent: 0, failing_percent: 20, ..Shape::new(11, 1_500) });
    let requests = traces.on_time();
    let sent = client::run(engine.addresses.grpc, &requests, 1, Plan::grpc(requests.count())).await.unwrap();
    assert_eq!(sent.first_failure(), None);
    let lines: Vec<_> = (0..requests.count()).map(|n| as_json(Signal::Traces, &requests.request(1, n))).collect();
    let input = write(engine.directory(), "input.ndjson", &lines.join("\n"));
    engine.settled_account(BOUND).await.unwrap();

    let file = engine.config_file().display().to_string();
    for arguments in [&["--config", &file][..], &["--pipeline", "traces"]] {
        let done =
            engine.command(&[&["try", "--output", "json", "--input", &input], arguments].concat()).await.unwrap();
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        let tried = printed(&done);
        assert_eq!(spans(output(Signal::Traces, &tried)), spans(decoded(Signal::Traces, &sink.kept(Signal::Traces))));
        let sampler = step(&tried, SAMPLER);
        assert_eq!(sampler["shown"], traces.all().len(), "{arguments:?}");
        same_as_why(&engine, &traces, sampler).await;
    }
}

async fn same_as_why(engine: &Engine, traces: &Arc<Traces>, sampler: &Value) {
    let decisions = sampler["decisions"].as_array().unwrap();
    let mut seen = BTreeSet::new();
    for trace in traces.all().iter().take(ASKED) {
        let id = hex(&trace.id);
        let done = engine.command(&["why", &id, "--json"]).await.unwrap();
        assert_eq!(done.code, Some(0), "{done:?}");
        let why: Value = serde_json::from_str(&done.stdout).unwrap();
        let why = &why["samplers"][0];
        let tried = decisions.iter().find(|decision| decision["trace_id"] == id.as_str()).unwrap();
        // Asked early, with some of the spans there, the engine may have settled it by another policy that keeps it.
        let is_early = why["trigger"] == "early";
        let keys = ["state", "policy", "probability", "spans"];
        for key in keys.into_iter().take(if is_early { 1 } else { keys.len() }) {
            assert_eq!(tried.get(key), why.get(key), "{key} of {id}");
        }
        assert_eq!(tried["trigger"], "decision_wait");
        assert_eq!(tried["votes"].as_array().unwrap().len(), 1, "one stage holds all policies: {tried}");
        seen.insert((why["state"].to_string(), why["policy"].to_string()));
    }
    assert!(seen.len() > 2, "kept by several policies, and dropped: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampler_is_tried_alone_by_its_name() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink)).await.unwrap();
    let traces = Traces::new(Shape { late_percent: 0, ..Shape::new(3, 200) });
    let requests = traces.on_time();
    let input = write(engine.directory(), "input.json", &as_json(Signal::Traces, &requests.request(1, 0)));
    let done = engine.command(&["try", SAMPLER, "--output", "json", "--input", &input]).await.unwrap();
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    let tried = printed(&done);
    assert_eq!(tried["steps"][0]["name"], SAMPLER);
    assert!(tried["steps"].as_array().unwrap().iter().all(|step| step["name"] != "attributes/after"));
    assert!(sink.kept(Signal::Traces).is_empty(), "nothing was sent");
}
