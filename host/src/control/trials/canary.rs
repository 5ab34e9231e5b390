//! What is weighed while a canary lasts: drops, edits by rule and failures of every batch, and edits by field of a part of them, which are read
//! on a thread of their own.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bytes::Bytes;
use crossbeam_channel::{Sender, bounded};

use super::guards::Tally;
use super::scales::{Scales, edits_by_rule, judged};
use crate::compare::records;
use crate::pipeline::aside::Made;
use crate::pipeline::canary::{JudgedBatch, Observer, Share};
use crate::pipeline::stage::Fault;
use crate::pipeline::watcher::{After, Point, Seen, Voted, Watcher};
use crate::signal::Signal;

/// Batches that wait to be read.
const QUEUE_MAX: usize = 32;
/// Bytes of them.
const QUEUE_BYTES_MAX: u64 = 16 << 20;

/// Weighs every batch.
pub(super) struct Weigher {
    scales: Mutex<Scales>,
    serving_rules: Vec<String>,
    candidate_rules: Vec<String>,
}

/// Reads the fields of batches of the candidate, and of as many of what serves.
pub(super) struct FieldReader {
    candidate: u64,
    share: Share,
    of_serving: AtomicU64,
    skipped: AtomicU64,
    queued_bytes: Arc<AtomicU64>,
    jobs: Sender<Job>,
    scales: Arc<Mutex<Scales>>,
}

struct Job {
    by_candidate: bool,
    signal: Signal,
    before: Vec<Bytes>,
    made: Made,
    bytes: u64,
}

impl Weigher {
    /// Of generations with these rules.
    pub(super) fn new(serving_rules: &[String], candidate_rules: &[String]) -> Arc<Self> {
        Arc::new(Self {
            scales: Mutex::default(),
            serving_rules: serving_rules.to_vec(),
            candidate_rules: candidate_rules.to_vec(),
        })
    }

    /// What was weighed so far.
    pub(super) fn scales(&self) -> MutexGuard<'_, Scales> {
        self.scales.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Weigher {
    fn judged(&self, batch: &JudgedBatch<'_>) {
        let mut scales = self.scales();
        let (tally, rules): (&mut Tally, _) = if batch.by_candidate {
            (&mut scales.candidate, &self.candidate_rules)
        } else {
            (&mut scales.serving, &self.serving_rules)
        };
        if batch.is_whole {
            tally.judged(batch.records, batch.dropped, edits_by_rule(batch.edited, rules));
        } else {
            tally.faulted();
        }
    }

    fn failed(&self, by_candidate: bool, _fault: &Fault) {
        let mut scales = self.scales();
        if by_candidate { scales.candidate.faulted() } else { scales.serving.faulted() }
    }
}

impl FieldReader {
    /// For a candidate of this number and share. The thread ends with what is returned.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(candidate: u64, share: Share) -> std::io::Result<Arc<Self>> {
        let (jobs, waiting) = bounded::<Job>(QUEUE_MAX);
        let (scales, queued_bytes) = (Arc::<Mutex<Scales>>::default(), Arc::<AtomicU64>::default());
        let (read, queued) = (Arc::clone(&scales), Arc::clone(&queued_bytes));
        thread::Builder::new().name("canary".to_owned()).spawn(move || {
            for Job { by_candidate, signal, before, made, bytes } in waiting {
                // What cannot be decoded says nothing of either.
                if let (Ok(before), Ok(after)) = (records(signal, &before), records(signal, &made.bodies)) {
                    let mut scales = read.lock().unwrap_or_else(PoisonError::into_inner);
                    let tally = if by_candidate { &mut scales.candidate } else { &mut scales.serving };
                    // Rules are counted of every batch.
                    judged(tally, &before, &after, &Made { edited: Vec::new(), ..made }, &[]);
                }
                queued.fetch_sub(bytes, Ordering::Relaxed);
            }
        })?;
        let (of_serving, skipped) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Arc::new(Self { candidate, share, of_serving, skipped, queued_bytes, jobs, scales }))
    }

    /// What was read so far.
    pub(super) fn scales(&self) -> MutexGuard<'_, Scales> {
        self.scales.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches that there was no time for.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }
}

impl Watcher for FieldReader {
    fn wants(&self, point: &Point<'_>) -> bool {
        point.generation.number() == self.candidate
            || self.share.has_nth(self.of_serving.fetch_add(1, Ordering::Relaxed))
    }

    fn seen(&self, seen: &Seen<'_>) {
        let After::Judged { bodies, dropped, edited: _ } = seen.after else { return };
        let bytes = seen.before.iter().chain(bodies).map(Bytes::len).sum::<usize>() as u64;
        let job = Job {
            by_candidate: seen.point.generation.number() == self.candidate,
            signal: seen.point.signal,
            before: seen.before.to_vec(),
            made: Made { bodies: bodies.to_vec(), dropped: dropped.to_vec(), edited: Vec::new() },
            bytes,
        };
        let fits = self.queued_bytes.load(Ordering::Relaxed).saturating_add(bytes) <= QUEUE_BYTES_MAX;
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if !fits || self.jobs.try_send(job).is_err() {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn voted(&self, _voted: &Voted<'_>) {}
}

impl fmt::Debug for FieldReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldReader").field("candidate", &self.candidate).finish_non_exhaustive()
    }
}
