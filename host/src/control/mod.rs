//! Live change: one path for the watched file, SIGHUP, the CLI and the admin API.
//!
//! verify -> compile -> link -> configure -> probe -> commit (at a batch boundary) -> drain

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::config;
use crate::config::model::{Component, Config, Stage};
use crate::observe::metrics::Metrics;
use crate::pipeline::stage::Generation;
use crate::pipeline::stages::Current;
use crate::wasm;

mod known;
mod plan;
mod reload;
mod report;
#[cfg(test)]
mod tests;
mod topology;
pub mod watch;

use self::known::{Known, digest};
pub use self::reload::Applied;
pub use self::report::{Reloaded, Serving, SwapError, Swapped, Version};
pub use self::topology::{Prepared, Topology, Unprepared};

/// How long a swap waits for the old generation's last batch before it reports without it.
const DRAIN_MAX: Duration = Duration::from_secs(30);
const DRAIN_POLL: Duration = Duration::from_millis(2);
/// Stages that are gone and whose numbers are remembered.
const GONE_STAGES_MAX: usize = 4_096;

/// Changes a running engine, one change at a time. A change that was begun ends by itself, whether or not who asked for it
/// still waits.
pub struct Control {
    build: Arc<Build>,
    current: Arc<Current>,
    topology: Arc<dyn Topology>,
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
    /// In the file's order.
    stages: Vec<Known>,
    /// The last generations of stages that are gone: numbers do not go back if one comes again.
    numbers: BTreeMap<String, u64>,
}

/// A candidate that was built.
struct Built {
    stage: Stage,
    /// What it replaces; None = the stage is new.
    old: Option<Arc<dyn Generation>>,
    generation: Arc<dyn Generation>,
}

/// What makes a change take effect.
enum Commit {
    /// By index.
    Stages(Vec<(usize, Arc<dyn Generation>)>),
    Topology(Box<dyn Prepared>),
}

/// What is different since a moment ago.
#[derive(Debug, Default)]
struct Committed {
    swapped: Vec<Swapped>,
    /// By stage, of the new component.
    digests: Vec<(String, String)>,
    /// Everything but stages that were replaced: `added pipeline "traces/b"`.
    changes: Vec<String>,
    /// In the order of `swapped`; each ends when the old generation is gone.
    draining: Vec<JoinHandle<()>>,
}

