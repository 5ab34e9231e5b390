//! A shard and its model side by side: each call is made on both, and what they say is compared.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use sluicebox::tail::arrivals::Arrival;
use sluicebox::tail::explain::TraceState;
use sluicebox::tail::shard::{Now, Settings, Shard};
use sluicebox::tail::traces::{Traces, Trigger};
use sluicebox::tail::verdict::{Verdict, Vote};

use crate::check::{Expected, check_all_released, check_grouped, span_number};
use crate::model::{Fate, Model, Place, Remembered, TraceId, Waiting, randomness};
use crate::tracestate::{Kept, randomness_of};
use crate::votes;
use crate::wire::{RawSpan, spans};
use crate::world::{Coverage, Serving};

const TRACES_PER_DUE_MAX: usize = 512;
const BYTES_PER_DUE_MAX: u64 = 4 << 20;
/// A trace is offered early at most so often.
const EARLY_EVERY: Duration = Duration::from_millis(100);
/// A shard that has as much room left, beside four times what arrives, is not full: its log and its tables grow in steps.
const STEP_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a remembered decision, with those that are about to be forgotten.
const ID_BYTES_MAX: u64 = 300;

pub struct Lane {
    pub shard: Shard,
    pub model: Model,
    pub settings: Settings,
    /// Since when changed traces are offered early.
    pub early_since: Option<Duration>,
    pub is_draining: bool,
    /// It makes room for spans that found none.
    pub makes_room: bool,
    /// Spans that were taken, released, and dropped.
    pub taken: u64,
    pub released: u64,
    pub dropped: u64,
    /// What the triggers of the last calls of `due` allow: those of later ones stand after them.
    last_rank: u8,
    last_due: Duration,
}

impl Lane {
    pub fn new(shard: Shard, model: Model, settings: Settings) -> Self {
        let (last_rank, last_due) = (0, Duration::ZERO);
        Self {
            shard,
            model,
            settings,
            early_since: None,
            is_draining: false,
            makes_room: false,
            taken: 0,
            released: 0,
            dropped: 0,
            last_rank,
            last_due,
        }
    }

    /// Gives it spans; false if it was full. `may_be_full`: the process has no memory left.
    pub fn ingest(
        &mut self,
        now: Now,
        arrival: &Arrival,
        spans: Vec<RawSpan>,
        may_be_full: bool,
        covered: &mut Coverage,
    ) -> bool {
        let (groups, count) = (by_trace(spans), arrival.spans());
        let ids: Vec<_> = groups.iter().map(|(id, _)| *id).collect();
        self.note_pressure(may_be_full);
        let places = self.model.places(&ids);
        let known: Vec<_> = ids.iter().map(|id| self.shard.explain(*id).is_some()).collect();
        let before = self.shard.load();
        let Ok(ingested) = self.shard.ingest(now, arrival) else {
            let needed = before.bytes + 4 * arrival.bytes() + STEP_BYTES_MAX;
            let is_right = may_be_full || needed > self.settings.bytes_max;
            assert!(
                is_right,
                "full with {} of {} bytes and {} to come",
                before.bytes,
                self.settings.bytes_max,
                arrival.bytes()
            );
            let after = self.shard.load();
            assert_eq!(
                (before.traces, before.spans),
                (after.traces, after.spans),
                "nothing is taken of what does not fit"
            );
            covered.full += 1;
            return false;
        };
        self.taken += count;
        let (mut new, mut late_dropped, mut too_large) = (0..=0, 0, 0);
        let mut expected = Vec::new();
        for (((id, spans), place), known) in groups.into_iter().zip(places).zip(known) {
            let arriving = spans.len() as u64;
            let is_remembered = match place {
                Place::Remembered => true,
                Place::New | Place::Waiting => false,
                Place::PerhapsForgotten => {
                    let found = self.observe(&id, known);
                    *(if found { &mut covered.still_remembered } else { &mut covered.forgotten }) += 1;
                    found
                }
            };
            match self.model.arrive(id, spans.clone(), is_remembered, now.since_start, now.unix_nano) {
                Fate::Begins => new = *new.start() + 1..=*new.end() + 1,
                Fate::Joins => {}
                Fate::FollowsDropped => late_dropped += arriving,
                Fate::FollowsKept(remembered) => expected.extend(late(&id, spans, &remembered)),
                Fate::TooLarge { waited, is_new } => {
                    too_large += arriving + waited.len() as u64;
                    new = *new.start()..=*new.end() + u64::from(is_new);
                }
            }
        }
        assert_eq!(ingested.late_kept, expected.len() as u64, "late spans of kept traces");
        assert_eq!((ingested.late_dropped, ingested.too_large), (late_dropped, too_large), "dropped spans");
        assert!(new.contains(&ingested.new_traces), "{} new traces, not {new:?}", ingested.new_traces);
        check_all_released(&ingested.released, &expected, self.settings.records_decisions);
        self.released += expected.len() as u64;
        self.dropped += late_dropped + too_large;
        covered.late_kept += ingested.late_kept;
        covered.late_dropped += ingested.late_dropped;
        covered.too_large += ingested.too_large;
        self.begin_loop();
        true
    }

