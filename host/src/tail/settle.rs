//! Traces are decided.

use std::sync::Arc;
use std::time::Duration;

use super::due::{Due, Pick};
use super::history::Past;
use super::remembered::{Dropped, Kept};
use super::requests::{self, RELEASED_BYTES_MAX};
use super::shard::{Now, Released, Shard};
use super::trace::{Early, Trace};
use super::traces::Trigger;
use super::verdict::{Decider, THRESHOLD_UNKNOWN, Verdict, Vote};

/// Bytes that are moved in one call to close gaps.
const MOVED_BYTES_MAX: u64 = 1 << 20;
/// Gaps are closed where they are more than this share of the log.
const GARBAGE_DIVISOR: u64 = 4;

/// What became of the traces that were due.
#[derive(Debug, Default)]
pub struct Settled {
    /// Spans of kept traces.
    pub released: Vec<Released>,
    /// One for each decided trace, in order.
    pub decisions: Vec<Decision>,
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Decision {
    /// It was kept.
    pub vote_kept: bool,
    /// Who decided; None where no policy said anything.
    pub decider: Option<Arc<Decider>>,
    /// Why then.
    pub trigger: Trigger,
    /// Its spans.
    pub spans: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Since its first span came.
    pub waited: Duration,
}

/// A trace, and what is remembered of it if it is kept.
type Decided = (Pick, Option<Kept>, Option<Arc<Decider>>);

impl Shard {
    /// Decides, given one verdict for each trace, in order: kept traces are released, and every decided one is remembered. One that was
    /// offered early and is not settled goes on waiting. Without a verdict a trace is dropped, as no policy kept it.
    pub fn settle(&mut self, now: Now, due: Due, verdicts: Vec<Verdict>) -> Settled {
        self.advance(now);
        let missing = Verdict { vote: Vote::None, threshold: 0, is_settled: false, decider: None };
        let verdicts = verdicts.into_iter().chain(std::iter::repeat(missing));
        let mut decided = Vec::with_capacity(due.picks.len());
        for (pick, verdict) in due.picks.into_iter().zip(verdicts) {
            match self.waiting.traces.get_mut(pick.number) {
                Some(trace) if trace.id != pick.id => {}
                Some(trace) if pick.trigger == Trigger::Early && !verdict.is_settled => {
                    trace.set_offered(self.clock);
                    self.waiting.set_early(pick.number, Early::No);
                    self.waiting.set_early(pick.number, Early::Cooling);
                }
                Some(trace) => {
                    let kept = (verdict.vote == Vote::Keep).then(|| Kept {
                        id: pick.id,
                        threshold: verdict.threshold,
                        randomness: trace.randomness(),
                        decider: verdict.decider.clone(),
                        trigger: pick.trigger,
                        late_spans: 0,
                        decided_unix_nano: now.unix_nano,
                    });
                    decided.push((pick, kept, verdict.decider));
                }
                None => {}
            }
        }
        let released = self.release(&decided);
        let numbers: Vec<u32> = decided.iter().map(|(pick, ..)| pick.number).collect();
        let gone = self.waiting.remove(&numbers);
        let decide = |((pick, kept, decider), trace): (Decided, Option<Trace>)| {
            Some(self.remember(now, pick, kept, decider, &trace?))
        };
        let decisions = decided.into_iter().zip(gone).filter_map(decide).collect();
        self.tidy_up();
        Settled { released, decisions }
    }

    /// Requests of the spans of kept traces.
    fn release(&self, decided: &[Decided]) -> Vec<Released> {
        let kept = decided.iter().filter_map(|(pick, kept, _)| Some((pick.number, self.rewrite(kept.as_ref()?))));
        let kept: Vec<_> = kept.collect();
        let mut parts = Vec::new();
        for (number, rewrite) in &kept {
            self.waiting.parts(*number, 0, rewrite.as_ref(), &mut parts);
        }
        requests::group(&mut parts);
        requests::write(&parts, RELEASED_BYTES_MAX)
    }

    /// Remembers what was decided of a trace.
    fn remember(
        &mut self,
        now: Now,
        pick: Pick,
        kept: Option<Kept>,
        decider: Option<Arc<Decider>>,
        trace: &Trace,
    ) -> Decision {
        let spans = u64::from(trace.facts.spans);
        let is_kept = kept.is_some();
        self.history.push(Past {
            id: pick.id,
            is_kept,
            threshold: kept.as_ref().map_or(THRESHOLD_UNKNOWN, |kept| kept.threshold),
            decider: decider.clone(),
            trigger: pick.trigger,
            arrived_unix_nano: trace.arrived_unix_nano,
            decided_unix_nano: now.unix_nano,
            spans,
            bytes: trace.facts.bytes,
        });
        match kept {
            Some(kept) => self.remember_kept(kept),
            None => self.remember_dropped(Dropped::new(pick.id, pick.trigger, now.unix_nano)),
        }
        Decision {
            vote_kept: is_kept,
            decider,
            trigger: pick.trigger,
            spans,
            bytes: trace.facts.bytes,
            waited: Duration::from_nanos(self.clock.saturating_sub(trace.arrived)),
        }
    }

    /// Whether there is a segment to move to: one that is empty, or memory for another.
    fn may_move(&mut self) -> bool {
        self.waiting.log.has_empty() || self.reserve(self.waiting.log.segment_bytes() as u64)
    }

    /// Closes some gaps where there are many, and gives memory back.
    fn tidy_up(&mut self) {
        let mut moved = 0;
        while moved < MOVED_BYTES_MAX && self.may_move() {
            let Some(bytes) = self.waiting.compact_aged() else { break };
            moved += bytes;
        }
        while moved < MOVED_BYTES_MAX
            && self.waiting.log.garbage() > self.waiting.log.bytes() / GARBAGE_DIVISOR
            && self.may_move()
        {
            let Some(bytes) = self.waiting.compact() else { break };
            moved += bytes;
        }
        self.uncharge();
    }
}
