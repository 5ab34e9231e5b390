//! A shadow: a candidate sees a share of what a stage is shown, on a thread of its own and on a copy of the host state; what it makes of it is
//! compared with what serves made, counted, and discarded. The data path never waits for it: what it has no time for is skipped and counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use crossbeam_channel::{Sender, bounded};

use super::last::Exhibit;
use super::scales::Scales;
use crate::pipeline::aside::{Aside, Made};
use crate::pipeline::canary::Share;
use crate::pipeline::stage::{Generation, PolicyVote};
use crate::pipeline::watcher::{After, Point, Seen, Voted, Watcher};

/// Batches that wait for the thread.
const QUEUE_MAX: usize = 32;
/// Bytes of them.
const QUEUE_BYTES_MAX: u64 = 16 << 20;

/// The candidate's end of a comparison.
pub(super) struct Shadow {
    share: Share,
    /// The candidate's number, which serves nothing here.
    serving: u64,
    batches: AtomicU64,
    skipped: AtomicU64,
    queued_bytes: Arc<AtomicU64>,
    jobs: Sender<Job>,
    scales: Arc<Mutex<Scales>>,
}

/// A batch as what serves was shown it, and what that made of it.
struct Job {
    exhibit: Exhibit,
    serving: Answer,
    rules: Arc<[String]>,
    bytes: u64,
}

/// What serves made.
pub(super) enum Answer {
    Made(Made),
    Votes(Vec<PolicyVote>),
    Failed,
}

impl Shadow {
    /// Of a candidate that runs [apart](Generation::apart). The thread ends with what is returned.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(candidate: Arc<dyn Generation>, serving: u64, share: Share) -> std::io::Result<Arc<Self>> {
        let (jobs, waiting) = bounded::<Job>(QUEUE_MAX);
        let (scales, queued_bytes) = (Arc::<Mutex<Scales>>::default(), Arc::<AtomicU64>::default());
        let (weighed, queued) = (Arc::clone(&scales), Arc::clone(&queued_bytes));
        thread::Builder::new().name("shadow".to_owned()).spawn(move || {
            let mut aside = Aside::new(candidate);
            for job in waiting {
                let mut alone = Scales::default();
                compare(&mut alone, &mut aside, &job.exhibit, &job.serving, &job.rules);
                weighed.lock().unwrap_or_else(PoisonError::into_inner).merge(&alone);
                queued.fetch_sub(job.bytes, Ordering::Relaxed);
            }
        })?;
        Ok(Arc::new(Self {
            share,
            serving,
            batches: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            queued_bytes,
            jobs,
            scales,
        }))
    }

    /// What was compared so far.
    pub(super) fn scales(&self) -> MutexGuard<'_, Scales> {
        self.scales.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches of the share that there was no time for.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn offer(&self, exhibit: Exhibit, serving: Answer, rules: &[String], bytes: usize) {
        let bytes = bytes as u64;
        let fits = self.queued_bytes.load(Ordering::Relaxed).saturating_add(bytes) <= QUEUE_BYTES_MAX;
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if !fits || self.jobs.try_send(Job { exhibit, serving, rules: rules.into(), bytes }).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Shows a candidate what was shown to what serves, and compares.
pub(super) fn compare(scales: &mut Scales, aside: &mut Aside, exhibit: &Exhibit, serving: &Answer, rules: &[String]) {
    match (exhibit, serving) {
        (Exhibit::Batch(signal, before), _) => {
            let made = aside.judge(*signal, before);
            let serving = if let Answer::Made(made) = serving { Ok(made) } else { Err(()) };
            let candidate = (made.as_ref().map_err(|_fault| ()), aside.rules());
            // What cannot be decoded says nothing of either.
            let _unreadable = scales.batch(*signal, before, (serving, rules), candidate);
        }
        (Exhibit::Traces(traces, spans), _) => {
            let votes = aside.vote(traces, spans);
            let serving = if let Answer::Votes(votes) = serving { Ok(votes.as_slice()) } else { Err(()) };
            scales.votes(traces, serving, votes.as_deref().map_err(|_fault| ()));
        }
    }
}

impl Watcher for Shadow {
    fn wants(&self, point: &Point<'_>) -> bool {
        point.generation.number() == self.serving && self.share.has_nth(self.batches.fetch_add(1, Ordering::Relaxed))
    }

    fn seen(&self, seen: &Seen<'_>) {
        let bytes = |bodies: &[Bytes]| bodies.iter().map(Bytes::len).sum::<usize>();
        let (answer, left) = match seen.after {
            After::Judged { bodies, dropped, edited } => {
                let made = Made { bodies: bodies.to_vec(), dropped: dropped.to_vec(), edited: edited.to_vec() };
                (Answer::Made(made), bytes(bodies))
            }
            After::Passed(_) | After::Failed(_) => (Answer::Failed, 0),
        };
        let exhibit = Exhibit::Batch(seen.point.signal, seen.before.to_vec());
        self.offer(exhibit, answer, seen.point.generation.rules(), bytes(seen.before) + left);
    }

    fn voted(&self, voted: &Voted<'_>) {
        let answer = voted.votes.map_or(Answer::Failed, |votes| Answer::Votes(votes.to_vec()));
        let exhibit = Exhibit::Traces(Arc::clone(voted.traces), voted.spans.clone());
        self.offer(exhibit, answer, &[], voted.spans.len());
    }
}

impl fmt::Debug for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow").field("serving", &self.serving).finish_non_exhaustive()
    }
}
