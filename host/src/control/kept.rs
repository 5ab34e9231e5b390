//! What served before: the last two generations of a stage with their instances, so that going back takes no time; of the last few
//! what it takes to build them again.
//!
//! The instances' memory is charged to the process budget like all guest memory, and goes first when that is short.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::model::{Component, Stage};
use crate::observe::metrics::Metrics;
use crate::pipeline::stage::Generation;

/// Generations of a stage that keep their instances.
const KEPT_MAX: usize = 2;
/// Generations of a stage that can be built again.
const PAST_MAX: usize = 8;

/// By stage.
#[derive(Debug)]
pub(super) struct Kept {
    stages: Mutex<BTreeMap<String, OfStage>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct OfStage {
    /// Under which number what serves served first, where a rollback brought it back.
    origin: Option<u64>,
    /// Origins of what served before it, the last one last, less what was rolled back from.
    lineage: Vec<u64>,
    /// The last one that served comes last.
    past: VecDeque<Past>,
}

/// A generation that served.
#[derive(Clone, Debug)]
pub(super) struct Past {
    /// Its last number.
    pub(super) number: u64,
    /// Its first one: rollbacks give new numbers to what is the same.
    pub(super) origin: u64,
    /// What it is made of.
    pub(super) stage: Stage,
    /// SHA-256 of its component.
    pub(super) digest: String,
    /// With its instances, while it is kept.
    pub(super) generation: Option<Arc<dyn Generation>>,
}

impl Kept {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { stages: Mutex::default(), metrics: Arc::clone(metrics) }
    }

    /// Keeps what served until now, made of `stage`; what replaced it is new, or, with `origin`, what was kept under that number.
    pub(super) fn retire(&self, served: &dyn Generation, stage: Stage, origin: Option<u64>) {
        let mut dropped = Vec::new();
        let mut stages = self.stages();
        let of_stage = stages.entry(stage.name.clone()).or_default();
        let retired = Past {
            number: served.number(),
            origin: of_stage.origin.unwrap_or(served.number()),
            // A handle of its own: that of what serves tells by its end that no batch is left.
            generation: served.renumbered(served.number()),
            digest: served.digest().to_owned(),
            stage,
        };
        of_stage.origin = origin;
        match origin.and_then(|origin| of_stage.lineage.iter().position(|before| *before == origin)) {
            Some(place) => of_stage.lineage.truncate(place),
            None => of_stage.lineage.push(retired.origin),
        }
        if of_stage.lineage.len() > PAST_MAX {
            of_stage.lineage.remove(0);
        }
        of_stage.past.retain(|past| Some(past.origin) != origin && past.origin != retired.origin);
        let name = retired.stage.name.clone();
        of_stage.past.push_back(retired);
        while of_stage.past.len() > PAST_MAX {
            dropped.extend(of_stage.past.pop_front().and_then(|past| past.generation));
        }
        while of_stage.kept() > KEPT_MAX {
            dropped.extend(of_stage.let_go());
        }
        self.count(&name, of_stage);
        drop(stages);
        // Instances take their time to go.
        drop(dropped);
    }

    /// The stage is gone, and nothing returns to it.
    pub(super) fn forget(&self, stage: &str) {
        let gone = self.stages().remove(stage);
        self.metrics.stage(stage).generations_kept.set(0);
        // Instances take their time to go.
        drop(gone);
    }

    /// What a rollback returns to: the generation of this number, else the last one that served before what serves now. Returning
    /// twice goes back twice: what was rolled back from is not come back to.
    pub(super) fn target(&self, stage: &str, to: Option<u64>) -> Option<Past> {
        let stages = self.stages();
        let OfStage { lineage, past, .. } = stages.get(stage)?;
        let of_origin = |origin: &u64| past.iter().find(|past| past.origin == *origin);
        let target = match to {
            Some(number) => past.iter().find(|past| past.number == number || past.origin == number),
            None => lineage.iter().rev().find_map(of_origin),
        };
        target.cloned()
    }

    /// Numbers that a rollback can return to, ascending.
    pub(super) fn numbers(&self, stage: &str) -> Vec<u64> {
        let stages = self.stages();
        let mut numbers: Vec<_> =
            stages.get(stage).into_iter().flat_map(|of| &of.past).map(|past| past.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Lets go of the instances of one generation, of the stage that keeps most, its oldest; false where none are kept.
    pub(super) fn relieve(&self) -> bool {
        let mut stages = self.stages();
        let most = stages.iter_mut().max_by_key(|(_, of_stage)| of_stage.kept());
        let Some((name, of_stage)) = most.filter(|(_, of_stage)| of_stage.kept() > 0) else { return false };
        let dropped = of_stage.let_go();
        self.count(name, of_stage);
        drop(stages);
        drop(dropped);
        true
    }

    fn count(&self, stage: &str, of_stage: &OfStage) {
        self.metrics.stage(stage).generations_kept.set(i64::try_from(of_stage.kept()).unwrap_or(i64::MAX));
    }

    fn stages(&self) -> MutexGuard<'_, BTreeMap<String, OfStage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OfStage {
    fn kept(&self) -> usize {
        self.past.iter().filter(|past| past.generation.is_some()).count()
    }

    /// The instances of the oldest that has any. What was sent over the admin API cannot be built again, and is forgotten.
    fn let_go(&mut self) -> Option<Arc<dyn Generation>> {
        let index = self.past.iter().position(|past| past.generation.is_some())?;
        let past = self.past.get_mut(index)?;
        let generation = past.generation.take();
        if matches!(past.stage.component, Component::Uploaded(_)) {
            self.past.remove(index);
        }
        generation
    }
}
