//! A runtime with prebuilt components and batches to judge.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event};
use prost::Message as _;
use sluicebox::batch::Batch;
use sluicebox::config::model::{Component, Grants, Secret, StageLimits};
use sluicebox::memory::Budget;
use sluicebox::pipeline::stage::{Effects, Fault, Generation, Instance};
use sluicebox::signal::Signal;
use sluicebox::wasm::{BuildError, Compiler, GenerationSpec, Role, Runtime, RuntimeOptions};

pub const MIB: u64 = 1 << 20;

/// A runtime of its own, with its own budget; compiled code is shared between tests.
pub struct Lab {
    pub runtime: Runtime,
    pub budget: Arc<Budget>,
}

impl Lab {
    pub fn new() -> Self {
        Self::with_budget(1 << 30)
    }

    pub fn with_budget(bytes_max: u64) -> Self {
        let budget = Budget::new(bytes_max);
        let options = RuntimeOptions {
            budget: Arc::clone(&budget),
            bundled: &[],
            compiler: compiler(),
            cache_dir: Some(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        };
        Self { runtime: Runtime::new(options).expect("starts"), budget }
    }

    /// A generation of the misbehaving component.
    pub fn build(&self, behaviour: &str) -> Result<Arc<dyn Generation>, BuildError> {
        self.runtime.build_generation(spec(behaviour))
    }

    /// One instance of the misbehaving component.
    pub fn instance(&self, behaviour: &str) -> Box<dyn Instance> {
        self.build(behaviour).expect("builds").instance().expect("is prepared")
    }
}

pub fn compiler() -> Compiler {
    Compiler::program(env!("CARGO_BIN_EXE_compile-component"))
}

pub fn spec(behaviour: &str) -> GenerationSpec {
    GenerationSpec {
        stage: "wasm/test".to_owned(),
        number: 1,
        component: Component::File { path: guest("misbehaving"), sha256: None },
        role: Role::Processor,
        config: format!("{{\"behaviour\": \"{behaviour}\"}}"),
        keys: Vec::new(),
        grants: Grants::ALL,
        tables: Vec::new(),
        limits: limits(),
        on_fault: None,
        workers: 1,
    }
}

/// Of the misbehaving redactor, which has a key `salt`.
pub fn redactor(behaviour: &str) -> GenerationSpec {
    GenerationSpec {
        component: Component::File { path: guest("misbehaving-redactor"), sha256: None },
        keys: vec![("salt".to_owned(), Secret::new("a key"))],
        ..spec(behaviour)
    }
}

/// Waits until something that happens beside the data path has happened.
pub fn wait_for(condition: impl Fn() -> bool) {
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < patience, "waited 20 s in vain");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn limits() -> StageLimits {
    StageLimits {
        memory_bytes_max: None,
        deadline: Duration::from_millis(50),
        output_bytes_max: 16 * MIB,
        log_lines_per_second: 10,
    }
}

/// A prebuilt component.
pub fn guest(name: &str) -> PathBuf {
    let dir = std::env::var_os("SLUICEBOX_GUESTS_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guests"), PathBuf::from);
    let path = dir.join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is missing: run `make guests` first, or set SLUICEBOX_GUESTS_DIR", path.display());
    path
}

/// One resource with `rows` spans, named `name 0` to `name 9` in turn.
pub fn traces(rows: usize) -> Bytes {
    let spans = (0..rows)
        .map(|n| Span {
            trace_id: (n as u128 + 1).to_be_bytes().to_vec(),
            span_id: vec![1; 8],
            name: format!("name {}", n % 10),
            ..Span::default()
        })
        .collect();
    request(None, spans)
}

/// One resource with this attribute `long`, and `rows` spans of different names.
pub fn traces_of(long: String, rows: usize) -> Bytes {
    let value = AnyValue { value: Some(Value::StringValue(long)) };
    let attributes = vec![KeyValue { key: "long".to_owned(), value: Some(value), ..KeyValue::default() }];
    let spans = (0..rows).map(|n| Span { name: format!("name {n}"), ..Span::default() }).collect();
    request(Some(Resource { attributes, ..Resource::default() }), spans)
}

/// One span with this many empty events.
pub fn traces_with_events(events: usize) -> Bytes {
    request(None, vec![Span { events: vec![Event::default(); events], ..Span::default() }])
}

/// A request with these spans.
pub fn request(resource: Option<Resource>, spans: Vec<Span>) -> Bytes {
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { resource, scope_spans: vec![scope], ..ResourceSpans::default() };
    Bytes::from(ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec())
}

pub fn batch(bytes: &Bytes) -> Batch {
    Batch::index(Signal::Traces, vec![bytes.clone()]).expect("is valid")
}

/// Calls an instance with all of a batch and checks that the batch comes back as it went in.
pub fn call(instance: &mut dyn Instance, bytes: &Bytes) -> Result<Effects, Fault> {
    let batch = batch(bytes);
    let rows = batch.items();
    let (batch, result) = instance.call(batch, 0..rows);
    assert_eq!(batch.items(), rows);
    let segments = batch.into_segments().expect("fits");
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].bytes, *bytes);
    result
}
