//! Deterministic telemetry whose fate is known beforehand.
//!
//! A workload is a pool of encoded requests made from a seed. Request `n` is template `n` modulo the pool with fresh
//! identities patched in, so that every span, log record and data point of a run is different and names (run, sequence).
//! About a tenth of the items match [`EARLY_RULE`] and, the very same ones, [`LATE_RULE`].

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluicebox::signal::Signal;

use crate::client::{Settled, Source};
use crate::scan::{self, Mark};
use crate::seen::Seen;

mod envelope;
mod logs;
mod metrics;
mod traces;
pub(crate) mod values;

/// An OTTL condition on an attribute that stands third in its item.
pub const EARLY_RULE: &str = r#"attributes["http.route"] == "/health""#;
/// An OTTL condition on an attribute that stands last in its item, true of the same items.
pub const LATE_RULE: &str = r#"attributes["deployment.ring"] == "canary""#;
/// Spans of one trace.
pub const SPANS_PER_TRACE: u64 = 8;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The signal.
    pub signal: Signal,
    /// Same seed, same bytes.
    pub seed: u64,
    /// Different requests in the pool.
    pub requests: usize,
    /// Spans, log records or data points of each request.
    pub items_per_request: usize,
    /// Different values of `http.route`.
    pub routes: usize,
    /// Content that is odd but legal: empty envelopes, nested maps, bytes, empty values, unknown fields.
    pub odd: bool,
    /// Every text of a span is one of its own, not only its ids; spans match no rule then.
    pub fresh: bool,
}

impl Shape {
    /// The benchmark's: 512 items per request, ten routes, about 64 MiB of spans.
    pub fn new(signal: Signal) -> Self {
        Self { signal, seed: 7, requests: 240, items_per_request: 512, routes: 10, odd: false, fresh: false }
    }
}

/// A pool of requests and what must become of their items.
#[derive(Debug)]
pub struct Workload {
    signal: Signal,
    templates: Vec<Template>,
    items_per_request: u64,
    traces_per_request: u64,
}

#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    /// Per item, in document order: matches the rules.
    matches: Vec<bool>,
}

impl Workload {
    /// Generates the pool.
    pub fn new(shape: Shape) -> Arc<Self> {
        let mut rng = StdRng::seed_from_u64(shape.seed);
        let templates = (0..shape.requests.max(1)).map(|_| template(&mut rng, &shape)).collect();
        let items_per_request = shape.items_per_request as u64;
        let traces_per_request = items_per_request.div_ceil(SPANS_PER_TRACE);
        Arc::new(Self { signal: shape.signal, templates, items_per_request, traces_per_request })
    }

    /// The signal of all requests.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Spans, log records or data points of each request.
    pub fn items_per_request(&self) -> u64 {
        self.items_per_request
    }

    /// Mean size of an item on the wire, in bytes, envelopes included.
    pub fn bytes_per_item(&self) -> f64 {
        let bytes: usize = self.templates.iter().map(|t| t.bytes.len()).sum();
        bytes as f64 / (self.items_per_request as f64 * self.templates.len() as f64)
    }

    /// Request `number` of run `run`, encoded.
    pub fn request(&self, run: u16, number: u64) -> Bytes {
        let template = self.template(number);
        let mut bytes = template.bytes.clone();
        let base = number * self.items_per_request;
        for (index, mark) in (0_u64..).zip(&template.marks) {
            put(&mut bytes, mark.id, &identity(run, base + index));
            if let Some(at) = mark.trace {
                let trace = number * self.traces_per_request + index / SPANS_PER_TRACE;
                put(&mut bytes, at, &identity(run, trace));
                put(&mut bytes, at + 8, &trace.wrapping_mul(TRACE_SPREAD).to_be_bytes());
            }
            if let Some(at) = mark.parent {
                put(&mut bytes, at, &identity(run, base + index - index % SPANS_PER_TRACE));
            }
        }
        Bytes::from(bytes)
    }

    /// Request `number` of run `run` as a message, such as `ExportTraceServiceRequest`.
    pub fn message<M: Message + Default>(&self, run: u16, number: u64) -> Result<M, prost::DecodeError> {
        M::decode(self.request(run, number))
    }

    /// True if item `sequence` matches the rules.
    pub fn matches(&self, sequence: u64) -> bool {
        let index = usize::try_from(sequence % self.items_per_request).unwrap_or(usize::MAX);
        self.template(sequence / self.items_per_request).matches.get(index).copied().unwrap_or(false)
    }

    /// Items of the first `requests` requests that match the rules.
    pub fn matching(&self, requests: u64) -> u64 {
        (0..requests).map(|n| self.template(n).matches.iter().filter(|m| **m).count() as u64).sum()
    }

