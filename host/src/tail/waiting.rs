//! Traces that wait, and their spans.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::arrivals::{Arrival, Request, Run, Span};
use super::headers::Headers;
use super::log::{Log, NONE, Record};
use super::requests::Part;
use super::rewrite::Rewrite;
use super::slab::Slab;
use super::table::Table;
use super::trace::{Early, Kind, List, Queue, Trace};

/// Traces that wait, by number.
#[derive(Debug)]
pub(super) struct Waiting {
    pub traces: Slab<Trace>,
    pub queues: Queues,
    /// Those to be offered early.
    pub ready: List,
    /// Those that were offered, in the order of that.
    pub cooling: List,
    /// How many of these have changed since.
    pub changed: usize,
    /// Spans of all.
    pub spans: u64,
    numbers: Table<u32>,
    hasher: FixedState,
    pub log: Log,
    headers: Headers,
}

/// The lists of due traces.
#[derive(Debug)]
pub(super) struct Queues {
    /// In the order of due times.
    pub wait: List,
    /// Those due earlier since their root came, in the order of due times.
    pub root: List,
    /// Those due at once.
    pub limit: List,
}

/// The numbers of headers of an arrival's scopes, as far as they were looked up.
pub(super) struct Held(Vec<u32>);

impl Waiting {
    pub(super) fn new(traces_max: usize, bytes_max: u64, seed: u64) -> Waiting {
        Waiting {
            traces: Slab::new(),
            queues: Queues { wait: List::new(Kind::Due), root: List::new(Kind::Due), limit: List::new(Kind::Due) },
            ready: List::new(Kind::Early),
            cooling: List::new(Kind::Early),
            changed: 0,
            spans: 0,
            numbers: Table::new(traces_max),
            hasher: FixedState::with_seed(seed),
            log: Log::new(bytes_max),
            headers: Headers::new(seed),
        }
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> u64 {
        self.traces.bytes() + self.numbers.bytes() + self.log.bytes() + self.headers.bytes()
    }

    /// At least the bytes that more traces and spans of an arrival would take in addition.
    pub(super) fn growth_by(&self, traces: usize, spans: impl Iterator<Item = usize>, arrival: &Arrival) -> u64 {
        let request = arrival.request();
        self.traces
            .growth_by(traces)
            .saturating_add(self.numbers.growth_by(traces))
            .saturating_add(self.log.growth_by(spans))
            .saturating_add(self.headers.growth_by(request.scopes(), request.header_bytes()))
    }

    /// The number of a trace that waits.
    pub(super) fn find(&self, id: [u8; 16]) -> Option<u32> {
        let is_it = |&number: &u32| self.traces.get(number).is_some_and(|trace| trace.id == id);
        self.numbers.find(self.hash(id), is_it).copied()
    }

    /// Begins a trace that is not there yet. None where there are too many.
    pub(super) fn begin(&mut self, trace: Trace) -> Option<u32> {
        let hash = self.hash(trace.id);
        let number = self.traces.insert(trace)?;
        let (traces, hasher) = (&self.traces, &self.hasher);
        self.numbers.insert(hash, number, |&number| hash_of(traces, hasher, number));
        self.queues.wait.push(number, &mut self.traces);
        Some(number)
    }

    /// Adds the spans of a run to a trace. False where there is no place for them.
    pub(super) fn join(&mut self, number: u32, run: &Run, request: &Request, held: &mut Held) -> bool {
        let mut rest = request.spans(run);
        while let Some(&Span { scope, .. }) = rest.first() {
            let (count, len) = self.fitting(rest);
            let Some(header) = held.number(scope, request, &mut self.headers) else { return false };
            let spans = rest.get(..count).unwrap_or_default();
            let Some(trace) = self.traces.get_mut(number) else { return false };
            let record = Record { before: trace.last, trace: number, header, spans: count as u32, len: len as u32 };
            let Some(address) = self.log.write(record, spans.iter().map(|&span| request.span(span))) else {
                return false;
            };
            trace.last = address;
            self.headers.retain(header);
            rest = rest.get(count..).unwrap_or_default();
        }
        if let Some(trace) = self.traces.get_mut(number) {
            trace.facts.add(&run.facts);
        }
        self.spans += u64::from(run.facts.spans);
        true
    }

    /// How many of these spans go into one record: of one scope, and as many as there is room for. With their bytes.
    fn fitting(&self, spans: &[Span]) -> (usize, usize) {
        let Some(first) = spans.first() else { return (0, 0) };
        let room = self.log.room(first.len());
        let (mut count, mut bytes) = (0, 0);
        for span in spans.iter().take_while(|span| span.scope == first.scope) {
            if bytes + span.len() > room {
                break;
            }
            count += 1;
            bytes += span.len();
        }
        (count, bytes)
    }

    /// The scopes of an arrival, none of them looked up.
    pub(super) fn hold(request: &Request) -> Held {
        Held(vec![NONE; request.scopes()])
    }

    /// Lets the headers go that were looked up.
    pub(super) fn let_go(&mut self, held: Held) {
        held.0.into_iter().filter(|number| *number != NONE).for_each(|number| self.headers.release(number));
    }

    /// Moves a trace to another list of due ones.
    pub(super) fn queue(&mut self, number: u32, queue: Queue) {
        let Some(trace) = self.traces.get_mut(number) else { return };
        let from = std::mem::replace(&mut trace.queue, queue);
        if from == queue {
            return;
        }
        self.queues.of(from).remove(number, &mut self.traces);
        self.queues.of(queue).push(number, &mut self.traces);
    }

    /// Puts traces where they are due now, in this order: each with when and why.
    pub(super) fn reschedule(&mut self, due: &[(u64, Queue, u32)]) {
        for &(_, _, number) in due {
            if let Some(from) = self.traces.get(number).map(|trace| trace.queue) {
                self.queues.of(from).remove(number, &mut self.traces);
            }
        }
        for &(due, queue, number) in due {
            let Some(trace) = self.traces.get_mut(number) else { continue };
            (trace.due, trace.queue) = (due, queue);
            self.queues.of(queue).push(number, &mut self.traces);
        }
    }

    /// Traces go, with their spans. One entry for each: None where it is not there.
    pub(super) fn remove(&mut self, numbers: &[u32]) -> Vec<Option<Trace>> {
        let gone: Vec<Option<Trace>> = numbers.iter().map(|&number| self.unlink(number)).collect();
        let lasts = gone.iter().flatten().map(|trace| trace.last).collect();
        let headers = &mut self.headers;
        self.log.free_chains(lasts, |record| headers.release(record.header));
        gone
    }

    /// Takes a trace out of everything but the log.
    fn unlink(&mut self, number: u32) -> Option<Trace> {
        self.set_early(number, Early::No);
        let (queue, id) = self.traces.get(number).map(|trace| (trace.queue, trace.id))?;
        self.queues.of(queue).remove(number, &mut self.traces);
        let hash = self.hash(id);
        self.numbers.remove(hash, |found| *found == number);
        let (traces, hasher) = (&self.traces, &self.hasher);
        self.numbers.shrink(hash, |&number| hash_of(traces, hasher, number));
        let trace = self.traces.remove(number)?;
        self.spans = self.spans.saturating_sub(u64::from(trace.facts.spans));
        Some(trace)
    }

    /// Puts a trace where it stands with early offers.
    pub(super) fn set_early(&mut self, number: u32, early: Early) {
        let Some(trace) = self.traces.get_mut(number) else { return };
        let before = std::mem::replace(&mut trace.early, early);
        self.changed -= usize::from(before == Early::Changed);
        self.changed += usize::from(early == Early::Changed);
        let list = |early| match early {
            Early::No => None,
            Early::Ready => Some(Early::Ready),
            Early::Cooling | Early::Changed => Some(Early::Cooling),
        };
        if list(before) == list(early) {
            return;
        }
        match list(before) {
            Some(Early::Ready) => self.ready.remove(number, &mut self.traces),
            Some(_) => self.cooling.remove(number, &mut self.traces),
            None => {}
        }
        match list(early) {
            Some(Early::Ready) => self.ready.push(number, &mut self.traces),
            Some(_) => self.cooling.push(number, &mut self.traces),
            None => {}
        }
    }

    /// Notes that a trace may be worth an early offer.
    pub(super) fn note_change(&mut self, number: u32) {
        let Some(trace) = self.traces.get(number).filter(|trace| trace.has_changed()) else { return };
        match trace.early {
            Early::No => self.set_early(number, Early::Ready),
            Early::Cooling => self.set_early(number, Early::Changed),
            Early::Ready | Early::Changed => {}
        }
    }

    /// Notes this of all traces that may be worth one.
    pub(super) fn note_changes(&mut self) {
        for first in [self.queues.limit.first(), self.queues.root.first(), self.queues.wait.first()] {
            let mut at = first;
            while at != NONE {
                self.note_change(at);
                at = self.queues.wait.after(at, &self.traces);
            }
        }
    }

    /// Appends the spans of a trace, for a request.
    pub(super) fn parts<'a>(&'a self, number: u32, trace: u32, rewrite: Option<&'a Rewrite>, to: &mut Vec<Part<'a>>) {
        let mut chain = Vec::new();
        self.log.chain(self.traces.get(number).map_or(NONE, |trace| trace.last), &mut chain);
        to.extend(chain.into_iter().map(|(record, spans)| {
            let (number, resource, scope) = self.headers.of(record.header);
            let envelope = (number, record.header);
            Part { trace, envelope, resource, scope, spans, count: record.spans, rewrite }
        }));
    }

