//! What is told of stages and of changes to them.

use std::fmt;

use crate::pipeline::stage::Generation;
use crate::wasm;

/// What serves at a stage.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Serving {
    /// The stage.
    pub stage: String,
    /// What serves.
    #[serde(rename = "serving")]
    pub version: Version,
    /// True where the file says something else: a restart returns to that.
    pub drifted: bool,
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
    /// True where the file says something else: a restart returns to that.
    pub drifted: bool,
    /// False where the old generation still had a batch when the wait was over.
    pub drained: bool,
}

/// What became of a file.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Reloaded {
    /// Stages that serve something else now, and did before.
    pub swapped: Vec<Swapped>,
    /// Everything else that it changed: `added pipeline "traces/b"`.
    pub changes: Vec<String>,
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
        /// `limits`, `on_fault` or `keys`; of a tail sampler also what holds its traces, such as `num_traces`.
        key: &'static str,
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
        source: wasm::BuildError,
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
            SwapError::UnknownStage { .. } | SwapError::OtherChanges { .. } | SwapError::FileOnly { .. } => "plan",
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
