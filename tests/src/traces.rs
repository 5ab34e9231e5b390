//! Traces whose fate can be computed beforehand: a seed makes them, a list tells all of it, one trace per line.
//!
//! Spans come out of order and mixed with those of other traces, each trace in several requests; some come late, after all others. Span
//! ids name (run, sequence) as everywhere ([`crate::generate`]); the sequence numbers of a trace's spans follow each other.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use sluicebox::signal::Signal;

use crate::client::Source;
use crate::generate::{identity, values};
use crate::seen::Seen;

const ROUTES: [&str; 6] = ["/", "/cart", "/checkout", "/api/v1/items", "/health", "/login"];
/// Values of the attribute `deployment.ring`, the same in all spans of a trace.
pub const RINGS: [&str; 2] = ["blue", "green"];
const OK: u8 = 1;
const ERROR: u8 = 2;
const MS: u64 = 1_000_000;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Same seed, same traces.
    pub seed: u64,
    /// At least so many spans, late ones included.
    pub spans: u64,
    /// Of each request.
    pub spans_per_request: usize,
    /// Traces whose spans are mixed with each other.
    pub mixed_traces: usize,
    /// Of 100 traces so many have a span that failed.
    pub failing_percent: u32,
    /// Of 100 traces so many have spans that come late.
    pub late_percent: u32,
    /// A text of so many bytes in each span.
    pub padding_bytes: usize,
}

impl Shape {
    /// Some that fail, some that are slow, some that are late.
    pub fn new(seed: u64, spans: u64) -> Self {
        Self {
            seed,
            spans,
            spans_per_request: 200,
            mixed_traces: 100,
            failing_percent: 4,
            late_percent: 10,
            padding_bytes: 40,
        }
    }
}

/// Traces, and the order in which their spans come.
#[derive(Debug)]
pub struct Traces {
    shape: Shape,
    traces: Vec<Trace>,
    spans: Vec<SpanFacts>,
}

/// A trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its id.
    pub id: [u8; 16],
    /// Of each of its spans.
    pub tracestate: String,
    /// A value of [`RINGS`].
    pub ring: &'static str,
    /// Sequence numbers of its spans.
    pub spans: Range<u64>,
}

/// A span, as far as it is not told by its trace.
#[derive(Clone, Copy, Debug)]
struct SpanFacts {
    start: u64,
    nanos: u64,
    status: u8,
    service: u8,
    route: u8,
    is_late: bool,
    retried: bool,
    code: u16,
}

/// Some of the spans as requests.
#[derive(Debug)]
pub struct Requests {
    traces: Arc<Traces>,
    /// Trace and sequence number, in order of arrival.
    order: Vec<(u32, u64)>,
}

impl Traces {
    /// Generates them.
    pub fn new(shape: Shape) -> Arc<Self> {
        let mut rng = StdRng::seed_from_u64(shape.seed);
        let (mut traces, mut spans) = (Vec::new(), Vec::new());
        while (spans.len() as u64) < shape.spans {
            let first = spans.len() as u64;
            let tracestate = match rng.random_range(0..40) {
                0 => format!("ot=rv:{}", values::hex(&mut rng, 14)),
                1 => format!("vendor=a,ot=rv:{}", values::hex(&mut rng, 14)),
                2 => "vendor=b".to_owned(),
                _ => String::new(),
            };
            spans.extend(spans_of_a_trace(&mut rng, &shape));
            traces.push(Trace {
                id: rng.random(),
                tracestate,
                ring: RINGS[rng.random_range(0..RINGS.len())],
                spans: first..spans.len() as u64,
            });
        }
        Arc::new(Self { shape, traces, spans })
    }

    /// All traces.
    pub fn all(&self) -> &[Trace] {
        &self.traces
    }

    /// All spans.
    pub fn spans(&self) -> u64 {
        self.spans.len() as u64
    }

    /// What comes first: all that is not late, in several requests for each trace, children before parents.
    pub fn on_time(self: &Arc<Self>) -> Arc<Requests> {
        let mut rng = StdRng::seed_from_u64(self.shape.seed ^ 1);
        let mut keyed: Vec<_> = self
            .order(false)
            .map(|(trace, span)| (trace as usize + rng.random_range(0..self.shape.mixed_traces.max(1)), (trace, span)))
            .collect();
        keyed.shuffle(&mut rng);
        keyed.sort_by_key(|(key, _)| *key);
        Arc::new(Requests { traces: Arc::clone(self), order: keyed.into_iter().map(|(_, place)| place).collect() })
    }

    /// What comes after all traces were decided.
    pub fn late(self: &Arc<Self>) -> Arc<Requests> {
        let mut order: Vec<_> = self.order(true).collect();
        order.shuffle(&mut StdRng::seed_from_u64(self.shape.seed ^ 2));
        Arc::new(Requests { traces: Arc::clone(self), order })
    }

    fn order(&self, late: bool) -> impl Iterator<Item = (u32, u64)> {
        let numbered = (0_u32..).zip(&self.traces);
        numbered
            .flat_map(|(number, trace)| trace.spans.clone().map(move |span| (number, span)))
            .filter(move |(_, span)| self.facts(*span).is_late == late)
    }

