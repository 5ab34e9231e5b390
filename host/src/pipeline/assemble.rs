//! From a valid configuration to pipelines.

use std::sync::Arc;

use crate::config::model::{self, Config};
use crate::export::Exporter;
use crate::observe::metrics::Metrics;
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

/// Builds the pipelines of `config`: inlets, steps, exporters. The stages serve their first generations already.
///
/// # Errors
/// If a worker thread cannot be started.
pub fn assemble(
    config: &Config,
    stages: &Arc<Stages>,
    exporters: &[Arc<Exporter>],
    workers: usize,
    metrics: &Arc<Metrics>,
) -> std::io::Result<Assembly> {
    let workers = Workers::start(workers, stages, metrics)?;
    let pipelines: Vec<_> = config
        .pipelines
        .iter()
        .map(|pipeline| {
            Arc::new(Pipeline {
                name: pipeline.name.clone(),
                signal: pipeline.signal,
                steps: steps(&pipeline.steps, stages),
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
fn steps(configured: &[model::Step], stages: &Stages) -> Vec<Step> {
    let mut steps = Vec::new();
    for step in configured {
        match step {
            model::Step::Merge(keys) => steps.push(Step::Merge(Merger::new(Arc::clone(keys)))),
            model::Step::Guest(name) => {
                let Some(index) = stages.position(name) else { continue };
                match steps.last_mut() {
                    Some(Step::Guests(neighbours)) => neighbours.push(index),
                    _ => steps.push(Step::Guests(vec![index])),
                }
            }
        }
    }
    steps
}
