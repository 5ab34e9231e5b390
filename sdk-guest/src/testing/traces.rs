use std::rc::Rc;

use super::TestBatch;
use super::tracestate::Sampling;
use crate::memory::{self, Data, Facts, Path, TraceBatch};
use crate::{Level, NewValue, Threshold, Trigger};

/// The contract's bits.
const MARK_ROOT: u8 = 1;
const MARK_SAMPLED: u8 = 2;
/// The contract's status codes (opentelemetry/proto/trace/v1).
const STATUS_OK: i64 = 1;
const STATUS_ERROR: i64 = 2;
const FLAG_SAMPLED: i64 = 1;

/// Traces to be decided: those of the spans of a batch.
///
/// Traces are numbered in the order of their first spans. What the host tells of them comes from the fields of their spans: `trace_id`,
/// `parent_span_id`, `start_time_unix_nano`, `end_time_unix_nano`, `status.code`, `flags` and `trace_state`. What does not come from spans
/// can be set: they are decided at the latest end of all spans, by [`Trigger::DecisionWait`]; each arrived at its earliest start; and
/// they have no bytes.
#[derive(Clone, Debug)]
pub struct TestTraces {
    now_unix_nano: u64,
    facts: Vec<Facts>,
    trace_of: Vec<u32>,
    spans: Data,
}

impl TestTraces {
    /// The traces of the spans of a batch.
    ///
    /// # Panics
    /// If it is not one of spans.
    pub fn of(batch: &TestBatch) -> TestTraces {
        let spans = batch.data.clone();
        assert!(spans.has(Level::Span), "{:?} have no traces", spans.signal);
        let read: Vec<Span> = (0..spans.rows(Level::Span).len()).map(|row| Span::read(&spans, row)).collect();
        let mut facts: Vec<Facts> = Vec::new();
        let mut trace_of = Vec::new();
        for span in &read {
            let known = facts.iter().position(|facts| facts.id == span.trace_id);
            let trace = known.unwrap_or_else(|| {
                facts.push(Facts { id: span.trace_id, ..Facts::default() });
                facts.len() - 1
            });
            trace_of.push(trace as u32);
        }
        for (trace, facts) in (0..).zip(&mut facts) {
            let of_trace = read.iter().zip(&trace_of).filter(|(_, of)| **of == trace).map(|(span, _)| span);
            sum_up(&of_trace.collect::<Vec<_>>(), facts);
        }
        let now_unix_nano = facts.iter().map(|facts| facts.end_unix_nano).max().unwrap_or_default();
        TestTraces { now_unix_nano, facts, trace_of, spans }
    }

    /// How many traces.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The number of the trace with this id.
    pub fn number(&self, id: [u8; 16]) -> Option<usize> {
        self.facts.iter().position(|facts| facts.id == id)
    }

    /// Sets the time of the decision.
    pub fn now_unix_nano(mut self, now: u64) -> TestTraces {
        self.now_unix_nano = now;
        self
    }

    /// Sets why all traces are decided.
    pub fn trigger(mut self, trigger: Trigger) -> TestTraces {
        self.facts.iter_mut().for_each(|facts| facts.trigger = trigger.number());
        self
    }

    /// Sets why a trace is decided.
    pub fn trigger_of(self, trace: usize, trigger: Trigger) -> TestTraces {
        self.with(trace, |facts| facts.trigger = trigger.number())
    }

    /// Sets when the first span of a trace arrived.
    pub fn arrival_unix_nano(self, trace: usize, arrival: u64) -> TestTraces {
        self.with(trace, |facts| facts.arrival_unix_nano = arrival)
    }

    /// Sets the 56 random bits of a trace.
    pub fn randomness(self, trace: usize, randomness: u64) -> TestTraces {
        self.with(trace, |facts| facts.randomness = randomness)
    }

    /// Sets the bytes of a trace's spans.
    pub fn byte_count(self, trace: usize, bytes: u64) -> TestTraces {
        self.with(trace, |facts| facts.byte_count = bytes)
    }

    /// As a policy sees them; without spans if it reads none.
    pub(super) fn call(&self, has_spans: bool) -> (TraceBatch, memory::Batch) {
        let none = || (Data::new(memory::Signal::Traces), Vec::new());
        let (spans, trace_of) = if has_spans { (self.spans.clone(), self.trace_of.clone()) } else { none() };
        let spans = Rc::new(spans);
        let traces = TraceBatch::new(self.now_unix_nano, self.facts.clone(), trace_of, spans.clone());
        (traces, memory::Batch::new(spans))
    }

    fn with(mut self, trace: usize, set: impl FnOnce(&mut Facts)) -> TestTraces {
        set(&mut self.facts[trace]);
        self
    }
}

/// What is told of a trace comes from these fields of its spans.
struct Span {
    trace_id: [u8; 16],
    is_root: bool,
    start_unix_nano: u64,
    end_unix_nano: u64,
    status: i64,
    is_sampled: bool,
    sampling: Sampling,
}

impl Span {
    fn read(spans: &Data, row: usize) -> Span {
        let field = |name: &str| match Path::of_batch(Level::Span, name) {
            Some(path) => memory::owned(&spans.rows(Level::Span)[row].read(&path)),
            None => unreachable!("spans have a field `{name}`"),
        };
        let bytes = |name| if let NewValue::Bytes(bytes) = field(name) { bytes } else { Vec::new() };
        let number = |name| if let NewValue::Int(number) = field(name) { number } else { 0 };
        let NewValue::Str(tracestate) = field("trace_state") else { unreachable!("a tracestate is text") };
        Span {
            trace_id: bytes("trace_id").try_into().unwrap_or_default(),
            is_root: bytes("parent_span_id").iter().all(|byte| *byte == 0),
            start_unix_nano: number("start_time_unix_nano").cast_unsigned(),
            end_unix_nano: number("end_time_unix_nano").cast_unsigned(),
            status: number("status.code"),
            is_sampled: number("flags") & FLAG_SAMPLED != 0,
            sampling: Sampling::of(&tracestate),
        }
    }
}

fn sum_up(spans: &[&Span], facts: &mut Facts) {
    let last_bytes = facts.id.iter().skip(9).fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    let count = |is: fn(&Span) -> bool| spans.iter().filter(|span| is(span)).count() as u32;
    let mark = |bit, is| if count(is) > 0 { bit } else { 0 };
    let thresholds = spans.iter().filter_map(|span| span.sampling.threshold);
    facts.randomness = spans.iter().find_map(|span| span.sampling.randomness).unwrap_or(last_bytes);
    facts.threshold = thresholds.max().unwrap_or(Threshold::UNKNOWN.to_bits());
    facts.start_unix_nano = spans.iter().map(|span| span.start_unix_nano).min().unwrap_or_default();
    facts.end_unix_nano = spans.iter().map(|span| span.end_unix_nano).max().unwrap_or_default();
    facts.arrival_unix_nano = facts.start_unix_nano;
    facts.span_count = spans.len() as u32;
    facts.error_count = count(|span| span.status == STATUS_ERROR);
    facts.ok_count = count(|span| span.status == STATUS_OK);
    facts.marks = mark(MARK_ROOT, |span| span.is_root) | mark(MARK_SAMPLED, |span| span.is_sampled);
    facts.trigger = Trigger::DecisionWait.number();
}
