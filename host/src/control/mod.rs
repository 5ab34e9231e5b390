//! Live change: one path for the watched file, SIGHUP, the CLI and the admin API.
//!
//! verify -> compile -> link -> configure -> probe -> commit (at a batch boundary) -> drain

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::config::model::{Component, Config, Stage};
use crate::config::{self, Change};
use crate::observe::metrics::Metrics;
use crate::pipeline::stage::Generation;
use crate::pipeline::stages::Stages;
use crate::wasm;

pub mod health;
mod known;
mod report;
#[cfg(test)]
mod tests;
pub mod watch;

use self::known::{Known, digest, same_identity};
pub use self::report::{Serving, SwapError, Swapped, Version};

/// How long a swap waits for the old generation's last batch before it reports without it.
const DRAIN_MAX: Duration = Duration::from_secs(30);
const DRAIN_POLL: Duration = Duration::from_millis(2);

/// Changes stages of a running engine, one change at a time. A change that was begun ends by itself, whether or not who asked for it
/// still waits.
pub struct Control {
    build: Arc<Build>,
    stages: Arc<Stages>,
    metrics: Arc<Metrics>,
    /// Held by the change under way, while it builds.
    change: tokio::sync::Mutex<()>,
    state: Mutex<State>,
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

/// Stages that serve something else since a moment ago.
#[derive(Debug, Default)]
struct Committed {
    swapped: Vec<Swapped>,
    /// By stage index, of the new component.
    digests: Vec<(usize, String)>,
    /// In the same order; each ends when the old generation is gone.
    draining: Vec<JoinHandle<()>>,
}

impl Control {
    /// Controls the stages of `config`, which serve their first generations, made by `build`.
    pub fn new(build: Arc<Build>, config: Config, stages: Arc<Stages>, metrics: Arc<Metrics>) -> Arc<Self> {
        let generations = stages.snapshot();
        for generation in generations.iter() {
            let stage = metrics.stage(generation.stage());
            stage.generation.set(1);
            stage.generations_live.set(1);
        }
        let first = |(stage, generation): (&Stage, &Arc<dyn Generation>)| Known {
            serving: stage.clone(),
            filed: stage.clone(),
            filed_digest: generation.digest().to_owned(),
        };
        let first = config.stages.iter().zip(generations.iter()).map(first).collect();
        let state = Mutex::new(State { stages: first, file: config });
        Arc::new(Self { build, stages, metrics, change: tokio::sync::Mutex::default(), state })
    }

    /// Brings the stages of which the file says something new, in its text or in a component that it names, to what it says. All
    /// of them commit as one, or none does. A stage of which it says nothing new keeps what a swap gave it.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn reload(self: &Arc<Self>, next: Config) -> Result<Vec<Swapped>, SwapError> {
        let control = Arc::clone(self);
        to_its_end(async move {
            let change = control.change.lock().await;
            let committed = control.reload_alone(next).await?;
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
    pub async fn swap(
        self: &Arc<Self>,
        stage: &str,
        component: Option<Component>,
        config: Option<String>,
    ) -> Result<Swapped, SwapError> {
        let (control, stage) = (Arc::clone(self), stage.to_owned());
        to_its_end(async move {
            let change = control.change.lock().await;
            let committed = control.swap_alone(stage, component, config).await?;
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
            health: self.health_of(&known.serving.name),
        };
        state.stages.iter().zip(self.stages.snapshot().iter()).map(serving).collect()
    }

    async fn reload_alone(&self, next: Config) -> Result<Committed, SwapError> {
        let (diff, known) = {
            let state = self.state();
            (config::diff(&state.file, &next), state.stages.clone())
        };
        if !diff.is_live() {
            return Err(SwapError::OtherChanges { what: diff.others.iter().map(place).collect::<Vec<_>>().join(", ") });
        }
        // A valid diff of stages alone: both name the same ones.
        let filed: Vec<_> = known.iter().filter_map(|known| named(&next.stages, &known.serving.name)).collect();
        let rebuilt = blocking(move || known.iter().map(Known::is_rebuilt).collect::<Vec<_>>()).await?;
        let mut wanted = Vec::new();
        {
            let state = self.state();
            for (index, (stage, is_rebuilt)) in filed.iter().zip(rebuilt).enumerate() {
                if is_rebuilt || !same_identity(&state.stages[index].filed, stage) {
                    wanted.push((index, stage.clone()));
                }
            }
        }
        let committed = self.build_and_commit(wanted).await?;
        let mut state = self.state();
        for (known, stage) in state.stages.iter_mut().zip(filed) {
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
        Ok(committed)
    }

    async fn swap_alone(
        &self,
        stage: String,
        component: Option<Component>,
        config: Option<String>,
    ) -> Result<Committed, SwapError> {
        let known = self.state().stages.clone();
        let Some(index) = known.iter().position(|known| known.serving.name == stage) else {
            let known = known.iter().map(|known| known.serving.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(SwapError::UnknownStage { stage, known });
        };
        let Known { serving: mut next, filed, .. } = known[index].clone();
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
            next.config = config::replaced(&next, config).map_err(|key| SwapError::FileOnly { stage, key })?;
        }
        let mut committed = self.build_and_commit(vec![(index, next)]).await?;
        let drifted = self.state().stages[index].has_drifted();
        committed.swapped.iter_mut().for_each(|swapped| swapped.drifted = drifted);
        Ok(committed)
    }

    /// Builds all of them, then has all of them serve at once.
    async fn build_and_commit(&self, wanted: Vec<(usize, Stage)>) -> Result<Committed, SwapError> {
        let served = self.stages.snapshot();
        let mut built = Vec::with_capacity(wanted.len());
        for (index, stage) in &wanted {
            let serving = served[*index].number();
            let candidate = self.build(stage.clone(), serving + 1).await;
            built.push((*index, candidate.map_err(|source| self.failed(&stage.name, serving, source))?));
        }
        self.stages.commit(built.clone());
        let mut committed = Committed::default();
        for ((index, generation), (_, stage)) in built.iter().zip(wanted) {
            self.metrics.stage(&stage.name).generation.set(i64::try_from(generation.number()).unwrap_or(i64::MAX));
            self.metrics.swaps(&stage.name, "committed").inc();
            let (old, new) = (Version::of(served[*index].as_ref()), Version::of(generation.as_ref()));
            tracing::info!(stage = stage.name, old = %old, new = %new, "swapped");
            committed.digests.push((*index, new.digest.clone()));
            committed.swapped.push(Swapped { stage: stage.name.clone(), old, new, drifted: false, drained: true });
            committed.draining.push(self.drain(&served[*index]));
            self.state().stages[*index].serving = stage;
        }
        Ok(committed)
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
    /// Waits for the last batches of what was replaced.
    async fn drained(self) -> Vec<Swapped> {
        let deadline = Instant::now() + DRAIN_MAX;
        let mut swapped = self.swapped;
        for (swapped, old) in swapped.iter_mut().zip(self.draining) {
            swapped.drained = tokio::time::timeout_at(deadline.into(), old).await.is_ok();
        }
        swapped
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