impl Control {
    /// Controls what runs by `config`: its stages, which serve their first generations, made by `build`, and what is around them.
    pub fn new(
        build: Arc<Build>,
        config: Config,
        current: Arc<Current>,
        topology: Arc<dyn Topology>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let generations = current.snapshot();
        for generation in generations.iter() {
            let stage = metrics.stage(generation.stage());
            stage.generation.set(1);
            stage.generations_live.set(1);
        }
        let digest = |stage: &Stage| generations.named(&stage.name).map(|first| first.digest().to_owned());
        let first = |stage: &Stage| Some(Known::new(stage.clone(), digest(stage)?));
        let first = config.stages.iter().filter_map(first).collect();
        let state = Mutex::new(State { stages: first, numbers: BTreeMap::new(), file: config });
        Arc::new(Self { build, current, topology, metrics, change: tokio::sync::Mutex::default(), state })
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
            let committed = control.ended(control.swap_alone(stage, component, config).await)?;
            drop(change);
            Ok(committed.drained().await.remove(0))
        })
        .await
    }

    /// What serves, by stage.
    pub fn serving(&self) -> Vec<Serving> {
        let (state, snapshot) = (self.state(), self.current.snapshot());
        let serving = |known: &Known| {
            let generation = snapshot.named(&known.serving.name)?;
            let (stage, version) = (known.serving.name.clone(), Version::of(generation.as_ref()));
            Some(Serving { stage, version, drifted: known.has_drifted() })
        };
        state.stages.iter().filter_map(serving).collect()
    }

    async fn swap_alone(
        &self,
        stage: String,
        component: Option<Component>,
        config: Option<String>,
    ) -> Result<Committed, SwapError> {
        let known = self.state().known(&stage).cloned();
        let (Some(Known { serving: mut next, filed, .. }), Some(index)) =
            (known, self.current.stages().position(&stage))
        else {
            let state = self.state();
            let known = state.stages.iter().map(|known| known.serving.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(SwapError::UnknownStage { stage, known });
        };
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
                config::replaced(&next, config).map_err(|key| SwapError::FileOnly { stage: stage.clone(), key })?;
        }
        let built = self.build_all(&[next]).await?;
        let generations = built.iter().map(|built| (index, Arc::clone(&built.generation))).collect();
        let mut committed = self.commit(Commit::Stages(generations), built, &[]);
        let drifted = self.state().known(&stage).is_some_and(Known::has_drifted);
        committed.swapped.iter_mut().for_each(|swapped| swapped.drifted = drifted);
        Ok(committed)
    }

    /// Builds all of them; none serves yet.
    async fn build_all(&self, wanted: &[Stage]) -> Result<Vec<Built>, SwapError> {
        let served = self.current.snapshot();
        let mut built = Vec::with_capacity(wanted.len());
        for stage in wanted {
            let old = served.named(&stage.name).map(Arc::clone);
            let last = old.as_ref().map_or_else(|| self.state().last_number(&stage.name), |old| old.number());
            let candidate = self.build(stage.clone(), last + 1).await;
            let serving = old.as_ref().map(|old| old.number());
            let generation = candidate.map_err(|source| self.failed(&stage.name, serving, source))?;
            built.push(Built { stage: stage.clone(), old, generation });
        }
        Ok(built)
    }

    /// Has all of them serve at once, and those that are gone no more.
    fn commit(&self, commit: Commit, built: Vec<Built>, removed: &[String]) -> Committed {
        let served = self.current.snapshot();
        match commit {
            Commit::Stages(changed) => self.current.commit(changed),
            Commit::Topology(prepared) => prepared.commit(),
        }
        let mut committed = Committed::default();
        for Built { stage, old, generation } in built {
            let metrics = self.metrics.stage(&stage.name);
            metrics.generation.set(i64::try_from(generation.number()).unwrap_or(i64::MAX));
            self.metrics.swaps(&stage.name, "committed").inc();
            let new = Version::of(generation.as_ref());
            committed.digests.push((stage.name.clone(), new.digest.clone()));
            match old {
                Some(old) => {
                    let (stage, old_version) = (stage.name.clone(), Version::of(old.as_ref()));
                    committed.draining.push(self.drain(&old));
                    committed.swapped.push(Swapped { stage, old: old_version, new, drifted: false, drained: true });
                }
                None => drop(metrics.generations_live.inc()),
            }
            self.state().serves(stage);
        }
        for gone in removed.iter().filter_map(|stage| served.named(stage)) {
            let metrics = self.metrics.stage(gone.stage());
            metrics.generation.set(0);
            self.state().is_gone(gone.as_ref());
            // It is watched until it is gone, and nobody waits for that.
            let _watching = self.drain(gone);
            metrics.generations_live.dec();
        }
        committed
    }

    /// Every change ends here, whether it was committed or refused.
    fn ended(&self, change: Result<Committed, SwapError>) -> Result<Committed, SwapError> {
        let committed = change?;
        for change in &committed.changes {
            tracing::info!("{change}");
        }
        for Swapped { stage, old, new, .. } in &committed.swapped {
            tracing::info!(stage, %old, %new, "swapped");
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

    fn failed(&self, stage: &str, serving: Option<u64>, source: wasm::BuildError) -> SwapError {
        let step = source.step().as_str();
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

    /// This serves now. A stage that is new becomes known with its file.
    fn serves(&mut self, stage: Stage) {
        self.numbers.remove(&stage.name);
        if let Some(known) = self.stages.iter_mut().find(|known| known.serving.name == stage.name) {
            known.serving = stage;
        }
    }
}

impl Committed {
    fn is_empty(&self) -> bool {
        self.swapped.is_empty() && self.changes.is_empty()
    }

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
