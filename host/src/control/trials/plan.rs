//! What would become of a swap, and shadows that end with a report: neither changes what serves.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Terms, TrialReport, Tried};
use crate::control::history::{Entry, config_hash};
use crate::control::operations::Operation;
use crate::control::who::Who;
use crate::control::{Candidate, Control, Replacement, SwapError, Version, step, to_its_end, unless_cancelled};

/// What a swap would do.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Planned {
    /// The stage.
    pub stage: String,
    /// What serves, and goes on serving.
    pub serving: Version,
    /// What would serve.
    pub candidate: Version,
    /// Whether the component would be another one.
    pub component_changes: bool,
    /// Whether the configuration would be another one.
    pub config_changes: bool,
    /// Numbers of the probe.
    pub probe: TrialReport,
    /// Steps that would follow.
    pub steps: Vec<String>,
    /// Whether the swap would be refused at the probe.
    pub is_refused: bool,
}

/// What a shadow found.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShadowReport {
    /// The stage.
    pub stage: String,
    /// What was compared.
    pub shadow: TrialReport,
    /// The SHA-256 of the candidate's component, in hex.
    pub digest: String,
}

impl Control {
    /// Builds and probes a candidate, and gives it up again.
    ///
    /// # Errors
    /// See [`SwapError`]: what the swap would be refused for.
    pub async fn plan(
        self: &Arc<Self>,
        operation: Option<Arc<Operation>>,
        stage: &str,
        new: Replacement,
    ) -> Result<Planned, SwapError> {
        let (control, stage) = (Arc::clone(self), stage.to_owned());
        to_its_end(async move {
            let operation = operation.as_deref();
            let care = new.care;
            let before = control.find(&stage)?.serving;
            let candidate = control.candidate(operation, &stage, new).await?;
            let mut tried = Tried::default();
            // All of it is told, whether it would refuse or not.
            control.probe(operation, &candidate, &mut tried, true).await?;
            let Some(old) = &candidate.old else { return Err(super::not_there(&candidate)) };
            let trials = [("shadow", care.shadow), ("canary", care.canary)];
            let trials = trials.iter().filter(|(_, terms)| terms.is_some()).map(|(step, _)| *step);
            Ok(Planned {
                stage,
                serving: Version::of(old.as_ref()),
                candidate: Version::of(candidate.generation.as_ref()),
                component_changes: old.digest() != candidate.generation.digest(),
                config_changes: config_hash(&before.config) != config_hash(&candidate.stage.config),
                is_refused: !care.is_forced && !tried.overruled.is_empty(),
                probe: tried.reports.pop().unwrap_or_default(),
                steps: trials.chain(["commit", "drain"]).map(str::to_owned).collect(),
            })
        })
        .await
    }

    /// Compares a candidate with what serves on copies of what comes in, and gives it up again.
    ///
    /// # Errors
    /// See [`SwapError`]; what it finds is no error.
    pub async fn shadow_only(
        self: &Arc<Self>,
        operation: Option<Arc<Operation>>,
        stage: &str,
        new: Replacement,
        terms: Terms,
        who: Who,
    ) -> Result<ShadowReport, SwapError> {
        let (control, stage) = (Arc::clone(self), stage.to_owned());
        to_its_end(async move {
            let operation = operation.as_deref();
            let candidate = control.candidate(operation, &stage, new).await?;
            drop(control.history.note(&Entry::of_stage(&stage, "shadow began", &who)));
            let mut ended = control.trials.begin(&stage);
            let shadow = control.shadow(operation, &candidate, terms, &mut ended, false).await;
            let result = if shadow.is_ok() { "shadow ended" } else { "shadow cancelled" };
            drop(control.history.note(&Entry::of_stage(&stage, result, &who)));
            Ok(ShadowReport { stage, shadow: shadow?, digest: candidate.generation.digest().to_owned() })
        })
        .await
    }

    /// A candidate that does not serve, as nobody is told of.
    async fn candidate(
        &self,
        operation: Option<&Operation>,
        stage: &str,
        new: Replacement,
    ) -> Result<Candidate, SwapError> {
        let next = self.next(stage, new.component, new.config).await?;
        step(operation, "build");
        let old = self.current.snapshot().named(stage).map(Arc::clone);
        let number = old.as_ref().map_or(0, |old| old.number());
        let built = unless_cancelled(operation, self.build(next.clone(), number + 1)).await?;
        let generation = built.map_err(|source| SwapError::Build {
            stage: stage.to_owned(),
            step: source.step().as_str(),
            serving: number,
            source: Box::new(source),
        })?;
        Ok(Candidate { generation, stage: next, old, rollback_to: None, overruled: Vec::new() })
    }
}
