//! Policies: what they are told is what there is, and what they say is what the sampler hears.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::Event};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sluicebox::batch::Batch;
use sluicebox::config::model::Component;
use sluicebox::pipeline::stage::{Fault, FaultKind, Generation, Policy, PolicyVote};
use sluicebox::signal::Signal;
use sluicebox::tail::traces::Traces;
use sluicebox::tail::verdict::{THRESHOLD_END, THRESHOLD_UNKNOWN, Vote};
use sluicebox::wasm::{GenerationSpec, Interface, Role, Step};

use crate::lab::{Lab, MIB, guest, request, spec, wait_for};

/// Of guests/misbehaving-policy.
pub fn policy_spec(behaviour: &str) -> GenerationSpec {
    GenerationSpec {
        stage: "tail_sampling/test".to_owned(),
        component: Component::File { path: guest("misbehaving-policy"), sha256: None },
        role: Role::Policy,
        ..spec(behaviour)
    }
}

pub fn policy(lab: &Lab, behaviour: &str) -> Arc<dyn Generation> {
    lab.runtime.build_generation(policy_spec(behaviour)).expect("builds")
}

/// What is told of so many traces, all of it made up; no spans are shown.
pub fn moment(traces: usize, seed: u64) -> Traces {
    let mut random = StdRng::seed_from_u64(seed);
    let mut numbers = |end: u64| (0..traces).map(|_| random.random_range(0..end)).collect::<Vec<u64>>();
    let small = |numbers: Vec<u64>| numbers.into_iter().map(|number| number as u32).collect::<Vec<u32>>();
    let tiny = |numbers: Vec<u64>| numbers.into_iter().map(|number| number as u8).collect::<Vec<u8>>();
    Traces {
        now_unix_nano: 1_800_000_000_000_000_000 + seed,
        ids: numbers(u64::MAX).into_iter().map(|number| (u128::from(number) << 64 | 77).to_be_bytes()).collect(),
        randomness: numbers(THRESHOLD_END),
        thresholds: numbers(u64::MAX),
        arrivals_unix_nano: numbers(u64::MAX),
        starts_unix_nano: numbers(u64::MAX),
        ends_unix_nano: numbers(u64::MAX),
        span_counts: small(numbers(1 << 32)),
        error_counts: small(numbers(1 << 32)),
        ok_counts: small(numbers(1 << 32)),
        byte_counts: numbers(u64::MAX),
        marks: tiny(numbers(4)),
        triggers: tiny(numbers(6)),
        trace_of: Vec::new(),
    }
}

/// So many traces, and a request with these spans, of which each belongs to the trace named beside it.
pub fn shown(traces: usize, spans: Vec<(u32, Span)>) -> (Traces, Bytes) {
    let (trace_of, spans) = spans.into_iter().unzip();
    (Traces { trace_of, ..moment(traces, 1) }, request(None, spans))
}

pub fn named(name: &str) -> Span {
    Span { name: name.to_owned(), ..Span::default() }
}

/// Calls a policy, and checks that the batch comes back as it went in.
pub fn vote(policy: &mut dyn Policy, traces: &Traces, spans: Option<&Bytes>) -> Result<Vec<PolicyVote>, Fault> {
    let segments: Vec<Bytes> = spans.into_iter().cloned().collect();
    let batch = Batch::index(Signal::Traces, segments.clone()).expect("is valid");
    let items = batch.items();
    let (batch, result) = policy.decide(&Arc::new(traces.clone()), batch);
    assert_eq!(batch.items(), items);
    let back: Vec<Bytes> = batch.into_segments().expect("fits").into_iter().map(|segment| segment.bytes).collect();
    assert_eq!(back, segments);
    if let Ok(votes) = &result {
        assert_eq!(votes.len(), traces.len());
    }
    result
}

fn thresholds(votes: &[PolicyVote]) -> Vec<u64> {
    votes.iter().map(|vote| vote.threshold).collect()
}

#[test]
fn a_policy_is_what_it_exports() {
    let lab = Lab::new();
    let info = lab.runtime.describe(&policy_spec("keep").component).expect("is a component");
    let imports = [Interface::Fields, Interface::Batches, Interface::Traces, Interface::HostState];
    assert_eq!((info.role, info.imports.as_slice()), (Role::Policy, imports.as_slice()));
    let generation = policy(&lab, "keep");
    assert_eq!(
        (generation.stage(), generation.rules()),
        ("tail_sampling/test", ["first".to_owned(), "second".to_owned()].as_slice())
    );
    let fault = generation.instance().map(drop).expect_err("judges no batches");
    assert_eq!(fault.kind, FaultKind::BadOutput);
    assert!(fault.message.contains("not a processor"), "{fault}");
    let fault = lab.build("noop").expect("builds").policy().map(drop).expect_err("votes on no traces");
    assert!(fault.message.contains("not a policy"), "{fault}");
}

