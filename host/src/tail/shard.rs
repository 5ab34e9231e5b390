//! A shard: owns a part of the traces, from their first span to their decision and beyond.
//!
//! What it does when is in the modules beside: `ingest`, `due`, `settle`; what it holds is here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::arrivals::Arrival;
use super::explain::{Asked, Explanation, Recent};
use super::history::{History, Past};
use super::remembered::{Dropped, Kept, Remembered};
use super::rewrite::Rewrite;
use super::verdict::THRESHOLD_END;
use super::waiting::Waiting;
use crate::memory::{Budget, Charge};

pub use super::due::Due;
pub use super::ingest::{Full, Ingested};
pub use super::settle::{Decision, Settled};

/// The process budget is asked for steps of this share of the shard's bytes, within these bounds.
const STEPS: u64 = 64;
const STEP_BYTES_MIN: u64 = 4 << 10;
const STEP_BYTES_MAX: u64 = 1 << 20;
/// Of a shard's bytes, for each of the two generations of kept and of dropped traces that are remembered: a quarter altogether.
pub(super) const KEPT_DIVISOR: u64 = 24;
pub(super) const DROPPED_DIVISOR: u64 = 12;
/// Of a shard's bytes, for past decisions at most.
const HISTORY_DIVISOR: u64 = 16;

/// Of the bytes that a shard may hold, in percent: above, traces are decided before their time.
const HELD_PERCENT: u64 = 90;
/// What a span takes beside its bytes if each is a trace of its own, at most.
const TABLES_BYTES_PER_SPAN: u64 = 512;

/// The time of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// A clock that never goes back.
    pub since_start: Duration,
    /// The wall clock.
    pub unix_nano: u64,
}

/// How a shard works.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The processor's name in the file.
    pub sampler: String,
    /// How long a trace waits after its first span.
    pub decision_wait: Duration,
    /// How long it waits at most after its root.
    pub wait_after_root: Option<Duration>,
    /// Traces that may wait; above, those with the earliest due time are decided.
    pub traces_max: usize,
    /// Bytes that the shard may hold, everything counted; above nine tenths, as `traces_max`. The ids of decided traces take a quarter of
    /// them at most, whatever their numbers below.
    pub bytes_max: u64,
    /// Whether these two bounds have traces decided before their time; else the owner lets requests wait for room.
    pub evicts: bool,
    /// A trace with as many spans is decided at once.
    pub span_limit: Option<u32>,
    /// A trace with as many bytes is decided at once.
    pub trace_bytes_limit: u64,
    /// A trace that would have more bytes is dropped, with the spans that came with the one too many.
    pub drop_larger_than_bytes: Option<u64>,
    /// Kept traces that are remembered: at least the last so many, at most twice as many.
    pub kept_ids_max: usize,
    /// Dropped traces that are remembered: at least the last so many, at most twice as many.
    pub dropped_ids_max: usize,
    /// Decisions that can be explained in full: the last so many, as far as they take no more than a sixteenth of `bytes_max`.
    pub history_max: usize,
    /// Kept spans say why they were, in attributes.
    pub records_decisions: bool,
}

/// A part of the traces, owned by one thread.
#[derive(Debug)]
pub struct Shard {
    pub(super) settings: Settings,
    pub(super) waiting: Waiting,
    pub(super) kept: Remembered<Kept>,
    pub(super) dropped: Remembered<Dropped>,
    pub(super) history: History,
    /// The latest time that it was told, in nanoseconds since the start of the process.
    pub(super) clock: u64,
    pub(super) offers_early: bool,
    pub(super) is_draining: bool,
    /// Bytes to be had for an arrival that found no room.
    wanted_bytes: u64,
    /// What the last arrival would have taken that found no room.
    pub(super) missing_bytes: u64,
    /// While spans are taken in: what will be held when all of them are. What is remembered meanwhile must not take it.
    pub(super) promised_bytes: u64,
    pub(super) charge: Charge,
}

/// An OTLP request with spans of kept traces.
#[derive(Clone, Debug)]
pub struct Released {
    /// ExportTraceServiceRequest.
    pub body: Bytes,
    /// How many.
    pub spans: u64,
}