    /// Has room made for spans that found none, and gives them again: there must be room then.
    pub fn make_room(
        &mut self,
        rng: &mut StdRng,
        now: Now,
        serving: Serving,
        arrival: &Arrival,
        covered: &mut Coverage,
    ) {
        self.shard.want_room(Some(arrival));
        self.makes_room = true;
        self.begin_loop();
        while self.decide(rng, now, serving, covered) {
            self.note_pressure(false);
        }
    }

    /// What comes now stands at the beginning of the order again: time has passed, or spans have come.
    pub fn begin_loop(&mut self) {
        (self.last_rank, self.last_due) = (0, Duration::ZERO);
    }

    /// Whether spans followed a decision that may have been forgotten before. The history knows longer, but is off where traces that come
    /// anew may be dropped at once, and so do not wait now.
    fn observe(&self, id: &TraceId, was_known: bool) -> bool {
        let waits = || self.shard.explain(*id).is_some_and(|explanation| explanation.state == TraceState::Waiting);
        was_known && (self.settings.history_max == 0 || !waits())
    }

    /// Decisions are remembered in what memory there is.
    pub fn note_pressure(&mut self, others_need_memory: bool) {
        let (held, bytes_max) = (self.shard.load().bytes, self.settings.bytes_max);
        let ids_bytes = (self.settings.kept_ids_max + self.settings.dropped_ids_max) as u64 * ID_BYTES_MAX;
        if others_need_memory || held + STEP_BYTES_MAX > bytes_max || ids_bytes > bytes_max / 8 {
            self.model.memory_is_short();
        }
    }

    /// Has the next traces decided; false if there are none.
    pub fn decide(&mut self, rng: &mut StdRng, now: Now, serving: Serving, covered: &mut Coverage) -> bool {
        let held = self.shard.load().bytes;
        let Some(mut due) = self.shard.due(now) else {
            self.check_nothing_is_due(now);
            return false;
        };
        self.check_traces(now, &due.traces, held);
        if rng.random_ratio(1, 3) {
            let body = self.shard.spans_of(&mut due);
            self.check_spans(&due.traces, &body);
        }
        let verdicts: Vec<_> = due
            .traces
            .randomness
            .iter()
            .map(|randomness| votes::random(rng, serving.generation, serving.is_faulting, *randomness))
            .collect();
        let (traces, given) = (due.traces.clone(), verdicts.clone());
        let settled = self.shard.settle(now, due, verdicts);
        let mut decisions = settled.decisions.iter();
        let mut expected = Vec::new();
        for ((id, trigger), verdict) in traces.ids.iter().zip(&traces.triggers).zip(&given) {
            let trigger = Trigger::ALL[usize::from(*trigger)];
            if trigger == Trigger::Early && !verdict.is_settled {
                let waiting = self.model.waiting.get_mut(id).expect("it waits");
                (waiting.changed, waiting.offered) = (None, Some(now.since_start));
                covered.early_open += 1;
                continue;
            }
            let kept = kept(verdict, trigger);
            let trace = self.model.decide(*id, kept.clone());
            let decision = decisions.next().expect("a decision for each decided trace");
            let waited = now.since_start - trace.arrived;
            assert_eq!(decision.vote_kept, kept.is_some());
            assert_eq!(decision.decider, verdict.decider);
            assert_eq!(decision.trigger, trigger);
            assert_eq!((decision.spans, decision.bytes), (trace.spans.len() as u64, trace.bytes()));
            assert_eq!(decision.waited, waited);
            covered.decided[usize::from(trigger as u8)] += 1;
            match kept {
                None => self.dropped += trace.spans.len() as u64,
                Some(kept) => expected.extend(all_kept(id, trace, &kept)),
            }
        }
        assert!(decisions.next().is_none(), "a decision for a trace that waits on");
        check_all_released(&settled.released, &expected, self.settings.records_decisions);
        self.released += expected.len() as u64;
        true
    }

