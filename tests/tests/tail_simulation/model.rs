//! The rules of tail sampling in their plainest form: maps of traces with decoded spans, and nothing clever.

use std::collections::HashMap;
use std::time::Duration;

use sluicebox::tail::traces::{MARK_ROOT, MARK_SAMPLED, Trigger};
use sluicebox::tail::verdict::THRESHOLD_UNKNOWN;

use crate::tracestate::{Kept, randomness_of, threshold_of};
use crate::wire::RawSpan;

pub type TraceId = [u8; 16];

/// Limits of one shard.
#[derive(Clone, Debug)]
pub struct Limits {
    pub decision_wait: Duration,
    pub wait_after_root: Option<Duration>,
    pub span_limit: Option<u32>,
    pub trace_bytes_limit: u64,
    pub drop_larger_than_bytes: Option<u64>,
    pub kept_ids_max: usize,
    pub dropped_ids_max: usize,
}

/// Traces that wait, and those that are remembered.
#[derive(Debug)]
pub struct Model {
    pub limits: Limits,
    pub waiting: HashMap<TraceId, Waiting>,
    pub remembered: HashMap<TraceId, Remembered>,
    /// Counts what touches the memory of decisions.
    step: u64,
    /// What was remembered at this step may have been forgotten since, as memory was short.
    short_at: u64,
}

/// A trace that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub arrived: Duration,
    pub arrived_unix_nano: u64,
    pub due: Duration,
    /// Made due earlier by its root.
    pub root_shortened: bool,
    pub is_at_limit: bool,
    pub spans: Vec<RawSpan>,
    /// When something first changed for which it is offered early, since it was last offered.
    pub changed: Option<Duration>,
    pub offered: Option<Duration>,
}

/// A trace that was decided.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// None = dropped.
    pub kept: Option<Kept>,
    /// Of its spans when it was decided.
    pub randomness: u64,
    touched: u64,
}

/// What is known of a trace whose span arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Waiting,
    Remembered,
    /// Forgotten or not: the rules leave it open.
    PerhapsForgotten,
    New,
}

/// What becomes of the spans of one trace that arrive together.
#[derive(Debug)]
pub enum Fate {
    Joins,
    Begins,
    FollowsKept(Remembered),
    FollowsDropped,
    /// It is dropped at once; so many of its spans waited before. True if it began with these spans.
    TooLarge {
        waited: Vec<RawSpan>,
        is_new: bool,
    },
}

impl Model {
    pub fn new(limits: Limits) -> Self {
        Self { limits, waiting: HashMap::new(), remembered: HashMap::new(), step: 0, short_at: 0 }
    }

    /// The id of the trace that a span belongs to.
    pub fn trace_of(span: &RawSpan) -> TraceId {
        span.span.trace_id.as_slice().try_into().unwrap_or_default()
    }

    /// Begins a step in which these traces are touched; where each of them stands before it.
    pub fn places(&mut self, arriving: &[TraceId]) -> Vec<Place> {
        self.step += 1;
        let ages = [false, true].map(|is_kept| {
            let same_kind = self.remembered.values().filter(|trace| trace.kept.is_some() == is_kept);
            let mut touched: Vec<_> = same_kind.map(|trace| trace.touched).collect();
            touched.sort_unstable();
            touched
        });
        arriving.iter().map(|id| self.place(id, arriving, &ages)).collect()
    }

