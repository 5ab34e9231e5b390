//! A changed file, from its plan to its being in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::model::Config;
use crate::control::known::Known;
use crate::control::plan::Plan;
use crate::control::topology::{Prepared, Unprepared};
use crate::control::{Built, Commit, Committed, Control, Reloaded, SwapError, blocking, to_its_end};
use crate::observe::log;

/// A file that is in force since a moment ago.
#[derive(Debug)]
pub struct Applied(Committed);

impl Control {
    /// Brings everything of which the file says something new, in its text or in a component that it names, to what it says. All of it
    /// commits as one, or none does. A stage of which it says nothing new keeps what a swap gave it.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn reload(self: &Arc<Self>, next: Config) -> Result<Reloaded, SwapError> {
        Ok(self.apply(next).await?.drained().await)
    }

    /// The same, without a wait for the last batches of what was replaced.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn apply(self: &Arc<Self>, next: Config) -> Result<Applied, SwapError> {
        let control = Arc::clone(self);
        to_its_end(async move {
            let _change = control.change.lock().await;
            let committed = control.ended(control.reload_alone(next).await)?;
            if !committed.is_empty() {
                tracing::info!("the changed file is in force");
            }
            Ok(Applied(committed))
        })
        .await
    }

    async fn reload_alone(&self, next: Config) -> Result<Committed, SwapError> {
        let known = self.state().stages.clone();
        // Lazy: reads files.
        let rebuilt = known.into_iter().filter(Known::is_rebuilt).map(|known| known.serving.name);
        let rebuilt = blocking(move || rebuilt.collect::<Vec<_>>()).await?;
        let plan = Plan::of(&self.state(), &next, &rebuilt)?;
        let built = self.build_all(&plan.wanted).await?;
        let commit = if plan.keeps_pipelines {
            let generations = built.iter().map(|built| Arc::clone(&built.generation));
            let stages = self.current.stages();
            let places = generations.filter_map(|generation| Some((stages.position(generation.stage())?, generation)));
            Commit::Stages(places.collect())
        } else {
            Commit::Topology(self.prepare(&next, &built).await?)
        };
        // From here on nothing can fail.
        let mut committed = self.commit(commit, built, &plan.removed);
        committed.changes = plan.diff.others.iter().map(ToString::to_string).collect();
        self.file_is_now(next, &committed);
        Ok(committed)
    }

    /// Has everything around the stages built that the file asks for.
    async fn prepare(&self, next: &Config, built: &[Built]) -> Result<Box<dyn Prepared>, SwapError> {
        let stays = next.stages.iter().map(|stage| stage.name.clone()).collect::<BTreeSet<_>>();
        let generations = built.iter().map(|built| Arc::clone(&built.generation)).collect();
        let stages = self.current.stages().next(|stage| stays.contains(stage), generations);
        let (topology, next) = (Arc::clone(&self.topology), next.clone());
        let prepared = blocking(move || topology.prepare(&next, &stages)).await?;
        prepared.map_err(|Unprepared { step, source }| SwapError::Unprepared { step, source })
    }

    /// What the file says is known from now on.
    fn file_is_now(&self, next: Config, committed: &Committed) {
        let mut state = self.state();
        if next.log_level != state.file.log_level {
            log::set_level(next.log_level);
        }
        let stages = next.stages.iter().map(|stage| {
            let known = state.known(&stage.name).cloned();
            let mut known = known.unwrap_or_else(|| Known::new(stage.clone(), String::new()));
            known.filed = stage.clone();
            if let Some((_, digest)) = committed.digests.iter().find(|(name, _)| *name == stage.name) {
                known.filed_digest = digest.clone();
            }
            known
        });
        state.stages = stages.collect();
        for known in state.stages.iter().filter(|known| known.has_drifted()) {
            tracing::info!(
                stage = known.serving.name,
                "the file says nothing new of it: it keeps what it was swapped to"
            );
        }
        state.file = next;
    }
}

impl Applied {
    /// True if the file said what ran already.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What became of it, once the last batches of replaced stages are through, or after a bounded wait.
    pub async fn drained(self) -> Reloaded {
        let Applied(mut committed) = self;
        let changes = std::mem::take(&mut committed.changes);
        Reloaded { swapped: committed.drained().await, changes }
    }
}
