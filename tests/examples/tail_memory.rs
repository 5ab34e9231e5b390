//! What waiting spans cost: `cargo run --release -p sluicebox-tests --example tail_memory`.
//!
//! Traces of 10 spans of about 530 bytes come in requests of 512 spans, 2 spans of a trace in each of five requests; every tenth trace is
//! kept. `-- 1` has one span of a trace in a request, `-- 1 1` traces of one span. Memory is the resident set, with all of 1,000,000 spans waiting, against an empty shard.
//! Times are CPU time of one thread: first while a shard fills and is emptied, then with as many decided as come.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measuring program that prints and gives up")]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::time::{ClockId, clock_gettime};
use sluicebox::memory::Budget;
use sluicebox::tail::arrivals::Arrivals;
use sluicebox::tail::shard::{Now, Settings, Shard};
use sluicebox::tail::verdict::{Verdict, Vote};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SPANS: usize = 1_000_000;
const SPANS_OF_REQUEST: usize = 512;
const WAIT: Duration = Duration::from_secs(30);
const SERVICES: usize = 20;

fn main() {
    let number =
        |nth: usize, otherwise| std::env::args().nth(nth).map_or(otherwise, |arg| arg.parse().expect("a number"));
    let mut run = Run::new(number(1, 2), number(2, 10));
    run.fill_and_empty();
    run.steady();
}

/// A shard, what is sent to it, and what that costs.
struct Run {
    shard: Shard,
    sender: Sender,
    now: Now,
    costs: Costs,
}

/// CPU time in nanoseconds, and what for.
#[derive(Default)]
struct Costs {
    read: u64,
    ingest: u64,
    due: u64,
    settle: u64,
    spans: u64,
    kept: u64,
}

impl Run {
    fn new(together: usize, spans_of_trace: usize) -> Run {
        let traces = SPANS / spans_of_trace;
        let settings = Settings {
            sampler: "tail_sampling".to_owned(),
            decision_wait: WAIT,
            wait_after_root: None,
            traces_max: 2 * traces,
            bytes_max: 4 << 30,
            evicts: true,
            span_limit: None,
            trace_bytes_limit: 10 << 20,
            drop_larger_than_bytes: None,
            kept_ids_max: 10 * traces,
            dropped_ids_max: 10 * traces,
            history_max: 1000,
            records_decisions: false,
        };
        let shard = Shard::new(settings, &Budget::new(8 << 30), 42);
        Run { shard, sender: Sender::new(together, spans_of_trace), now: Now::default(), costs: Costs::default() }
    }

    /// All spans wait at once, then all are decided.
    fn fill_and_empty(&mut self) {
        let (empty, empty_bytes) = (resident_bytes(), self.shard.load().bytes);
        let (mut wire, mut request_bytes) = (0, 0);
        while self.costs.spans < SPANS as u64 {
            let request = self.sender.next_request();
            request_bytes += request.len() as u64;
            wire += self.send(request);
        }
        let (full, load) = (resident_bytes(), self.shard.load());
        let spans = load.spans as f64;
        println!("{} spans in {} traces wait, {} bytes in requests", load.spans, load.traces, request_bytes);
        println!("  wire bytes per span            {:8.1}", wire as f64 / spans);
        println!(
            "  held above wire, per span      {:8.1} (as the shard counts)",
            (load.bytes - empty_bytes - wire) as f64 / spans
        );
        println!("  resident above wire, per span  {:8.1}", ((full - empty) as f64 - wire as f64) / spans);
        self.now.since_start += 2 * WAIT;
        self.decide();
        // The allocator gives memory back a little later, while it is used.
        for _ in 0..60 {
            std::thread::sleep(Duration::from_millis(50));
            drop(std::hint::black_box(vec![1_u8; 256 << 10]));
        }
        println!(
            "  after all were decided: held {} bytes, resident {} above empty",
            self.shard.load().bytes,
            resident_bytes().saturating_sub(empty)
        );
        self.costs.print("filled, then emptied");
    }

    /// As many traces are decided as come, with as many waiting.
    fn steady(&mut self) {
        let requests = SPANS / SPANS_OF_REQUEST;
        let step = WAIT / requests as u32;
        for round in 0..4 {
            self.costs = Costs::default();
            for _ in 0..requests {
                self.now.since_start += step;
                let request = self.sender.next_request();
                self.send(request);
                self.decide();
            }
            if round > 0 {
                self.costs.print("steady");
            }
        }
        let load = self.shard.load();
        println!("  {} spans in {} traces wait, {} bytes held", load.spans, load.traces, load.bytes);
    }