    /// The latest `max` ids are remembered, whatever the order within a step; beyond twice as many none is. `ages`: when dropped and kept
    /// ones were touched, in order.
    fn place(&self, id: &TraceId, arriving: &[TraceId], ages: &[Vec<u64>; 2]) -> Place {
        if self.waiting.contains_key(id) {
            return Place::Waiting;
        }
        let Some(this) = self.remembered.get(id) else { return Place::New };
        let is_kept = this.kept.is_some();
        let max = if is_kept { self.limits.kept_ids_max } else { self.limits.dropped_ids_max };
        let touched = &ages[usize::from(is_kept)];
        let newer_at_least = touched.len() - touched.partition_point(|at| *at <= this.touched);
        let not_older = touched.len() - touched.partition_point(|at| *at < this.touched) - 1;
        let refreshed = |other: &&TraceId| {
            self.remembered.get(*other).is_some_and(|o| o.kept.is_some() == is_kept && o.touched < this.touched)
        };
        let newer_at_most = not_older + arriving.iter().filter(refreshed).count() + self.may_grow(this, arriving);
        match () {
            () if newer_at_least >= 2 * max => Place::New,
            () if newer_at_most < max && this.touched > self.short_at => Place::Remembered,
            () => Place::PerhapsForgotten,
        }
    }

    /// Other limits: what waits is due as if they had held when it came, and what is at a limit stays so.
    pub fn reconfigure(&mut self, limits: Limits) {
        let before = std::mem::replace(&mut self.limits, limits);
        let limits = &self.limits;
        for trace in self.waiting.values_mut().filter(|trace| !trace.is_at_limit) {
            let is_full = |max: u32| trace.spans.len() >= max as usize;
            if limits.span_limit.is_some_and(is_full) || trace.bytes() >= limits.trace_bytes_limit {
                trace.is_at_limit = true;
                continue;
            }
            let by_wait = trace.arrived + limits.decision_wait;
            let root_arrived = before.wait_after_root.filter(|_| trace.root_shortened).map(|wait| trace.due - wait);
            let by_root = root_arrived.zip(limits.wait_after_root).map(|(at, wait)| at + wait);
            trace.root_shortened = by_root.is_some_and(|by_root| by_root < by_wait);
            trace.due = by_root.map_or(by_wait, |by_root| by_root.min(by_wait));
        }
    }

    /// Memory is short: decisions may be forgotten early, as bytes are what is bounded first.
    pub fn memory_is_short(&mut self) {
        self.short_at = self.step;
    }

    /// Traces of a request that may be dropped as too large before the others are looked up.
    fn may_grow(&self, this: &Remembered, arriving: &[TraceId]) -> usize {
        let may_drop = this.kept.is_none() && self.limits.drop_larger_than_bytes.is_some();
        if may_drop { arriving.iter().filter(|id| !self.remembered.contains_key(*id)).count() } else { 0 }
    }

    /// Applies the spans of one trace; `is_remembered`: what was found where the rules leave it open.
    pub fn arrive(
        &mut self,
        id: TraceId,
        spans: Vec<RawSpan>,
        is_remembered: bool,
        now: Duration,
        unix_nano: u64,
    ) -> Fate {
        if is_remembered && let Some(remembered) = self.remembered.get_mut(&id) {
            remembered.touched = self.step;
            return if remembered.kept.is_some() {
                Fate::FollowsKept(remembered.clone())
            } else {
                Fate::FollowsDropped
            };
        }
        let is_new = !self.waiting.contains_key(&id);
        let waited = self.waiting.get(&id).map_or(0, Waiting::bytes);
        let bytes = waited + spans.iter().map(|span| span.bytes.len() as u64).sum::<u64>();
        if self.limits.drop_larger_than_bytes.is_some_and(|max| bytes > max) {
            let waited = self.waiting.remove(&id).map_or_else(Vec::new, |trace| trace.spans);
            let randomness = randomness(&id, waited.iter().chain(&spans));
            self.remember(id, None, randomness);
            return Fate::TooLarge { waited, is_new };
        }
        self.remembered.remove(&id);
        let limits = &self.limits;
        let trace = self.waiting.entry(id).or_insert_with(|| Waiting {
            arrived: now,
            arrived_unix_nano: unix_nano,
            due: now + limits.decision_wait,
            root_shortened: false,
            is_at_limit: false,
            spans: Vec::new(),
            changed: None,
            offered: None,
        });
        trace.join(spans, limits, now);
        if is_new { Fate::Begins } else { Fate::Joins }
    }

