//! What is told of stages and of changes to them.

use std::fmt;

use super::Drift;
use crate::config::rewrite::RewriteError;
use crate::observe::readiness::StageHealth;
use crate::pipeline::stage::Generation;
use crate::wasm;

/// What serves at a stage.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Serving {
    /// The stage.
    pub stage: String,
    /// What serves.
    #[serde(rename = "serving")]
    pub version: Version,
    /// True where the file says something else: a restart returns to that.
    pub drifted: bool,
    /// How it fares.
    pub health: StageHealth,
    /// Where, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
}

/// A stage that now serves something else.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Swapped {
    /// The stage.
    pub stage: String,
    /// What served before.
    pub old: Version,
    /// What serves now.
    pub new: Version,
    /// True where the file says something else: a restart returns to that.
    pub drifted: bool,
    /// Where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// After a rollback: the generation that serves again, under the new number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// False where the old generation still had a batch when the wait was over.
    pub drained: bool,
}

/// What became of a file.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Reloaded {
    /// Stages that serve something else now, and did before.
    pub swapped: Vec<Swapped>,
    /// Everything else that it changed: `added pipeline "traces/b"`.
    pub changes: Vec<String>,
}

/// A generation, for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
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
    /// The file changes what no running engine can.
    #[error("the file also changes {what}; that takes a restart, so nothing was changed")]
    OtherChanges {
        /// Names, lines and reasons.
        what: String,
    },
    /// A swap replaces a component's configuration; what the engine reads of a stage comes from the file alone.
    #[error("\"{key}\" of stage \"{stage}\" is changed in the file only: write it there, and reload")]
    FileOnly {
        /// The stage.
        stage: String,
        /// `limits`, `on_fault`, `keys` or `tables`; of a tail sampler also what holds its traces, such as `num_traces`.
        key: &'static str,
    },
    /// Stages serve what the file does not say, and the file now says something else of them than before.
    #[error(
        "the file changes {stages}, swapped since it was loaded: write what serves into the file, or have the file's word count by \
         `sluicebox reload --force`"
    )]
    Drifted {
        /// Their names.
        stages: String,
    },
    /// The engine wrote the file after it was read.
    #[error("the file was written meanwhile: it has to be read again")]
    Stale,
    /// Whoever may has cancelled it.
    #[error("the change was cancelled; what served before serves")]
    Cancelled,
    /// A rollback to what is not known.
    #[error("no {wanted} of stage \"{stage}\" can be returned to: {known}")]
    NoGeneration {
        /// The stage.
        stage: String,
        /// What was asked for.
        wanted: String,
        /// Numbers that are known.
        known: String,
    },
    /// A rollback to what would have to be built again from a component that is no more.
    #[error(
        "generation {number} of stage \"{stage}\" is not kept any more, and {path} now holds another component: swap in the one that \
         you want"
    )]
    Gone {
        /// The stage.
        stage: String,
        /// The generation.
        number: u64,
        /// The file of its component.
        path: String,
    },
    /// The candidate is good, but the file cannot be made to say it.
    #[error("stage \"{stage}\" was not swapped, since the file cannot be made to say it")]
    NotWritten {
        /// The stage.
        stage: String,
        /// Why.
        source: Box<RewriteError>,
    },
    /// A defect of ours.
    #[error("the change was abandoned: {0}")]
    Abandoned(String),
    /// A receiver, an exporter or a pipeline cannot be had as the file says it. What ran before still runs, all of it.
    #[error("a part of the file cannot be had, at step {step}; everything runs on as before")]
    Unprepared {
        /// `bind`, `export` or `assemble`.
        step: &'static str,
        /// Which part, and why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stage that is new in the file failed before it served.
    #[error("new stage \"{stage}\" failed at step {step}; everything runs on as before")]
    New {
        /// The stage.
        stage: String,
        /// `verify`, `compile`, `link`, `configure` or `probe`.
        step: &'static str,
        /// Why.
        source: Box<wasm::BuildError>,
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
        source: Box<wasm::BuildError>,
    },
}

impl SwapError {
    /// The step that failed, for labels and exit messages.
    pub fn step(&self) -> &'static str {
        match self {
            SwapError::UnknownStage { .. }
            | SwapError::OtherChanges { .. }
            | SwapError::FileOnly { .. }
            | SwapError::Drifted { .. }
            | SwapError::Stale
            | SwapError::NoGeneration { .. }
            | SwapError::Gone { .. } => "plan",
            SwapError::NotWritten { .. } => "write",
            SwapError::Cancelled => "cancelled",
            SwapError::Abandoned(_) => "abandoned",
            SwapError::Build { step, .. } | SwapError::New { step, .. } | SwapError::Unprepared { step, .. } => step,
        }
    }

    /// The stage that could not be built.
    pub fn unbuilt(&self) -> Option<&str> {
        match self {
            SwapError::Build { stage, .. } | SwapError::New { stage, .. } => Some(stage),
            _ => None,
        }
    }
}

impl Swapped {
    /// Before anything is known of its drift, or of the old one's last batch.
    pub(super) fn of(stage: &str, old: Version, new: Version) -> Self {
        Self { stage: stage.to_owned(), old, new, drifted: false, drift: None, rollback_to: None, drained: true }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.digest.get(..12).unwrap_or(&self.digest);
        write!(f, "generation {} sha256:{short}", self.generation)
    }
}

impl Version {
    pub(super) fn of(generation: &dyn Generation) -> Self {
        Self { generation: generation.number(), digest: generation.digest().to_owned() }
    }
}
