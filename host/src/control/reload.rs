//! A changed file, from its plan to its being in force.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::model::Config;
use crate::control::known::{Known, Says};
use crate::control::operations::Operation;
use crate::control::plan::Plan;
use crate::control::topology::{Prepared, Unprepared};
use crate::control::who::Who;
use crate::control::{
    Candidate, Commit, Committed, Control, Reloaded, SwapError, blocking, named, step, to_its_end, unless_cancelled,
};
use crate::observe::log;

/// A file that is in force since a moment ago.
pub struct Applied(Committed);

impl Control {
    /// Brings everything of which the file says something new, in its text or in a component that it names, to what it says. All of it
    /// commits as one, or none does. A stage of which it says nothing new keeps what a swap gave it.
    ///
    /// With `force` stages that drifted return to what the file says, too; without it, a file that says something new of such a
    /// stage is refused: whoever wrote it may not know what serves.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn reload(self: &Arc<Self>, next: Config, force: bool, who: Who) -> Result<Reloaded, SwapError> {
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
    ) -> Result<Reloaded, SwapError> {
        Ok(self.apply_of(writes, next, force, who).await?.drained().await)
    }

    /// The same, without a wait for the last batches of what was replaced.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn apply_of(
        self: &Arc<Self>,
        writes: u64,
        next: Config,
        force: bool,
        who: Who,
    ) -> Result<Applied, SwapError> {
        self.apply_as(None, writes, next, force, who).await
    }

    /// The same as an operation, which is told of its steps, and may be cancelled until it commits.
    pub(super) async fn apply_as(
        self: &Arc<Self>,
        operation: Option<Arc<Operation>>,
        writes: u64,
        next: Config,
        force: bool,
        who: Who,
    ) -> Result<Applied, SwapError> {
        let control = Arc::clone(self);
        to_its_end(async move {
            let operation = operation.as_deref();
            let _change = unless_cancelled(operation, control.change.lock()).await?;
            if control.writes() != writes {
                return Err(SwapError::Stale);
            }
            let committed = control.reload_alone(operation, next, force, &who).await;
            let committed = control.noted(committed, None, &who)?;
            if !committed.is_empty() {
                tracing::info!(%who, "the changed file is in force");
            }
            Ok(Applied(committed))
        })
        .await
    }

    async fn reload_alone(
        &self,
        operation: Option<&Operation>,
        next: Config,
        force: bool,
        who: &Who,
    ) -> Result<Committed, SwapError> {
        let says = self.says(&next).await?;
        let plan = Plan::of(&self.state(), &next, &says, force)?;
        step(operation, "build");
        let built = unless_cancelled(operation, self.build_all(&plan.wanted)).await??;
        step(operation, "commit");
        let commit =
            if plan.keeps_pipelines { Commit::Stages } else { Commit::Topology(self.prepare(&next, &built).await?) };
        // From here on nothing can fail.
        if next.log_level != self.state().file.log_level {
            log::set_level(next.log_level);
        }
        let mut committed = self.commit(commit, built, &plan.removed, who);
        committed.changes = plan.diff.others;
        self.file_is_now(next, &says, &committed);
        Ok(committed)
    }

    /// What the file says of each stage that runs and that it still has. Reads components.
    async fn says(&self, next: &Config) -> Result<Vec<(String, Says)>, SwapError> {
        let (known, served) = (self.state().stages.clone(), self.current.snapshot());
        let stages = next.stages.clone();
        blocking(move || {
            let says = |known: &Known| {
                let name = &known.serving.name;
                let (stage, serving) = (named(&stages, name)?, served.named(name)?);
                Some((name.clone(), known.says(&stage, serving.digest())))
            };
            known.iter().filter_map(says).collect()
        })
        .await
    }

    /// Has everything around the stages built that the file asks for.
    async fn prepare(&self, next: &Config, built: &[Candidate]) -> Result<Box<dyn Prepared>, SwapError> {
        let stays = next.stages.iter().map(|stage| stage.name.clone()).collect::<BTreeSet<_>>();
        let generations = built.iter().map(|built| Arc::clone(&built.generation)).collect();
        let stages = self.current.stages().next(|stage| stays.contains(stage), generations, &self.metrics);
        let (topology, next) = (Arc::clone(&self.topology), next.clone());
        let prepared = blocking(move || topology.prepare(&next, &stages)).await?;
        prepared.map_err(|Unprepared { step, source }| SwapError::Unprepared { step, source })
    }

    /// What the file says is known from now on.
    fn file_is_now(&self, next: Config, says: &[(String, Says)], committed: &Committed) {
        let served = self.current.snapshot();
        let mut state = self.state();
        let stages = next.stages.iter().map(|stage| {
            let known = state.known(&stage.name).cloned();
            let mut known = known.unwrap_or_else(|| Known::new(stage.clone(), String::new()));
            if says.iter().any(|(name, says)| *name == stage.name && *says == Says::WhatServes) {
                known.serving = stage.clone();
                known.filed_digest =
                    served.named(&stage.name).map(|served| served.digest().to_owned()).unwrap_or_default();
            }
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
        self.count_drifted(&state);
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
        let changes = changes.iter().map(ToString::to_string).collect();
        Reloaded { swapped: committed.drained().await, changes }
    }
}
