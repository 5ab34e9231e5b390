//! A shard and its model side by side: each call is made on both, and what they say is compared.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use sluicebox::tail::arrivals::Arrival;
use sluicebox::tail::explain::TraceState;
use sluicebox::tail::shard::{Now, Settings, Settled, Shard};
use sluicebox::tail::traces::{Traces, Trigger};
use sluicebox::tail::verdict::{Verdict, Vote};

use crate::check::{Expected, check_all_released};
use crate::model::{Fate, Model, Place, Remembered, TraceId, Waiting, randomness};
use crate::tracestate::{Kept, randomness_of};
use crate::votes;
use crate::wire::RawSpan;
use crate::world::{Coverage, Serving};

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
    pub last_rank: u8,
    pub last_due: Duration,
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
        self.check_settled(now, &traces, &given, &settled, covered);
        true
    }

    /// Each trace is decided as its verdict says, but for early ones that are not settled.
    fn check_settled(
        &mut self,
        now: Now,
        traces: &Traces,
        given: &[Verdict],
        settled: &Settled,
        covered: &mut Coverage,
    ) {
        let mut decisions = settled.decisions.iter();
        let mut expected = Vec::new();
        for ((id, trigger), verdict) in traces.ids.iter().zip(&traces.triggers).zip(given) {
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
