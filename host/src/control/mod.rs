//! Live change: one path for the watched file, SIGHUP, the CLI and the admin API.
//!
//! verify -> compile -> link -> configure -> probe -> commit (at a batch boundary) -> drain

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::config::Change;
use crate::config::model::{Component, Config, DataAccess, Stage};
use crate::memory::Budget;
use crate::observe::metrics::Metrics;
use crate::pipeline::stage::Generation;
use crate::pipeline::stages::Current;
use crate::wasm;

mod aside;
mod drain;
mod drift;
mod facts;
mod file;
pub mod health;
pub mod history;
mod kept;
mod known;
pub mod operations;
pub mod pause;
mod plan;
mod reload;
mod report;
mod rollback;
mod scratch;
mod swap;
#[cfg(test)]
mod tests;
mod topology;
pub mod trials;
pub mod watch;
pub mod who;

pub use self::drain::{Drained, Left};
pub use self::drift::{Drift, DriftPlace};
pub use self::facts::StageFacts;
pub use self::file::{FileError, Write};
use self::history::{Entry, History, Written};
use self::kept::Kept;
use self::known::{Known, digest};
use self::operations::{Operation, Operations};
pub use self::reload::Applied;
pub use self::report::{Reloaded, Serving, SwapError, Swapped, Version};
pub use self::topology::{Prepared, Topology, Unprepared};
use self::trials::last::LastBatches;
use self::trials::{Care, Trials};
use self::who::Who;

/// How long a swap waits for the old generation's last batch before it reports without it.
const DRAIN_MAX: Duration = Duration::from_secs(30);
const DRAIN_POLL: Duration = Duration::from_millis(2);
/// Stages that are gone and whose numbers are remembered.
const GONE_STAGES_MAX: usize = 4_096;

/// Changes a running engine, one change at a time: another one waits for its turn. A change that was begun ends by itself, whether or not
/// who asked for it still waits.
pub struct Control {
    build: Arc<Build>,
    current: Arc<Current>,
    topology: Arc<dyn Topology>,
    metrics: Arc<Metrics>,
    history: Arc<History>,
    kept: Kept,
    operations: Operations,
    trials: Trials,
    /// Once it is known what they are charged to.
    last: OnceLock<Arc<LastBatches>>,
    /// That the process is to stop.
    draining: tokio::sync::watch::Sender<Option<Arc<Operation>>>,
    /// Held by the change under way, while it builds.
    change: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// What of the telemetry may be shown, by the file that is in force.
    data_access: tokio::sync::watch::Sender<DataAccess>,
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
    /// In the file's order.
    stages: Vec<Known>,
    /// The last generations of stages that are gone: numbers do not go back if one comes again.
    numbers: BTreeMap<String, u64>,
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
    /// How it is tried before it serves.
    pub care: Care,
}

/// A generation that is to serve.
struct Candidate {
    generation: Arc<dyn Generation>,
    /// What it was made of.
    stage: Stage,
    /// What it replaces; None = the stage is new.
    old: Option<Arc<dyn Generation>>,
    /// Its first and its last number, where it served before.
    rollback_to: Option<(u64, u64)>,
    /// What would have refused it.
    overruled: Vec<String>,
}

/// What makes a change take effect.
enum Commit {
    /// Stages that are replaced where they stand.
    Stages,
    Topology(Box<dyn Prepared>),
}

/// What is different since a moment ago.
#[derive(Default)]
struct Committed {
    swapped: Vec<Swapped>,
    /// By stage, of the new component.
    digests: Vec<(String, String)>,
    /// Everything but stages that were replaced.
    changes: Vec<Change>,
    /// In the order of `swapped`; each ends when the old generation is gone.
    draining: Vec<JoinHandle<()>>,
    written: Vec<Written>,
}

impl Control {
    /// Controls what runs by `config`: its stages, which serve their first generations, made by `build`, and what is around them.
    pub fn new(
        build: Arc<Build>,
        config: Config,
        current: Arc<Current>,
        topology: Arc<dyn Topology>,
        metrics: Arc<Metrics>,
        history: Arc<History>,
    ) -> Arc<Self> {
        let generations = current.snapshot();
        let mut stages = Vec::with_capacity(config.stages.len());
        for stage in &config.stages {
            let Some(generation) = generations.named(&stage.name) else { continue };
            let numbers = metrics.stage(&stage.name);
            numbers.generation.set(1);
            numbers.generations_live.set(1);
            drop(history.note(&Entry::serving(generation.as_ref(), stage, None, &Who::Start)));
            stages.push(Known::new(stage.clone(), generation.digest().to_owned()));
        }
        let data_access = tokio::sync::watch::Sender::new(config.admin.data_access);
        let state = Mutex::new(State { stages, numbers: BTreeMap::new(), file: config });
        let (kept, change) = (Kept::new(&metrics), tokio::sync::Mutex::default());
        let (file, writes) = (OnceLock::new(), AtomicU64::new(0));
        let (operations, draining) = (Operations::default(), tokio::sync::watch::Sender::new(None));
        Arc::new(Self {
            build,
            current,
            topology,
            metrics,
            history,
            kept,
            operations,
            trials: Trials::default(),
            last: OnceLock::new(),
            draining,
            change,
            state,
            data_access,
            file,
            writes,
        })
    }

