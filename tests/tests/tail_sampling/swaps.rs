//! Policies are swapped while traces wait: nothing is lost, each trace is decided once and by what serves then, none is split.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::json;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Plan};
use sluicebox_tests::items::{Request, text};
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::soak_factor;
use sluicebox_tests::traces::{RINGS, Shape, Traces};

use crate::lab::{DECIDED_TRACES, LATE_SPANS, Lab, SAMPLER, WAITING_TRACES, dropped, of_sampler};

const SWAPS: u64 = 100;

/// How much is under way during the swaps.
struct Load {
    spans: u64,
    wait: Duration,
    /// All is sent in this time.
    sending: Duration,
    /// At the least so many traces wait at each swap.
    waiting_min: u64,
}

fn load() -> Load {
    if soak_factor() > 1 {
        let (wait, sending) = (Duration::from_secs(45), Duration::from_secs(100));
        Load { spans: 3_000_000, wait, sending, waiting_min: 100_000 }
    } else {
        let (wait, sending) = (Duration::from_secs(4), Duration::from_secs(10));
        Load { spans: 20_000, wait, sending, waiting_min: 300 }
    }
}

/// Keeps the traces of one ring. A further span could make a trace too long, so none is decided before its time.
fn policies(ring: &str) -> String {
    let of_ring = json!({ "name": "ring", "string_attribute": { "key": "deployment.ring", "values": [ring] } });
    let not_long = json!({ "name": "not-long", "span_count": { "max_spans": 1000 } });
    let policy = json!({ "name": format!("keep-{ring}"), "and": { "and_sub_policy": [of_ring, not_long] } });
    json!({ "policies": [policy] }).to_string()
}

/// Odd generations keep the first ring, even ones the other.
fn ring_of(generation: u64) -> &'static str {
    RINGS[(generation as usize + 1) % 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_waiting_trace_is_decided_once_by_what_serves_then() {
    let Load { spans, wait, sending, waiting_min } = load();
    let memory_mib = 64 + spans / 1024;
    let policies_now = policies(ring_of(1));
    let own = policies_now.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap();
    let block = format!(
        "{own}, decision_wait: {}s, num_traces: {spans}, memory_mib: {memory_mib}, record_decisions: true",
        wait.as_secs()
    );
    let lab = Lab::start(&block, 2 * memory_mib + 256, Behaviour { keep: true, ..Behaviour::default() }).await;
    let traces = Traces::new(Shape { late_percent: 30, ..Shape::new(11, spans) });
    let (on_time, late) = (traces.on_time(), traces.late());
    let rate = on_time.count() as f64 / sending.as_secs_f64();
    let plan = Plan { rate: Some(rate), ..Plan::grpc(on_time.count()) };
    let (address, requests) = (lab.engine.addresses.grpc, Arc::clone(&on_time));
    let sender = tokio::spawn(async move { client::run(address, &requests, 1, plan).await });

    let pause = (sending - wait) / (SWAPS as u32 + 10);
    let enough = |metrics: &_| of_sampler(metrics, WAITING_TRACES) >= waiting_min;
    for number in 1..=SWAPS {
        lab.engine.until(wait + sending, "enough traces wait", enough).await.unwrap();
        if number % 10 == 0 {
            let bad = lab.engine.swap_config(SAMPLER, r#"{"policies": [{"name": "x", "type": "no_such_type"}]}"#).await;
            assert!(bad.is_err(), "{bad:?}");
        }
        let answer = lab.engine.swap_config(SAMPLER, &policies(ring_of(number + 1))).await.unwrap();
        assert_eq!(answer["new"]["generation"], number + 1);
        tokio::time::sleep(pause).await;
    }

    let report = sender.await.unwrap().unwrap();
    assert_eq!(report.first_failure(), None);
    let metrics = lab.decided(wait).await;
    assert_eq!(of_sampler(&metrics, LATE_SPANS), 0, "all came in time");
    lab.send(&late).await;
    let metrics = lab.decided(Duration::ZERO).await;
    assert_eq!(of_sampler(&metrics, DECIDED_TRACES), traces.all().len() as u64, "one decision for each trace");
    assert_eq!(of_sampler(&metrics, LATE_SPANS), late.spans());
    assert_eq!(metrics.sum("stage_generation", &[("stage", SAMPLER)]), SWAPS + 1);
    let seen = lab.sink.take_seen(Signal::Traces, 1);
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), spans_of(&traces));
    assert_eq!(dropped(&metrics) + seen.items, spans_of(&traces), "each span was dropped or arrived");
    let kept = traces.kept(&seen).unwrap();
    let decided = decided_by(&lab.sink);
    assert_eq!(decided.keys().collect::<BTreeSet<_>>(), kept.iter().collect());
    let generations: BTreeSet<_> = decided.values().collect();
    assert!(generations.len() > 20, "{generations:?} decided");
}

fn spans_of(traces: &Traces) -> u64 {
    traces.spans()
}

/// The generation that decided each trace that arrived: the same in all its spans, and one that keeps its ring.
fn decided_by(sink: &Sink) -> HashMap<String, u64> {
    let mut decided = HashMap::new();
    for body in sink.kept(Signal::Traces) {
        let Ok(Request::Traces(request)) = Request::decode(Signal::Traces, &body) else { panic!("a request of spans") };
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        for span in scopes.flat_map(|scope| &scope.spans) {
            let generation = whole(&span.attributes, "sluicebox.sampling.generation");
            let ring = text(&span.attributes, "deployment.ring").unwrap();
            assert_eq!(ring, ring_of(generation), "generation {generation} keeps the other ring");
            let policy = text(&span.attributes, "tailsampling.policy").unwrap();
            assert_eq!(policy, format!("keep-{ring}"));
            let id = sluicebox_tests::traces::hex(&span.trace_id);
            let first = *decided.entry(id).or_insert(generation);
            assert_eq!(first, generation, "one trace was decided by two generations");
        }
    }
    decided
}

fn whole(attributes: &[KeyValue], key: &str) -> u64 {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone()?.value);
    match value {
        Some(Any::IntValue(number)) => number.try_into().unwrap(),
        other => panic!("{key} is {other:?}"),
    }
}
