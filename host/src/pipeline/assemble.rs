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
use crate::pipeline::judge::ALONE_MAX;
use crate::pipeline::merge::Merger;
use crate::pipeline::sampling::{Sampler, Terms};
use crate::pipeline::stages::{Current, Stages};
use crate::pipeline::worker::Way;
use crate::pipeline::{Pipeline, Step};

/// Everything between the receivers and the exporters of one file. Nothing comes in yet.
#[derive(Debug)]
pub struct Assembly {
    /// In file order.
    pub pipelines: Vec<Arc<Pipeline>>,
    /// One for each receiver of the config, in its order.
    pub inlets: Vec<Arc<Inlet>>,
    /// Samplers that still stand in the pipelines before.
    moving: Vec<Moving>,
}

/// A sampler, and where it is to stand.
#[derive(Debug)]
struct Moving {
    sampler: Arc<Sampler>,
    pipeline: Arc<Pipeline>,
    step: usize,
}

/// Why pipelines cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// A thread.
    #[error("a thread of a tail sampler cannot be started")]
    Thread(#[source] std::io::Error),
    /// A pipeline without one of its stages would let everything round it.
    #[error("pipeline \"{pipeline}\" has a stage \"{stage}\" that was not built")]
    NoStage {
        /// The pipeline's name.
        pipeline: String,
        /// The stage's name.
        stage: String,
    },
}

/// What the pipelines of a file are made of.
#[derive(Debug)]
pub struct Shared<'a> {
    /// Of the config.
    pub stages: &'a Arc<Stages>,
    /// Of the config, in its order.
    pub exporters: &'a [Arc<Exporter>],
    /// The pipelines before, whose samplers go on where they can.
    pub before: &'a [Arc<Pipeline>],
    /// The way to the threads that run guest code.
    pub workers: &'a Way,
    /// How many these are; tail samplers have as many shards unless the file says how many.
    pub workers_count: usize,
    /// For each tail sampler whose file does not say how much it may hold.
    pub tail_bytes_max: u64,
    /// The process's.
    pub budget: &'a Arc<Budget>,
    /// The process's.
    pub metrics: &'a Arc<Metrics>,
    /// Where pipelines tell what stages could not judge.
    pub dead_letters: &'a Option<Arc<DeadLetters>>,
    /// The process's: threads hear there of changes.
    pub current: &'a Current,
}

/// Builds the pipelines of `config`: inlets, steps, exporters.
///
/// # Errors
/// See [`AssembleError`]; nothing is left running then, and nothing has changed.
pub fn assemble(config: &Config, shared: &Shared<'_>) -> Result<Assembly, AssembleError> {
    let mut pipelines = Vec::with_capacity(config.pipelines.len());
    for pipeline in &config.pipelines {
        let steps = steps(pipeline, shared)?;
        pipelines.push(Arc::new(built(pipeline, steps, shared)));
    }
    let mut moving = Vec::new();
    for pipeline in &pipelines {
        pipeline.warn_of_payload(&shared.stages.snapshot());
        for (step, sampler) in pipeline.samplers() {
            if is_started(sampler, shared.before) {
                moving.push(Moving { sampler: Arc::clone(sampler), pipeline: Arc::clone(pipeline), step });
            } else {
                sampler.start(pipeline, step, shared.current).map_err(AssembleError::Thread)?;
            }
        }
    }
    let inlets = config
        .receivers
        .iter()
        .map(|receiver| {
            let listens = |pipeline: &&model::Pipeline| pipeline.receivers.contains(&receiver.name);
            let names: Vec<_> = config.pipelines.iter().filter(listens).map(|pipeline| &pipeline.name).collect();
            let listeners: Vec<_> = pipelines.iter().filter(|p| names.contains(&&p.name)).cloned().collect();
            Arc::new(Inlet::new(&receiver.name, &listeners, shared.metrics))
        })
        .collect();
    Ok(Assembly { pipelines, inlets, moving })
}

