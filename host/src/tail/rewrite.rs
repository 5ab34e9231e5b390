//! What is written into the spans of kept traces: the threshold in their tracestate, and why they were kept.

use std::sync::Arc;

use super::traces::Trigger;
use super::tracestate::{self, Threshold};
use super::verdict::{Decider, THRESHOLD_END};
use crate::batch::wire::{DEPTH_MAX, Extent, LEN, Reader, put_varint64};

/// Attributes of recorded decisions. Where they are recorded none that came with a span stays, as it would tell of another sampler.
const POLICY: &str = "tailsampling.policy";
const GENERATION: &str = "sluicebox.sampling.generation";
const TRIGGER: &str = "sluicebox.sampling.trigger";
const PROBABILITY: &str = "sluicebox.sampling.probability";
const RECORDED: [&str; 4] = [POLICY, GENERATION, TRIGGER, PROBABILITY];

/// Fields of ScopeSpans, Span, KeyValue and AnyValue (OTLP, trace.proto and common.proto), as tags.
const SPAN_TAG: u8 = 2 << 3 | LEN;
const TRACE_STATE: u32 = 3;
const TRACE_STATE_TAG: u8 = 3 << 3 | LEN;
const ATTRIBUTES: u32 = 9;
const ATTRIBUTES_TAG: u8 = 9 << 3 | LEN;
const KEY: u32 = 1;
const KEY_TAG: u8 = 1 << 3 | LEN;
const VALUE_TAG: u8 = 2 << 3 | LEN;
const STRING_TAG: u8 = 1 << 3 | LEN;
const INT_TAG: u8 = 3 << 3;
const DOUBLE_TAG: u8 = 4 << 3 | 1;

/// What is written into the spans of one trace.
#[derive(Clone, Debug)]
pub(super) struct Rewrite {
    /// The rejection threshold of the verdict.
    threshold: u64,
    /// The trace's 56 random bits.
    randomness: u64,
    /// Attributes that are the same for all spans, as fields of Span; None where decisions are not recorded.
    recorded: Option<Vec<u8>>,
}

impl Rewrite {
    /// None where nothing is to be written: every such trace is kept, and that is not recorded.
    pub(super) fn of(
        threshold: u64,
        randomness: u64,
        decider: Option<&Arc<Decider>>,
        trigger: Trigger,
        records_decisions: bool,
    ) -> Option<Rewrite> {
        let mut rewrite = Rewrite { threshold, randomness, recorded: None };
        if records_decisions {
            let mut recorded = Vec::new();
            if let Some(decider) = decider {
                put_attribute(POLICY, Value::String(&decider.policy), &mut recorded);
                put_attribute(GENERATION, Value::Int(decider.generation), &mut recorded);
            }
            put_attribute(TRIGGER, Value::String(trigger.as_str()), &mut recorded);
            rewrite.recorded = Some(recorded);
        }
        (threshold != 0 || records_decisions).then_some(rewrite)
    }

    /// Appends the span, which has its tag and length, as it is to be; false (and nothing) where it stays as it is.
    pub(super) fn span(&self, span: &[u8], to: &mut Vec<u8>) -> bool {
        let Some(body) = body(span) else { return false };
        let tracestate = last(body, TRACE_STATE).unwrap_or_default();
        let (threshold, written) = self.threshold_of(tracestate);
        if written.is_none() && self.recorded.is_none() {
            return false;
        }
        let probability = threshold.map(|threshold| 1.0 - threshold as f64 / THRESHOLD_END as f64);
        let is_ours = |key: &[u8]| RECORDED.iter().any(|own| key == own.as_bytes());
        let is_replaced = |attribute: &[u8]| self.recorded.is_some() && last(attribute, KEY).is_some_and(is_ours);
        let mut out = Vec::with_capacity(body.len() + 64 + self.recorded.as_ref().map_or(0, Vec::len));
        let mut to_write = written.as_deref().filter(|text| !text.is_empty());
        let mut fields = Reader::new(body);
        while let Some((number, extent)) = field(&mut fields) {
            match number {
                TRACE_STATE if written.is_some() => {
                    if let Some(text) = to_write.take() {
                        put_field(TRACE_STATE_TAG, text.as_bytes(), &mut out);
                    }
                }
                ATTRIBUTES if is_replaced(extent.of(body)) => {}
                _ => out.extend_from_slice(body.get(extent.start as usize..extent.end as usize).unwrap_or_default()),
            }
        }
        if let Some(text) = to_write {
            put_field(TRACE_STATE_TAG, text.as_bytes(), &mut out);
        }
        if let Some(recorded) = &self.recorded {
            out.extend_from_slice(recorded);
            if let Some(probability) = probability {
                put_attribute(PROBABILITY, Value::Double(probability), &mut out);
            }
        }
        put_field(SPAN_TAG, &out, to);
        true
    }