    /// Checks what a sink saw against what senders were told: of every acknowledged request exactly the items that must
    /// arrive, once; of every other request nothing more than once, and nothing that a filter had to drop.
    pub fn check(&self, settled: &[(u64, Settled)], seen: &Seen, filtered: bool) -> Result<Delivered, Wrong> {
        let mut delivered = Delivered::default();
        let mut wrong = Wrong { duplicates: seen.duplicates, ..Wrong::default() };
        for (number, outcome) in settled {
            let acknowledged = matches!(outcome, Settled::Accepted { .. });
            let base = number * self.items_per_request;
            for sequence in base..base + self.items_per_request {
                let (arrived, must_drop) = (seen.has(sequence), filtered && self.matches(sequence));
                delivered.arrived += u64::from(arrived);
                delivered.dropped += u64::from(acknowledged && must_drop && !arrived);
                wrong.missing += u64::from(acknowledged && !must_drop && !arrived);
                wrong.leaked += u64::from(must_drop && arrived);
            }
        }
        wrong.foreign = seen.items - delivered.arrived;
        if wrong == Wrong::default() { Ok(delivered) } else { Err(wrong) }
    }

    fn template(&self, number: u64) -> &Template {
        // The remainder is below a length.
        &self.templates[(number % self.templates.len() as u64) as usize]
    }
}

impl Source for Workload {
    fn signal(&self) -> Signal {
        self.signal
    }

    fn request(&self, run: u16, number: u64) -> Bytes {
        Workload::request(self, run, number)
    }
}

/// What arrived, rightly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Items at the sink.
    pub arrived: u64,
    /// Items of acknowledged requests that were rightly dropped.
    pub dropped: u64,
}

/// What must not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{missing} items missing, {leaked} not dropped, {duplicates} duplicates, {foreign} that were never sent")]
pub struct Wrong {
    /// Acknowledged, not to be dropped, and not there.
    pub missing: u64,
    /// To be dropped, and there.
    pub leaked: u64,
    /// Arrived again.
    pub duplicates: u64,
    /// Arrived, and belongs to no request of the run.
    pub foreign: u64,
}

/// An odd number, so that multiplying by it is a bijection: identities look random and can be read back.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
const TRACE_SPREAD: u64 = 0xd134_2543_de82_ef95;

/// The eight bytes that name an item. `run` starts at 1; `sequence` has 48 bits.
pub fn identity(run: u16, sequence: u64) -> [u8; 8] {
    (u64::from(run) << 48 | sequence).wrapping_mul(SPREAD).to_be_bytes()
}

/// The run and sequence number that an identity names.
pub fn named(id: u64) -> (u16, u64) {
    let number = id.wrapping_mul(inverse(SPREAD));
    ((number >> 48) as u16, number & 0xffff_ffff_ffff)
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut step = 0;
    while step < 6 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        step += 1;
    }
    x
}

fn put(bytes: &mut [u8], at: usize, what: &[u8; 8]) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(what);
    }
}

#[expect(clippy::expect_used, reason = "the generator's own bytes; failing at once is right in a test tool")]
fn template(rng: &mut StdRng, shape: &Shape) -> Template {
    let mut matches = Vec::with_capacity(shape.items_per_request);
    let mut bytes = Vec::new();
    let per_scope = (shape.items_per_request.div_ceil(8)).next_multiple_of(SPANS_PER_TRACE as usize);
    while matches.len() < shape.items_per_request {
        let service = values::zipf(rng, values::SERVICES.len());
        let mut scopes = Vec::new();
        for _ in 0..2 {
            let count = per_scope.min(shape.items_per_request - matches.len());
            if count > 0 {
                scopes.push(scope_items(rng, shape, count, &mut matches));
            }
        }
        if shape.odd {
            // A scope without items, and a resource without scopes.
            scopes.insert(rng.random_range(0..=scopes.len()), Vec::new());
            envelope::resource(&mut bytes, &values::resource(service), &[], true);
        }
        envelope::resource(&mut bytes, &values::resource(service), &scopes, shape.odd);
    }
    let mut marks = Vec::with_capacity(matches.len());
    scan::items(shape.signal, &bytes, &mut |mark| marks.push(mark)).expect("generated bytes are readable");
    assert_eq!(marks.len(), matches.len(), "each generated item has an identity");
    Template { bytes, marks, matches }
}

/// Encoded spans, log records or metrics with together `count` items.
fn scope_items(rng: &mut StdRng, shape: &Shape, count: usize, matches: &mut Vec<bool>) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    let goal = matches.len() + count;
    while matches.len() < goal {
        let left = goal - matches.len();
        items.push(match shape.signal {
            Signal::Traces => traces::span(rng, shape, matches),
            Signal::Logs => logs::record(rng, shape, matches),
            Signal::Metrics => metrics::metric(rng, shape, left, matches),
        });
    }
    items
}

#[cfg(test)]
mod tests;
