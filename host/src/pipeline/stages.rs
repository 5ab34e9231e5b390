//! The serving generation of every stage, published as one snapshot.
//!
//! [`Stages`] are those of one file: pipelines own the ones that they were assembled with, so that a request is judged wholly by one file.
//! [`Current`] says which file's these are now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Sender, TrySendError};

use crate::observe::metrics::Metrics;
use crate::pipeline::canary::Canary;
use crate::pipeline::condition::Condition;
use crate::pipeline::late::LateContents;
use crate::pipeline::stage::Generation;
use crate::pipeline::watcher::Watchers;

/// Which generation of each stage of a file serves. A batch loads it once, so it never sees two versions of a file.
#[derive(Debug)]
pub struct Stages {
    serving: ArcSwap<Snapshot>,
    /// By stage index, as in the snapshot.
    common: Vec<Option<Arc<Common>>>,
    /// When what edits became another, if it did since the process began.
    edits_changed: Mutex<Option<Instant>>,
}

/// What all threads share of a stage, whatever generation serves.
#[derive(Debug)]
struct Common {
    /// How it fares.
    condition: Arc<Condition>,
    /// A request that is sent again may come to another worker.
    late: LateContents,
    watchers: Arc<Watchers>,
}

/// Serving generations, by stage index. An index is empty once its stage is gone, and then goes to the next new one: so those of all
/// others stay, and what threads have of them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    judging: Vec<Option<Arc<dyn Generation>>>,
    /// Candidates beside them; hardly ever any.
    canaries: Vec<Arc<Canary>>,
    /// Indices at which a candidate judges this batch.
    drawn: Vec<usize>,
}

/// The stages of the file that is in force, for whoever is not bound to one file.
#[derive(Debug)]
pub struct Current {
    stages: ArcSwap<Stages>,
    threads: Mutex<Vec<Sender<()>>>,
}

impl Stages {
    /// Serves these first generations.
    pub fn new(first: Vec<Arc<dyn Generation>>, metrics: &Metrics) -> Arc<Self> {
        let common = |generation: &Arc<dyn Generation>| {
            let common = Common::new(generation.as_ref(), metrics);
            common.condition.committed(generation.number());
            Some(common)
        };
        let common = first.iter().map(common).collect();
        let serving = Snapshot { judging: first.into_iter().map(Some).collect(), ..Snapshot::default() };
        Arc::new(Self { serving: ArcSwap::from_pointee(serving), common, edits_changed: Mutex::default() })
    }

    /// The stages of the next file: those that `stays` says go on at their index, with what serves and what threads share of them, or
    /// with the generation of `built` that has their name; others of `built` are new.
    pub fn next(&self, stays: impl Fn(&str) -> bool, built: Vec<Arc<dyn Generation>>, metrics: &Metrics) -> Arc<Self> {
        let Snapshot { judging: mut serving, mut canaries, .. } = Snapshot::clone(&self.serving.load());
        let mut common = self.common.clone();
        for (generation, common) in serving.iter_mut().zip(&mut common) {
            if generation.as_ref().is_some_and(|generation| !stays(generation.stage())) {
                (*generation, *common) = (None, None);
            }
        }
        canaries.retain(|canary| {
            let stage = canary.candidate().stage();
            stays(stage) && built.iter().all(|generation| generation.stage() != stage)
        });
        for generation in built {
            let is_its = |place: &Option<Arc<dyn Generation>>| {
                place.as_ref().is_some_and(|serving| serving.stage() == generation.stage())
            };
            let known = serving.iter().position(is_its);
            let free = || serving.iter().position(Option::is_none);
            match known.or_else(free) {
                Some(index) => {
                    common[index].get_or_insert_with(|| Common::new(generation.as_ref(), metrics));
                    serving[index] = Some(generation);
                }
                None => {
                    common.push(Some(Common::new(generation.as_ref(), metrics)));
                    serving.push(Some(generation));
                }
            }
        }
        let serving = Snapshot { judging: serving, canaries, drawn: Vec::new() };
        // Stages may stand elsewhere, too.
        let edits_changed = Mutex::new(Some(Instant::now()));
        Arc::new(Self { serving: ArcSwap::from_pointee(serving), common, edits_changed })
    }

