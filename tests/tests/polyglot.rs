//! The contract in JavaScript and Python: the filters and policies of examples/, built by `make polyglot`, judge like any other.

#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "wasm_runtime/lab.rs"]
mod lab;

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use sluicebox::batch::Batch;
use sluicebox::config::model::Component;
use sluicebox::pipeline::stage::{FaultKind, Instance, PolicyVote};
use sluicebox::signal::Signal;
use sluicebox::tail::traces::Traces;
use sluicebox::tail::verdict::Vote;
use sluicebox::wasm::{BuildError, ConfigureError, GenerationSpec, Interface, Role};

use lab::{Lab, MIB, call, guest, request, spec};

const ROUTES: [&str; 4] = ["/health", "/cart", "/häuser/\u{1f3e0}", "/checkout"];

fn spec_of(name: &str, config: &str) -> GenerationSpec {
    GenerationSpec {
        component: Component::File { path: guest(name), sha256: None },
        config: config.to_owned(),
        ..spec("")
    }
}

/// Spans of which every fifth has no route, the others one of [`ROUTES`] in turn.
fn traces(rows: usize) -> Bytes {
    let span = |row: usize| {
        let route = ROUTES[row % ROUTES.len()].to_owned();
        let value = Some(AnyValue { value: Some(Value::StringValue(route)) });
        let attribute = KeyValue { key: "http.route".to_owned(), value, ..KeyValue::default() };
        Span { attributes: if row % 5 == 4 { Vec::new() } else { vec![attribute] }, ..Span::default() }
    };
    request(None, (0..rows).map(span).collect())
}

fn dropped(instance: &mut dyn Instance, rows: usize) -> Vec<u32> {
    let effects = call(instance, &traces(rows)).expect("judges");
    effects.drops.iter().flat_map(|drop| drop.rows.iter()).collect()
}

fn judges(name: &str) {
    let lab = Lab::new();
    let config = r#"{"routes": ["/health", "/häuser/\ud83c\udfe0", "/nowhere"]}"#;
    let generation = lab.runtime.build_generation(spec_of(name, config)).expect("builds");
    assert_eq!(generation.rules(), ["by-route"]);
    let info = lab.runtime.describe(&spec_of(name, "").component).expect("is a component");
    assert_eq!(info.imports, [Interface::Fields, Interface::Batches, Interface::Dropping], "no WASI");
    // Beside a worker's and a spare, which were prepared, one more is made.
    for _ in 0..3 {
        let mut instance = generation.instance().expect("there is one");
        for rows in [0, 1, 512, 2048, 7] {
            let expected: Vec<u32> = (0..rows).filter(|row| row % 2 == 0 && row % 5 != 4).collect();
            assert_eq!(dropped(&mut *instance, rows as usize), expected, "{rows} rows");
        }
        assert!(instance.memory_bytes() < 256 * MIB, "{} bytes", instance.memory_bytes());
    }
}

