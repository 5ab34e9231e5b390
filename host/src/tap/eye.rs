//! What watches for a tap, on the threads that judge: it shares bytes and counts, everything else is done on the tap's own thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::watch;

use super::line::TapCounts;
use super::request::TapPoint;
use super::rows;
use crate::config::model::DataAccess;
use crate::pipeline::stage::{Fault, Generation, PolicyVote};
use crate::pipeline::watcher::{After, Decided, Point, Seen, Voted, Watcher};
use crate::signal::Signal;
use crate::tail::traces::Traces;
use crate::tail::verdict::Verdict;

/// Requests that wait to be looked at; a single batch that is larger is taken when nothing else waits.
pub(super) const QUEUE_BYTES_MAX: u64 = 4 << 20;
/// Batches that wait: of small ones there are many in these bytes.
const QUEUE_BATCHES_MAX: usize = 4096;

/// A tap's watcher.
pub(super) struct Eye {
    wanted: Wanted,
    access: watch::Receiver<DataAccess>,
    works: Sender<Work>,
    shared: Arc<Shared>,
    /// Of the generation that was seen last.
    facts: Mutex<Option<Arc<Facts>>>,
}

/// What it is to watch.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub pipeline: Option<String>,
    pub signals: Vec<Signal>,
    pub point: TapPoint,
}

/// What the watcher and the tap's thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    queued_bytes: AtomicU64,
    is_over: AtomicBool,
    seen: AtomicU64,
    matched: AtomicU64,
    pub sent: AtomicU64,
    lost: AtomicU64,
    withheld: AtomicU64,
}

/// What is to be known of a generation.
#[derive(Debug)]
pub(super) struct Facts {
    generation: u64,
    digest: String,
    rules: Vec<String>,
}

/// A batch that was seen.
pub(super) struct Work {
    pub pipeline: String,
    pub signal: Signal,
    pub facts: Option<Arc<Facts>>,
    pub needs: DataAccess,
    pub elapsed: Option<Duration>,
    pub sight: Sight,
    bytes: u64,
}

/// What became of it.
pub(super) enum Sight {
    Judged { before: Vec<Bytes>, bodies: Vec<Bytes>, dropped: Vec<(u32, u16)> },
    Passed { before: Vec<Bytes>, fault: Fault },
    Failed { before: Vec<Bytes>, fault: Fault },
    Voted { traces: Arc<Traces>, spans: Bytes, votes: Result<Vec<PolicyVote>, Fault> },
    Decided { traces: Arc<Traces>, spans: Bytes, verdicts: Vec<Verdict> },
}

impl Eye {
    /// And what it sees.
    pub(super) fn new(
        wanted: Wanted,
        access: watch::Receiver<DataAccess>,
        shared: &Arc<Shared>,
    ) -> (Eye, Receiver<Work>) {
        let (works, seen) = bounded(QUEUE_BATCHES_MAX);
        (Eye { wanted, access, works, shared: Arc::clone(shared), facts: Mutex::default() }, seen)
    }

