//! The end of the process decides what waits.

use serde_json::json;
use sluicebox::signal::Signal;
use sluicebox_tests::sink::Behaviour;
use sluicebox_tests::traces::{Shape, Traces};

use crate::lab::{BOUND, Lab, WAITING_SPANS, expected, of_sampler, same_traces};

const SPANS: u64 = 3_000;

/// All of it waits, and would for ten minutes: with every policy a further span could change something.
async fn waiting(more: &str) -> (Lab, std::sync::Arc<Traces>, serde_json::Value) {
    let policies = json!([
        { "name": "errors", "and": { "and_sub_policy": [
            { "name": "failed", "status_code": { "status_codes": ["ERROR"] } },
            { "name": "not-long", "span_count": { "max_spans": 1000 } },
        ] } },
        { "name": "slow", "type": "latency", "latency": { "threshold_ms": 1000, "upper_threshold_ms": 100_000 } },
    ]);
    let lab = Lab::start(&format!("policies: {policies}, decision_wait: 10m{more}"), 512, Behaviour::default()).await;
    let traces = Traces::new(Shape { late_percent: 0, ..Shape::new(3, SPANS) });
    let requests = traces.on_time();
    lab.send(&requests).await;
    let all_wait = |metrics: &_| of_sampler(metrics, WAITING_SPANS) == requests.spans();
    lab.engine.until(BOUND, "all spans wait", all_wait).await.unwrap();
    assert_eq!(lab.sink.items(Signal::Traces, 1), 0, "nothing goes out before it is decided");
    (lab, traces, policies)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_end_is_decided_and_sent() {
    let (mut lab, traces, policies) = waiting("").await;
    let status = lab.engine.process.stop().unwrap();
    assert!(status.success(), "{status}: {}", lab.engine.process.stderr());
    same_traces(&traces, &lab.sink, &expected(&traces, &policies));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_end_is_dropped_where_the_file_says_so() {
    let (mut lab, _, _) = waiting(", drop_pending_traces_on_shutdown: true").await;
    let status = lab.engine.process.stop().unwrap();
    assert!(status.success(), "{status}: {}", lab.engine.process.stderr());
    assert_eq!(lab.sink.take_seen(Signal::Traces, 1).items, 0);
}