    /// The threshold that a span leaves with, where it is known, and its tracestate where that changes.
    ///
    /// A threshold that contradicts the randomness says nothing of how the span was sampled: it is erased where anything is
    /// written at all.
    fn threshold_of(&self, tracestate: &[u8]) -> (Option<u64>, Option<String>) {
        let incoming = tracestate::read(tracestate).threshold;
        let is_contradictory = incoming.is_some_and(|incoming| self.randomness < incoming);
        if self.threshold == 0 {
            return (if is_contradictory { None } else { Some(incoming.unwrap_or_default()) }, None);
        }
        let outgoing = if self.threshold >= THRESHOLD_END || is_contradictory {
            None
        } else {
            Some(self.threshold.max(incoming.unwrap_or_default()))
        };
        if outgoing.is_some() && outgoing == incoming {
            return (outgoing, None);
        }
        (outgoing, tracestate::with_threshold(tracestate, outgoing.map_or(Threshold::Unknown, Threshold::Known)))
    }
}

enum Value<'a> {
    String(&'a str),
    Int(u64),
    Double(f64),
}

/// Appends an attribute as a field of Span.
fn put_attribute(key: &str, value: Value<'_>, to: &mut Vec<u8>) {
    let mut any = Vec::new();
    match value {
        Value::String(text) => put_field(STRING_TAG, text.as_bytes(), &mut any),
        Value::Int(int) => {
            any.push(INT_TAG);
            put_varint64(int, &mut any);
        }
        Value::Double(double) => {
            any.push(DOUBLE_TAG);
            any.extend_from_slice(&double.to_le_bytes());
        }
    }
    let mut attribute = Vec::new();
    put_field(KEY_TAG, key.as_bytes(), &mut attribute);
    put_field(VALUE_TAG, &any, &mut attribute);
    put_field(ATTRIBUTES_TAG, &attribute, to);
}

fn put_field(tag: u8, payload: &[u8], to: &mut Vec<u8>) {
    to.push(tag);
    put_varint64(payload.len() as u64, to);
    to.extend_from_slice(payload);
}

/// The payload of a field with its tag and length.
fn body(field: &[u8]) -> Option<&[u8]> {
    let mut fields = Reader::new(field);
    fields.tag().ok()?;
    fields.bytes().ok()
}

/// The payload of the last field with this number, which is length-delimited.
fn last(message: &[u8], number: u32) -> Option<&[u8]> {
    let mut fields = Reader::new(message);
    let mut last = None;
    while let Some((found, extent)) = field(&mut fields) {
        if found == number {
            last = Some(extent.of(message));
        }
    }
    last
}

/// Number and place of the next field; of what is not length-delimited the payload is empty. None at the end, and where the message is broken.
fn field(fields: &mut Reader<'_>) -> Option<(u32, Extent)> {
    let start = fields.at();
    let tag = fields.tag().ok()??;
    if tag.wire == LEN {
        return Some((tag.number, fields.extent(start).ok()?));
    }
    fields.skip(tag, DEPTH_MAX).ok()?;
    Some((tag.number, Extent { start, body: fields.at(), end: fields.at() }))
}
