//! The serving generation of every stage, published as one snapshot.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;

use crate::observe::metrics::Metrics;
use crate::pipeline::condition::Condition;
use crate::pipeline::late::LateContents;
use crate::pipeline::stage::Generation;

/// Which generation of each stage serves. A batch loads it once, so it never sees two versions of a file.
#[derive(Debug)]
pub struct Stages {
    serving: ArcSwap<Snapshot>,
    workers: Mutex<Vec<Sender<()>>>,
    /// Of each stage, whatever generation serves.
    conditions: Vec<Arc<Condition>>,
    /// Of all stages: a request that is sent again may come to another worker.
    late: LateContents,
}

/// Serving generations, by stage index.
pub type Snapshot = Vec<Arc<dyn Generation>>;

impl Stages {
    /// Serves these first generations.
    pub fn new(first: Snapshot, metrics: &Metrics) -> Arc<Self> {
        let condition = |generation: &Arc<dyn Generation>| {
            let condition = Condition::new(generation.stage(), metrics);
            condition.committed(generation.number());
            condition
        };
        let conditions = first.iter().map(condition).collect();
        let (serving, late) = (ArcSwap::from_pointee(first), LateContents::default());
        Arc::new(Self { serving, workers: Mutex::default(), conditions, late })
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
        let numbers: Vec<_> = changed.iter().map(|(index, generation)| (*index, generation.number())).collect();
        for (index, generation) in changed {
            if let Some(place) = next.get_mut(index) {
                *place = generation;
            }
        }
        self.serving.store(Arc::new(next));
        for (index, number) in numbers {
            if let Some(condition) = self.conditions.get(index) {
                condition.committed(number);
            }
        }
        // Idle workers let go of the old instances now, not at their next batch.
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A worker that has a wake-up waiting needs no second one.
            let _already_told = worker.try_send(());
        }
    }

    /// How a stage fares.
    pub fn condition(&self, index: usize) -> Option<&Arc<Condition>> {
        self.conditions.get(index)
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