    /// What serves now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.serving.load_full()
    }

    /// The index of a stage.
    pub fn position(&self, stage: &str) -> Option<usize> {
        self.serving.load().position(stage)
    }

    /// How a stage fares.
    pub fn condition(&self, index: usize) -> Option<&Arc<Condition>> {
        Some(&self.common.get(index)?.as_ref()?.condition)
    }

    /// Who watches a stage. They stay with it through swaps and reloads.
    pub fn watchers(&self, index: usize) -> Option<&Arc<Watchers>> {
        Some(&self.common.get(index)?.as_ref()?.watchers)
    }

    /// For how long the same stages have edited, and refused what they could not judge; None: since the process began. What waits in a
    /// pipeline for longer may have gone round them.
    pub(super) fn same_edits_for(&self) -> Option<Duration> {
        self.edits_changed.lock().unwrap_or_else(PoisonError::into_inner).map(|changed| changed.elapsed())
    }

    /// How each of them fares.
    pub fn conditions(&self) -> impl Iterator<Item = &Arc<Condition>> {
        self.common.iter().flatten().map(|common| &common.condition)
    }

    /// Counts that this generation of a stage did not judge a request in time; how often this content was late, this time included.
    pub(super) fn note_late(&self, index: usize, generation: u64, body: &[u8]) -> u32 {
        self.common(index).map_or(1, |common| common.late.note(index, generation, body))
    }

    fn commit(&self, changed: Vec<(usize, Arc<dyn Generation>)>) {
        let edits = |generation: &Arc<dyn Generation>| (generation.edits(), generation.on_fault());
        let serving = self.serving.load();
        if changed.iter().any(|(index, generation)| serving.get(*index).map(edits) != Some(edits(generation))) {
            *self.edits_changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        let is_changed = |canary: &Arc<Canary>| changed.iter().any(|(index, _)| *index == canary.stage());
        self.change(|next| {
            for (index, generation) in &changed {
                if let Some(place) = next.judging.get_mut(*index) {
                    *place = Some(Arc::clone(generation));
                }
            }
            next.canaries.iter().filter(|canary| is_changed(canary)).for_each(|canary| canary.end());
        });
        for (index, generation) in changed {
            if let Some(condition) = self.condition(index) {
                condition.committed(generation.number());
            }
        }
    }

    /// Replaces the snapshot. Canaries that are over go.
    fn change(&self, change: impl Fn(&mut Snapshot)) {
        self.serving.rcu(|before| {
            let mut next = Snapshot::clone(before);
            change(&mut next);
            next.canaries.retain(|canary| !canary.is_over());
            next
        });
    }

    /// What serves that did not among those before starts afresh; what is gone is told so.
    fn take_over_from(&self, before: &Stages) {
        let (serving, served) = (self.snapshot(), before.snapshot());
        // One that began or ended since these were made out of those before.
        for canary in &served.canaries {
            if !serving.canaries.iter().any(|known| Arc::ptr_eq(known, canary)) {
                canary.end();
            }
        }
        if serving.has_canaries() {
            self.change(|_canaries_that_are_over_go| {});
        }
        for (index, common) in self.common.iter().enumerate() {
            let (Some(common), Some(generation)) = (common, serving.get(index)) else { continue };
            let is_same =
                |old: &Arc<dyn Generation>| old.stage() == generation.stage() && old.number() == generation.number();
            if !served.get(index).is_some_and(is_same) {
                common.condition.committed(generation.number());
            }
        }
        for condition in before.conditions() {
            if self.conditions().all(|known| !Arc::ptr_eq(known, condition)) {
                condition.stopped();
            }
        }
    }

    fn common(&self, index: usize) -> Option<&Common> {
        self.common.get(index)?.as_deref()
    }
}

impl Snapshot {
    /// What serves at an index.
    pub fn get(&self, index: usize) -> Option<&Arc<dyn Generation>> {
        self.judging.get(index)?.as_ref()
    }

    /// Whether there are candidates beside what serves.
    pub(super) fn has_canaries(&self) -> bool {
        !self.canaries.is_empty()
    }

    /// The candidate's canary at an index.
    pub(super) fn canary(&self, index: usize) -> Option<&Arc<Canary>> {
        self.canaries.iter().find(|canary| canary.stage() == index)
    }