#[test]
fn a_component_of_the_other_role_is_refused_at_once() {
    let lab = Lab::new();
    let refused = |spec| {
        let error = lab.runtime.build_generation(spec).expect_err("is of the other role");
        assert_eq!(error.step(), Step::Verify);
        error.to_string()
    };
    let told = refused(GenerationSpec { role: Role::Processor, ..policy_spec("keep") });
    assert!(told.contains("is a policy, and a processor is needed"), "{told}");
    let told = refused(GenerationSpec { role: Role::Policy, ..spec("noop") });
    assert!(told.contains("is a processor, and a policy is needed"), "{told}");
}

#[test]
fn votes_are_what_the_guest_says() {
    let lab = Lab::new();
    let mut policy = policy(&lab, "numbers").policy().expect("is prepared");
    assert!(!policy.reads_spans());
    let mut traces = moment(3, 1);
    traces.error_counts = vec![0, 2, 0];
    traces.randomness = vec![0, 0, THRESHOLD_END - 1];
    let votes = vote(&mut *policy, &traces, None).expect("votes");
    let tenth = (THRESHOLD_END - 1) / 10 * 9;
    let keep = |threshold, rule| PolicyVote { vote: Vote::Keep, threshold, rule: Some(rule), is_settled: false };
    let none = PolicyVote { vote: Vote::None, threshold: 0, rule: None, is_settled: false };
    assert_eq!(votes, [none, keep(0, 0), keep(tenth, 1)]);
    assert!(policy.memory_bytes() > 0 && !policy.wants_recycling());
    assert!(vote(&mut *policy, &Traces::default(), None).expect("votes on nothing").is_empty());
}

/// The same sums over the numbers themselves.
#[test]
fn every_list_arrives_as_it_is() {
    let lab = Lab::new();
    let mut policy = policy(&lab, "checksum").policy().expect("is prepared");
    for (count, seed) in [(1, 1), (7, 2), (512, 3), (0, 4), (100, 5)] {
        let traces = moment(count, seed);
        let votes = vote(&mut *policy, &traces, None).expect("votes");
        let expected = |trace: usize| {
            let mut sum = 0_u64;
            let mut add = |number: u64| sum = sum.wrapping_mul(31) ^ number;
            traces.ids[trace].iter().for_each(|&byte| add(byte.into()));
            add(traces.randomness[trace]);
            add(traces.thresholds[trace]);
            add(traces.arrivals_unix_nano[trace]);
            add(traces.starts_unix_nano[trace]);
            add(traces.ends_unix_nano[trace]);
            add(traces.byte_counts[trace]);
            add(traces.span_counts[trace].into());
            add(traces.error_counts[trace].into());
            add(traces.ok_counts[trace].into());
            add(traces.marks[trace].into());
            add(traces.triggers[trace].into());
            add(traces.now_unix_nano);
            sum % THRESHOLD_END
        };
        assert_eq!(thresholds(&votes), (0..count).map(expected).collect::<Vec<_>>());
    }
}

#[test]
fn spans_are_those_of_their_traces() {
    let lab = Lab::new();
    let mut policy = policy(&lab, "checksum_spans").policy().expect("is prepared");
    assert!(policy.reads_spans());
    let mut random = StdRng::seed_from_u64(1);
    for traces in [1, 9, 60] {
        let spans: Vec<(u32, Span)> = (0..200)
            .map(|_| {
                let name = if random.random_bool(0.1) { "hit" } else { "miss" };
                let events = vec![Event::default(); random.random_range(0..3)];
                (random.random_range(0..traces as u32), Span { events, ..named(name) })
            })
            .collect();
        let expected = |trace: u32| {
            let own: Vec<&Span> = spans.iter().filter(|(of, _)| *of == trace).map(|(_, span)| span).collect();
            let events: usize = own.iter().map(|span| span.events.len()).sum();
            let hits: Vec<&&Span> = own.iter().filter(|span| span.name == "hit").collect();
            let any = u64::from(!hits.is_empty());
            let any_event = u64::from(hits.iter().any(|span| !span.events.is_empty()));
            let hits = hits.len() as u64;
            own.len() as u64 | (events as u64) << 8 | (any | any_event << 1) << 16 | hits << 24 | hits << 32
        };
        let expected: Vec<u64> = (0..traces as u32).map(expected).collect();
        let (told, bytes) = shown(traces, spans);
        let votes = vote(&mut *policy, &told, Some(&bytes)).expect("votes");
        assert_eq!(thresholds(&votes), expected);
    }
}

