//! The serving generation of every stage, published as one snapshot.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;

use crate::observe::throttle::Throttle;
use crate::pipeline::late::LateContents;
use crate::pipeline::stage::Generation;

/// Between two log lines on faults of a stage.
const FAULT_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Which generation of each stage serves. A batch loads it once, so it never sees two versions of a file.
#[derive(Debug)]
pub struct Stages {
    serving: ArcSwap<Snapshot>,
    workers: Mutex<Vec<Sender<()>>>,
    /// Of each stage: a guest that faults at every call must not flood the log.
    fault_lines: Vec<Throttle>,
    /// Of all stages: a request that is sent again may come to another worker.
    late: LateContents,
}

/// Serving generations, by stage index.
pub type Snapshot = Vec<Arc<dyn Generation>>;

impl Stages {
    /// Serves these first generations.
    pub fn new(first: Snapshot) -> Arc<Self> {
        let fault_lines = first.iter().map(|_| Throttle::new(FAULT_LOG_INTERVAL)).collect();
        let (serving, late) = (ArcSwap::from_pointee(first), LateContents::default());
        Arc::new(Self { serving, workers: Mutex::default(), fault_lines, late })
    }

    /// What serves now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.serving.load_full()
    }

    /// The index of a stage.
    pub fn position(&self, stage: &str) -> Option<usize> {
        self.serving.load().iter().position(|generation| generation.stage() == stage)
    }

    /// Replaces the given stages in one step. Batches that took the old snapshot finish with it.
    pub fn commit(&self, changed: Vec<(usize, Arc<dyn Generation>)>) {
        let mut next = Snapshot::clone(&self.serving.load());
        for (index, generation) in changed {
            if let Some(place) = next.get_mut(index) {
                *place = generation;
            }
        }
        self.serving.store(Arc::new(next));
        // Idle workers let go of the old instances now, not at their next batch.
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A worker that has a wake-up waiting needs no second one.
            let _already_told = worker.try_send(());
        }
    }

    /// Whether a fault of this stage is to be logged now, and how many were not since the last line.
    pub fn fault_line(&self, index: usize) -> Option<u64> {
        self.fault_lines.get(index)?.admit()
    }

    /// Counts that this generation of a stage did not judge a request in time; how often this content was late, this time included.
    pub(super) fn note_late(&self, index: usize, generation: u64, body: &[u8]) -> u32 {
        self.late.note(index, generation, body)
    }

    /// Has a worker woken at each commit.
    pub fn subscribe(&self, worker: Sender<()>) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }
}