    /// Whether what judges at this index is a candidate.
    pub(super) fn is_candidate(&self, index: usize) -> bool {
        self.drawn.contains(&index)
    }

    /// Indices at which candidates judge.
    pub(super) fn candidates(&self) -> &[usize] {
        &self.drawn
    }

    /// With the candidates of the next batch of these stages; None where all of it is judged by what serves.
    pub(super) fn draw(&self, stages: &[usize]) -> Option<Snapshot> {
        let canaries = stages.iter().filter_map(|&index| self.canary(index));
        let drawn: Vec<_> = canaries.filter(|canary| canary.draws_batch()).map(|canary| canary.stage()).collect();
        (!drawn.is_empty()).then(|| self.with_candidates(drawn))
    }

    /// With the candidates at these indices.
    pub(super) fn with_candidates(&self, drawn: Vec<usize>) -> Snapshot {
        let mut snapshot = Snapshot { drawn, ..self.clone() };
        for &index in &snapshot.drawn {
            let candidate = self.canary(index).map(|canary| Arc::clone(canary.candidate()));
            if let (Some(place), Some(candidate)) = (snapshot.judging.get_mut(index), candidate) {
                *place = Some(candidate);
            }
        }
        snapshot
    }

    /// Whether this is the candidate of a canary that is on.
    pub(super) fn has_candidate(&self, candidate: &Arc<dyn Generation>) -> bool {
        self.canaries.iter().any(|canary| Arc::ptr_eq(canary.candidate(), candidate) && !canary.is_over())
    }

    /// What serves at the stage of this name.
    pub fn named(&self, stage: &str) -> Option<&Arc<dyn Generation>> {
        self.iter().find(|generation| generation.stage() == stage)
    }

    /// All that serves, in the order of indices.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Generation>> {
        self.judging.iter().flatten()
    }

    fn position(&self, stage: &str) -> Option<usize> {
        self.judging.iter().position(|generation| generation.as_ref().is_some_and(|serving| serving.stage() == stage))
    }
}

impl Current {
    /// With the stages of the first file.
    pub fn new(stages: Arc<Stages>) -> Arc<Self> {
        Arc::new(Self { stages: ArcSwap::new(stages), threads: Mutex::default() })
    }

    /// The stages of the file that is in force.
    pub fn stages(&self) -> Arc<Stages> {
        self.stages.load_full()
    }

    /// What serves now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.stages.load().snapshot()
    }

    /// Replaces the given stages in one step. Batches that took the old snapshot finish with it.
    pub fn commit(&self, changed: Vec<(usize, Arc<dyn Generation>)>) {
        self.stages.load().commit(changed);
        self.wake();
    }

    /// Has a candidate judge a share of what comes to its stage from now on.
    pub fn begin_canary(&self, canary: &Arc<Canary>) {
        self.stages.load().change(|next| next.canaries.push(Arc::clone(canary)));
    }

    /// Has what serves judge all of it again. Batches that the candidate has begun to judge finish with it.
    pub fn end_canary(&self, canary: &Canary) {
        canary.end();
        self.stages.load().change(|_canaries_that_are_over_go| {});
        self.wake();
    }

    /// Puts the stages of the next file in force. Pipelines that were assembled with those before finish by them.
    pub fn publish(&self, next: &Arc<Stages>) {
        let before = self.stages.swap(Arc::clone(next));
        next.take_over_from(&before);
        self.wake();
    }

    /// Has a thread woken at each of these changes.
    pub fn subscribe(&self, thread: Sender<()>) {
        self.threads().push(thread);
    }

    /// Has idle threads let go of instances that no longer serve, now and not at their next batch.
    pub fn wake(&self) {
        // A thread that has a wake-up waiting needs no second one.
        self.threads().retain(|thread| !matches!(thread.try_send(()), Err(TrySendError::Disconnected(()))));
    }

    fn threads(&self) -> MutexGuard<'_, Vec<Sender<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Common {
    fn new(generation: &dyn Generation, metrics: &Metrics) -> Arc<Common> {
        Arc::new(Common {
            condition: Condition::new(generation.stage(), metrics),
            late: LateContents::default(),
            watchers: Arc::default(),
        })
    }
}
