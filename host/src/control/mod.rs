//! Live change: one path for the watched file, SIGHUP, the CLI and the admin API.
//!
//! verify -> compile -> link -> configure -> probe -> commit (at a batch boundary) -> drain

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::config::model::{Component, Config, Stage};
use crate::config::{self, Change};
use crate::observe::metrics::Metrics;
use crate::pipeline::stage::Generation;
use crate::pipeline::stages::Stages;
use crate::wasm;

mod drift;
mod file;
pub mod history;
mod kept;
mod known;
mod report;
mod rollback;
#[cfg(test)]
mod tests;
pub mod watch;
pub mod who;

pub use self::drift::{Drift, DriftPlace};
pub use self::file::{FileError, Write};
use self::history::{Entry, History, Written};
use self::kept::Kept;
use self::known::{Known, Says, digest};
pub use self::report::{Serving, SwapError, Swapped, Version};
use self::who::Who;

/// How long a swap waits for the old generation's last batch before it reports without it.
const DRAIN_MAX: Duration = Duration::from_secs(30);
const DRAIN_POLL: Duration = Duration::from_millis(2);

/// Changes stages of a running engine, one change at a time: another one waits for its turn. A change that was begun ends by itself,
/// whether or not who asked for it still waits.
pub struct Control {
    build: Arc<Build>,
    stages: Arc<Stages>,
    metrics: Arc<Metrics>,
    history: Arc<History>,
    kept: Kept,
    /// Held by the change under way, while it builds.
    change: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// The configuration file, once it is known.
    file: OnceLock<PathBuf>,
    /// How often the engine wrote it.
    writes: AtomicU64,
}

/// Builds a generation of this number. May block for as long as compiling takes.
pub type Build = dyn Fn(&Stage, u64) -> Result<Arc<dyn Generation>, wasm::BuildError> + Send + Sync;

#[derive(Debug)]
struct State {
    /// The file as it was last loaded.
    file: Config,
    /// By stage index.
    stages: Vec<Known>,
}

/// What a swap replaces; None keeps what serves.
#[derive(Clone, Debug, Default)]
pub struct Replacement {
    /// The component.
    pub component: Option<Component>,
    /// Its configuration, as JSON.
    pub config: Option<String>,
    /// Has the file say it, too.
    pub write: Option<Write>,
}

/// A generation that is to serve.
struct Candidate {
    /// Of its stage.
    index: usize,
    generation: Arc<dyn Generation>,
    /// What it was made of.
    stage: Stage,
    /// Its first and its last number, where it served before.
    rollback_to: Option<(u64, u64)>,
}

/// Stages that serve something else since a moment ago.
#[derive(Default)]
struct Committed {
    swapped: Vec<Swapped>,
    /// By stage index, of the new component.
    digests: Vec<(usize, String)>,
    /// In the same order; each ends when the old generation is gone.
    draining: Vec<JoinHandle<()>>,
    written: Vec<Written>,
}

impl Control {
    /// Controls the stages of `config`, which serve their first generations, made by `build`.
    pub fn new(
        build: Arc<Build>,
        config: Config,
        stages: Arc<Stages>,
        metrics: Arc<Metrics>,
        history: Arc<History>,
    ) -> Arc<Self> {
        let generations = stages.snapshot();
        for (stage, generation) in config.stages.iter().zip(generations.iter()) {
            let numbers = metrics.stage(generation.stage());
            numbers.generation.set(1);
            numbers.generations_live.set(1);
            drop(history.note(Entry::serving(generation.as_ref(), stage, None, &Who::Start)));
        }
        let first = |(stage, generation): (&Stage, &Arc<dyn Generation>)| Known {
            serving: stage.clone(),
            filed: stage.clone(),
            filed_digest: generation.digest().to_owned(),
        };
        let first = config.stages.iter().zip(generations.iter()).map(first).collect();
        let state = Mutex::new(State { stages: first, file: config });
        let (kept, change) = (Kept::new(&metrics), tokio::sync::Mutex::default());
        let (file, writes) = (OnceLock::new(), AtomicU64::new(0));
        Arc::new(Self { build, stages, metrics, history, kept, change, state, file, writes })
    }

