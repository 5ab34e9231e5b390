//! Each trace can say why: in attributes of its spans, by `sluicebox why`, and in counters.

use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::items::{Request, text};
use sluicebox_tests::sink::Behaviour;
use sluicebox_tests::traces::{Shape, Traces, hex};

use crate::lab::{DECIDED_TRACES, Lab, SAMPLER, expected};

const ERRORS: &str = "errors";
const SOME: &str = "some";

fn policies() -> Value {
    json!([
        { "name": ERRORS, "type": "status_code", "status_code": { "status_codes": ["ERROR"] } },
        { "name": SOME, "type": "probabilistic", "probabilistic": { "sampling_percentage": 25 } },
    ])
}

async fn lab(wait: &str) -> (Lab, std::sync::Arc<Traces>) {
    let block = format!("policies: {}, decision_wait: {wait}, record_decisions: true", policies());
    let lab = Lab::start(&block, 512, Behaviour { keep: true, ..Behaviour::default() }).await;
    let traces = Traces::new(Shape { late_percent: 0, failing_percent: 20, ..Shape::new(9, 1_000) });
    lab.send(&traces.on_time()).await;
    (lab, traces)
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_spans_say_who_decided() {
    let (lab, traces) = lab("1s").await;
    let metrics = lab.decided(Duration::from_secs(1)).await;
    let only = |index: usize| expected(&traces, &json!([policies()[index]]));
    let (failing, random) = (only(0), only(1));
    let mut kept_by = [0, 0];
    for span in arrived(&lab) {
        let id = hex(&span.trace_id);
        // The first that keeps it decides, and what any keeps always is kept always.
        let is_failing = failing.contains(&id);
        assert!(is_failing || random.contains(&id));
        let policy = text(&span.attributes, "tailsampling.policy").unwrap();
        assert_eq!(policy, if is_failing { ERRORS } else { SOME });
        kept_by[usize::from(!is_failing)] += 1;
        let of = |key: &str| span.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone()?.value);
        assert_eq!(of("sluicebox.sampling.generation"), Some(Any::IntValue(1)));
        let trigger = text(&span.attributes, "sluicebox.sampling.trigger").unwrap();
        assert!(["early", "decision_wait"].contains(&trigger), "{trigger}");
        let probability = if is_failing { 1.0 } else { 0.25 };
        assert_eq!(of("sluicebox.sampling.probability"), Some(Any::DoubleValue(probability)));
        // 75 % are rejected: c of 16 in hex.
        assert_eq!(span.trace_state.contains("th:c"), !is_failing, "{:?}", span.trace_state);
    }
    assert!(kept_by.iter().all(|spans| *spans > 0), "{kept_by:?}");
    let of_policy = |policy| metrics.sum(DECIDED_TRACES, &[("policy", policy), ("decision", "kept")]);
    assert_eq!(of_policy(ERRORS), failing.len() as u64);
    assert_eq!(of_policy(SOME), random.difference(&failing).count() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_what_became_of_a_trace() {
    let (lab, traces) = lab("1s").await;
    lab.decided(Duration::from_secs(1)).await;
    let kept = expected(&traces, &json!([policies()[0]]));
    let all_kept = expected(&traces, &policies());
    let of_dropped = traces.all().iter().map(|trace| hex(&trace.id)).find(|id| !all_kept.contains(id)).unwrap();
    let of_kept = kept.first().unwrap();

    let told = why(&lab, &[of_kept, "--json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let one = &told["samplers"][0];
    assert_eq!((&one["sampler"], &one["state"], &one["policy"]), (&json!(SAMPLER), &json!("kept"), &json!(ERRORS)));
    let text = why(&lab, &[of_kept]).await;
    assert!(text.contains("kept") && text.contains(ERRORS) && text.contains(SAMPLER), "{text}");
    let text = why(&lab, &[&of_dropped]).await;
    assert!(text.contains("dropped") && text.contains(SAMPLER), "{text}");

    let unknown = lab.engine.command(&["why", &"ab".repeat(16)]).await.unwrap();
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    let wrong = lab.engine.command(&["why", "not-an-id"]).await.unwrap();
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_tells_of_a_trace_that_waits() {
    let (lab, traces) = lab("10m").await;
    let text = why(&lab, &[&hex(&traces.all()[0].id)]).await;
    assert!(text.contains("wait") && text.contains(SAMPLER), "{text}");
}

/// What `sluicebox why` prints of a trace that is known.
async fn why(lab: &Lab, arguments: &[&str]) -> String {
    let done = lab.engine.command(&[&["why"], arguments].concat()).await.unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    done.stdout
}

fn arrived(lab: &Lab) -> Vec<Span> {
    let mut spans = Vec::new();
    for body in lab.sink.kept(Signal::Traces) {
        let Ok(Request::Traces(request)) = Request::decode(Signal::Traces, &body) else { panic!("a request of spans") };
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        spans.extend(scopes.flat_map(|scope| scope.spans));
    }
    spans
}