    /// Closes the gaps in one of the segments that have the most; how many bytes that moved, or None where there is nothing worth it.
    pub(super) fn compact(&mut self) -> Option<u64> {
        let sparse = self.log.sparsest()?;
        self.empty(sparse)
    }

    /// Closes the gaps in a segment that is young no longer; as [`Self::compact`].
    pub(super) fn compact_aged(&mut self) -> Option<u64> {
        let aged = self.log.aged()?;
        self.empty(aged)
    }

    /// Moves what is left in a segment of the log to its end, so that it is freed.
    fn empty(&mut self, sparse: u32) -> Option<u64> {
        let mut moved = 0;
        for number in self.log.traces_in(sparse) {
            let Some(trace) = self.traces.get_mut(number) else { continue };
            let (mut after, mut at) = (NONE, trace.last);
            while let Some(record) = self.log.record(at) {
                let mut to = at;
                if Log::segment_of(at) == sparse {
                    to = self.log.relocate(at)?;
                    moved += u64::from(record.len);
                    match after {
                        NONE => trace.last = to,
                        after => self.log.link(after, to),
                    }
                }
                (after, at) = (to, record.before);
            }
        }
        Some(moved)
    }

    fn hash(&self, id: [u8; 16]) -> u64 {
        self.hasher.hash_one(u128::from_le_bytes(id))
    }
}

impl Queues {
    fn of(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Wait => &mut self.wait,
            Queue::Root => &mut self.root,
            Queue::Limit => &mut self.limit,
        }
    }
}

impl Held {
    /// The number of a scope's header.
    fn number(&mut self, scope: u32, request: &Request, headers: &mut Headers) -> Option<u32> {
        let number = self.0.get_mut(scope as usize)?;
        if *number == NONE {
            let (resource, scope) = request.headers(scope);
            *number = headers.hold(resource, scope)?;
        }
        Some(*number)
    }
}

fn hash_of(traces: &Slab<Trace>, hasher: &FixedState, number: u32) -> u64 {
    traces.get(number).map_or(0, |trace| hasher.hash_one(u128::from_le_bytes(trace.id)))
}
