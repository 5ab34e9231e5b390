//! The serving generation of every stage, published as one snapshot.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;

use crate::pipeline::stage::Generation;

/// Which generation of each stage serves. A batch loads it once, so it never sees two versions of a file.
#[derive(Debug)]
pub struct Stages {
    serving: ArcSwap<Snapshot>,
    workers: Mutex<Vec<Sender<()>>>,
}

/// Serving generations, by stage index.
pub type Snapshot = Vec<Arc<dyn Generation>>;

impl Stages {
    /// Serves these first generations.
    pub fn new(first: Snapshot) -> Arc<Self> {
        Arc::new(Self { serving: ArcSwap::from_pointee(first), workers: Mutex::default() })
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

    /// Has a worker woken at each commit.
    pub fn subscribe(&self, worker: Sender<()>) {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }
}