/// What a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Traces that wait.
    pub traces: u64,
    /// Their spans.
    pub spans: u64,
    /// All bytes: tables, remembered ids and history included.
    pub bytes: u64,
}

impl Shard {
    /// An empty shard; what it holds is charged to `budget`. The seed keys its hashes: it must not be known to senders of telemetry.
    pub fn new(settings: Settings, budget: &Arc<Budget>, seed: u64) -> Shard {
        let history_max = settings.past_max();
        let mut shard = Shard {
            waiting: Waiting::new(settings.traces_max, settings.bytes_max, seed),
            kept: Remembered::new(settings.kept_ids_max, settings.bytes_max / KEPT_DIVISOR, seed),
            dropped: Remembered::new(settings.dropped_ids_max, settings.bytes_max / DROPPED_DIVISOR, seed),
            history: History::new(history_max),
            clock: 0,
            offers_early: false,
            is_draining: false,
            wanted_bytes: 0,
            missing_bytes: 0,
            promised_bytes: 0,
            charge: budget.charge_over(0),
            settings,
        };
        shard.charge.grow_over(shard.bytes());
        shard
    }

    /// From now on every waiting trace is due, trigger Shutdown.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Has `due` make room for spans that found none, by traces decided early; None: no longer.
    pub fn want_room(&mut self, arrival: Option<&Arrival>) {
        let wanted = |arrival| self.missing_bytes.max(Self::bytes_for(arrival)).saturating_add(self.reserve_bytes());
        self.wanted_bytes = arrival.map_or(0, wanted);
    }

    /// What an arrival takes, at most.
    pub fn bytes_for(arrival: &Arrival) -> u64 {
        let tables = TABLES_BYTES_PER_SPAN.saturating_mul(arrival.spans());
        arrival.bytes().saturating_add(arrival.bytes() / 8).saturating_add(tables)
    }

    /// What may still be held.
    pub fn room_bytes(&self) -> u64 {
        self.settings.bytes_max.saturating_sub(self.bytes()).saturating_sub(self.reserve_bytes())
    }

    /// Above it, traces are decided before their time.
    pub(super) fn held_bytes_max(&self) -> u64 {
        let bytes_max = self.settings.bytes_max;
        (bytes_max / 100 * HELD_PERCENT).min(bytes_max.saturating_sub(self.wanted_bytes))
    }

    /// Whether changed traces are offered early; at first they are not.
    pub fn offer_early(&mut self, wanted: bool) {
        if wanted && !self.offers_early {
            // What changed in the meantime was not noted.
            self.waiting.note_changes();
        }
        self.offers_early = wanted;
    }

    /// What is known of a trace.
    pub fn explain(&self, id: [u8; 16]) -> Option<Explanation> {
        let sampler = self.settings.sampler.clone();
        if let Some(trace) = self.waiting.find(id).and_then(|number| self.waiting.traces.get(number)) {
            return Some(Explanation::of_waiting(sampler, trace));
        }
        let past = self.history.last(id);
        match (self.kept.get(id), self.dropped.get(id), past) {
            (Some(kept), ..) => Some(Explanation::of_kept(sampler, kept, past)),
            (_, Some(dropped), _) => Some(Explanation::of_dropped(sampler, dropped, past)),
            (None, None, Some(past)) => Some(Explanation::of_past(sampler, past)),
            (None, None, None) => None,
        }
    }

    /// The last decisions, the newest first.
    pub fn recent(&self, asked: &Asked) -> Vec<Recent> {
        self.history.recent(&self.settings.sampler, asked)
    }

    /// What it holds.
    pub fn load(&self) -> Load {
        Load { traces: self.waiting.traces.len() as u64, spans: self.waiting.spans, bytes: self.bytes() }
    }

    /// Everything that it holds.
    pub(super) fn bytes(&self) -> u64 {
        let decided = self.kept.bytes() + self.dropped.bytes() + self.history.bytes();
        size_of::<Shard>() as u64 + self.waiting.bytes() + decided
    }

