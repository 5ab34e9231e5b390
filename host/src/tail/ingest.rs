//! Spans arrive.

use std::collections::BTreeMap;
use std::time::Duration;

use super::arrivals::{Arrival, Run};
use super::history::Past;
use super::remembered::{Dropped, Kept};
use super::requests::{self, Part, RELEASED_BYTES_MAX};
use super::rewrite::Rewrite;
use super::shard::{Now, Released, Settings, Shard, nanos};
use super::trace::{Queue, Trace};
use super::traces::Trigger;
use super::verdict::THRESHOLD_UNKNOWN;
use super::waiting::{Held, Waiting};

/// What became of an arrival; numbers of spans but `new_traces`.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Late spans of kept traces.
    pub released: Vec<Released>,
    /// Traces that began to wait.
    pub new_traces: u64,
    /// Spans that came after their trace was kept.
    pub late_kept: u64,
    /// Spans that came after their trace was dropped.
    pub late_dropped: u64,
    /// Spans of traces that were dropped as they are too large: those that waited, and those that came.
    pub too_large: u64,
}

/// There is no room: nothing was taken.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("no memory left for more spans")]
pub struct Full;

/// Where the spans of a run go.
enum Place {
    New,
    Waiting(u32),
    Kept(Kept),
    Dropped(Dropped),
}

impl Shard {
    /// Takes all spans of an arrival, or none of them. All its spans of one trace are taken together: limits are looked at after that.
    pub fn ingest(&mut self, now: Now, arrival: &Arrival) -> Result<Ingested, Full> {
        self.advance(now);
        let places: Vec<Place> = arrival.runs().map(|run| self.place(run)).collect();
        self.admit(arrival, &places)?;
        let mut ingested = Ingested::default();
        let mut held = Waiting::hold(arrival.request());
        let mut late = Vec::new();
        for (run, place) in arrival.runs().zip(places) {
            let spans = u64::from(run.facts.spans);
            match place {
                Place::Kept(mut kept) => {
                    ingested.late_kept += spans;
                    kept.late_spans = kept.late_spans.saturating_add(run.facts.spans);
                    late.push((run, self.rewrite(&kept)));
                    self.remember_kept(kept);
                }
                Place::Dropped(mut dropped) => {
                    ingested.late_dropped += spans;
                    let more = u16::try_from(run.facts.spans).unwrap_or(u16::MAX);
                    dropped.late_spans = dropped.late_spans.saturating_add(more);
                    self.remember_dropped(dropped);
                }
                Place::Waiting(number) => self.join(now, Some(number), run, arrival, &mut held, &mut ingested),
                Place::New => self.join(now, None, run, arrival, &mut held, &mut ingested),
            }
        }
        self.waiting.let_go(held);
        self.promised_bytes = 0;
        ingested.released = release(arrival, &late);
        Ok(ingested)
    }

    fn place(&self, run: &Run) -> Place {
        if let Some(number) = self.waiting.find(run.id) {
            Place::Waiting(number)
        } else if let Some(kept) = self.kept.get(run.id) {
            Place::Kept(kept.clone())
        } else if let Some(dropped) = self.dropped.get(run.id) {
            Place::Dropped(dropped.clone())
        } else {
            Place::New
        }
    }

    /// Makes sure that there is memory for what will wait.
    fn admit(&mut self, arrival: &Arrival, places: &[Place]) -> Result<(), Full> {
        let waits = |place: &Place| matches!(place, Place::New | Place::Waiting(_));
        let new = places.iter().filter(|place| matches!(place, Place::New)).count();
        let request = arrival.request();
        let spans = arrival.runs().zip(places).filter(|(_, place)| waits(place));
        let spans = spans.flat_map(|(run, _)| request.spans(run)).map(|span| span.len());
        let more = self.waiting.growth_by(new, spans, arrival);
        if !self.reserve(more) {
            self.reclaim(self.settings.bytes_max.saturating_sub(more));
            if !self.reserve(more) {
                self.missing_bytes = more;
                return Err(Full);
            }
        }
        self.missing_bytes = 0;
        self.promised_bytes = self.bytes() + more;
        Ok(())
    }

