//! What a policy's call costs: `cargo run --release -p sluicebox-tests --example policy_call`.
//!
//! Needs the prebuilt components (`make guests`). Figures are CPU time, medians of 15 rounds on one thread.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measuring program that prints and gives up")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use sluicebox::batch::Batch;
use sluicebox::config::model::{Component, Grants, StageLimits};
use sluicebox::memory::Budget;
use sluicebox::pipeline::stage::Policy;
use sluicebox::signal::Signal;
use sluicebox::tail::traces::Traces;
use sluicebox::wasm::{Compiler, GenerationSpec, Role, Runtime, RuntimeOptions};
use sluicebox_tests::cost::median_nanos;

const TRACES: u32 = 512;
const SPANS_PER_TRACE: u32 = 10;

fn main() {
    let compiler = std::env::current_exe().expect("is known").with_file_name("../compile-component");
    let options = RuntimeOptions {
        budget: Budget::new(4 << 30),
        bundled: &[],
        compiler: Compiler::program(compiler),
        cache_dir: None,
    };
    let runtime = Runtime::new(options).expect("starts");
    for traces in [1, TRACES] {
        let told = Arc::new(told(traces));
        println!("{traces} traces:");
        for (what, behaviour) in [
            ("as good as empty, `len` only", "keep"),
            ("two lists, errors and 10 % of the rest", "numbers"),
            ("all lists, 14 of them", "checksum"),
            ("a token for each trace", "take"),
            ("an addition for each trace, one row read", "tally"),
        ] {
            report(what, traces, call_ns(&runtime, behaviour, &told, None));
        }
        let request = spans(traces);
        let index = median_nanos(|| drop(black_box(Batch::index(Signal::Traces, vec![request.clone()]))));
        report("indexing their spans, for comparison", traces, index);
        report("one attribute of their spans", traces, call_ns(&runtime, "route", &told, Some(&request)));
    }
    let told = told(TRACES);
    let copies = median_nanos(|| {
        black_box((told.randomness.clone(), told.error_counts.clone()));
    });
    report("copying two lists, for comparison", TRACES, copies);
}

fn report(what: &str, traces: u32, ns: f64) {
    println!("  {what:<42} {ns:>9.0} ns = {:>7.1} ns per trace", ns / f64::from(traces));
}

fn call_ns(runtime: &Runtime, behaviour: &str, traces: &Arc<Traces>, spans: Option<&Bytes>) -> f64 {
    let mut policy = policy(runtime, behaviour);
    assert_eq!(policy.reads_spans(), spans.is_some());
    let segments = spans.into_iter().cloned().collect();
    let mut batch = Some(Batch::index(Signal::Traces, segments).expect("is valid"));
    median_nanos(|| {
        let (back, votes) = policy.decide(traces, batch.take().expect("came back"));
        black_box(votes.expect("votes"));
        batch = Some(back);
    })
}

fn policy(runtime: &Runtime, behaviour: &str) -> Box<dyn Policy> {
    let limits = StageLimits {
        memory_bytes_max: None,
        deadline: Duration::from_millis(50),
        output_bytes_max: 16 << 20,
        log_lines_per_second: 10,
    };
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guests/misbehaving-policy.wasm");
    let spec = GenerationSpec {
        stage: "bench".to_owned(),
        number: 1,
        component: Component::File { path, sha256: None },
        role: Role::Policy,
        config: format!(r#"{{"behaviour": "{behaviour}", "burst": 1e15}}"#),
        keys: Vec::new(),
        grants: Grants::ALL,
        tables: Vec::new(),
        limits,
        on_fault: None,
        workers: 1,
    };
    runtime.build_generation(spec).expect("builds").policy().expect("is prepared")
}

/// Every tenth trace has an error.
fn told(traces: u32) -> Traces {
    let of_u64 = |of: fn(u64) -> u64| (0..u64::from(traces)).map(of).collect::<Vec<u64>>();
    let of_u32 = |of: fn(u32) -> u32| (0..traces).map(of).collect::<Vec<u32>>();
    Traces {
        now_unix_nano: 1 << 60,
        ids: (0..u128::from(traces)).map(u128::to_be_bytes).collect(),
        randomness: of_u64(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8),
        thresholds: of_u64(|_| u64::MAX),
        arrivals_unix_nano: of_u64(|n| n),
        starts_unix_nano: of_u64(|n| n),
        ends_unix_nano: of_u64(|n| n + 1000),
        span_counts: of_u32(|_| SPANS_PER_TRACE),
        error_counts: of_u32(|n| u32::from(n % 10 == 0)),
        ok_counts: of_u32(|_| 0),
        byte_counts: of_u64(|_| 5500),
        marks: vec![1; traces as usize],
        triggers: vec![1; traces as usize],
        trace_of: (0..traces * SPANS_PER_TRACE).map(|span| span / SPANS_PER_TRACE).collect(),
    }
}

/// Each with one of ten routes among attributes that nobody reads, about 550 bytes.
fn spans(traces: u32) -> Bytes {
    let attribute = |key: String, value: String| {
        let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
        KeyValue { key, value, ..KeyValue::default() }
    };
    let span = |span: u32| {
        let mut attributes: Vec<KeyValue> = (0..10)
            .map(|n| attribute(format!("attribute.number.{n}"), "a value of 24 characters".to_owned()))
            .collect();
        attributes.insert(3, attribute("http.route".to_owned(), format!("/{}", span % 10)));
        Span {
            trace_id: u128::from(span / SPANS_PER_TRACE).to_be_bytes().to_vec(),
            span_id: vec![1; 8],
            name: "name".to_owned(),
            attributes,
            ..Span::default()
        }
    };
    let scope = ScopeSpans { spans: (0..traces * SPANS_PER_TRACE).map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    Bytes::from(ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec())
}
