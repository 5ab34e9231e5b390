//! What reading and replacing contents costs: `cargo run --release -p sluicebox-tests --example contents`.
//!
//! Spans of 12 attributes: 10 texts of 217 bytes together and 2 numbers, beside their names and ids. Figures are CPU time per span, medians of
//! 15 rounds on one thread. With `-- read` it reads 512 spans for five seconds, for a profiler.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measuring program that prints and gives up")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluicebox::batch::{Batch, Contents, Drops, Edits, NewValues};
use sluicebox::signal::Signal;
use sluicebox_tests::cost::median_nanos;

const PLENTY: u64 = 1 << 40;

fn main() {
    if std::env::args().any(|arg| arg == "read") {
        return read_only();
    }
    for spans in [16, 512, 2048] {
        for new_percent in [0, 25, 100] {
            measure(spans, new_percent);
        }
    }
}

fn read_only() {
    let batch = Batch::index(Signal::Traces, vec![traces(512, 25)]).expect("is valid");
    let slice = batch.slice(0..batch.items());
    let mut contents = Contents::default();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        batch.read_contents(&slice, &mut contents, &mut { PLENTY }).expect("fits");
        black_box(&contents);
    }
}

fn measure(spans: usize, new_percent: u32) {
    let bytes = traces(spans, new_percent);
    let index = || Batch::index(Signal::Traces, vec![bytes.clone()]).expect("is valid");
    let batch = index();
    let slice = batch.slice(0..batch.items());
    let mut contents = Contents::default();
    let index_ns = per_span(spans, || drop(black_box(index())));
    let read_ns = per_span(spans, || {
        batch.read_contents(&slice, &mut contents, &mut { PLENTY }).expect("fits");
        black_box(&contents);
    });
    // Replaces the leaves of one key, which every span has once.
    let leaves = contents.take_leaves();
    let key = leaves.keys.bytes_of("http.route");
    let which: Vec<u32> = (0..).zip(&leaves.key_of).filter(|(_, of)| **of == key).map(|(leaf, _)| leaf).collect();
    contents.give_back(leaves);
    let kinds = vec![1; which.len()];
    let text = b"[redacted]".repeat(which.len());
    let offsets: Vec<u32> = (0..=which.len()).map(|number| 10 * number as u32).collect();
    let to = NewValues::new(&kinds, &offsets, &text).expect("are legal");
    let replace_ns = per_span(spans, || {
        let mut edits = Edits::default();
        let places = batch.replace_leaves(&contents, &which, &to, &mut edits, &mut { PLENTY }).expect("fit");
        assert_eq!(places, spans as u64);
        black_box(edits);
    });
    let whole_ns = per_span(spans, || {
        let mut batch = index();
        let mut edits = Edits::default();
        batch.replace_leaves(&contents, &which, &to, &mut edits, &mut { PLENTY }).expect("fit");
        batch.apply(Drops::new(&batch), edits).expect("no conflict");
        black_box(batch.into_segments().expect("fits"));
    });
    println!(
        "{spans:>5} spans of {} bytes, {new_percent:>3} % new texts: index {index_ns:>5.1} ns per span; read {read_ns:>6.1}; find and \
         replace one leaf of each {replace_ns:>6.1}; apply and splice {:>6.1}; different leaves {}",
        bytes.len() / spans,
        whole_ns - index_ns - replace_ns,
        contents.leaf_count() - 1,
    );
}

/// Finds a key.
trait Find {
    fn bytes_of(&self, text: &str) -> u32;
}

impl Find for sluicebox::batch::Texts {
    fn bytes_of(&self, text: &str) -> u32 {
        (0..self.kinds.len() as u32).find(|&key| self.get(key).1 == text.as_bytes()).expect("is there")
    }
}

/// Median nanoseconds.
fn per_span(spans: usize, run: impl FnMut()) -> f64 {
    median_nanos(run) / spans as f64
}

/// Keys and the lengths of their texts: 217 bytes together.
const TEXTS: [(&str, usize); 10] = [
    ("http.request.method", 4),
    ("http.route", 22),
    ("url.full", 52),
    ("url.scheme", 5),
    ("server.address", 24),
    ("client.address", 14),
    ("user_agent.original", 40),
    ("enduser.id", 16),
    ("session.id", 32),
    ("thread.name", 8),
];

fn traces(count: usize, new_percent: u32) -> Bytes {
    let mut rng = StdRng::seed_from_u64(7);
    let spans = (0..count).map(|number| span(&mut rng, number, new_percent)).collect();
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    Bytes::from(ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec())
}

fn span(rng: &mut StdRng, number: usize, new_percent: u32) -> Span {
    let mut attributes: Vec<KeyValue> = TEXTS
        .iter()
        .map(|&(key, length)| {
            // One of ten that repeat, or one of its own.
            let seed = if rng.random_range(0..100) < new_percent { rng.random() } else { rng.random_range(0..10) };
            attribute(key, Value::StringValue(text(seed, length)))
        })
        .collect();
    attributes.push(attribute("http.response.status_code", Value::IntValue([200, 201, 404][number % 3])));
    attributes.push(attribute("server.port", Value::IntValue(8443)));
    Span {
        trace_id: rng.random::<[u8; 16]>().to_vec(),
        span_id: rng.random::<[u8; 8]>().to_vec(),
        parent_span_id: rng.random::<[u8; 8]>().to_vec(),
        name: format!("GET /{}", number % 10),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_100_000_000,
        attributes,
        status: Some(Status { code: 1, ..Status::default() }),
        flags: 257,
        ..Span::default()
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(seed: u64, length: usize) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..length).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}