#[test]
fn who_reads_no_field_sees_no_spans() {
    let lab = Lab::new();
    let (traces, bytes) = shown(2, vec![(0, named("a")), (1, named("b"))]);
    let mut policy = policy(&lab, "checksum").policy().expect("is prepared");
    let with_spans = vote(&mut *policy, &traces, Some(&bytes)).expect("votes");
    let without = vote(&mut *policy, &Traces { trace_of: Vec::new(), ..traces.clone() }, None).expect("votes");
    assert_eq!(with_spans, without);
    assert_eq!(vote(&mut *policy, &traces, None).expect("votes"), without);
}

#[test]
fn fields_are_read_and_lifted_to_traces() {
    let lab = Lab::new();
    let route = |route: &str| {
        let value = Some(AnyValue { value: Some(Value::StringValue(route.to_owned())) });
        Span { attributes: vec![KeyValue { key: "http.route".to_owned(), value, ..KeyValue::default() }], ..named("n") }
    };
    let (traces, bytes) = shown(4, vec![(2, route("/1")), (0, route("/2")), (1, named("/1")), (2, route("/2"))]);
    let mut policy = policy(&lab, "route").policy().expect("is prepared");
    let votes = vote(&mut *policy, &traces, Some(&bytes)).expect("votes");
    assert_eq!(
        votes.iter().map(|vote| vote.vote).collect::<Vec<_>>(),
        [Vote::None, Vote::None, Vote::Keep, Vote::None]
    );
}

#[test]
fn unreadable_spans_are_nobodys_fault_and_cost_no_instance() {
    let lab = Lab::new();
    let mut policy = policy(&lab, "route").policy().expect("is prepared");
    let (traces, bytes) = shown(1, vec![(0, named("7 bytes"))]);
    let mut broken = bytes.to_vec();
    // The name gets another field's wire type, of 8 bytes.
    let at = broken.windows(9).position(|found| found == b"\x2a\x077 bytes").expect("was encoded");
    broken[at] = 5 << 3 | 1;
    for _ in 0..3 {
        let fault = vote(&mut *policy, &traces, Some(&broken.clone().into())).expect_err("cannot be read");
        assert_eq!(fault.kind, FaultKind::Malformed, "{fault}");
        assert!(!policy.wants_recycling());
        vote(&mut *policy, &traces, Some(&bytes)).expect("votes");
    }
}

#[test]
fn spans_of_other_traces_are_not_shown() {
    let lab = Lab::new();
    let (mut traces, bytes) = shown(2, vec![(0, named("a")), (1, named("b"))]);
    traces.trace_of.pop();
    let mut policy = policy(&lab, "route").policy().expect("is prepared");
    assert_eq!(vote(&mut *policy, &traces, Some(&bytes)).expect_err("is not asked").kind, FaultKind::Malformed);
    assert!(!policy.wants_recycling());
}

#[test]
fn thresholds_of_no_known_rate_are_told_so() {
    let lab = Lab::new();
    let mut policy = policy(&lab, "take").policy().expect("is prepared");
    let votes = vote(&mut *policy, &moment(2, 1), None).expect("votes");
    assert_eq!(thresholds(&votes), [THRESHOLD_UNKNOWN; 2]);
}

#[test]
fn there_is_an_instance_for_each_thread_and_a_spare() {
    let lab = Lab::new();
    let generation =
        lab.runtime.build_generation(GenerationSpec { workers: 3, ..policy_spec("keep") }).expect("builds");
    let held = lab.budget.bytes_used();
    let mut policies: Vec<_> = (0..4).map(|_| generation.policy().expect("is prepared")).collect();
    let states = held - policies.iter().map(|policy| policy.memory_bytes()).sum::<u64>();
    assert!((2 * MIB..4 * MIB).contains(&states), "{states} bytes for a bucket and a small tally");
    wait_for(|| lab.budget.bytes_used() > held);
    policies.push(generation.policy().expect("is made"));
    drop(generation);
    for policy in &mut policies {
        vote(&mut **policy, &moment(5, 1), None).expect("votes");
    }
    drop(policies);
    wait_for(|| lab.budget.bytes_used() == 0);
}