    /// Adds spans to a trace that waits, or that begins to.
    fn join(
        &mut self,
        now: Now,
        number: Option<u32>,
        run: &Run,
        arrival: &Arrival,
        held: &mut Held,
        ingested: &mut Ingested,
    ) {
        let there = number.and_then(|number| self.waiting.traces.get(number)).map_or(0, |trace| trace.facts.bytes);
        let bytes = there.saturating_add(run.facts.bytes);
        if self.settings.drop_larger_than_bytes.is_some_and(|bytes_max| bytes > bytes_max) {
            ingested.too_large += u64::from(run.facts.spans) + self.drop_too_large(now, number, run);
            return;
        }
        let is_new = number.is_none();
        let number = number.or_else(|| self.begin(now, run));
        let has_joined = number.is_some_and(|number| self.waiting.join(number, run, arrival.request(), held));
        let Some(number) = number.filter(|_| has_joined) else {
            // Numbers have run out, which `admit` rules out: as little is lost as can be, and it is counted.
            ingested.too_large += u64::from(run.facts.spans);
            return;
        };
        ingested.new_traces += u64::from(is_new);
        self.requeue(number, run);
        if self.offers_early {
            self.waiting.note_change(number);
        }
    }

    fn begin(&mut self, now: Now, run: &Run) -> Option<u32> {
        let due = self.clock.saturating_add(nanos(self.settings.decision_wait));
        self.waiting.begin(Trace::new(run.id, self.clock, now.unix_nano, due))
    }

    /// Drops a trace at once; how many spans of it waited.
    fn drop_too_large(&mut self, now: Now, number: Option<u32>, run: &Run) -> u64 {
        let gone = number.and_then(|number| self.waiting.remove(&[number]).pop().flatten());
        let waited = gone.as_ref().map_or(0, |trace| u64::from(trace.facts.spans));
        self.remember_dropped(Dropped::new(run.id, Trigger::Limit, now.unix_nano));
        self.history.push(Past {
            id: run.id,
            is_kept: false,
            threshold: THRESHOLD_UNKNOWN,
            decider: None,
            trigger: Trigger::Limit,
            arrived_unix_nano: gone.as_ref().map_or(now.unix_nano, |trace| trace.arrived_unix_nano),
            decided_unix_nano: now.unix_nano,
            spans: waited + u64::from(run.facts.spans),
            bytes: gone.map_or(0, |trace| trace.facts.bytes).saturating_add(run.facts.bytes),
        });
        waited
    }

    /// Puts a trace with new spans where it is due.
    fn requeue(&mut self, number: u32, run: &Run) {
        let Some(trace) = self.waiting.traces.get_mut(number) else { return };
        // Once it is due at once it stays so, whatever the limits become.
        if trace.queue == Queue::Limit || self.settings.is_at_limit(trace) {
            self.waiting.queue(number, Queue::Limit);
            return;
        }
        let after_root = self.settings.wait_after_root.filter(|_| run.facts.is_rooted());
        let Some(due) = after_root.map(|wait: Duration| self.clock.saturating_add(nanos(wait))) else { return };
        if due < trace.due {
            trace.due = due;
            self.waiting.queue(number, Queue::Root);
        }
    }
}

impl Settings {
    pub(super) fn is_at_limit(&self, trace: &Trace) -> bool {
        self.span_limit.is_some_and(|limit| trace.facts.spans >= limit) || trace.facts.bytes >= self.trace_bytes_limit
    }
}

/// Requests of late spans of kept traces.
fn release(arrival: &Arrival, late: &[(&Run, Option<Rewrite>)]) -> Vec<Released> {
    let request = arrival.request();
    // Envelopes that stand in the request more than once are one in what leaves.
    let (mut resources, mut scopes) = (BTreeMap::new(), BTreeMap::new());
    let mut parts = Vec::new();
    for (run, rewrite) in late {
        for &span in request.spans(run) {
            let (resource, scope) = request.headers(span.scope);
            let next = resources.len() as u32;
            let resource_number = *resources.entry(resource).or_insert(next);
            let next = scopes.len() as u32;
            let envelope = (resource_number, *scopes.entry((resource, scope)).or_insert(next));
            let spans = request.span(span);
            parts.push(Part { trace: 0, envelope, resource, scope, spans, count: 1, rewrite: rewrite.as_ref() });
        }
    }
    requests::group(&mut parts);
    requests::write(&parts, RELEASED_BYTES_MAX)
}
