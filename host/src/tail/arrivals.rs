//! The spans of one request, read in one pass over its bytes.

use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashTable;

use super::facts::Facts;
use crate::batch::Malformed;
use crate::batch::wire::{DEPTH_MAX, Extent, LEN, Reader};

/// Chooses shards: other bits than those that tables use.
const SHARD_SEED: u64 = 0x5bd1_e995_c6a4_a793;

/// The spans of one request, grouped by trace.
#[derive(Debug)]
pub struct Arrivals {
    request: Arc<Request>,
}

/// Those of them that go to one shard.
#[derive(Clone, Debug)]
pub struct Arrival {
    request: Arc<Request>,
    /// Numbers of its runs.
    runs: Vec<u32>,
    spans: u64,
    bytes: u64,
}

/// What was read of a request; all shards share it.
#[derive(Debug, Default)]
pub(super) struct Request {
    bytes: Bytes,
    /// Headers of envelopes: every byte of theirs that is not of a child.
    headers: Vec<u8>,
    resources: Vec<Range<u32>>,
    scopes: Vec<Scope>,
    /// By run.
    spans: Vec<Span>,
    runs: Vec<Run>,
}

/// A ScopeSpans.
#[derive(Debug)]
struct Scope {
    /// Number of its ResourceSpans.
    resource: u32,
    header: Range<u32>,
}

/// Where a span is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    /// With its tag and length.
    start: u32,
    end: u32,
    /// Number of its scope.
    pub scope: u32,
}

/// All spans of one trace.
#[derive(Debug)]
pub(super) struct Run {
    /// The trace's id.
    pub id: [u8; 16],
    /// What is known of them together.
    pub facts: Facts,
    spans: Range<u32>,
}

impl Arrivals {
    /// Reads an ExportTraceServiceRequest (OTLP, trace_service.proto). Of spans only their own fields are looked at: a known one with a
    /// wrong wire type is an error, as it is to a full decode, since it would spoil what it is sent on with.
    pub fn read(request: Bytes) -> Result<Arrivals, Malformed> {
        if u32::try_from(request.len()).is_err() {
            return Err(Malformed { offset: u32::MAX, what: "request of 4 GiB or more" });
        }
        let mut reading = Reading::default();
        reading.request(&request)?;
        Ok(Arrivals { request: Arc::new(reading.into_request(request)) })
    }

    /// How many spans.
    pub fn spans(&self) -> u64 {
        self.request.spans.len() as u64
    }

    /// By shard: all spans of a trace go to the same one of `shards`, by a hash of the id. Shards without spans are left out.
    pub fn split(self, shards: usize) -> Vec<(usize, Arrival)> {
        let hasher = FixedState::with_seed(SHARD_SEED);
        let shards = shards.clamp(1, 1 << 16);
        let empty = || Arrival { request: Arc::clone(&self.request), runs: Vec::new(), spans: 0, bytes: 0 };
        let mut arrivals: Vec<Arrival> = std::iter::repeat_with(empty).take(shards).collect();
        for (number, run) in (0..).zip(&self.request.runs) {
            let hash = hasher.hash_one(u128::from_le_bytes(run.id)) >> 32;
            let Some(arrival) = arrivals.get_mut((hash * shards as u64 >> 32) as usize) else { continue };
            arrival.runs.push(number);
            arrival.spans += u64::from(run.facts.spans);
            arrival.bytes += run.facts.bytes;
        }
        arrivals.into_iter().enumerate().filter(|(_, arrival)| arrival.spans > 0).collect()
    }
}

impl Arrival {
    /// How many spans.
    pub fn spans(&self) -> u64 {
        self.spans
    }

    /// Bytes of its spans, without their tags and lengths.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it shares with those of other shards.
    pub(super) fn request(&self) -> &Request {
        &self.request
    }

    /// One run for each trace, in the order in which they first come.
    pub(super) fn runs(&self) -> impl ExactSizeIterator<Item = &Run> {
        const NONE: &Run = &Run { id: [0; 16], facts: Facts::NONE, spans: 0..0 };
        self.runs.iter().map(|&number| self.request.runs.get(number as usize).unwrap_or(NONE))
    }
}

impl Request {
    /// The spans of a run, in the order in which they came.
    pub(super) fn spans(&self, run: &Run) -> &[Span] {
        self.spans.get(run.spans.start as usize..run.spans.end as usize).unwrap_or_default()
    }

