//! Recent decisions against what a sink saw.

use std::collections::BTreeSet;

use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Plan};
use sluicebox_tests::config::otlp;
use sluicebox_tests::engine::{Engine, TELEMETRY, ask};
use sluicebox_tests::traces::{Shape, Traces, hex};

use crate::lab::{BOUND, page, sink};

const SAMPLER: &str = "tail_sampling/lab";

fn ids(decisions: &Value) -> Vec<String> {
    let list = decisions["decisions"].as_array().unwrap();
    list.iter().map(|decision| decision["trace_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_what_the_sink_saw() {
    let sink = sink().await;
    let config = format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"$GRPC\" }} }} }} }}\n\
         processors:\n  {SAMPLER}: {{ decision_wait: 1s, num_shards: 2, policies: [\
         {{ name: errors, type: status_code, status_code: {{ status_codes: [ERROR] }} }}, \
         {{ name: some, type: probabilistic, probabilistic: {{ sampling_percentage: 25 }} }}] }}\n\
         exporters:\n  otlp: {{ {} }}\n\
         service:\n  {TELEMETRY}\n  pipelines: {{ traces: {{ receivers: [otlp], processors: [{SAMPLER}], exporters: [otlp] }} }}\n",
        otlp(sink.address, ""),
    );
    let engine = Engine::start(&config).await.unwrap();
    let traces = Traces::new(Shape { late_percent: 0, failing_percent: 20, ..Shape::new(9, 2_000) });
    let requests = traces.on_time();
    let report = client::run(engine.addresses.grpc, &requests, 1, Plan::grpc(requests.count())).await.unwrap();
    assert_eq!(report.first_failure(), None);
    let metrics = engine.settled_account(BOUND).await.unwrap();

    let arrived = traces.kept(&sink.take_seen(Signal::Traces, 1)).unwrap();
    let all: BTreeSet<String> = traces.all().iter().map(|trace| hex(&trace.id)).collect();
    assert!(
        arrived.len() > 10 && arrived.len() < all.len() && all.len() <= 1_000,
        "{} of {}",
        arrived.len(),
        all.len()
    );
    let decided = page(&engine, "/v1/decisions?limit=1000").await;
    assert_eq!(ids(&decided).into_iter().collect::<BTreeSet<_>>(), all);
    let list = decided["decisions"].as_array().unwrap();
    // What came after an early decision was not decided on.
    let late = metrics.sum("tail_late_spans", &[]);
    assert_eq!(list.iter().map(|decision| decision["spans"].as_u64().unwrap()).sum::<u64>() + late, traces.spans());
    assert!(list.iter().all(|decision| decision["bytes"].as_u64() > Some(0) && decision["sampler"] == SAMPLER));
    let times: Vec<_> = list.iter().map(|decision| decision["decided_unix_nano"].as_u64().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "the newest first");

    let kept = page(&engine, "/v1/decisions?limit=1000&result=kept").await;
    assert_eq!(ids(&kept).into_iter().collect::<BTreeSet<_>>(), arrived);
    let mut by_policy = BTreeSet::new();
    for policy in ["errors", "some"] {
        let decisions = page(&engine, &format!("/v1/decisions?limit=1000&policy={policy}&result=kept")).await;
        let list = decisions["decisions"].as_array().unwrap();
        assert!(
            !list.is_empty() && list.iter().all(|decision| decision["policy"] == policy && decision["generation"] == 1)
        );
        by_policy.extend(ids(&decisions));
    }
    assert_eq!(by_policy, arrived);
    let newest = page(&engine, "/v1/decisions?limit=3").await;
    assert_eq!(newest["decisions"].as_array().unwrap().len(), 3);
    assert_eq!(newest["decisions"][0]["decided_unix_nano"].as_u64(), times.first().copied());
    let (status, refused) = ask(engine.addresses.admin, "/v1/decisions?result=lost", "application/json").await.unwrap();
    assert!(status == 400 && refused.contains("E0531"), "{status} {refused}");
}