    /// Writes the list: `{"id", "tracestate", "spans": [{"status", "start", "end", "late", "service", "attributes"}, ...]}` per line.
    pub fn write_list(&self, file: &Path) -> Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
        for trace in &self.traces {
            let spans: Vec<_> = trace.spans.clone().map(|span| self.told(trace, span)).collect();
            let line = json!({ "id": hex(&trace.id), "tracestate": trace.tracestate, "spans": spans });
            writeln!(out, "{line}")?;
        }
        Ok(out.flush()?)
    }

    /// Ids of the traces that arrived, in hex; each must have arrived whole, late spans included, and nothing twice.
    pub fn kept(&self, seen: &Seen) -> Result<BTreeSet<String>> {
        ensure!(seen.duplicates == 0, "{} spans arrived twice", seen.duplicates);
        let (mut kept, mut arrived) = (BTreeSet::new(), 0);
        for trace in &self.traces {
            let here = trace.spans.clone().filter(|span| seen.has(*span)).count() as u64;
            let all = trace.spans.end - trace.spans.start;
            arrived += here;
            match here {
                0 => {}
                _ if here == all => drop(kept.insert(hex(&trace.id))),
                _ => {
                    let late = trace.spans.clone().filter(|span| self.facts(*span).is_late);
                    let late: Vec<_> = late.map(|span| seen.has(span)).collect();
                    bail!("{here} of {all} spans of trace {} arrived; of its late ones {late:?}", hex(&trace.id))
                }
            }
        }
        ensure!(arrived == seen.items, "{} spans arrived that were never sent", seen.items - arrived);
        Ok(kept)
    }

    fn facts(&self, span: u64) -> &SpanFacts {
        // Sequence numbers are indices.
        &self.spans[span as usize]
    }

    fn told(&self, trace: &Trace, span: u64) -> serde_json::Value {
        let facts = self.facts(span);
        json!({
            "status": (["UNSET", "OK", "ERROR"][usize::from(facts.status)]),
            "start": facts.start, "end": facts.start + facts.nanos, "late": facts.is_late,
            "service": service(facts),
            "attributes": {
                "http.route": ROUTES[usize::from(facts.route)],
                "http.response.status_code": facts.code,
                "retried": facts.retried,
                "deployment.ring": trace.ring,
            },
        })
    }

    fn message(&self, run: u16, trace: &Trace, span: u64) -> Span {
        let facts = self.facts(span);
        let root = trace.spans.start;
        // Of each run other traces; those of the first have the ids that the list tells.
        let mut trace_id = trace.id.to_vec();
        trace_id.iter_mut().zip((run ^ 1).to_be_bytes()).for_each(|(byte, of_run)| *byte ^= of_run);
        Span {
            trace_id,
            span_id: identity(run, span).to_vec(),
            parent_span_id: if span == root { Vec::new() } else { identity(run, root).to_vec() },
            trace_state: trace.tracestate.clone(),
            flags: 0x101,
            name: format!("GET {}", ROUTES[usize::from(facts.route)]),
            kind: 2,
            start_time_unix_nano: facts.start,
            end_time_unix_nano: facts.start + facts.nanos,
            attributes: vec![
                values::text("http.route", ROUTES[usize::from(facts.route)]),
                values::int("http.response.status_code", i64::from(facts.code)),
                values::attribute("retried", Value::BoolValue(facts.retried)),
                values::text("deployment.ring", trace.ring),
                values::text("padding", &"p".repeat(self.shape.padding_bytes)),
            ],
            // Unset is said by nothing at all, or in so many words.
            status: (facts.status > 0 || facts.retried)
                .then(|| Status { code: i32::from(facts.status), message: String::new() }),
            ..Span::default()
        }
    }
}

impl Requests {
    /// How many requests.
    pub fn count(&self) -> u64 {
        self.order.len().div_ceil(self.traces.shape.spans_per_request.max(1)) as u64
    }

    /// How many spans.
    pub fn spans(&self) -> u64 {
        self.order.len() as u64
    }
}

impl Source for Requests {
    fn signal(&self) -> Signal {
        Signal::Traces
    }