    fn wants_of(&self, pipeline: &str, signal: Signal, is_redacted: (bool, bool)) -> bool {
        let is_its = self.wanted.pipeline.as_ref().is_none_or(|wanted| wanted == pipeline);
        if !is_its || !self.wanted.signals.contains(&signal) || self.shared.is_over.load(Ordering::Relaxed) {
            return false;
        }
        let may = *self.access.borrow() >= self.wanted.point.needs(is_redacted);
        if !may {
            self.shared.withheld.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// `records` is asked only if there is no room.
    fn put(&self, work: Work, records: impl FnOnce(&Sight) -> u64) {
        let waiting = self.shared.queued_bytes.fetch_add(work.bytes, Ordering::Relaxed);
        let fits = waiting == 0 || waiting.saturating_add(work.bytes) <= QUEUE_BYTES_MAX;
        let refused = if fits { self.works.try_send(work).err().map(|full| full.into_inner()) } else { Some(work) };
        if let Some(work) = refused {
            self.shared.queued_bytes.fetch_sub(work.bytes, Ordering::Relaxed);
            self.shared.lost.fetch_add(records(&work.sight), Ordering::Relaxed);
        }
    }

    fn facts(&self, generation: &dyn Generation) -> Arc<Facts> {
        let mut known = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it =
            |facts: &&Arc<Facts>| facts.generation == generation.number() && facts.digest == generation.digest();
        if let Some(facts) = known.as_ref().filter(is_it) {
            return Arc::clone(facts);
        }
        let facts = Arc::new(Facts {
            generation: generation.number(),
            digest: generation.digest().to_owned(),
            rules: generation.rules().to_vec(),
        });
        *known = Some(Arc::clone(&facts));
        facts
    }

    fn work(&self, point: &Point<'_>, elapsed: Duration, sight: Sight, bytes: u64) -> Work {
        Work {
            pipeline: point.pipeline.to_owned(),
            signal: point.signal,
            facts: Some(self.facts(point.generation.as_ref())),
            needs: self.wanted.point.needs((point.is_redacted_before, point.is_redacted_after)),
            elapsed: Some(elapsed),
            sight,
            bytes,
        }
    }
}

impl Watcher for Eye {
    fn wants(&self, point: &Point<'_>) -> bool {
        self.wants_of(point.pipeline, point.signal, (point.is_redacted_before, point.is_redacted_after))
    }

    fn seen(&self, seen: &Seen<'_>) {
        let before = seen.before.to_vec();
        let mut bytes = bytes_of(&before);
        let sight = match seen.after {
            After::Judged { bodies, dropped, edited: _ } => {
                let is_other = |(left, came): &(&Bytes, &Bytes)| left.as_ptr() != came.as_ptr();
                bytes += bodies.iter().zip(&before).filter(is_other).map(|(left, _)| left.len() as u64).sum::<u64>();
                Sight::Judged { before, bodies: bodies.to_vec(), dropped: dropped.to_vec() }
            }
            After::Passed(fault) => Sight::Passed { before, fault: fault.clone() },
            After::Failed(fault) => Sight::Failed { before, fault: fault.clone() },
        };
        let signal = seen.point.signal;
        self.put(self.work(&seen.point, seen.elapsed, sight, bytes), |sight| match sight {
            Sight::Judged { before, .. } | Sight::Passed { before, .. } | Sight::Failed { before, .. } => {
                rows::count(signal, before)
            }
            Sight::Voted { .. } | Sight::Decided { .. } => 0,
        });
    }

    fn voted(&self, voted: &Voted<'_>) {
        let votes = voted.votes.map(<[PolicyVote]>::to_vec).map_err(Fault::clone);
        let (traces, spans) = (Arc::clone(voted.traces), voted.spans.clone());
        let (bytes, count) = (spans.len() as u64, traces.len() as u64);
        self.put(self.work(&voted.point, voted.elapsed, Sight::Voted { traces, spans, votes }, bytes), |_| count);
    }

    fn decided(&self, decided: &Decided<'_>) {
        let is_redacted = (decided.is_redacted, decided.is_redacted);
        if !self.wants_of(decided.pipeline, Signal::Traces, is_redacted) {
            return;
        }
        let (traces, spans) = (Arc::new(decided.traces.clone()), decided.spans.clone());
        let (bytes, count) = (spans.len() as u64, traces.len() as u64);
        let work = Work {
            pipeline: decided.pipeline.to_owned(),
            signal: Signal::Traces,
            facts: None,
            needs: self.wanted.point.needs(is_redacted),
            elapsed: None,
            sight: Sight::Decided { traces, spans, verdicts: decided.verdicts.to_vec() },
            bytes,
        };
        self.put(work, |_| count);
    }
}

impl Shared {
    /// This is no longer in the queue.
    pub(super) fn taken(&self, work: &Work) {
        self.queued_bytes.fetch_sub(work.bytes, Ordering::Relaxed);
    }

    /// So many were looked at, and so many matched.
    pub(super) fn looked(&self, seen: u64, matched: u64) {
        self.seen.fetch_add(seen, Ordering::Relaxed);
        self.matched.fetch_add(matched, Ordering::Relaxed);
    }

    /// Nothing more is wanted.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> TapCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TapCounts {
            seen: of(&self.seen),
            matched: of(&self.matched),
            sent: of(&self.sent),
            lost: of(&self.lost),
            withheld: of(&self.withheld),
        }
    }
}

impl Facts {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn rule(&self, rule: u16) -> Option<String> {
        self.rules.get(usize::from(rule)).cloned()
    }
}

fn bytes_of(bodies: &[Bytes]) -> u64 {
    bodies.iter().map(|body| body.len() as u64).sum()
}
