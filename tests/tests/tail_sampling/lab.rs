//! What the tests of tail sampling share: an engine with one sampler, a sink, the script that knows which traces are kept.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Plan};
use sluicebox_tests::config::otlp;
use sluicebox_tests::engine::{Engine, TELEMETRY, workspace};
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::traces::{Requests, Traces};

/// The sampler's name, and that of the stage of its policies.
pub const SAMPLER: &str = "tail_sampling/lab";
pub const BOUND: Duration = Duration::from_secs(60);

/// Names of metrics.
pub const WAITING_TRACES: &str = "tail_waiting_traces";
pub const WAITING_SPANS: &str = "tail_waiting_spans";
pub const DECIDED_TRACES: &str = "tail_decided_traces";
pub const LATE_SPANS: &str = "tail_late_spans";
pub const TAIL_BYTES: &str = "tail_bytes";
/// Of a sampler's memory a part is for what is kept and not yet sent.
pub const OUTGOING_BYTES: &str = "tail_outgoing_bytes";
pub const TAIL_BYTES_LIMIT: &str = "tail_bytes_limit";
/// Why spans are dropped by a sampler; others than these must not occur.
pub const REASONS: [&str; 6] = ["not_sampled", "late", "memory_pressure", "shutdown", "trace_too_large", "tail_full"];

/// Spans of the larger runs.
pub fn spans() -> u64 {
    std::env::var("SLUICEBOX_TAIL_SPANS").ok().and_then(|spans| spans.parse().ok()).unwrap_or(20_000)
}

/// One sampler between a sink and what is sent.
pub struct Lab {
    pub sink: Sink,
    pub engine: Engine,
}

impl Lab {
    /// `block`: the sampler's keys, in flow style without the braces. `limit_mib`: of the whole process.
    pub async fn start(block: &str, limit_mib: u64, behaviour: Behaviour) -> Self {
        let sink = Sink::start(behaviour).await.unwrap();
        let config = config(&format!("{{ {block} }}"), limit_mib, &sink);
        Self { engine: Engine::start(&config).await.unwrap(), sink }
    }

    /// Sends all of it as run 1, and waits until each request was accepted.
    pub async fn send(&self, requests: &Arc<Requests>) {
        let plan = Plan::grpc(requests.count());
        let report = client::run(self.engine.addresses.grpc, requests, 1, plan).await.unwrap();
        assert_eq!(report.first_failure(), None);
    }

    /// Waits until nothing waits and nothing is under way; the account holds then.
    pub async fn decided(&self, wait: Duration) -> Metrics {
        self.engine.settled_account(wait + BOUND).await.unwrap()
    }
}

/// A file with one sampler; `block` as it stands after the name.
pub fn config(block: &str, limit_mib: u64, sink: &Sink) -> String {
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"$GRPC\" }} }} }} }}\n\
         processors:\n  memory_limiter: {{ check_interval: 1s, limit_mib: {limit_mib}, spike_limit_mib: 1 }}\n  {SAMPLER}: {block}\n\
         exporters:\n  otlp: {{ {} }}\n\
         service:\n  {TELEMETRY}\n  pipelines: {{ traces: {{ receivers: [otlp], processors: [memory_limiter, {SAMPLER}], exporters: [otlp] }} }}\n",
        otlp(sink.address, ""),
    )
}

/// The sum of a metric of the sampler.
pub fn of_sampler(metrics: &Metrics, name: &str) -> u64 {
    metrics.sum(name, &[("sampler", SAMPLER)])
}

/// Spans that the sampler dropped, each with a reason that is known.
pub fn dropped(metrics: &Metrics) -> u64 {
    let of = |reason| metrics.sum("pipeline_dropped_items", &[("stage", SAMPLER), ("reason", reason)]);
    let dropped = REASONS.iter().map(|reason| of(reason)).sum();
    assert_eq!(dropped, metrics.sum("pipeline_dropped_items", &[]), "each drop has one of these reasons: {REASONS:?}");
    dropped
}

/// Traces that were decided because their time had come, or before it as nothing could change any more.
pub fn decided_in_time(metrics: &Metrics) -> u64 {
    let at = |trigger| metrics.sum(DECIDED_TRACES, &[("sampler", SAMPLER), ("trigger", trigger)]);
    at("decision_wait") + at("early")
}

/// Late spans of dropped traces.
pub fn late_dropped(metrics: &Metrics) -> u64 {
    metrics.sum(LATE_SPANS, &[("sampler", SAMPLER), ("decision", "dropped")])
}

/// The ids that the separate script says are kept: tests/python/tail_expected.py.
pub fn expected(traces: &Traces, policies: &Value) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let (list, rules) = (folder.path().join("traces.jsonl"), folder.path().join("policies.json"));
    traces.write_list(&list).unwrap();
    std::fs::write(&rules, policies.to_string()).unwrap();
    let script = workspace().join("tests/python/tail_expected.py");
    let output = Command::new("python3").arg(script).arg(list).arg(rules).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// What arrived is exactly what was to be kept, trace by trace.
pub fn same_traces(traces: &Traces, sink: &Sink, expected: &BTreeSet<String>) {
    let kept = traces.kept(&sink.take_seen(Signal::Traces, 1)).unwrap();
    let wrongly: Vec<_> = kept.difference(expected).take(5).collect();
    let missing: Vec<_> = expected.difference(&kept).take(5).collect();
    assert!(
        wrongly.is_empty() && missing.is_empty(),
        "{} kept, {} expected; wrongly kept {wrongly:?}, missing {missing:?}",
        kept.len(),
        expected.len()
    );
}