    /// Time does not go back.
    pub(super) fn advance(&mut self, now: Now) {
        self.clock = self.clock.max(nanos(now.since_start));
    }

    /// Makes sure that so many bytes more may be held, with some in reserve for settling; false where they may not.
    pub(super) fn reserve(&mut self, more: u64) -> bool {
        let wanted = self.bytes().saturating_add(more).saturating_add(self.reserve_bytes());
        wanted <= self.settings.bytes_max && self.charge_for(wanted)
    }

    /// For settling, which must not fail.
    fn reserve_bytes(&self) -> u64 {
        self.waiting.log.segment_bytes() as u64 + self.step()
    }

    /// Gives back what is charged and not held.
    pub(super) fn uncharge(&mut self) {
        let wanted = self.bytes() + self.waiting.log.segment_bytes() as u64 + 2 * self.step();
        if self.charge.bytes() > wanted + self.step() {
            self.charge.resize(wanted);
        }
    }

    /// Frees what is empty, and closes gaps until no more than so many bytes are held or it is not worth it any more.
    pub(super) fn reclaim(&mut self, bytes_max: u64) {
        if self.bytes() <= bytes_max {
            return;
        }
        self.waiting.log.empty_pool();
        while self.bytes() > bytes_max && self.waiting.compact().is_some() {
            self.waiting.log.empty_pool();
        }
    }

    /// Remembers that a trace was kept.
    pub(super) fn remember_kept(&mut self, kept: Kept) {
        self.make_room(|shard| shard.kept.growth(kept.id));
        self.kept.insert(kept);
    }

    /// Remembers that a trace was dropped.
    pub(super) fn remember_dropped(&mut self, dropped: Dropped) {
        self.make_room(|shard| shard.dropped.growth(dropped.id));
        self.dropped.insert(dropped);
    }

    /// What is written into the spans of a kept trace.
    pub(super) fn rewrite(&self, kept: &Kept) -> Option<Rewrite> {
        let records = self.settings.records_decisions;
        Rewrite::of(kept.threshold, kept.randomness, kept.decider.as_ref(), kept.trigger, records)
    }

    /// Forgets the oldest decisions while remembering another would take too much memory.
    fn make_room(&mut self, growth: impl Fn(&Shard) -> u64) {
        // Each kind forgets everything in three steps.
        for _ in 0..6 {
            let growth = growth(self);
            let held = self.bytes();
            let bytes = held.max(self.promised_bytes) + growth;
            if growth == 0 || bytes <= self.settings.bytes_max && self.charge_for(bytes) {
                self.promise_more(growth);
                return;
            }
            if self.kept.bytes() > self.dropped.bytes() {
                self.kept.forget()
            } else {
                self.dropped.forget()
            }
            self.promised_bytes = self.promised_bytes.saturating_sub(held.saturating_sub(self.bytes()));
        }
        let growth = growth(self);
        self.charge.grow_over(self.bytes() + growth);
        self.promise_more(growth);
    }

    fn promise_more(&mut self, growth: u64) {
        if self.promised_bytes > 0 {
            self.promised_bytes += growth;
        }
    }

    fn charge_for(&mut self, bytes: u64) -> bool {
        bytes <= self.charge.bytes()
            || self.charge.resize(bytes.saturating_add(self.step()))
            || self.charge.resize(bytes)
    }

    /// Bytes by which the charge grows.
    fn step(&self) -> u64 {
        (self.settings.bytes_max / STEPS).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX)
    }
}

impl Settings {
    /// Decisions that can be explained in full, as far as there is room for them.
    pub(super) fn past_max(&self) -> usize {
        let fitting = self.bytes_max / HISTORY_DIVISOR / size_of::<Past>() as u64;
        self.history_max.min(usize::try_from(fitting).unwrap_or(usize::MAX))
    }
}

/// Nanoseconds since the start of the process, for 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The probability that a rejection threshold stands for, where it is known.
pub(super) fn probability(threshold: u64) -> Option<f64> {
    (threshold < THRESHOLD_END).then(|| 1.0 - threshold as f64 / THRESHOLD_END as f64)
}
