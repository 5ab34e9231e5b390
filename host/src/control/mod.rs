//! Live change: one path for the watched file, SIGHUP, the CLI and the admin API.
//!
//! verify -> compile -> link -> configure -> probe -> commit (at a batch boundary) -> drain

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::config::model::{Component, Config, Stage};
use crate::config::{self, Change, Diff};
use crate::observe::metrics::Metrics;
use crate::pipeline::stage::Generation;
use crate::pipeline::stages::{Snapshot, Stages};
use crate::wasm::{self, Runtime};

pub mod watch;

/// How long a swap waits for the old generation's last batch before it reports without it.
const DRAIN_MAX: Duration = Duration::from_secs(30);
const DRAIN_POLL: Duration = Duration::from_millis(2);

/// Changes stages of a running engine.
#[derive(Debug)]
pub struct Control {
    runtime: Arc<Runtime>,
    stages: Arc<Stages>,
    metrics: Arc<Metrics>,
    workers: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The file as it was last loaded.
    file: Config,
    /// What each stage serves, by stage index; differs from the file after a swap that the file does not say.
    serving: Vec<Stage>,
}

/// A stage that now serves something else.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Swapped {
    /// The stage.
    pub stage: String,
    /// What served before.
    pub old: Version,
    /// What serves now.
    pub new: Version,
    /// False where the old generation still had a batch when the wait was over.
    pub drained: bool,
}

/// A generation, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Its number.
    pub generation: u64,
    /// SHA-256 of the component, in hex.
    pub digest: String,
}

/// A swap that did not happen. What served before still serves.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// No such stage runs.
    #[error("no stage \"{stage}\" is running; there are: {known}")]
    UnknownStage {
        /// As asked for.
        stage: String,
        /// Names that exist.
        known: String,
    },
    /// The file changes more than stages.
    #[error("the file also changes {what}; only stages can change while running, so nothing was changed")]
    OtherChanges {
        /// Names and lines.
        what: String,
    },
    /// A candidate failed before it served.
    #[error("stage \"{stage}\" failed at step {step}; generation {serving} is still serving")]
    Build {
        /// The stage.
        stage: String,
        /// `verify`, `compile`, `link`, `configure` or `probe`.
        step: &'static str,
        /// The generation that still serves.
        serving: u64,
        /// Why.
        source: wasm::BuildError,
    },
}

impl SwapError {
    /// The step that failed, for labels and exit messages.
    pub fn step(&self) -> &'static str {
        match self {
            SwapError::UnknownStage { .. } | SwapError::OtherChanges { .. } => "plan",
            SwapError::Build { step, .. } => step,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.digest.get(..12).unwrap_or(&self.digest);
        write!(f, "generation {} sha256:{short}", self.generation)
    }
}

impl Control {
    /// Builds the first generation of every stage, one after another.
    ///
    /// # Errors
    /// The first stage that cannot be built.
    pub fn first_generations(
        runtime: &Runtime,
        config: &Config,
        workers: usize,
    ) -> Result<Snapshot, Box<(Stage, wasm::BuildError)>> {
        config
            .stages
            .iter()
            .map(|stage| {
                let built = runtime.build_generation(spec(stage, 1, workers));
                built.map_err(|error| Box::new((stage.clone(), error)))
            })
            .collect()
    }

    /// Controls the stages of `config`, which serve their first generations.
    pub fn new(
        runtime: Arc<Runtime>,
        config: Config,
        stages: Arc<Stages>,
        workers: usize,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        for generation in stages.snapshot().iter() {
            let stage = metrics.stage(generation.stage());
            stage.generation.set(1);
            stage.generations_live.set(1);
        }
        let serving = config.stages.clone();
        Arc::new(Self { runtime, stages, metrics, workers, state: Mutex::new(State { file: config, serving }) })
    }

