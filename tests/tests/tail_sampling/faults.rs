//! A policy that fails: the fallback decides, each span is accounted for, nothing of it is told, and the next good one serves.

use std::time::Duration;

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Plan};
use sluicebox_tests::command::guest;
use sluicebox_tests::sink::Behaviour;
use sluicebox_tests::traces::{Shape, Traces};

use crate::lab::{BOUND, Lab, SAMPLER, dropped, expected, same_traces};

/// What the fallback keeps of the traces without an error.
const FALLBACK_PERCENT: u64 = 25;
const FALLBACK_TRACES: &str = "tail_fallback_traces";

#[tokio::test(flavor = "multi_thread")]
async fn the_fallback_stands_in_for_a_policy_that_fails() {
    // A misdeed, and how it is counted.
    for (behaviour, kind) in
        [("trap", "trap"), ("spin", "deadline"), ("allocate", "memory"), ("error_with_names", "returned_error")]
    {
        let component = guest("misbehaving-policy").unwrap();
        let policy = format!("{{ name: mine, component: {component}, config: {{ behaviour: {behaviour} }} }}");
        let block = format!("decision_wait: 1s, fallback_percentage: {FALLBACK_PERCENT}, policies: [{policy}]");
        let lab = Lab::start(&block, 512, Behaviour { keep: true, ..Behaviour::default() }).await;
        let stage = format!("{SAMPLER}:mine");
        let traces = Traces::new(Shape { late_percent: 0, failing_percent: 20, ..Shape::new(12, 1_000) });
        lab.send(&traces.on_time()).await;

        let metrics = lab.decided(Duration::from_secs(1)).await;
        same_traces(&traces, &lab.sink, &expected(&traces, &fallback()));
        assert_eq!(metrics.sum(FALLBACK_TRACES, &[("reason", "fault")]), traces.all().len() as u64, "{behaviour}");
        assert!(metrics.sum("stage_faults", &[("stage", &stage), ("kind", kind)]) > 0, "{behaviour}");
        assert_eq!(metrics.sum("stage_faults", &[]), metrics.sum("stage_faults", &[("stage", &stage), ("kind", kind)]));
        assert!(dropped(&metrics) > 0);
        let told = lab.engine.process.stderr();
        assert!(told.contains(&stage) && told.contains("errors are kept"), "{told}");
        // Names and routes of the generated spans.
        assert!(!told.contains("GET /"), "{told}");

        lab.engine.swap_config(&stage, r#"{"behaviour": "keep"}"#).await.unwrap();
        let more = Traces::new(Shape { late_percent: 0, ..Shape::new(13, 500) });
        let requests = more.on_time();
        let report = client::run(lab.engine.addresses.grpc, &requests, 1, Plan::grpc(requests.count())).await.unwrap();
        assert_eq!(report.first_failure(), None);
        let all = |metrics: &sluicebox_tests::account::Metrics| metrics.at_rest();
        lab.engine.until(BOUND, "all of it has left", all).await.unwrap();
        let kept = more.kept(&lab.sink.take_seen(Signal::Traces, 1)).unwrap();
        assert_eq!(kept.len(), more.all().len(), "the good policy keeps all");
    }
}

/// As policies for the script that knows which traces are kept.
fn fallback() -> Value {
    json!([
        { "name": "errors", "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
        { "name": "some", "type": "probabilistic", "probabilistic": { "sampling_percentage": FALLBACK_PERCENT } },
    ])
}
