//! Which traces are to be decided now, and why.

use std::time::Duration;

use bytes::Bytes;

use super::log::NONE;
use super::requests;
use super::shard::{Now, Shard};
use super::slab::Slab;
use super::trace::{Early, Trace};
use super::traces::{Traces, Trigger};
use super::verdict::THRESHOLD_UNKNOWN;
use super::waiting::Waiting;

/// Traces that are offered at a time, and bytes of their spans; a single larger trace is offered alone.
const TRACES_MAX: usize = 512;
const BYTES_MAX: u64 = 4 << 20;
/// A trace is offered early at most as often. A millisecond more, as that is how exactly it is noted.
const EARLY_PAUSE: Duration = Duration::from_millis(101);
/// What a trace takes beside the bytes of its spans, about.
const TRACE_BYTES: u64 = 160;

/// Traces to be decided.
#[derive(Debug)]
pub struct Due {
    /// What policies are told of them.
    pub traces: Traces,
    pub(super) picks: Vec<Pick>,
}

/// A trace to be decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pick {
    pub number: u32,
    pub id: [u8; 16],
    pub trigger: Trigger,
}

impl Due {
    /// Those among them that are chosen by their place, in their order, without their spans.
    pub fn part(&self, is_chosen: impl Fn(usize) -> bool) -> Due {
        let picks = self.picks.iter().enumerate().filter(|(place, _)| is_chosen(*place)).map(|(_, pick)| *pick);
        Due { picks: picks.collect(), traces: self.traces.part(is_chosen) }
    }
}

impl Shard {
    /// The next traces to be decided, in the order: those that reached a limit; those whose time has come; while too many wait or too much is
    /// held, those with the earliest due time; early ones. `settle` must follow before the next `ingest` or `due`.
    pub fn due(&mut self, now: Now) -> Option<Due> {
        self.advance(now);
        let bytes_max = self.held_bytes_max();
        self.reclaim(bytes_max);
        let held = self.bytes();
        self.waiting.warm_up(self.clock);
        let traces_max = self.settings.traces_max;
        let mut picker = Picker { traces: &mut self.waiting.traces, picks: Vec::new(), bytes: 0, is_full: false };
        let queues = &self.waiting.queues;
        let mut at = queues.limit.first();
        while at != NONE && picker.pick(at, if self.is_draining { Trigger::Shutdown } else { Trigger::Limit }) {
            at = queues.limit.after(at, picker.traces);
        }
        let (mut wait, mut root) = (queues.wait.first(), queues.root.first());
        while !picker.is_full {
            let due = |number: u32| picker.traces.get(number).map_or(u64::MAX, |trace| trace.due);
            let is_root = root != NONE && (wait == NONE || due(root) < due(wait));
            let next = if is_root { root } else { wait };
            if next == NONE {
                break;
            }
            let freed = picker.bytes + TRACE_BYTES * picker.picks.len() as u64;
            let is_short =
                picker.traces.len() - picker.picks.len() > traces_max || held.saturating_sub(freed) > bytes_max;
            let trigger = match is_root {
                _ if self.is_draining => Trigger::Shutdown,
                true if due(next) <= self.clock => Trigger::Root,
                false if due(next) <= self.clock => Trigger::Wait,
                _ if is_short && self.settings.evicts => Trigger::Memory,
                _ => break,
            };
            if picker.pick(next, trigger) {
                let after = queues.wait.after(next, picker.traces);
                *(if is_root { &mut root } else { &mut wait }) = after;
            }
        }
        let mut early = if self.offers_early { self.waiting.ready.first() } else { NONE };
        while early != NONE && (picker.is_picked(early) || picker.pick(early, Trigger::Early)) {
            early = self.waiting.ready.after(early, picker.traces);
        }
        let picks = picker.end();
        if picks.is_empty() {
            return None;
        }
        Some(Due { traces: self.waiting.tell(&picks, now.unix_nano), picks })
    }

