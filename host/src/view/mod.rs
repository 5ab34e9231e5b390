//! What is shown of a running engine: status, graph, limits, stages. All of it is put together from what is counted anyway when somebody
//! asks, and waits for nobody: a stage that hangs does not hold up what is told of it.

use std::sync::Arc;
use std::time::Duration;

use crate::control::Control;
use crate::export::QueueLevel;
use crate::memory::Budget;
use crate::memory::tail::TailBounds;
use crate::observe::metrics::Metrics;
use crate::observe::rates::{Counts, Rates};
use crate::observe::readiness::Readiness;

pub mod draw;
mod flow;
pub mod graph;
pub mod limits;
pub mod stages;
pub mod status;

pub use self::graph::Graph;
pub use self::limits::Limit;
pub use self::stages::StageView;
pub use self::status::Status;

/// A running engine, as far as it is shown.
#[derive(Clone)]
pub struct View {
    /// What serves.
    pub control: Arc<Control>,
    /// What came and went.
    pub rates: Arc<Rates>,
    /// The process's.
    pub budget: Arc<Budget>,
    /// The process's.
    pub metrics: Arc<Metrics>,
    /// Whether it does its work.
    pub readiness: Arc<Readiness>,
    /// Around the stages.
    pub levels: Arc<dyn Levels>,
}

/// How full the queues around the stages are. The engine implements it.
pub trait Levels: Send + Sync {
    /// Of each exporter, in file order.
    fn queues(&self) -> Vec<(String, QueueLevel)>;
    /// Of the threads that run guest code.
    fn jobs(&self) -> JobsLevel;
    /// What each tail sampler may hold.
    fn samplers(&self) -> Arc<Vec<TailBounds>>;
    /// Threads that run guest code.
    fn workers(&self) -> usize;
}

/// Requests that wait for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobsLevel {
    /// Now.
    pub waiting: u64,
    /// The most that did.
    pub high: u64,
    /// How many may.
    pub max: u64,
}

impl View {
    /// What flows where.
    pub fn graph(&self, window: Duration) -> Graph {
        let facts = self.control.stage_facts();
        Graph::of(&self.control.file()).with_rates(&self.rates.over(window), |stage| {
            let of_stage = facts.iter().find(|facts| facts.stage.name == stage)?;
            Some((of_stage.health.state.as_str().to_owned(), of_stage.generation.number()))
        })
    }

    /// Every stage, in file order.
    pub fn stages(&self, window: Duration) -> Vec<StageView> {
        let counts = self.rates.over(window);
        let graph = Graph::of(&self.control.file()).with_rates(&counts, |_| None);
        self.control.stage_facts().iter().map(|facts| self.stage(facts, &counts, &graph)).collect()
    }

    fn counts(&self, window: Duration) -> Counts {
        self.rates.over(window)
    }
}
