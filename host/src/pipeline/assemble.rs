//! From a valid configuration to pipelines.

use std::sync::Arc;

use crate::config::model::{self, Config};
use crate::export::Exporter;
use crate::memory::Budget;
use crate::observe::dead_letter::DeadLetters;
use crate::observe::metrics::Metrics;
use crate::pipeline::bisect::BISECTING_MAX;
use crate::pipeline::hand_over::FAILING_VOTES_UNTIL;
use crate::pipeline::inlet::Inlet;
use crate::pipeline::merge::Merger;
use crate::pipeline::sampling::Sampler;
use crate::pipeline::stages::Stages;
use crate::pipeline::worker::Workers;
use crate::pipeline::{Pipeline, Step};

/// Everything between the receivers and the exporters.
#[derive(Debug)]
pub struct Assembly {
    /// In file order.
    pub pipelines: Vec<Arc<Pipeline>>,
    /// One for each receiver of the config, in its order.
    pub inlets: Vec<Arc<Inlet>>,
    /// What runs guest code for all pipelines.
    pub workers: Workers,
}

/// Why pipelines cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A thread.
    #[error("a worker thread cannot be started")]
    Worker(#[source] std::io::Error),
    /// A pipeline without one of its stages would let everything round it.
    #[error("pipeline \"{pipeline}\" has a stage \"{stage}\" that was not built")]
    NoStage {
        /// The pipeline's name.
        pipeline: String,
        /// The stage's name.
        stage: String,
    },
}

/// What all pipelines share.
#[derive(Debug)]
pub struct Shared<'a> {
    /// They serve their first generations already.
    pub stages: &'a Arc<Stages>,
    /// Of the config, in its order.
    pub exporters: &'a [Arc<Exporter>],
    /// Threads that run processors; tail samplers have as many shards unless the file says how many.
    pub workers: usize,
    /// For each tail sampler whose file does not say how much it may hold.
    pub tail_bytes_max: u64,
    /// The process's.
    pub budget: &'a Arc<Budget>,
    /// The process's.
    pub metrics: &'a Arc<Metrics>,
    /// Where pipelines tell what stages could not judge.
    pub dead_letters: &'a Option<Arc<DeadLetters>>,
}

/// Builds the pipelines of `config`: inlets, steps, exporters.
///
/// # Errors
/// See [`AssembleError`]; nothing is left running then.
pub fn assemble(config: &Config, shared: &Shared<'_>) -> Result<Assembly, AssembleError> {
    let &Shared { stages, exporters, metrics, .. } = shared;
    let steps = config.pipelines.iter().map(|pipeline| steps(pipeline, shared)).collect::<Result<Vec<_>, _>>()?;
    let workers = Workers::start(shared.workers, stages, metrics).map_err(AssembleError::Worker)?;
    let pipelines: Vec<_> = config
        .pipelines
        .iter()
        .zip(steps)
        .map(|(pipeline, steps)| {
            Arc::new(Pipeline {
                name: pipeline.name.clone(),
                signal: pipeline.signal,
                steps,
                exporters: exporters
                    .iter()
                    .filter(|e| pipeline.exporters.iter().any(|n| n == e.name()))
                    .cloned()
                    .collect(),
                workers: workers.way(),
                runtime: tokio::runtime::Handle::current(),
                metrics: metrics.pipeline(&pipeline.name, pipeline.signal),
                all_metrics: Arc::clone(metrics),
                failing_votes_until: FAILING_VOTES_UNTIL,
                bisecting_max: BISECTING_MAX,
                dead_letters: shared.dead_letters.clone(),
                open_parts: 0.into(),
            })
        })
        .collect();
    for pipeline in &pipelines {
        pipeline.warn_of_payload(&stages.snapshot());
        for (step, sampler) in pipeline.samplers() {
            sampler.start(pipeline, step, stages).map_err(AssembleError::Worker)?;
        }
    }
    let inlets = config
        .receivers
        .iter()
        .map(|receiver| {
            let listens = |pipeline: &&model::Pipeline| pipeline.receivers.contains(&receiver.name);
            let names: Vec<_> = config.pipelines.iter().filter(listens).map(|pipeline| &pipeline.name).collect();
            let listeners: Vec<_> = pipelines.iter().filter(|p| names.contains(&&p.name)).cloned().collect();
            Arc::new(Inlet::new(&receiver.name, &listeners, metrics))
        })
        .collect();
    Ok(Assembly { pipelines, inlets, workers })
}

/// Neighbouring stages become one step: one index, one splice.
fn steps(pipeline: &model::Pipeline, shared: &Shared<'_>) -> Result<Vec<Step>, AssembleError> {
    let index_of = |name: &String| {
        let missing = || AssembleError::NoStage { pipeline: pipeline.name.clone(), stage: name.clone() };
        shared.stages.position(name).ok_or_else(missing)
    };
    let mut steps = Vec::new();
    for step in &pipeline.steps {
        match step {
            model::Step::Merge(keys) => steps.push(Step::Merge(Merger::new(Arc::clone(keys)))),
            model::Step::Sample(keys) => {
                let units = keys.units.iter().map(index_of).collect::<Result<_, _>>()?;
                let bytes_max = keys.memory_bytes_max.unwrap_or(shared.tail_bytes_max);
                let (keys, shards) = (Arc::clone(keys), shared.workers);
                steps.push(Step::Sample(Sampler::new(keys, units, bytes_max, shards, shared.budget)));
            }
            model::Step::Guest(name) => {
                let index = index_of(name)?;
                match steps.last_mut() {
                    Some(Step::Guests(neighbours)) => neighbours.push(index),
                    _ => steps.push(Step::Guests(vec![index])),
                }
            }
        }
    }
    Ok(steps)
}