    /// Their spans as one OTLP request, grouped by resource and scope; fills `due.traces.trace_of` in the order of its spans.
    pub fn spans_of(&self, due: &mut Due) -> Bytes {
        let mut parts = Vec::new();
        for (trace, pick) in (0..).zip(&due.picks) {
            self.waiting.parts(pick.number, trace, None, &mut parts);
        }
        requests::group(&mut parts);
        due.traces.trace_of.clear();
        for part in &parts {
            due.traces.trace_of.extend(std::iter::repeat_n(part.trace, part.count as usize));
        }
        requests::write(&parts, usize::MAX).pop().map_or_else(Bytes::new, |request| request.body)
    }

    /// Time since start at which `due` may next have something; it may lie in the past. None: only after an `ingest`.
    pub fn wake_at(&self) -> Option<Duration> {
        let waiting = &self.waiting;
        let queues = &waiting.queues;
        let is_short = waiting.traces.len() > self.settings.traces_max
            || waiting.traces.len() > 0 && self.bytes() > self.held_bytes_max();
        let is_due = queues.limit.first() != NONE
            || self.is_draining && waiting.traces.len() > 0
            || self.offers_early && waiting.ready.first() != NONE;
        if is_due || is_short && self.settings.evicts {
            return Some(Duration::from_nanos(self.clock));
        }
        let due = [queues.wait.first(), queues.root.first()].into_iter();
        let due = due.filter_map(|number| waiting.traces.get(number)).map(|trace| trace.due);
        let has_changed = self.offers_early && waiting.changed > 0;
        let cooling = waiting.traces.get(waiting.cooling.first()).filter(|_| has_changed);
        let pause = EARLY_PAUSE.as_nanos() as u64;
        let early =
            cooling.map(|trace| self.clock.saturating_add(pause.saturating_sub(trace.offered_before(self.clock))));
        due.chain(early).min().map(Duration::from_nanos)
    }
}

struct Picker<'a> {
    traces: &'a mut Slab<Trace>,
    picks: Vec<Pick>,
    /// Of their spans.
    bytes: u64,
    is_full: bool,
}

impl Picker<'_> {
    /// Picks a trace; false where it does not fit.
    fn pick(&mut self, number: u32, trigger: Trigger) -> bool {
        let Some(trace) = self.traces.get_mut(number) else { return false };
        let bytes = self.bytes.saturating_add(trace.facts.bytes);
        self.is_full |= self.picks.len() >= TRACES_MAX || (bytes > BYTES_MAX && !self.picks.is_empty());
        if !self.is_full {
            self.bytes = bytes;
            trace.set_picked(true);
            self.picks.push(Pick { number, id: trace.id, trigger });
        }
        !self.is_full
    }

    fn is_picked(&self, number: u32) -> bool {
        self.traces.get(number).is_some_and(Trace::is_picked)
    }

    fn end(self) -> Vec<Pick> {
        for pick in &self.picks {
            if let Some(trace) = self.traces.get_mut(pick.number) {
                trace.set_picked(false);
            }
        }
        self.picks
    }
}

impl Waiting {
    /// Those that were offered early and have paused for long enough may be offered again.
    fn warm_up(&mut self, clock: u64) {
        let pause = EARLY_PAUSE.as_nanos() as u64;
        while let Some(trace) = self.traces.get(self.cooling.first()) {
            if trace.offered_before(clock) < pause {
                break;
            }
            let early = if trace.early == Early::Changed { Early::Ready } else { Early::No };
            self.set_early(self.cooling.first(), early);
        }
    }

    /// What policies are told of traces.
    fn tell(&self, picks: &[Pick], now_unix_nano: u64) -> Traces {
        let mut told = Traces { now_unix_nano, ..Traces::default() };
        for pick in picks {
            let Some(trace) = self.traces.get(pick.number) else { continue };
            told.ids.push(trace.id);
            told.randomness.push(trace.randomness());
            told.thresholds.push(trace.facts.threshold.get().unwrap_or(THRESHOLD_UNKNOWN));
            told.arrivals_unix_nano.push(trace.arrived_unix_nano);
            told.starts_unix_nano.push(trace.facts.start);
            told.ends_unix_nano.push(trace.facts.end);
            told.span_counts.push(trace.facts.spans);
            told.error_counts.push(trace.facts.errors);
            told.ok_counts.push(trace.facts.oks);
            told.byte_counts.push(trace.facts.bytes);
            told.marks.push(trace.facts.marks);
            told.triggers.push(pick.trigger as u8);
        }
        told
    }
}
