//! Spans of a request as bytes, with the bytes of the envelopes that they stand in: protobuf walked by prost's primitives.

use bytes::{Buf, Bytes};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawField {
    pub number: u32,
    /// Key, length and content.
    pub whole: Bytes,
    /// Of a length-delimited field.
    pub content: Bytes,
}

/// A span and where it stands.
#[derive(Clone, Debug)]
pub struct RawSpan {
    /// Every byte of its ResourceSpans that is no ScopeSpans.
    pub resource: Bytes,
    /// Every byte of its ScopeSpans that is no span.
    pub scope: Bytes,
    pub bytes: Bytes,
    pub span: Span,
}

/// One scope's envelopes and how many spans stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub resource: Bytes,
    pub scope: Bytes,
    pub spans: usize,
}

/// The fields of a message, in their order.
pub fn fields(message: &Bytes) -> Vec<RawField> {
    let mut rest = message.clone();
    let mut found = Vec::new();
    while rest.has_remaining() {
        let start = message.len() - rest.remaining();
        let (number, wire_type) = decode_key(&mut rest).expect("a key");
        let content_bytes = match wire_type {
            WireType::LengthDelimited => decode_varint(&mut rest).expect("a length") as usize,
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::Varint => {
                decode_varint(&mut rest).expect("a varint");
                0
            }
            WireType::StartGroup | WireType::EndGroup => panic!("a group"),
        };
        let content = rest.split_to(content_bytes);
        let end = message.len() - rest.remaining();
        found.push(RawField { number, whole: message.slice(start..end), content });
    }
    found
}

/// All spans of a request in document order, and the envelopes of each scope.
pub fn spans(request: &Bytes) -> (Vec<RawSpan>, Vec<Envelope>) {
    let (mut spans, mut envelopes) = (Vec::new(), Vec::new());
    // ExportTraceServiceRequest.resource_spans 1, ResourceSpans.scope_spans 2, ScopeSpans.spans 2.
    for resource in fields(request).iter().filter(|field| field.number == 1) {
        let (scopes, resource) = children(&resource.content, 2);
        for scope in scopes {
            let (items, scope) = children(&scope, 2);
            envelopes.push(Envelope { resource: resource.clone(), scope: scope.clone(), spans: items.len() });
            spans.extend(items.into_iter().map(|bytes| RawSpan {
                resource: resource.clone(),
                scope: scope.clone(),
                span: Span::decode(bytes.clone()).expect("a span"),
                bytes,
            }));
        }
    }
    (spans, envelopes)
}

/// Contents of the fields of one number, and all bytes of the others.
fn children(message: &Bytes, number: u32) -> (Vec<Bytes>, Bytes) {
    let (inner, outer): (Vec<_>, Vec<_>) = fields(message).into_iter().partition(|field| field.number == number);
    let header: Vec<u8> = outer.iter().flat_map(|field| field.whole.iter().copied()).collect();
    (inner.into_iter().map(|field| field.content).collect(), Bytes::from(header))
}