fn tells_what_is_wrong_with_its_config(name: &str) {
    let error = Lab::new().runtime.build_generation(spec_of(name, r#"{"routes": "/health"}"#)).expect_err("is refused");
    match error {
        BuildError::Configure(ConfigureError::Rejected(text)) => {
            assert_eq!(text, r#""routes" must be a list of texts, such as ["/health"]"#);
        }
        other => panic!("{other}"),
    }
    // An exception that nobody meant to be seen.
    match Lab::new().runtime.build_generation(spec_of(name, "no JSON")).expect_err("is refused") {
        BuildError::Configure(ConfigureError::Faulted(fault)) => assert_eq!(fault.kind, FaultKind::Trap, "{fault}"),
        other => panic!("{other}"),
    }
}

/// Neither its memory nor the handles it keeps make an instance fault, however long it lives.
fn lives_long(name: &str) {
    let lab = Lab::new();
    let generation = lab.runtime.build_generation(spec_of(name, r#"{"routes": ["/health"]}"#)).expect("builds");
    let mut instance = generation.instance().expect("is prepared");
    let bytes = traces(100);
    for _ in 0..20_000 {
        if instance.wants_recycling() {
            instance = generation.instance().expect("is made");
        }
        assert_eq!(call(&mut *instance, &bytes).expect("judges").drops.len(), 1);
    }
}

#[test]
fn javascript_lives_long() {
    lives_long("javascript-filter");
}

#[test]
fn python_lives_long() {
    lives_long("python-filter");
}

#[test]
fn javascript_judges() {
    judges("javascript-filter");
}

#[test]
fn javascript_tells_what_is_wrong_with_its_config() {
    tells_what_is_wrong_with_its_config("javascript-filter");
}

#[test]
fn python_judges() {
    judges("python-filter");
}

#[test]
fn python_tells_what_is_wrong_with_its_config() {
    tells_what_is_wrong_with_its_config("python-filter");
}

const SERVICES: [&str; 3] = ["checkout", "cart", "ch\u{e4}ckout"];

/// So many traces of two spans, each in a resource of its own; every third is of `checkout`, every other one failed, and every fifth took long.
fn shown(traces: usize) -> (Traces, Bytes) {
    let span = |trace: usize| {
        let value = Some(AnyValue { value: Some(Value::StringValue(SERVICES[trace % 3].to_owned())) });
        let attributes = vec![KeyValue { key: "service.name".to_owned(), value, ..KeyValue::default() }];
        let scope = ScopeSpans { spans: vec![Span::default()], ..ScopeSpans::default() };
        let resource = Some(Resource { attributes, ..Resource::default() });
        ResourceSpans { resource, scope_spans: vec![scope], ..ResourceSpans::default() }
    };
    let of_each = |number: fn(usize) -> u64| (0..traces).map(number).collect::<Vec<u64>>();
    let told = Traces {
        ids: (0..traces).map(|trace| (trace as u128).to_be_bytes()).collect(),
        randomness: vec![0; traces],
        thresholds: vec![u64::MAX; traces],
        arrivals_unix_nano: vec![1; traces],
        starts_unix_nano: vec![1_800_000_000_000_000_000; traces],
        ends_unix_nano: of_each(|trace| {
            1_800_000_000_000_000_000 + if trace % 5 == 0 { 500_000_000 } else { 499_999_999 }
        }),
        span_counts: vec![2; traces],
        error_counts: (0..traces).map(|trace| u32::from(trace % 2 == 0)).collect(),
        ok_counts: vec![0; traces],
        byte_counts: vec![10; traces],
        marks: vec![0; traces],
        triggers: vec![1; traces],
        trace_of: (0..2 * traces).map(|row| (row % traces) as u32).collect(),
        ..Traces::default()
    };
    let spans = ExportTraceServiceRequest { resource_spans: (0..2 * traces).map(|row| span(row % traces)).collect() };
    (told, spans.encode_to_vec().into())
}

fn votes(name: &str) {
    let lab = Lab::new();
    let config = r#"{"service": "checkout", "slow_ms": 500}"#;
    let spec = GenerationSpec { role: Role::Policy, ..spec_of(name, config) };
    let generation = lab.runtime.build_generation(spec).expect("builds");
    assert_eq!(generation.rules(), ["slow-or-failed"]);
    let mut policy = generation.policy().expect("is prepared");
    assert!(policy.reads_spans());
    for traces in [1, 7, 512] {
        let (told, spans) = shown(traces);
        let batch = Batch::index(Signal::Traces, vec![spans]).expect("is valid");
        let (_, answer) = policy.decide(&Arc::new(told), batch);
        for (trace, vote) in answer.expect("decides").into_iter().enumerate() {
            let is_kept = trace % 3 == 0 && (trace % 2 == 0 || trace % 5 == 0);
            let (said, rule) = if is_kept { (Vote::Keep, Some(0)) } else { (Vote::None, None) };
            assert_eq!(vote, PolicyVote { vote: said, threshold: 0, rule, is_settled: is_kept }, "{name}: {trace}");
        }
    }
    let wrong = GenerationSpec { role: Role::Policy, ..spec_of(name, r#"{"service": "checkout"}"#) };
    let error = lab.runtime.build_generation(wrong).expect_err("is refused");
    assert!(
        matches!(&error, BuildError::Configure(ConfigureError::Rejected(text)) if text.contains("slow_ms")),
        "{error}"
    );
}

#[test]
fn javascript_votes() {
    votes("javascript-policy");
}

#[test]
fn python_votes() {
    votes("python-policy");
}
