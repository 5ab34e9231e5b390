//! What runs around the stages, as far as a change has to know of it. The engine implements it.

use std::error::Error;
use std::sync::Arc;

use crate::config::model::Config;
use crate::pipeline::stages::Stages;

/// Receivers, pipelines and exporters of a running engine.
pub trait Topology: Send + Sync {
    /// Builds what the next file asks for around these stages: everything that may fail. Nothing of it serves yet and nothing has
    /// changed; dropped, it leaves no mark. May block; called on a tokio runtime.
    ///
    /// # Errors
    /// See [`Unprepared`].
    fn prepare(self: Arc<Self>, next: &Config, stages: &Arc<Stages>) -> Result<Box<dyn Prepared>, Unprepared>;
}

/// What the next file asks for, ready to serve.
pub trait Prepared: Send {
    /// Puts it in force, with its stages ([`publish`](crate::pipeline::stages::Current::publish)). What it takes the place of is drained
    /// in the background.
    fn commit(self: Box<Self>);
}

/// A part that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Unprepared {
    /// `bind`, `export` or `assemble`.
    pub step: &'static str,
    /// Which, and why.
    pub source: Box<dyn Error + Send + Sync>,
}
