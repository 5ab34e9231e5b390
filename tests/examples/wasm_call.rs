//! What a guest call costs: `cargo run --release -p sluicebox-tests --example wasm_call`.
//!
//! Needs the prebuilt components (`make guests`). Figures are CPU time, medians of 15 rounds on one thread.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measuring program that prints and gives up")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use rustix::time::{ClockId, clock_gettime};
use sluicebox::batch::{Batch, Column, Field};
use sluicebox::config::model::{Component, Grants, StageLimits};
use sluicebox::memory::Budget;
use sluicebox::pipeline::stage::{Generation, Instance};
use sluicebox::signal::Signal;
use sluicebox::table::{Format, Table};
use sluicebox::wasm::{Bundled, Compiler, Cpu, GenerationSpec, Role, Runtime, RuntimeOptions, precompile};
use sluicebox_tests::cost::median_nanos;

fn main() {
    let runtime = runtime(&[]);
    // The clock rests after a second.
    std::thread::sleep(Duration::from_millis(1500));
    let before = clock_gettime(ClockId::ProcessCPUTime);
    std::thread::sleep(Duration::from_secs(2));
    let after = clock_gettime(ClockId::ProcessCPUTime);
    let idle_ns = (after.tv_sec - before.tv_sec) * 1_000_000_000 + (after.tv_nsec - before.tv_nsec);
    println!("an idle runtime: {:>8.1} us of CPU per second", idle_ns as f64 / 2e3);
    let noop = build(&runtime, file("misbehaving"), r#"{"behaviour": "noop"}"#);
    let mut noop = noop.instance().expect("is prepared");
    let filter_config = r#"{"traces": {"span": ["name == \"name 3\""]}}"#;
    let filter = build(&runtime, file("filter"), filter_config);
    let mut instance = filter.instance().expect("is prepared");
    let field = Field::open(&["span.name".to_owned()]).expect("exists");

    for rows in [1, 16, 512, 2048] {
        let bytes = traces(rows);
        let mut batch = Some(Batch::index(Signal::Traces, vec![bytes.clone()]).expect("is valid"));
        let scan = {
            let batch = batch.as_ref().expect("is there");
            let slice = batch.slice(0..rows as u32);
            let mut out = [Column::default()];
            median_nanos(|| {
                batch.columns(&slice, &[&field], &mut out, &mut { 1 << 30 }).expect("fits");
                black_box(&out);
            })
        };
        let empty = call_ns(&mut *noop, &mut batch, rows as u32);
        let whole = call_ns(&mut *instance, &mut batch, rows as u32);
        println!(
            "{rows:>5} rows: empty call {empty:>8.0} ns; filter {whole:>8.0} ns = {:>6.1} ns per row; of it reading \
             the bytes {scan:>8.0} ns; the rest {:>6.1} ns per row",
            whole / rows as f64,
            (whole - scan) / rows as f64,
        );
    }

    let generation_us = |workers| {
        us(|| {
            black_box(build_for(workers, &runtime, file("filter"), filter_config));
        })
    };
    let (small, large) = (generation_us(1), generation_us(33));
    println!("a new generation of a linked component, 1 worker and a spare: {small:>8.1} us");
    println!("another instance: instantiate, configure, first call, drop: {:>8.1} us", (large - small) / 32.0);
    let wasm: &'static [u8] = std::fs::read(path("filter")).expect("reads").leak();
    let artifact: &'static [u8] = precompile(wasm, Cpu::Baseline).expect("compiles").leak();
    let bundled: &'static [Bundled] = vec![Bundled { name: "filter", wasm, artifact }].leak();
    println!("machine code {} KiB of {} KiB of Wasm", artifact.len() >> 10, wasm.len() >> 10);
    println!(
        "a new runtime and generation from machine code: {:>8.1} us",
        us(|| {
            let runtime = crate::runtime(bundled);
            black_box(build(&runtime, Component::Bundled("filter".to_owned()), filter_config));
        })
    );
    println!(
        "a new runtime alone: {:>8.1} us",
        us(|| {
            black_box(crate::runtime(bundled));
        })
    );
    look_up(&runtime);
    polyglot(&runtime);
}

/// The bundled `lookup`, beside the filter above: of ten names, and of names that are all different; with rows for all of them, so that
/// every span gets an attribute, and with none.
fn look_up(runtime: &Runtime) {
    let config = r#"{"table": "t", "key": "span.name", "set": {"team": "team"}}"#;
    for (what, name, rows) in
        [("none of 10 rows", "other", 10), ("of 10 rows", "name", 10), ("of 1,000,000 rows", "name", 1_000_000)]
    {
        let text: String = (0..rows).map(|n| format!("{name} {n},team {}\n", n % 100)).collect();
        let started = Instant::now();
        let table = Table::load(Format::Csv, "name", format!("name,team\n{text}").as_bytes()).expect("a table");
        println!(
            "a table {what}: {} KiB, read in {:.1} ms",
            table.memory_bytes() >> 10,
            started.elapsed().as_secs_f64() * 1e3
        );
        let spec = GenerationSpec { tables: vec![("t".to_owned(), table)], ..spec(1, file("lookup"), config) };
        let generation = runtime.build_generation(spec).expect("builds");
        let mut instance = generation.instance().expect("is prepared");
        for (names, spans) in [(10, 512), (10, 2048), (2048, 2048)] {
            let mut batch = Some(Batch::index(Signal::Traces, vec![traces_of(spans, names)]).expect("is valid"));
            let whole = call_ns(&mut *instance, &mut batch, spans as u32);
            println!(
                "{spans:>5} rows, {names:>4} names: lookup {whole:>8.0} ns = {:>6.1} ns per row",
                whole / spans as f64
            );
        }
    }
}

/// Filters in other languages; they repeat ten values as the one in Rust does.
fn polyglot(runtime: &Runtime) {
    for name in ["javascript-filter", "python-filter"] {
        if !path(name).exists() {
            println!("{name}: not built (make polyglot)");
            continue;
        }
        let started = Instant::now();
        let generation = build_for(1, runtime, file(name), r#"{"routes": ["/3"]}"#);
        println!("{name}: compiled in {:.1} s", started.elapsed().as_secs_f64());
        let mut instance = generation.instance().expect("is prepared");
        for rows in [0, 1, 512, 2048] {
            let mut batch = Some(Batch::index(Signal::Traces, vec![routes(rows)]).expect("is valid"));
            let whole = call_ns(&mut *instance, &mut batch, rows as u32);
            let per_row = whole / rows.max(1) as f64;
            println!("{rows:>5} rows: a call {whole:>8.0} ns = {per_row:>6.1} ns per row");
        }
        println!("memory {} KiB", instance.memory_bytes() >> 10);
        let generation_us = |workers| us(|| drop(build_for(workers, runtime, file(name), r#"{"routes": ["/3"]}"#)));
        let another = (generation_us(5) - generation_us(1)) / 4.0;
        println!("another instance: instantiate, configure, first call, drop: {another:>8.1} us");
    }
}

fn call_ns(instance: &mut dyn Instance, batch: &mut Option<Batch>, rows: u32) -> f64 {
    median_nanos(|| {
        let (back, result) = instance.call(batch.take().expect("came back"), 0..rows);
        black_box(result.expect("judges"));
        *batch = Some(back);
    })
}

fn us(run: impl FnMut()) -> f64 {
    median_nanos(run) / 1e3
}

fn runtime(bundled: &'static [Bundled]) -> Runtime {
    let compiler = std::env::current_exe().expect("is known").with_file_name("../compile-component");
    Runtime::new(RuntimeOptions {
        budget: Budget::new(4 << 30),
        bundled,
        compiler: Compiler::program(compiler),
        cache_dir: None,
    })
    .expect("starts")
}

fn build(runtime: &Runtime, component: Component, config: &str) -> Arc<dyn Generation> {
    build_for(1, runtime, component, config)
}

fn build_for(workers: usize, runtime: &Runtime, component: Component, config: &str) -> Arc<dyn Generation> {
    runtime.build_generation(spec(workers, component, config)).expect("builds")
}

fn spec(workers: usize, component: Component, config: &str) -> GenerationSpec {
    let limits = StageLimits {
        memory_bytes_max: None,
        deadline: Duration::from_millis(50),
        output_bytes_max: 16 << 20,
        log_lines_per_second: 10,
    };
    GenerationSpec {
        stage: "bench".to_owned(),
        number: 1,
        component,
        role: Role::Processor,
        config: config.to_owned(),
        keys: Vec::new(),
        grants: Grants::ALL,
        tables: Vec::new(),
        limits,
        on_fault: None,
        workers,
    }
}

fn file(name: &str) -> Component {
    Component::File { path: path(name), sha256: None }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../target/guests/{name}.wasm"))
}

fn traces(rows: usize) -> Bytes {
    traces_of(rows, 10)
}

/// Spans of so many different names.
fn traces_of(rows: usize, names: usize) -> Bytes {
    let spans = (0..rows)
        .map(|n| Span {
            trace_id: (n as u128 + 1).to_be_bytes().to_vec(),
            span_id: vec![1; 8],
            name: format!("name {}", n % names),
            ..Span::default()
        })
        .collect();
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    Bytes::from(ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec())
}

/// Spans with one of ten routes each.
fn routes(rows: usize) -> Bytes {
    let span = |n: usize| {
        let value = Some(AnyValue { value: Some(Value::StringValue(format!("/{}", n % 10))) });
        let route = KeyValue { key: "http.route".to_owned(), value, ..KeyValue::default() };
        Span { name: "name".to_owned(), attributes: vec![route], ..Span::default() }
    };
    let scope = ScopeSpans { spans: (0..rows).map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    Bytes::from(ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec())
}