    fn check_nothing_is_due(&self, now: Now) {
        let (time, load) = (now.since_start, self.shard.load());
        let waiting = &self.model.waiting;
        assert!(!self.is_draining || waiting.is_empty(), "all are due while draining");
        let evicts = self.settings.evicts;
        assert!(!evicts || waiting.len() <= self.settings.traces_max, "{} wait", waiting.len());
        let is_low = load.bytes <= self.settings.bytes_max / 10 * 9 + 10;
        assert!(
            !evicts || waiting.is_empty() || is_low,
            "{} of {} bytes are held",
            load.bytes,
            self.settings.bytes_max
        );
        let mut wake_by = None::<Duration>;
        for trace in waiting.values() {
            assert!(!trace.is_at_limit, "a trace at its limit waits on");
            let late = trace.due + self.tolerance();
            assert!(time <= late, "a trace that was due at {:?} waits on at {time:?}", trace.due);
            let mut by = late;
            if let (Some(changed), Some(since)) = (trace.changed, self.early_since)
                && changed >= since
            {
                // A hundred milliseconds between offers, and a tick to come round.
                assert!(
                    time <= changed + EARLY_EVERY + self.tolerance(),
                    "changed at {changed:?}, not offered at {time:?}"
                );
                by = by.min(changed + 2 * EARLY_EVERY);
            }
            wake_by = Some(wake_by.map_or(by, |other| other.min(by)));
        }
        let wake_at = self.shard.wake_at();
        assert!(
            wake_at.is_none_or(|at| at > time),
            "it wants to be asked at {wake_at:?}, was asked at {time:?} and had nothing"
        );
        if let Some(by) = wake_by {
            assert!(
                wake_at.is_some_and(|at| at <= by),
                "it wants to be asked at {wake_at:?}, but has something by {by:?}"
            );
        }
    }

    /// What policies are told of traces that are due, and that these and no others are.
    fn check_traces(&mut self, now: Now, traces: &Traces, held: u64) {
        let count = traces.len();
        assert!(count > 0 && count <= TRACES_PER_DUE_MAX, "{count} traces at once");
        let bytes: u64 = traces.byte_counts.iter().sum();
        assert!(count == 1 || bytes <= BYTES_PER_DUE_MAX, "{count} traces of {bytes} bytes at once");
        assert_eq!(traces.now_unix_nano, now.unix_nano);
        let lengths = [
            traces.randomness.len(),
            traces.thresholds.len(),
            traces.arrivals_unix_nano.len(),
            traces.starts_unix_nano.len(),
            traces.ends_unix_nano.len(),
            traces.span_counts.len(),
            traces.error_counts.len(),
            traces.ok_counts.len(),
            traces.byte_counts.len(),
            traces.marks.len(),
            traces.triggers.len(),
        ];
        assert_eq!(lengths, [count; 11]);
        for (i, id) in traces.ids.iter().enumerate() {
            assert!(!traces.ids[..i].contains(id), "a trace stands twice");
            let trace = self.model.waiting.get(id).unwrap_or_else(|| panic!("{id:x?} is due, but does not wait"));
            assert_eq!(traces.randomness[i], randomness(id, trace.spans.iter()));
            assert_eq!(traces.thresholds[i], trace.threshold());
            assert_eq!(traces.arrivals_unix_nano[i], trace.arrived_unix_nano);
            assert_eq!((traces.starts_unix_nano[i], traces.ends_unix_nano[i]), (trace.start(), trace.end()));
            assert_eq!(traces.span_counts[i] as usize, trace.spans.len());
            assert_eq!((traces.error_counts[i], traces.ok_counts[i]), (trace.errors(), trace.oks()));
            assert_eq!(traces.byte_counts[i], trace.bytes());
            assert_eq!(traces.marks[i], trace.marks());
        }
        self.check_triggers(now, traces, held);
    }