    /// A span with its tag and length.
    pub(super) fn span(&self, span: Span) -> &[u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The headers of a scope's ResourceSpans and of the scope itself.
    pub(super) fn headers(&self, scope: u32) -> (&[u8], &[u8]) {
        let of = |range: &Range<u32>| self.headers.get(range.start as usize..range.end as usize).unwrap_or_default();
        let Some(scope) = self.scopes.get(scope as usize) else { return (&[], &[]) };
        (self.resources.get(scope.resource as usize).map_or(&[][..], of), of(&scope.header))
    }

    /// How many scopes.
    pub(super) fn scopes(&self) -> usize {
        self.scopes.len()
    }

    /// Bytes of all headers.
    pub(super) fn header_bytes(&self) -> usize {
        self.headers.len()
    }
}

impl Span {
    /// Bytes with tag and length.
    pub(super) fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// A request while it is read.
#[derive(Default)]
struct Reading {
    request: Request,
    /// The run of each span.
    run_of: Vec<u32>,
    /// Finds runs by id. Its seed is the process's, as ids are foreign; nothing depends on it.
    by_id: HashTable<u32>,
    hasher: RandomState,
    /// Reused.
    children: Vec<Extent>,
}

impl Reading {
    fn request(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let mut fields = Reader::new(bytes);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { return Ok(()) };
            match (tag.number, tag.wire) {
                (1, LEN) => self.resource(bytes, fields.extent(start)?)?,
                (1, _) => return fields.wrong_wire(),
                _ => fields.skip(tag, DEPTH_MAX)?,
            }
        }
    }

    fn resource(&mut self, bytes: &[u8], extent: Extent) -> Result<(), Malformed> {
        let mut scopes = std::mem::take(&mut self.children);
        scopes.clear();
        let header = self.header(bytes, extent, 1, &mut scopes)?;
        let resource = self.request.resources.len() as u32;
        self.request.resources.push(header);
        let mut spans = Vec::new();
        for &scope in &scopes {
            spans.clear();
            let header = self.header(bytes, scope, 2, &mut spans)?;
            let number = self.request.scopes.len() as u32;
            self.request.scopes.push(Scope { resource, header });
            for &span in &spans {
                self.span(bytes, span, number)?;
            }
        }
        self.children = scopes;
        Ok(())
    }

    /// Reads an envelope: gathers its header and where its children (field 2) are. Its own fields are 1 and 3.
    fn header(
        &mut self,
        bytes: &[u8],
        envelope: Extent,
        depth: u32,
        children: &mut Vec<Extent>,
    ) -> Result<Range<u32>, Malformed> {
        let headers = &mut self.request.headers;
        let from = headers.len() as u32;
        let mut kept_to = envelope.body;
        let mut fields = Reader::within(bytes, envelope);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { break };
            match (tag.number, tag.wire) {
                (2, LEN) => {
                    let child = fields.extent(start)?;
                    headers.extend_from_slice(bytes.get(kept_to as usize..start as usize).unwrap_or_default());
                    kept_to = child.end;
                    children.push(child);
                }
                (1 | 3, LEN) => drop(fields.extent(start)?),
                (1..=3, _) => return fields.wrong_wire(),
                _ => fields.skip(tag, DEPTH_MAX - depth)?,
            }
        }
        headers.extend_from_slice(bytes.get(kept_to as usize..envelope.end as usize).unwrap_or_default());
        Ok(from..headers.len() as u32)
    }

    fn span(&mut self, bytes: &[u8], extent: Extent, scope: u32) -> Result<(), Malformed> {
        let (id, facts) = Facts::read(bytes, extent)?;
        let run = self.run(id);
        if let Some(run) = self.request.runs.get_mut(run as usize) {
            run.facts.add(&facts);
        }
        self.run_of.push(run);
        self.request.spans.push(Span { start: extent.start, end: extent.end, scope });
        Ok(())
    }

    /// The number of a trace's run. Neighbours are often of the same.
    fn run(&mut self, id: [u8; 16]) -> u32 {
        let runs = &mut self.request.runs;
        let is_it = |&number: &u32| runs.get(number as usize).is_some_and(|run: &Run| run.id == id);
        if let Some(last) = self.run_of.last().filter(|last| is_it(last)) {
            return *last;
        }
        let hash = self.hasher.hash_one(u128::from_le_bytes(id));
        if let Some(&number) = self.by_id.find(hash, is_it) {
            return number;
        }
        let number = runs.len() as u32;
        runs.push(Run { id, facts: Facts::NONE, spans: 0..0 });
        let rehash = |&number: &u32| {
            let id = runs.get(number as usize).map_or([0; 16], |run| run.id);
            self.hasher.hash_one(u128::from_le_bytes(id))
        };
        self.by_id.insert_unique(hash, number, rehash);
        number
    }

    /// Puts the spans into the order of their runs.
    fn into_request(mut self, bytes: Bytes) -> Request {
        let mut at = 0;
        for run in &mut self.request.runs {
            run.spans = at..at;
            at += run.facts.spans;
        }
        let mut ordered = vec![Span::default(); self.request.spans.len()];
        for (span, &run) in self.request.spans.iter().zip(&self.run_of) {
            let Some(run) = self.request.runs.get_mut(run as usize) else { continue };
            if let Some(place) = ordered.get_mut(run.spans.end as usize) {
                *place = *span;
            }
            run.spans.end += 1;
        }
        Request { bytes, spans: ordered, ..self.request }
    }
}
