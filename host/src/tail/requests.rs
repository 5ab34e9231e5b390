//! Writes OTLP requests of spans and the envelopes that they came in.

use std::ops::Range;

use bytes::Bytes;

use super::rewrite::Rewrite;
use super::shard::Released;
use crate::batch::wire::{DEPTH_MAX, LEN, Reader, put_varint64};

/// Bytes of a request that is released.
pub(super) const RELEASED_BYTES_MAX: usize = 1 << 20;
/// Tag and length of a message, at most.
const PREFIX_BYTES: usize = 1 + 10;
/// ResourceSpans in the request, ScopeSpans in it (OTLP, trace.proto).
const RESOURCE_TAG: u8 = 1 << 3 | LEN;
const SCOPE_TAG: u8 = 2 << 3 | LEN;

/// Spans of one trace and scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// The trace's number, for the caller.
    pub trace: u32,
    /// Numbers of resource and scope: parts of the same envelopes have the same.
    pub envelope: (u32, u32),
    pub resource: &'a [u8],
    pub scope: &'a [u8],
    /// Spans with their tags and lengths.
    pub spans: &'a [u8],
    pub count: u32,
    /// What is written into them.
    pub rewrite: Option<&'a Rewrite>,
}

/// Groups parts by envelope. Those of the same one keep their order.
pub(super) fn group(parts: &mut [Part<'_>]) {
    parts.sort_by_key(|part| part.envelope);
}

/// Requests of at most `bytes_max` bytes (a single larger span goes alone) with these parts, which are grouped.
pub(super) fn write(parts: &[Part<'_>], bytes_max: usize) -> Vec<Released> {
    let mut requests = Requests { bytes_max, ..Requests::default() };
    for part in parts {
        requests.add(part);
    }
    requests.end();
    requests.done
}

/// Requests, the last of which is not finished.
#[derive(Default)]
struct Requests<'a> {
    bytes_max: usize,
    done: Vec<Released>,
    scopes: Vec<Scope<'a>>,
    pieces: Vec<Piece<'a>>,
    /// Spans that were rewritten.
    rewritten: Vec<u8>,
    /// Bytes of the unfinished request, at most.
    bytes: usize,
    spans: u64,
}

/// A ScopeSpans to be written.
struct Scope<'a> {
    envelope: (u32, u32),
    resource: &'a [u8],
    header: &'a [u8],
    /// Its pieces are those from here to the next scope's.
    pieces_from: usize,
    /// Bytes of its spans.
    spans: usize,
}

enum Piece<'a> {
    Original(&'a [u8]),
    Rewritten(Range<usize>),
}

impl<'a> Requests<'a> {
    fn add(&mut self, part: &Part<'a>) {
        if part.rewrite.is_none() && self.cost(part) + part.spans.len() + self.bytes <= self.bytes_max {
            self.push(part, Piece::Original(part.spans), part.spans.len(), part.count);
            return;
        }
        for span in spans(part.spans) {
            let from = self.rewritten.len();
            let is_rewritten = part.rewrite.is_some_and(|rewrite| rewrite.span(span, &mut self.rewritten));
            let len = if is_rewritten { self.rewritten.len() - from } else { span.len() };
            let mut piece = Piece::Original(span);
            if is_rewritten {
                piece = Piece::Rewritten(from..from + len);
            }
            if self.spans > 0 && self.cost(part) + len + self.bytes > self.bytes_max {
                let moved = if is_rewritten { self.rewritten.split_off(from) } else { Vec::new() };
                self.end();
                if is_rewritten {
                    piece = Piece::Rewritten(0..len);
                    self.rewritten = moved;
                }
            }
            self.push(part, piece, len, 1);
        }
    }

    /// Bytes of the envelopes that have to be begun for a part, at most.
    fn cost(&self, part: &Part<'_>) -> usize {
        let scope = PREFIX_BYTES + part.scope.len();
        match self.scopes.last() {
            Some(last) if last.envelope == part.envelope => 0,
            Some(last) if last.envelope.0 == part.envelope.0 => scope,
            _ => scope + PREFIX_BYTES + part.resource.len(),
        }
    }

    fn push(&mut self, part: &Part<'a>, piece: Piece<'a>, len: usize, count: u32) {
        self.bytes += self.cost(part) + len;
        self.spans += u64::from(count);
        let pieces_from = self.pieces.len();
        self.pieces.push(piece);
        match self.scopes.last_mut() {
            Some(last) if last.envelope == part.envelope => last.spans += len,
            _ => self.scopes.push(Scope {
                envelope: part.envelope,
                resource: part.resource,
                header: part.scope,
                pieces_from,
                spans: len,
            }),
        }
    }

    /// Finishes a request, if there is one.
    fn end(&mut self) {
        if self.spans == 0 {
            return;
        }
        let mut body = Vec::with_capacity(self.bytes);
        let mut pieces_to = self.scopes.iter().skip(1).map(|next| next.pieces_from).chain([self.pieces.len()]);
        for resource in self.scopes.chunk_by(|one, next| one.envelope.0 == next.envelope.0) {
            let header = resource.first().map_or(&[][..], |scope| scope.resource);
            let scopes: usize = resource.iter().map(|scope| prefixed(scope.header.len() + scope.spans)).sum();
            put_prefix(RESOURCE_TAG, header.len() + scopes, &mut body);
            body.extend_from_slice(header);
            for scope in resource {
                put_prefix(SCOPE_TAG, scope.header.len() + scope.spans, &mut body);
                body.extend_from_slice(scope.header);
                let pieces = scope.pieces_from..pieces_to.next().unwrap_or_default();
                for piece in self.pieces.get(pieces).unwrap_or_default() {
                    body.extend_from_slice(piece.of(&self.rewritten));
                }
            }
        }
        self.done.push(Released { body: Bytes::from(body), spans: self.spans });
        self.scopes.clear();
        self.pieces.clear();
        self.rewritten.clear();
        self.bytes = 0;
        self.spans = 0;
    }
}

impl Piece<'_> {
    fn of<'b>(&'b self, rewritten: &'b [u8]) -> &'b [u8] {
        match self {
            Piece::Original(bytes) => bytes,
            Piece::Rewritten(range) => rewritten.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// The spans of a part of a ScopeSpans, each with its tag and length.
pub(super) fn spans(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut fields = Reader::new(bytes);
    std::iter::from_fn(move || {
        let start = fields.at() as usize;
        // They were read before they were stored.
        let tag = fields.tag().ok()??;
        fields.skip(tag, DEPTH_MAX).ok()?;
        bytes.get(start..fields.at() as usize)
    })
}

/// Bytes of a message of `len` bytes with a tag of one byte and its length.
fn prefixed(len: usize) -> usize {
    let bits = usize::BITS - (len | 1).leading_zeros();
    1 + bits.div_ceil(7) as usize + len
}

fn put_prefix(tag: u8, len: usize, to: &mut Vec<u8>) {
    to.push(tag);
    put_varint64(len as u64, to);
}