impl Assembly {
    /// Has the samplers that go on stand in these pipelines: before anything is let in, and before the stages are in force.
    pub fn move_samplers(&mut self) {
        for Moving { sampler, pipeline, step } in std::mem::take(&mut self.moving) {
            sampler.stand_at(&pipeline, step);
        }
    }
}

fn built(pipeline: &model::Pipeline, steps: Vec<Step>, shared: &Shared<'_>) -> Pipeline {
    let is_its = |exporter: &&Arc<Exporter>| pipeline.exporters.iter().any(|name| name == exporter.name());
    Pipeline {
        name: pipeline.name.clone(),
        signal: pipeline.signal,
        stages: Arc::clone(shared.stages),
        steps,
        exporters: shared.exporters.iter().filter(is_its).cloned().collect(),
        workers: shared.workers.clone(),
        runtime: tokio::runtime::Handle::current(),
        metrics: shared.metrics.pipeline(&pipeline.name, pipeline.signal),
        all_metrics: Arc::clone(shared.metrics),
        failing_votes_until: FAILING_VOTES_UNTIL,
        bisecting_max: BISECTING_MAX,
        alone_max: ALONE_MAX,
        dead_letters: shared.dead_letters.clone(),
        open_parts: 0.into(),
    }
}

/// Neighbouring stages become one step: one index, one splice.
fn steps(pipeline: &model::Pipeline, shared: &Shared<'_>) -> Result<Vec<Step>, AssembleError> {
    let index_of = |name: &String| {
        let missing = || AssembleError::NoStage { pipeline: pipeline.name.clone(), stage: name.clone() };
        shared.stages.position(name).ok_or_else(missing)
    };
    let mut steps = Vec::new();
    for (number, step) in pipeline.steps.iter().enumerate() {
        match step {
            model::Step::Merge(keys) => steps.push(Step::Merge(Merger::new(Arc::clone(keys)))),
            model::Step::Sample(keys) => {
                let units = keys.units.iter().map(index_of).collect::<Result<_, _>>()?;
                let bytes_max = keys.memory_bytes_max.unwrap_or(shared.tail_bytes_max);
                let shards = keys.shards.unwrap_or(shared.workers_count).max(1);
                let after = pipeline.steps.get(number + 1..).unwrap_or_default();
                let sampler = going_on(&pipeline.name, &keys.name, after, shared)
                    .filter(|sampler| sampler.shards() == shards)
                    .unwrap_or_else(|| Sampler::new(&keys.name, shards, shared.budget));
                steps.push(Step::Sample(sampler, Terms { keys: Arc::clone(keys), units, bytes_max }));
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

/// The sampler of this name in the pipeline of that name before, unless a stage behind it is not behind it any more: what waits came in
/// by the old file, whose stages before the sampler may have left to that stage what the new file's do now. So it has to leave by the old
/// file, too, and the sampler goes.
fn going_on(pipeline: &str, sampler: &str, after: &[model::Step], shared: &Shared<'_>) -> Option<Arc<Sampler>> {
    let before = shared.before.iter().find(|before| before.name == pipeline)?;
    let (step, found) = before.samplers().find(|(_, found)| found.name() == sampler)?;
    let is_after = |stage: &str| after.iter().any(|step| matches!(step, model::Step::Guest(name) if name == stage));
    before.stage_names(step + 1).iter().all(|stage| is_after(stage)).then(|| Arc::clone(found))
}

fn is_started(sampler: &Arc<Sampler>, before: &[Arc<Pipeline>]) -> bool {
    before.iter().flat_map(|pipeline| pipeline.samplers()).any(|(_, known)| Arc::ptr_eq(known, sampler))
}

impl Pipeline {
    /// Names of its processors from this step on.
    fn stage_names(&self, from: usize) -> Vec<String> {
        let snapshot = self.stages.snapshot();
        let indices = self.steps.iter().skip(from).filter_map(|step| match step {
            Step::Guests(indices) => Some(indices),
            Step::Merge(_) | Step::Sample(..) => None,
        });
        indices.flatten().filter_map(|&index| Some(snapshot.get(index)?.stage().to_owned())).collect()
    }
}