    /// Brings the stages of which the file says something new, in its text or in a component that it names, to what it says. All
    /// of them commit as one, or none does. A stage of which it says nothing new keeps what a swap gave it.
    ///
    /// With `force` stages that drifted return to what the file says, too; without it, a file that says something new of such a
    /// stage is refused: whoever wrote it may not know what serves.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn reload(self: &Arc<Self>, next: Config, force: bool, who: Who) -> Result<Vec<Swapped>, SwapError> {
        self.reload_of(self.writes(), next, force, who).await
    }

    /// The same of a file that was read when the engine had written it so many times: if it has written it since, that is
    /// [`SwapError::Stale`], and no refusal.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn reload_of(
        self: &Arc<Self>,
        writes: u64,
        next: Config,
        force: bool,
        who: Who,
    ) -> Result<Vec<Swapped>, SwapError> {
        let control = Arc::clone(self);
        to_its_end(async move {
            let change = control.change.lock().await;
            if control.writes() != writes {
                return Err(SwapError::Stale);
            }
            let committed = control.reload_alone(next, force, &who).await;
            let committed = control.noted(committed, None, &who)?;
            drop(change);
            Ok(committed.drained().await)
        })
        .await
    }

    /// Replaces one stage's component, config or both. What serves already is built again, as a new generation: so instances can be
    /// renewed.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn swap(self: &Arc<Self>, stage: &str, new: Replacement, who: Who) -> Result<Swapped, SwapError> {
        let (control, stage) = (Arc::clone(self), stage.to_owned());
        to_its_end(async move {
            let change = control.change.lock().await;
            let committed = control.swap_alone(&stage, new, &who).await;
            let committed = control.noted(committed, Some(&stage), &who)?;
            drop(change);
            Ok(committed.drained().await.remove(0))
        })
        .await
    }

    /// What serves, by stage.
    pub fn serving(&self) -> Vec<Serving> {
        let state = self.state();
        let serving = |(known, generation): (&Known, &Arc<dyn Generation>)| Serving {
            stage: known.serving.name.clone(),
            version: Version::of(generation.as_ref()),
            drifted: known.has_drifted(),
            drift: self.drift(known, &state.file.files),
        };
        state.stages.iter().zip(self.stages.snapshot().iter()).map(serving).collect()
    }

    /// How often the engine wrote its file. To be asked before the file is read.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// What changed so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Gives up the instances of one generation that no longer serves, where memory is short; false where none are kept.
    pub fn relieve(&self) -> bool {
        self.kept.relieve()
    }

    async fn reload_alone(&self, next: Config, force: bool, who: &Who) -> Result<Committed, SwapError> {
        let (diff, known) = {
            let state = self.state();
            (config::diff(&state.file, &next), state.stages.clone())
        };
        if !diff.is_live() {
            return Err(SwapError::OtherChanges { what: diff.others.iter().map(place).collect::<Vec<_>>().join(", ") });
        }
        // A valid diff of stages alone: both name the same ones.
        let filed: Vec<_> = known.iter().filter_map(|known| named(&next.stages, &known.serving.name)).collect();
        let says = self.says(known.clone(), filed.clone()).await?;
        let drifted = || known.iter().zip(&says).filter(|(known, _)| known.has_drifted());
        let overruled: Vec<_> = drifted().filter(|(_, says)| **says == Says::New).map(|(known, _)| known).collect();
        if !force && !overruled.is_empty() {
            let stages = overruled.iter().map(|known| format!("\"{}\"", known.serving.name)).collect::<Vec<_>>();
            return Err(SwapError::Drifted { stages: stages.join(", ") });
        }
        let mut wanted = Vec::new();
        for (index, ((known, says), stage)) in known.iter().zip(&says).zip(&filed).enumerate() {
            let returns = force && known.has_drifted() && *says == Says::NothingNew;
            if *says == Says::New || returns {
                wanted.push((index, stage.clone()));
            }
        }
        let committed = self.build_and_commit(wanted, who).await?;
        self.filed(next, filed, &says, &committed);
        Ok(committed)
    }

    /// Takes over what the file says now.
    fn filed(&self, next: Config, filed: Vec<Stage>, says: &[Says], committed: &Committed) {
        let served = self.stages.snapshot();
        let mut state = self.state();
        for (index, ((known, stage), says)) in state.stages.iter_mut().zip(filed).zip(says).enumerate() {
            if *says == Says::WhatServes {
                known.serving = stage.clone();
                known.filed_digest = served.get(index).map(|served| served.digest().to_owned()).unwrap_or_default();
            }
            known.filed = stage;
        }
        for (index, digest) in &committed.digests {
            state.stages[*index].filed_digest = digest.clone();
        }
        for known in state.stages.iter().filter(|known| known.has_drifted()) {
            tracing::info!(
                stage = known.serving.name,
                "the file says nothing new of it: it keeps what it was swapped to"
            );
        }
        state.file = next;
        self.count_drifted(&state);
    }

    /// What the file says of each stage. Reads components.
    async fn says(&self, known: Vec<Known>, filed: Vec<Stage>) -> Result<Vec<Says>, SwapError> {
        let served = self.stages.snapshot();
        blocking(move || {
            let says = known.iter().zip(&filed).zip(served.iter());
            says.map(|((known, stage), serving)| known.says(stage, serving.digest())).collect()
        })
        .await
    }

    async fn swap_alone(&self, stage: &str, new: Replacement, who: &Who) -> Result<Committed, SwapError> {
        let Replacement { component, config, write } = new;
        let (index, Known { serving: mut next, filed, .. }) = self.find(stage)?;
        if let Some(component) = component {
            // The file's own component, sent by hand, is no drift.
            next.component = blocking(move || {
                if digest(&component).is_some_and(|digest_given| digest(&filed.component) == Some(digest_given)) {
                    filed.component
                } else {
                    component
                }
            })
            .await?;
        }
        if let Some(config) = config {
            next.config =
                config::replaced(&next, config).map_err(|key| SwapError::FileOnly { stage: stage.to_owned(), key })?;
        }
        let mut candidates = self.build_all(vec![(index, next)]).await?;
        let committed = match (write, candidates.first_mut()) {
            (Some(write), Some(candidate)) => {
                let written = self.write(candidate, write).await?;
                let committed = self.commit(candidates, who);
                self.wrote(index, written);
                committed
            }
            _ => self.commit(candidates, who),
        };
        Ok(self.with_drift(committed, index))
    }

    /// A running stage, by its name.
    fn find(&self, stage: &str) -> Result<(usize, Known), SwapError> {
        let state = self.state();
        let index = state.stages.iter().position(|known| known.serving.name == stage);
        index.and_then(|index| Some((index, state.stages.get(index)?.clone()))).ok_or_else(|| {
            let known = state.stages.iter().map(|known| known.serving.name.as_str()).collect::<Vec<_>>().join(", ");
            SwapError::UnknownStage { stage: stage.to_owned(), known }
        })
    }

    /// Builds all of them, then has all of them serve at once.
    async fn build_and_commit(&self, wanted: Vec<(usize, Stage)>, who: &Who) -> Result<Committed, SwapError> {
        Ok(self.commit(self.build_all(wanted).await?, who))
    }

    async fn build_all(&self, wanted: Vec<(usize, Stage)>) -> Result<Vec<Candidate>, SwapError> {
        let served = self.stages.snapshot();
        let mut built = Vec::with_capacity(wanted.len());
        for (index, stage) in wanted {
            let serving = served[index].number();
            let generation = self.build(stage.clone(), serving + 1).await;
            let generation = generation.map_err(|source| self.failed(&stage.name, serving, source))?;
            built.push(Candidate { index, generation, stage, rollback_to: None });
        }
        Ok(built)
    }

    /// Has all of them serve at once. It cannot fail.
    fn commit(&self, candidates: Vec<Candidate>, who: &Who) -> Committed {
        let served = self.stages.snapshot();
        let serve = |candidate: &Candidate| (candidate.index, Arc::clone(&candidate.generation));
        self.stages.commit(candidates.iter().map(serve).collect());
        let mut committed = Committed::default();
        for Candidate { index, generation, stage, rollback_to } in candidates {
            self.metrics.stage(&stage.name).generation.set(i64::try_from(generation.number()).unwrap_or(i64::MAX));
            self.metrics.swaps(&stage.name, "committed").inc();
            let old = &served[index];
            let (replaced, new) = (Version::of(old.as_ref()), Version::of(generation.as_ref()));
            tracing::info!(stage = stage.name, old = %replaced, new = %new, %who, "swapped");
            committed.digests.push((index, new.digest.clone()));
            let mut entry = Entry::serving(generation.as_ref(), &stage, Some(old.number()), who);
            if let Some((_, number)) = rollback_to {
                entry = entry.rolled_back_to(number);
            }
            committed.written.push(self.history.note(entry));
            let again = rollback_to.map(|(_, number)| number);
            committed.swapped.push(Swapped { rollback_to: again, ..Swapped::of(&stage.name, replaced, new) });
            committed.draining.push(self.drain(old));
            let retired = std::mem::replace(&mut self.state().stages[index].serving, stage);
            self.kept.retire(old.as_ref(), retired, rollback_to.map(|(origin, _)| origin));
        }
        self.count_drifted(&self.state());
        committed
    }

    /// Counts a replaced generation as live until its last batch is through; that may be after the swap has reported.
    fn drain(&self, old: &Arc<dyn Generation>) -> JoinHandle<()> {
        let live = self.metrics.stage(old.stage()).generations_live;
        live.inc();
        let old = Arc::downgrade(old);
        tokio::spawn(async move {
            until_gone(&old).await;
            live.dec();
        })
    }

    async fn build(&self, stage: Stage, number: u64) -> Result<Arc<dyn Generation>, wasm::BuildError> {
        let build = Arc::clone(&self.build);
        let building = tokio::task::spawn_blocking(move || build(&stage, number));
        building.await.unwrap_or_else(|panicked| Err(wasm::BuildError::Abandoned(panicked.to_string())))
    }

    /// Notes what was refused, of a stage or of the file.
    fn noted<T>(&self, changed: Result<T, SwapError>, stage: Option<&str>, who: &Who) -> Result<T, SwapError> {
        changed.inspect_err(|error| {
            let result = format!("refused at {}", error.step());
            let entry = match (error, stage) {
                (SwapError::UnknownStage { .. }, _) => return,
                (SwapError::Build { stage, .. }, _) => Entry::of_stage(stage, &result, who),
                (_, Some(stage)) => Entry::of_stage(stage, &result, who),
                (_, None) => Entry::of("file", &result, who),
            };
            // The answer is an error already; it need not wait for the disk.
            drop(self.history.note(entry));
        })
    }

    fn drift(&self, known: &Known, files: &[String]) -> Option<Drift> {
        Drift::of(known, files, self.history.serving(&known.serving.name).as_ref())
    }

    fn with_drift(&self, mut committed: Committed, index: usize) -> Committed {
        let state = self.state();
        let drift = state.stages.get(index).and_then(|known| self.drift(known, &state.file.files));
        for swapped in &mut committed.swapped {
            (swapped.drifted, swapped.drift) = (drift.is_some(), drift.clone());
        }
        committed
    }

    fn count_drifted(&self, state: &State) {
        for known in &state.stages {
            self.metrics.stage(&known.serving.name).drifted.set(i64::from(known.has_drifted()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, stage: &str, serving: u64, source: wasm::BuildError) -> SwapError {
        let error = SwapError::Build { stage: stage.to_owned(), step: source.step().as_str(), serving, source };
        self.metrics.swaps(stage, error.step()).inc();
        error
    }
}

impl Committed {
    /// Waits for the last batches of what was replaced, and for the history.
    async fn drained(self) -> Vec<Swapped> {
        let deadline = Instant::now() + DRAIN_MAX;
        let mut swapped = self.swapped;
        for (swapped, old) in swapped.iter_mut().zip(self.draining) {
            swapped.drained = tokio::time::timeout_at(deadline.into(), old).await.is_ok();
        }
        until_written(self.written).await;
        swapped
    }
}

async fn until_written(written: Vec<Written>) {
    for written in written {
        written.wait().await;
    }
}

fn place(change: &Change) -> String {
    match change.place {
        // A line of an included file says nothing without the file's name, which is not known here.
        Some(place) if place.file == 0 => format!("{} (line {})", change.part, place.line),
        Some(_) | None => change.part.clone(),
    }
}

fn named(stages: &[Stage], name: &str) -> Option<Stage> {
    stages.iter().find(|stage| stage.name == name).cloned()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SwapError> {
    tokio::task::spawn_blocking(work).await.map_err(|panicked| SwapError::Abandoned(panicked.to_string()))
}

/// Runs a change as a task: who asked for it may hang up, and changes do not pile up behind that.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, SwapError>> + Send + 'static,
) -> Result<T, SwapError> {
    match tokio::spawn(change).await {
        Ok(changed) => changed,
        Err(panicked) => Err(SwapError::Abandoned(panicked.to_string())),
    }
}

async fn until_gone(old: &Weak<dyn Generation>) {
    while old.strong_count() > 0 {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("state", &self.state).finish_non_exhaustive()
    }
}
