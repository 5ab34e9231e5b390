//! What leaves a shard against what must leave it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use sluicebox::tail::shard::Released;

use crate::model::{Model, TraceId};
use crate::tracestate::{Kept, check_released};
use crate::wire::{Envelope, RawSpan, spans};

/// A released request has at most so many bytes, or one span.
const RELEASED_BYTES_MAX: usize = 1 << 20;

/// A span that must be released now.
#[derive(Debug)]
pub struct Expected {
    pub span: RawSpan,
    pub kept: Kept,
    pub randomness: Vec<u64>,
}

/// The number that names a span.
pub fn span_number(span: &RawSpan) -> u64 {
    u64::from_be_bytes(span.span.span_id.as_slice().try_into().expect("a span id of eight bytes"))
}

/// Exactly these spans are released, in their order, as the rules say.
pub fn check_all_released(released: &[Released], expected: &[Expected], records: bool) {
    let mut left = Vec::new();
    for request in released {
        let (found, envelopes) = spans(&request.body);
        assert_eq!(request.spans, found.len() as u64, "spans of a released request");
        let bytes = request.body.len();
        assert!(!found.is_empty(), "a request without spans is released");
        assert!(bytes <= RELEASED_BYTES_MAX || found.len() == 1, "{} spans in {bytes} bytes", found.len());
        check_grouped(&envelopes);
        left.extend(found);
    }
    let by_number: HashMap<_, _> = expected.iter().map(|e| (span_number(&e.span), e)).collect();
    assert_eq!(by_number.len(), expected.len(), "each span is expected once");
    let mut seen = HashSet::new();
    for span in &left {
        let number = span_number(span);
        let expected = by_number.get(&number).unwrap_or_else(|| panic!("span {number} must not be released"));
        assert!(seen.insert(number), "span {number} is released twice");
        assert_eq!(
            (&span.resource, &span.scope),
            (&expected.span.resource, &expected.span.scope),
            "span {number}: envelopes"
        );
        if let Err(wrong) = check_released(&expected.span, span, &expected.kept, &expected.randomness, records) {
            panic!("span {number}: {wrong}");
        }
    }
    assert_eq!(left.len(), expected.len(), "spans are missing from what is released");
    let order_expected = sequences(expected.iter().map(|e| &e.span));
    assert_eq!(
        sequences(left.iter()),
        order_expected,
        "spans of a trace and scope leave in the order of their arrival"
    );
}

/// Each resource once, each scope once in it.
pub fn check_grouped(envelopes: &[Envelope]) {
    let mut seen = HashSet::new();
    for envelope in envelopes {
        assert!(envelope.spans > 0, "a scope without spans");
        assert!(seen.insert((&envelope.resource, &envelope.scope)), "a scope stands twice in a request");
    }
    let mut resources: Vec<_> = envelopes.iter().map(|envelope| &envelope.resource).collect();
    resources.dedup();
    let different: HashSet<_> = resources.iter().collect();
    assert_eq!(different.len(), resources.len(), "spans of a resource do not stand together");
}

type Place = (TraceId, Bytes, Bytes);

fn sequences<'a>(spans: impl Iterator<Item = &'a RawSpan>) -> HashMap<Place, Vec<u64>> {
    let mut sequences: HashMap<Place, Vec<u64>> = HashMap::new();
    for span in spans {
        let place = (Model::trace_of(span), span.resource.clone(), span.scope.clone());
        sequences.entry(place).or_default().push(span_number(span));
    }
    sequences
}