    /// Bytes of the spans.
    fn send(&mut self, request: Bytes) -> u64 {
        self.now.unix_nano += 1_000_000;
        let mut bytes = 0;
        let from = cpu();
        let arrivals = Arrivals::read(request).expect("is valid");
        self.costs.spans += arrivals.spans();
        let split = arrivals.split(1);
        self.costs.read += cpu() - from;
        let from = cpu();
        for (_, arrival) in split {
            bytes += arrival.bytes();
            self.shard.ingest(self.now, &arrival).expect("there is room");
        }
        self.costs.ingest += cpu() - from;
        bytes
    }

    fn decide(&mut self) {
        loop {
            let from = cpu();
            let Some(due) = self.shard.due(self.now) else { return };
            self.costs.due += cpu() - from;
            let keep = |id: &[u8; 16]| if id[0].is_multiple_of(10) { Vote::Keep } else { Vote::None };
            let verdict = |vote| Verdict { vote, threshold: 0, is_settled: true, decider: None };
            let verdicts = due.traces.ids.iter().map(|id| verdict(keep(id))).collect();
            let from = cpu();
            let settled = self.shard.settle(self.now, due, verdicts);
            self.costs.settle += cpu() - from;
            self.costs.kept += settled.released.iter().map(|request| request.spans).sum::<u64>();
        }
    }
}

impl Costs {
    fn print(&self, name: &str) {
        let per_span = |nanos: u64| nanos as f64 / self.spans as f64;
        let all = self.read + self.ingest + self.due + self.settle;
        println!(
            "  {name}: {:.1} ns per span (read and split {:.1}, ingest {:.1}, due {:.1}, settle {:.1}), {:.1} % kept",
            per_span(all),
            per_span(self.read),
            per_span(self.ingest),
            per_span(self.due),
            per_span(self.settle),
            100.0 * self.kept as f64 / self.spans as f64
        );
    }
}

/// Traces begin one after the other, and go through services.
struct Sender {
    rng: StdRng,
    together: usize,
    spans_of_trace: usize,
    /// Ids of traces whose next spans are to come, and how many have come.
    open: VecDeque<([u8; 16], usize)>,
    span: Span,
}

impl Sender {
    fn new(together: usize, spans_of_trace: usize) -> Sender {
        let text = |key: &str, text: String| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(text)) }),
            ..KeyValue::default()
        };
        let attributes = (0..10).map(|i| text(&format!("attribute.number.{i}"), "x".repeat(18)));
        let span = Span {
            name: "GET /api/cart/items".to_owned(),
            attributes: attributes.collect(),
            status: Some(Status::default()),
            kind: 2,
            flags: 257,
            ..Span::default()
        };
        Sender { rng: StdRng::seed_from_u64(1), together, spans_of_trace, open: VecDeque::new(), span }
    }

    fn next_request(&mut self) -> Bytes {
        let mut spans = Vec::with_capacity(SPANS_OF_REQUEST);
        let width = SPANS_OF_REQUEST / self.together;
        let mut again = Vec::new();
        for _ in 0..width {
            // Every trace has spans in some requests, a few thousand traces apart.
            let is_old = self.open.len() > 4 * width;
            let (id, mut count) =
                if is_old { self.open.pop_front().unwrap_or_default() } else { (self.rng.random(), 0) };
            for _ in 0..self.together {
                let start = 1_700_000_000_000_000_000 + self.rng.random_range(0..1_000_000_000);
                spans.push(Span {
                    trace_id: id.to_vec(),
                    span_id: self.rng.random::<[u8; 8]>().to_vec(),
                    parent_span_id: if count == 0 { Vec::new() } else { vec![1; 8] },
                    start_time_unix_nano: start,
                    end_time_unix_nano: start + self.rng.random_range(0..1_000_000_000),
                    ..self.span.clone()
                });
                count += 1;
            }
            if count < self.spans_of_trace {
                again.push((id, count));
            }
        }
        self.open.extend(again);
        let service = self.rng.random_range(0..SERVICES);
        let attributes = (0..8).map(|i| KeyValue {
            key: format!("resource.attribute.{i}"),
            value: Some(AnyValue { value: Some(Value::StringValue(format!("service-{service:020}"))) }),
            ..KeyValue::default()
        });
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        let scope =
            InstrumentationScope { name: "io.opentelemetry.http".to_owned(), ..InstrumentationScope::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: String::new() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }
}

/// CPU time of this thread, in nanoseconds.
fn cpu() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Bytes of the resident set.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells it");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * rustix::param::page_size() as u64
}