    /// Whether such a stage runs.
    ///
    /// # Errors
    /// [`SwapError::UnknownStage`], which names those that do.
    pub fn check_stage(&self, stage: &str) -> Result<(), SwapError> {
        self.find(stage).map(drop)
    }

    /// What serves, by stage.
    pub fn serving(&self) -> Vec<Serving> {
        let (state, snapshot) = (self.state(), self.current.snapshot());
        let serving = |known: &Known| {
            Some(Serving {
                stage: known.serving.name.clone(),
                version: Version::of(snapshot.named(&known.serving.name)?.as_ref()),
                drifted: known.has_drifted(),
                health: self.health_of(&known.serving.name, known.serving.role),
                drift: self.drift(known, &state.file.files),
            })
        };
        state.stages.iter().filter_map(serving).collect()
    }

    /// How often the engine wrote its file. To be asked before the file is read.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// What changed so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Keeps the last batches of stages from now on, as far as the file allows, charged to this budget: candidates are probed with them.
    pub fn keep_last_batches(&self, budget: &Arc<Budget>) {
        let last = self.last.get_or_init(|| LastBatches::new(budget));
        last.follow(&self.current.stages(), self.access());
    }

    /// Gives up the instances of one generation that no longer serves, where memory is short; false where none are kept.
    pub fn relieve(&self) -> bool {
        self.kept.relieve()
    }

    /// A running stage, by its name.
    fn find(&self, stage: &str) -> Result<Known, SwapError> {
        let state = self.state();
        state.known(stage).cloned().ok_or_else(|| {
            let known = state.stages.iter().map(|known| known.serving.name.as_str()).collect::<Vec<_>>().join(", ");
            SwapError::UnknownStage { stage: stage.to_owned(), known }
        })
    }

    /// Builds all of them; none serves yet.
    async fn build_all(&self, wanted: &[Stage]) -> Result<Vec<Candidate>, SwapError> {
        let served = self.current.snapshot();
        let mut built = Vec::with_capacity(wanted.len());
        for stage in wanted {
            let old = served.named(&stage.name).map(Arc::clone);
            let last = old.as_ref().map_or_else(|| self.state().last_number(&stage.name), |old| old.number());
            let candidate = self.build(stage.clone(), last + 1).await;
            let serving = old.as_ref().map(|old| old.number());
            let generation = candidate.map_err(|source| self.failed(&stage.name, serving, source))?;
            built.push(Candidate { generation, stage: stage.clone(), old, rollback_to: None, overruled: Vec::new() });
        }
        Ok(built)
    }

    /// Has all of them serve at once, and those that are gone no more. It cannot fail.
    fn commit(&self, commit: Commit, candidates: Vec<Candidate>, removed: &[String], who: &Who) -> Committed {
        let served = self.current.snapshot();
        match commit {
            Commit::Stages => {
                let stages = self.current.stages();
                let place = |candidate: &Candidate| {
                    Some((stages.position(&candidate.stage.name)?, Arc::clone(&candidate.generation)))
                };
                self.current.commit(candidates.iter().filter_map(place).collect());
            }
            Commit::Topology(prepared) => prepared.commit(),
        }
        let mut committed = Committed::default();
        for candidate in candidates {
            self.serves(candidate, who, &mut committed);
        }
        for gone in removed.iter().filter_map(|stage| served.named(stage)) {
            committed.written.push(self.history.note(&Entry::of_stage(gone.stage(), "removed", who)));
            let metrics = self.metrics.stage(gone.stage());
            metrics.generation.set(0);
            metrics.drifted.set(0);
            self.kept.forget(gone.stage());
            self.state().is_gone(gone.as_ref());
            // It is watched until it is gone, and nobody waits for that.
            let _watching = self.drain(gone);
            metrics.generations_live.dec();
        }
        self.count_drifted(&self.state());
        committed
    }