    fn check_triggers(&mut self, now: Now, traces: &Traces, held: u64) {
        let mut memory = Vec::new();
        for (id, trigger) in traces.ids.iter().zip(&traces.triggers) {
            let trace = &self.model.waiting[id];
            let trigger = Trigger::ALL[usize::from(*trigger)];
            let rank = match trigger {
                Trigger::Limit => 0,
                Trigger::Wait | Trigger::Root | Trigger::Shutdown => 1,
                Trigger::Memory => 2,
                Trigger::Early => 3,
            };
            assert!(rank >= self.last_rank, "{trigger:?} comes too late");
            self.last_rank = rank;
            match trigger {
                Trigger::Limit => assert!(trace.is_at_limit),
                Trigger::Wait | Trigger::Root => {
                    assert_eq!(trigger, trace.time_trigger());
                    assert!(trace.due <= now.since_start, "due at {:?}, given at {:?}", trace.due, now.since_start);
                    assert!(trace.due + self.tolerance() >= self.last_due, "{:?} after {:?}", trace.due, self.last_due);
                    self.last_due = self.last_due.max(trace.due);
                }
                Trigger::Shutdown => assert!(self.is_draining),
                Trigger::Memory => {
                    assert!(self.settings.evicts);
                    memory.push(*id);
                }
                Trigger::Early => {
                    assert!(
                        self.early_since.is_some() && trace.changed.is_some(),
                        "nothing changed since {:?}",
                        trace.offered
                    );
                    let again = trace.offered.map_or(Duration::ZERO, |at| at + EARLY_EVERY);
                    assert!(again <= now.since_start, "offered again before {again:?}");
                }
            }
            assert!(
                !self.is_draining
                    || matches!(trigger, Trigger::Shutdown | Trigger::Limit | Trigger::Wait | Trigger::Root)
            );
        }
        self.check_evicted(&memory, traces, held);
    }

    /// Only while there is too much, only as much, and what is due first.
    fn check_evicted(&self, evicted: &[TraceId], traces: &Traces, held: u64) {
        let Some(last) = evicted.last() else { return };
        let (waiting, bytes_high) = (self.model.waiting.len(), self.settings.bytes_max / 10 * 9);
        let too_many = waiting.saturating_sub(self.settings.traces_max);
        if self.makes_room {
            // As much is decided early as what comes may take.
        } else if held <= bytes_high {
            assert!(evicted.len() <= too_many, "{} evicted, {too_many} too many", evicted.len());
        } else if evicted.len() > too_many {
            let freed: u64 = evicted.iter().filter(|id| *id != last).map(|id| self.model.waiting[id].bytes()).sum();
            assert!(
                freed <= held - bytes_high,
                "{} evicted with {freed} bytes, {} too many",
                evicted.len(),
                held - bytes_high
            );
        }
        let latest = evicted.iter().map(|id| self.model.waiting[id].due).max().expect("not empty");
        let others = self.model.waiting.iter().filter(|(id, _)| !traces.ids.contains(id));
        let earliest = others.map(|(_, trace)| trace.due).min();
        let is_right = earliest.is_none_or(|due| due + self.tolerance() >= latest);
        assert!(is_right, "due at {latest:?} is evicted before {earliest:?}");
    }

    fn check_spans(&self, traces: &Traces, body: &bytes::Bytes) {
        let (found, envelopes) = spans(body);
        check_grouped(&envelopes);
        assert_eq!(traces.trace_of.len(), found.len(), "a trace for each span");
        let mut shown: HashMap<u64, &RawSpan> = HashMap::new();
        for (span, trace) in found.iter().zip(&traces.trace_of) {
            assert_eq!(Model::trace_of(span), traces.ids[*trace as usize]);
            shown.insert(span_number(span), span);
        }
        let waiting: Vec<_> = traces.ids.iter().flat_map(|id| &self.model.waiting[id].spans).collect();
        assert_eq!((shown.len(), found.len()), (waiting.len(), waiting.len()), "each span is shown once");
        for span in waiting {
            let shown = shown.get(&span_number(span)).expect("each span is shown");
            assert_eq!((&shown.bytes, &shown.resource, &shown.scope), (&span.bytes, &span.resource, &span.scope));
        }
    }

