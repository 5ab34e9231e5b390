//! Replacing one stage.

use std::sync::Arc;

use super::trials::Tried;
use super::{
    Commit, Committed, Control, Known, Operation, Replacement, SwapError, Swapped, Who, blocking, digest, step,
    to_its_end, unless_cancelled,
};
use crate::config;
use crate::config::model::{Component, Stage};

impl Control {
    /// Replaces one stage's component, config or both. What serves already is built again, as a new generation: so instances can be
    /// renewed.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn swap(self: &Arc<Self>, stage: &str, new: Replacement, who: Who) -> Result<Swapped, SwapError> {
        self.swap_as(None, stage, new, who).await
    }

    /// The same as an operation, which is told of its steps, and may be cancelled until it commits.
    ///
    /// # Errors
    /// See [`SwapError`]; nothing has changed then.
    pub async fn swap_as(
        self: &Arc<Self>,
        operation: Option<Arc<Operation>>,
        stage: &str,
        new: Replacement,
        who: Who,
    ) -> Result<Swapped, SwapError> {
        let (control, stage) = (Arc::clone(self), stage.to_owned());
        to_its_end(async move {
            let operation = operation.as_deref();
            let committed = control.swap_alone(operation, &stage, new, &who).await;
            let (tried, committed) = match committed {
                Ok((tried, committed)) => (tried, Ok(committed)),
                Err(error) => (Tried::default(), Err(error)),
            };
            let committed = control.noted(committed, Some(&stage), &who)?;
            step(operation, "drain");
            let swapped = committed.drained().await.remove(0);
            Ok(Swapped { trials: tried.reports, overruled: tried.overruled, ..swapped })
        })
        .await
    }

    /// Builds and tries the candidate, and has it serve. Other changes wait while it is built and while it is committed, but not while it is
    /// tried on what comes in.
    async fn swap_alone(
        &self,
        operation: Option<&Operation>,
        stage: &str,
        new: Replacement,
        who: &Who,
    ) -> Result<(Tried, Committed), SwapError> {
        let Replacement { component, config, write, care } = new;
        let mut change = unless_cancelled(operation, self.change.lock()).await?;
        let next = self.next(stage, component, config).await?;
        step(operation, "build");
        let mut candidates = unless_cancelled(operation, self.build_all(&[next])).await??;
        let Some(candidate) = candidates.first_mut() else { return Err(SwapError::Stale) };
        let mut tried = Tried::default();
        unless_cancelled(operation, self.probe(operation, candidate, &mut tried, care.is_forced)).await??;
        let mut on_canary = None;
        if care.takes_time() {
            drop(change);
            on_canary = self.try_out(operation, candidate, &mut tried, care).await?;
            change = unless_cancelled(operation, self.change.lock()).await?;
            self.still_serves(candidate)?;
        }
        step(operation, "commit");
        candidate.overruled.clone_from(&tried.overruled);
        let written = match write {
            Some(write) => Some(self.write(candidate, write).await?),
            None => None,
        };
        let committed = self.commit(Commit::Stages, candidates, &[], who);
        drop(on_canary);
        if let Some(written) = written {
            self.wrote(stage, written);
        }
        drop(change);
        Ok((tried, self.with_drift(committed, stage)))
    }

    /// What a stage would be made of with this component and this configuration.
    pub(super) async fn next(
        &self,
        stage: &str,
        component: Option<Component>,
        config: Option<String>,
    ) -> Result<Stage, SwapError> {
        let Known { serving: mut next, filed, .. } = self.find(stage)?;
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
        Ok(next)
    }
}