    fn request(&self, run: u16, number: u64) -> Bytes {
        let per_request = self.traces.shape.spans_per_request.max(1);
        let places =
            self.order.chunks(per_request).nth(usize::try_from(number).unwrap_or(usize::MAX)).unwrap_or_default();
        let mut by_service: BTreeMap<u8, Vec<Span>> = BTreeMap::new();
        for (trace, span) in places {
            let message = self.traces.message(run, &self.traces.traces[*trace as usize], *span);
            by_service.entry(self.traces.facts(*span).service).or_default().push(message);
        }
        let scope = InstrumentationScope { name: "shop".to_owned(), ..InstrumentationScope::default() };
        let of_service = |(service, spans): (u8, Vec<Span>)| ResourceSpans {
            resource: Some(values::resource(usize::from(service))),
            scope_spans: vec![ScopeSpans { scope: Some(scope.clone()), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        };
        let resource_spans = by_service.into_iter().map(of_service).collect();
        Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec())
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spans_of_a_trace(rng: &mut StdRng, shape: &Shape) -> Vec<SpanFacts> {
    let count = [1, 2, 4, 8, 12, 24][rng.random_range(0..6)];
    let begin = values::EPOCH + rng.random_range(0..3_600_000 * MS);
    // No duration is so close to a bound that rounding could matter.
    let lasts = match rng.random_range(0..100) {
        0..85 => rng.random_range(MS..450 * MS),
        85..92 => rng.random_range(550 * MS..950 * MS),
        _ => rng.random_range(1_050 * MS..3_000 * MS),
    };
    let is_all_ok = rng.random_ratio(1, 2);
    let failing = rng.random_ratio(shape.failing_percent, 100).then(|| rng.random_range(0..count));
    let late = if rng.random_ratio(shape.late_percent, 100) { rng.random_range(0..=count / 2) } else { 0 };
    let span = |index: usize| {
        let service = values::zipf(rng, values::SERVICES.len()) as u8;
        let is_root = index == 0;
        let start = if is_root { 0 } else { rng.random_range(0..lasts) };
        let nanos = if is_root { lasts } else { rng.random_range(0..lasts - start) };
        let status = match failing {
            Some(failing) if failing == index => ERROR,
            _ if is_all_ok || rng.random() => OK,
            _ => 0,
        };
        SpanFacts {
            start: begin + start,
            nanos,
            status,
            service,
            route: rng.random_range(0..ROUTES.len()) as u8,
            is_late: index >= count - late,
            retried: rng.random_ratio(1, 20),
            code: [200, 200, 200, 404, 500][rng.random_range(0..5)],
        }
    };
    (0..count).map(span).collect()
}

fn service(facts: &SpanFacts) -> &'static str {
    values::SERVICES[usize::from(facts.service) % values::SERVICES.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_span_comes_once_and_traces_come_in_pieces() {
        let traces = Traces::new(Shape::new(1, 5_000));
        let (on_time, late) = (traces.on_time(), traces.late());
        assert_eq!(on_time.spans() + late.spans(), traces.spans());
        assert!(late.spans() > 50);
        let (mut seen, mut requests_of) = (Seen::default(), BTreeMap::<Vec<u8>, BTreeSet<u64>>::new());
        for (part, requests) in [&on_time, &late].into_iter().enumerate() {
            for number in 0..requests.count() {
                let message = ExportTraceServiceRequest::decode(requests.request(3, number)).unwrap();
                let scopes = message.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
                for span in scopes.flat_map(|scope| &scope.spans) {
                    let id = u64::from_be_bytes(span.span_id.as_slice().try_into().unwrap());
                    let (run, sequence) = crate::generate::named(id);
                    assert_eq!(run, 3);
                    assert!(seen.note(sequence));
                    assert_eq!(traces.facts(sequence).is_late, part == 1);
                    requests_of.entry(span.trace_id.clone()).or_default().insert(number);
                }
            }
        }
        assert_eq!(seen.items, traces.spans());
        assert_eq!(traces.kept(&seen).unwrap().len(), traces.all().len());
        assert!(requests_of.values().filter(|requests| requests.len() > 2).count() > traces.all().len() / 4);
    }

    #[test]
    fn the_list_tells_what_the_requests_hold() {
        let traces = Traces::new(Shape::new(2, 2_000));
        let file = tempfile::NamedTempFile::new().unwrap();
        traces.write_list(file.path()).unwrap();
        let mut errors = 0;
        for (line, trace) in std::fs::read_to_string(file.path()).unwrap().lines().zip(traces.all()) {
            let told: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(told["id"], hex(&trace.id));
            let spans = told["spans"].as_array().unwrap();
            for (told, span) in spans.iter().zip(trace.spans.clone()) {
                let message = traces.message(1, trace, span);
                assert_eq!(hex(&message.trace_id), hex(&trace.id));
                let code = message.status.map_or(0, |status| status.code);
                assert_eq!(told["status"], ["UNSET", "OK", "ERROR"][code as usize]);
                assert_eq!(told["end"], message.end_time_unix_nano);
                assert_eq!(told["attributes"]["deployment.ring"], trace.ring);
                errors += u64::from(code == 2);
            }
            assert_eq!(spans.len() as u64, trace.spans.end - trace.spans.start);
        }
        assert!(errors > 0);
    }

    #[test]
    fn a_trace_that_is_split_is_found() {
        let traces = Traces::new(Shape::new(1, 100));
        let split = traces.all().iter().find(|trace| trace.spans.end - trace.spans.start > 1).unwrap();
        let mut seen = Seen::default();
        seen.note(split.spans.start);
        assert!(traces.kept(&seen).unwrap_err().to_string().contains(&hex(&split.id)));
        assert!(traces.kept(&Seen::default()).unwrap().is_empty());
    }
}