    /// What it holds, and what it says of some of its traces.
    pub fn check_state(&mut self, rng: &mut StdRng, now: Now) {
        let (load, waiting) = (self.shard.load(), &self.model.waiting);
        let spans: u64 = waiting.values().map(|trace| trace.spans.len() as u64).sum();
        let bytes: u64 = waiting.values().map(Waiting::bytes).sum();
        assert_eq!((load.traces, load.spans), (waiting.len() as u64, spans));
        assert!(load.bytes >= bytes, "{} bytes are said to be held, spans alone have {bytes}", load.bytes);
        assert!(load.bytes <= self.settings.bytes_max, "{} of {} bytes", load.bytes, self.settings.bytes_max);
        assert_eq!(self.taken, self.released + self.dropped + spans, "each span is released, dropped or waits");
        let too_many = self.settings.evicts && waiting.len() > self.settings.traces_max;
        if too_many || waiting.values().any(|trace| trace.is_at_limit) {
            let wake_at = self.shard.wake_at();
            assert!(wake_at.is_some_and(|at| at <= now.since_start), "something is due now, not at {wake_at:?}");
        }
        let mut ids: Vec<_> = waiting.keys().chain(self.model.remembered.keys()).copied().collect();
        ids.sort_unstable();
        for _ in 0..ids.len().min(3) {
            self.check_explanation(ids[rng.random_range(0..ids.len())], now);
        }
        let unknown = self.shard.explain(rng.random());
        assert!(unknown.is_none(), "nobody has heard of it: {unknown:?}");
    }

    fn check_explanation(&mut self, id: TraceId, now: Now) {
        let said = self.shard.explain(id);
        if let Some(trace) = self.model.waiting.get(&id) {
            let said = said.expect("it waits");
            assert_eq!((said.sampler.as_str(), said.state), (self.settings.sampler.as_str(), TraceState::Waiting));
            assert_eq!(said.spans, Some(trace.spans.len() as u64));
            assert_eq!(said.arrived_unix_nano, Some(trace.arrived_unix_nano));
            assert_eq!((said.policy, said.generation), (None, None));
            return;
        }
        let place = self.model.places(&[id])[0];
        let remembered = &self.model.remembered[&id];
        match said {
            None => assert_ne!(place, Place::Remembered, "decided and remembered, but unknown at {now:?}"),
            Some(said) => {
                let (kept, is_kept) = (remembered.kept.as_ref(), said.state == TraceState::Kept);
                assert_ne!(said.state, TraceState::Waiting);
                assert_eq!(is_kept, kept.is_some(), "{said:?}");
                if let Some(kept) = kept {
                    assert_eq!(said.policy.as_deref(), Some(kept.policy.as_str()));
                    assert_eq!((said.generation, said.trigger), (Some(kept.generation), Some(kept.trigger)));
                }
            }
        }
    }

    /// How late a trace may be decided.
    fn tolerance(&self) -> Duration {
        (self.settings.decision_wait / 100).clamp(Duration::from_millis(1), Duration::from_millis(100))
    }
}

/// In the order in which traces first appear.
fn by_trace(spans: Vec<RawSpan>) -> Vec<(TraceId, Vec<RawSpan>)> {
    let mut groups: Vec<(TraceId, Vec<RawSpan>)> = Vec::new();
    for span in spans {
        let id = Model::trace_of(&span);
        match groups.iter_mut().find(|(other, _)| *other == id) {
            Some((_, group)) => group.push(span),
            None => groups.push((id, vec![span])),
        }
    }
    groups
}

fn kept(verdict: &Verdict, trigger: Trigger) -> Option<Kept> {
    let decider = verdict.decider.as_ref().filter(|_| verdict.vote == Vote::Keep)?;
    let (policy, generation) = (decider.policy.clone(), decider.generation);
    Some(Kept { threshold: verdict.threshold, policy, generation, trigger: trigger.as_str() })
}

fn all_kept(id: &TraceId, trace: Waiting, kept: &Kept) -> Vec<Expected> {
    let of_trace = randomness(id, trace.spans.iter());
    let expected = |span| Expected { randomness: candidates(&span, &[of_trace]), kept: kept.clone(), span };
    trace.spans.into_iter().map(expected).collect()
}

/// The trace's randomness was known when it was decided; of a late span its own, or that of the id, will do too.
fn late(id: &TraceId, spans: Vec<RawSpan>, remembered: &Remembered) -> Vec<Expected> {
    let Some(kept) = &remembered.kept else { return Vec::new() };
    let known = [remembered.randomness, randomness(id, [].iter())];
    let expected = |span| Expected { randomness: candidates(&span, &known), kept: kept.clone(), span };
    spans.into_iter().map(expected).collect()
}

/// Spans of a trace that carry different randomness break the rules of tracestate: either will do.
fn candidates(span: &RawSpan, known: &[u64]) -> Vec<u64> {
    known.iter().copied().chain(randomness_of(&span.span.trace_state)).collect()
}