    /// Ends a trace's waiting.
    pub fn decide(&mut self, id: TraceId, kept: Option<Kept>) -> Waiting {
        self.step += 1;
        let trace = self.waiting.remove(&id).expect("it waits");
        self.remember(id, kept, randomness(&id, trace.spans.iter()));
        trace
    }

    fn remember(&mut self, id: TraceId, kept: Option<Kept>, randomness: u64) {
        self.remembered.insert(id, Remembered { kept, randomness, touched: self.step });
    }
}

impl Waiting {
    fn join(&mut self, spans: Vec<RawSpan>, limits: &Limits, now: Duration) {
        let before = self.interest();
        for span in spans {
            if is_root(&span)
                && let Some(wait) = limits.wait_after_root
                && now + wait < self.due
            {
                self.due = now + wait;
                self.root_shortened = true;
            }
            self.spans.push(span);
        }
        if self.interest() != before {
            self.changed.get_or_insert(now);
        }
        let is_full = |max: u32| self.spans.len() >= max as usize;
        self.is_at_limit |= limits.span_limit.is_some_and(is_full) || self.bytes() >= limits.trace_bytes_limit;
    }

    /// What a trace is offered early for: an error is there, a root is there, the power of two that its duration has reached.
    fn interest(&self) -> (bool, bool, u32) {
        let duration = if self.spans.is_empty() { 0 } else { self.end().saturating_sub(self.start()) };
        let reached = duration.checked_ilog2().filter(|power| *power >= 20);
        (self.errors() > 0, self.spans.iter().any(is_root), reached.unwrap_or(0))
    }

    pub fn bytes(&self) -> u64 {
        self.spans.iter().map(|span| span.bytes.len() as u64).sum()
    }

    pub fn start(&self) -> u64 {
        self.spans.iter().map(|span| span.span.start_time_unix_nano).min().expect("has spans")
    }

    pub fn end(&self) -> u64 {
        self.spans.iter().map(|span| span.span.end_time_unix_nano).max().expect("has spans")
    }

    pub fn errors(&self) -> u32 {
        self.with_status(2)
    }

    pub fn oks(&self) -> u32 {
        self.with_status(1)
    }

    fn with_status(&self, code: i32) -> u32 {
        let has = |span: &&RawSpan| span.span.status.as_ref().is_some_and(|status| status.code == code);
        self.spans.iter().filter(has).count() as u32
    }

    pub fn marks(&self) -> u8 {
        let mark = |is: bool, mark| if is { mark } else { 0 };
        let is_sampled = self.spans.iter().any(|span| span.span.flags & 1 == 1);
        mark(self.spans.iter().any(is_root), MARK_ROOT) | mark(is_sampled, MARK_SAMPLED)
    }

    pub fn threshold(&self) -> u64 {
        self.spans.iter().filter_map(|span| threshold_of(&span.span.trace_state)).max().unwrap_or(THRESHOLD_UNKNOWN)
    }

    /// What may stand as its trigger, if its time has come.
    pub fn time_trigger(&self) -> Trigger {
        if self.root_shortened { Trigger::Root } else { Trigger::Wait }
    }
}

/// `rv` of the first span that has one, else the last 7 bytes of the id.
pub fn randomness<'a>(id: &TraceId, mut spans: impl Iterator<Item = &'a RawSpan>) -> u64 {
    let of_id = u64::from_be_bytes(id[8..].try_into().expect("8 bytes")) & 0x00ff_ffff_ffff_ffff;
    spans.find_map(|span| randomness_of(&span.span.trace_state)).unwrap_or(of_id)
}

pub fn is_root(span: &RawSpan) -> bool {
    span.span.parent_span_id.iter().all(|byte| *byte == 0)
}