    /// Brings the engine to what the file says now. All changed stages commit as one, or none does.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn reload(&self, next: Config) -> Result<Vec<Swapped>, SwapError> {
        let mut state = self.state.lock().await;
        let diff = config::diff(&state.file, &next);
        if !diff.is_live() {
            return Err(SwapError::OtherChanges { what: diff.others.iter().map(place).collect::<Vec<_>>().join(", ") });
        }
        let wanted = self.wanted(&state, &next, &diff);
        let swapped = self.swap_all(&mut state, wanted).await?;
        state.file = next;
        Ok(swapped)
    }

    /// Replaces one stage's component, config or both.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn swap(
        &self,
        stage: &str,
        component: Option<Component>,
        config: Option<String>,
    ) -> Result<Swapped, SwapError> {
        let mut state = self.state.lock().await;
        let Some(index) = self.stages.position(stage) else {
            let known = state.serving.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(SwapError::UnknownStage { stage: stage.to_owned(), known });
        };
        let mut next = state.serving[index].clone();
        next.component = component.unwrap_or(next.component);
        next.config = config.unwrap_or(next.config);
        let mut swapped = self.swap_all(&mut state, vec![(index, next)]).await?;
        Ok(swapped.remove(0))
    }

    /// What serves, by stage.
    pub fn serving(&self) -> Vec<(String, Version)> {
        let version = |generation: &Arc<dyn Generation>| (generation.stage().to_owned(), version(generation.as_ref()));
        self.stages.snapshot().iter().map(version).collect()
    }

    /// Stages that the file wants otherwise than they serve. The snapshot must not outlive this: whoever holds it keeps the old
    /// generations from ending.
    fn wanted(&self, state: &State, next: &Config, diff: &Diff) -> Vec<(usize, Stage)> {
        let served = self.stages.snapshot();
        let mut wanted = Vec::new();
        for stage in &next.stages {
            let Some(index) = self.stages.position(&stage.name) else { continue };
            let rebuilt = match &stage.component {
                Component::File { path, .. } => {
                    let digest = wasm::digest_of_file(path);
                    served.get(index).is_some_and(|old| digest.is_some_and(|digest| digest != old.digest()))
                }
                Component::Bundled(_) | Component::Uploaded(_) => false,
            };
            let drifted = state.serving.get(index).is_some_and(|serving| !same_identity(serving, stage));
            if diff.stages.iter().any(|change| change.name == stage.name) || (rebuilt && !drifted) {
                wanted.push((index, stage.clone()));
            }
        }
        wanted
    }

    async fn swap_all(&self, state: &mut State, wanted: Vec<(usize, Stage)>) -> Result<Vec<Swapped>, SwapError> {
        let served = self.stages.snapshot();
        let mut built = Vec::with_capacity(wanted.len());
        for (index, stage) in &wanted {
            let serving = served[*index].number();
            let candidate = self.build(stage.clone(), serving + 1).await;
            built.push((*index, candidate.map_err(|source| self.failed(&stage.name, serving, source))?));
        }
        self.stages.commit(built.clone());
        let mut swapped = Vec::with_capacity(built.len());
        for ((index, generation), (_, stage)) in built.iter().zip(wanted) {
            self.metrics.stage(&stage.name).generation.set(i64::try_from(generation.number()).unwrap_or(i64::MAX));
            self.metrics.swaps(&stage.name, "committed").inc();
            let (old, new) = (version(served[*index].as_ref()), version(generation.as_ref()));
            tracing::info!(stage = stage.name, old = %old, new = %new, "swapped");
            swapped.push(Swapped { stage: stage.name.clone(), old, new, drained: true });
            state.serving[*index] = stage;
        }
        let draining: Vec<_> = built.iter().map(|(index, _)| self.drain(&served[*index])).collect();
        drop((served, built));
        let deadline = Instant::now() + DRAIN_MAX;
        for (swapped, old) in swapped.iter_mut().zip(draining) {
            swapped.drained = tokio::time::timeout_at(deadline.into(), old).await.is_ok();
        }
        Ok(swapped)
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
        let (runtime, workers) = (Arc::clone(&self.runtime), self.workers);
        let building = tokio::task::spawn_blocking(move || runtime.build_generation(spec(&stage, number, workers)));
        building.await.unwrap_or_else(|panicked| Err(wasm::BuildError::Abandoned(panicked.to_string())))
    }

    fn failed(&self, stage: &str, serving: u64, source: wasm::BuildError) -> SwapError {
        let error = SwapError::Build { stage: stage.to_owned(), step: source.step().as_str(), serving, source };
        self.metrics.swaps(stage, error.step()).inc();
        error
    }
}

fn version(generation: &dyn Generation) -> Version {
    Version { generation: generation.number(), digest: generation.digest().to_owned() }
}

fn place(change: &Change) -> String {
    match change.line {
        Some(line) => format!("{} (line {line})", change.part),
        None => change.part.clone(),
    }
}

/// Identity of a stage: component, config, limits, what happens on a fault. Its line in the file is not part of it.
fn same_identity(a: &Stage, b: &Stage) -> bool {
    a.component == b.component && a.config == b.config && a.limits == b.limits && a.on_fault == b.on_fault
}

async fn until_gone(old: &Weak<dyn Generation>) {
    while old.strong_count() > 0 {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

fn spec(stage: &Stage, number: u64, workers: usize) -> wasm::GenerationSpec {
    wasm::GenerationSpec {
        stage: stage.name.clone(),
        number,
        component: stage.component.clone(),
        config: stage.config.clone(),
        limits: stage.limits,
        on_fault: stage.on_fault,
        workers,
    }
}
