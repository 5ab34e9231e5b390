//! From a valid configuration to pipelines.

use std::sync::Arc;

use crate::config::model::{self, Config};
use crate::export::Exporter;
use crate::observe::metrics::Metrics;
use crate::pipeline::bisect::BISECTING_MAX;
use crate::pipeline::hand_over::FAILING_VOTES_UNTIL;
use crate::pipeline::inlet::Inlet;
use crate::pipeline::merge::Merger;
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
    /// A tail sampler.
    #[error("pipeline \"{pipeline}\" has a tail sampler \"{sampler}\": tail sampling is not assembled yet")]
    NoTailSampling {
        /// The pipeline's name.
        pipeline: String,
        /// The processor's name.
        sampler: String,
    },
}

/// Builds the pipelines of `config`: inlets, steps, exporters. The stages serve their first generations already.
///
/// # Errors
/// See [`AssembleError`]; nothing is left running then.
pub fn assemble(
    config: &Config,
    stages: &Arc<Stages>,
    exporters: &[Arc<Exporter>],
    workers: usize,
    metrics: &Arc<Metrics>,
) -> Result<Assembly, AssembleError> {
    let steps = config.pipelines.iter().map(|pipeline| steps(pipeline, stages)).collect::<Result<Vec<_>, _>>()?;
    let workers = Workers::start(workers, stages, metrics).map_err(AssembleError::Worker)?;
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
                open_parts: 0.into(),
            })
        })
        .collect();
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
fn steps(pipeline: &model::Pipeline, stages: &Stages) -> Result<Vec<Step>, AssembleError> {
    let mut steps = Vec::new();
    for step in &pipeline.steps {
        match step {
            model::Step::Merge(keys) => steps.push(Step::Merge(Merger::new(Arc::clone(keys)))),
            model::Step::Sample(sampler) => {
                let (pipeline, sampler) = (pipeline.name.clone(), sampler.name.clone());
                return Err(AssembleError::NoTailSampling { pipeline, sampler });
            }
            model::Step::Guest(name) => {
                let missing = || AssembleError::NoStage { pipeline: pipeline.name.clone(), stage: name.clone() };
                let index = stages.position(name).ok_or_else(missing)?;
                match steps.last_mut() {
                    Some(Step::Guests(neighbours)) => neighbours.push(index),
                    _ => steps.push(Step::Guests(vec![index])),
                }
            }
        }
    }
    Ok(steps)
}