    /// A candidate serves since a moment ago.
    fn serves(&self, candidate: Candidate, who: &Who, committed: &mut Committed) {
        let Candidate { generation, stage, old, rollback_to, overruled } = candidate;
        let (name, metrics) = (stage.name.clone(), self.metrics.stage(&stage.name));
        metrics.generation.set(i64::try_from(generation.number()).unwrap_or(i64::MAX));
        self.metrics.swaps(&name, "committed").inc();
        let new = Version::of(generation.as_ref());
        committed.digests.push((name.clone(), new.digest.clone()));
        let replaces = old.as_ref().map(|old| old.number());
        let mut entry = Entry::serving(generation.as_ref(), &stage, replaces, who);
        if let Some((_, number)) = rollback_to {
            entry = entry.rolled_back_to(number);
        }
        entry.forced = (!overruled.is_empty()).then(|| overruled.join("; "));
        committed.written.push(self.history.note(&entry));
        let retired = self.state().serves(stage);
        let Some(old) = old else {
            metrics.generations_live.inc();
            return;
        };
        let replaced = Version::of(old.as_ref());
        tracing::info!(stage = name, old = %replaced, new = %new, %who, "swapped");
        let again = rollback_to.map(|(_, number)| number);
        committed.swapped.push(Swapped { rollback_to: again, ..Swapped::of(&name, replaced, new) });
        committed.draining.push(self.drain(&old));
        if let Some(retired) = retired {
            self.kept.retire(old.as_ref(), retired, rollback_to.map(|(origin, _)| origin));
        }
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

    /// Every change ends here, whether it was committed or refused, and is noted.
    fn noted(
        &self,
        changed: Result<Committed, SwapError>,
        stage: Option<&str>,
        who: &Who,
    ) -> Result<Committed, SwapError> {
        match changed {
            Ok(mut committed) => {
                for change in &committed.changes {
                    tracing::info!(%who, "{change}");
                    committed.written.push(self.history.note(&Entry::of(&change.part, change.kind.as_str(), who)));
                }
                Ok(committed)
            }
            Err(error) => {
                let result = match &error {
                    SwapError::Cancelled => "cancelled".to_owned(),
                    SwapError::Overtaken { step, why, .. } => format!("cancelled at {step}: {why}"),
                    _ => format!("refused at {}", error.step()),
                };
                let entry = match (&error, error.unbuilt().or(stage)) {
                    (SwapError::UnknownStage { .. }, _) => return Err(error),
                    (_, Some(stage)) => Entry::of_stage(stage, &result, who),
                    (_, None) => Entry::of("file", &result, who),
                };
                // The answer is an error already; it need not wait for the disk.
                drop(self.history.note(&entry));
                Err(error)
            }
        }
    }

    fn drift(&self, known: &Known, files: &[String]) -> Option<Drift> {
        Drift::of(known, files, self.history.serving(&known.serving.name).as_ref())
    }

    fn with_drift(&self, mut committed: Committed, stage: &str) -> Committed {
        let state = self.state();
        let drift = state.known(stage).and_then(|known| self.drift(known, &state.file.files));
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

    fn failed(&self, stage: &str, serving: Option<u64>, source: wasm::BuildError) -> SwapError {
        let (step, source) = (source.step().as_str(), Box::new(source));
        let error = match serving {
            Some(serving) => SwapError::Build { stage: stage.to_owned(), step, serving, source },
            None => SwapError::New { stage: stage.to_owned(), step, source },
        };
        self.metrics.swaps(stage, error.step()).inc();
        error
    }
}

impl State {
    fn known(&self, stage: &str) -> Option<&Known> {
        self.stages.iter().find(|known| known.serving.name == stage)
    }

    /// The number of the last generation of a stage that does not run; 0 where there was none.
    fn last_number(&self, stage: &str) -> u64 {
        self.numbers.get(stage).copied().unwrap_or_default()
    }

    fn is_gone(&mut self, generation: &dyn Generation) {
        if self.numbers.len() >= GONE_STAGES_MAX {
            self.numbers.pop_first();
        }
        self.numbers.insert(generation.stage().to_owned(), generation.number());
    }

    /// This serves now; what the stage was made of before. A stage that is new becomes known with its file.
    fn serves(&mut self, stage: Stage) -> Option<Stage> {
        self.numbers.remove(&stage.name);
        let known = self.stages.iter_mut().find(|known| known.serving.name == stage.name)?;
        Some(std::mem::replace(&mut known.serving, stage))
    }
}

impl Committed {
    fn is_empty(&self) -> bool {
        self.swapped.is_empty() && self.changes.is_empty()
    }

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

fn named(stages: &[Stage], name: &str) -> Option<Stage> {
    stages.iter().find(|stage| stage.name == name).cloned()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SwapError> {
    tokio::task::spawn_blocking(work).await.map_err(|panicked| SwapError::Abandoned(panicked.to_string()))
}

fn step(operation: Option<&Operation>, step: &str) {
    if let Some(operation) = operation {
        operation.step(step);
    }
}

/// Waits for what can be given up; what it began on other threads ends there, and nobody takes it.
async fn unless_cancelled<T>(operation: Option<&Operation>, work: impl Future<Output = T>) -> Result<T, SwapError> {
    let Some(operation) = operation else { return Ok(work.await) };
    tokio::select! {
        biased;
        () = operation.until_cancelled() => Err(SwapError::Cancelled),
        done = work => Ok(done),
    }
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
