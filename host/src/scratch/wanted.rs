//! What requests are tried on: a pipeline of a configuration, or a single stage of one.

use std::sync::Arc;

use crate::config::model::{Config, Pipeline, Stage, Step, TailSampling};
use crate::signal::Signal;

/// Stages and steps that requests of one signal go through.
#[derive(Debug)]
pub struct Wanted {
    /// The pipeline's name, or the stage's.
    pub name: String,
    /// Theirs.
    pub signal: Signal,
    /// Every stage that a step names, once.
    pub stages: Vec<Stage>,
    /// In order.
    pub steps: Vec<WantedStep>,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub enum WantedStep {
    /// Neighbouring stages, by name.
    Judge(Vec<String>),
    /// A tail sampler, with the stages of its policies.
    Decide(Arc<TailSampling>),
    /// What only waits, by name: `batch`.
    PassThrough(String),
}

/// A configuration does not have what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwanted {
    /// No pipeline of this name.
    #[error("there is no pipeline \"{name}\"; there are: {known}")]
    NoPipeline {
        /// What was wanted.
        name: String,
        /// What there is.
        known: String,
    },
    /// No pipeline of the input's signal.
    #[error("no pipeline takes {signal}; there are: {known}")]
    NoneOfSignal {
        /// The input's.
        signal: Signal,
        /// What there is.
        known: String,
    },
    /// Several of them.
    #[error("several pipelines take {signal}: {known}; say which one")]
    Several {
        /// The input's.
        signal: Signal,
        /// Those.
        known: String,
    },
    /// A pipeline or a stage of other signals.
    #[error("\"{name}\" is for {takes}, and the input is {signal}")]
    WrongSignal {
        /// The pipeline's or the stage's.
        name: String,
        /// The signals that come to it.
        takes: String,
        /// The input's.
        signal: Signal,
    },
    /// No stage of this name.
    #[error("there is no stage \"{name}\"; there are: {known}")]
    NoStage {
        /// What was wanted.
        name: String,
        /// What there is.
        known: String,
    },
}

impl Wanted {
    /// All steps of a pipeline; without a name, of the one that takes this signal.
    ///
    /// # Errors
    /// See [`Unwanted`].
    pub fn pipeline(config: &Config, name: Option<&str>, signal: Signal) -> Result<Wanted, Unwanted> {
        let names = |of: &dyn Fn(&&Pipeline) -> bool| {
            config.pipelines.iter().filter(of).map(|pipeline| pipeline.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let known = || names(&|_| true);
        let pipeline = match name {
            Some(name) => {
                let found = config.pipelines.iter().find(|pipeline| pipeline.name == name);
                found.ok_or_else(|| Unwanted::NoPipeline { name: name.to_owned(), known: known() })?
            }
            None => {
                let mut fitting = config.pipelines.iter().filter(|pipeline| pipeline.signal == signal);
                let first = fitting.next().ok_or_else(|| Unwanted::NoneOfSignal { signal, known: known() })?;
                if fitting.next().is_some() {
                    return Err(Unwanted::Several { signal, known: names(&|pipeline| pipeline.signal == signal) });
                }
                first
            }
        };
        if pipeline.signal != signal {
            let (name, takes) = (pipeline.name.clone(), pipeline.signal.to_string());
            return Err(Unwanted::WrongSignal { name, takes, signal });
        }
        Ok(Wanted::of_steps(config, &pipeline.name, signal, &pipeline.steps))
    }

    /// One stage alone: a processor, a tail sampler by its name, or one of a sampler's policies as if it were its only one.
    ///
    /// # Errors
    /// See [`Unwanted`].
    pub fn stage(config: &Config, name: &str, signal: Signal) -> Result<Wanted, Unwanted> {
        let steps = || config.pipelines.iter().flat_map(|pipeline| pipeline.steps.iter().map(move |s| (pipeline, s)));
        let standing = || steps().filter_map(|(pipeline, step)| Some((pipeline.signal, alone(step, name)?)));
        if let Some((_, step)) = standing().find(|(of, _)| *of == signal) {
            return Ok(Wanted::of_steps(config, name, signal, &[step]));
        }
        let mut takes: Vec<String> = standing().map(|(of, _)| of.to_string()).collect();
        takes.dedup();
        if !takes.is_empty() {
            return Err(Unwanted::WrongSignal { name: name.to_owned(), takes: takes.join(" and "), signal });
        }
        let sampler = |step: &Step| match step {
            Step::Sample(keys) => Some(keys.name.clone()),
            Step::Guest(_) | Step::Merge(_) => None,
        };
        let mut known: Vec<String> = config.stages.iter().map(|stage| stage.name.clone()).collect();
        known.extend(steps().filter_map(|(_, step)| sampler(step)));
        known.sort_unstable();
        known.dedup();
        Err(Unwanted::NoStage { name: name.to_owned(), known: known.join(", ") })
    }

    fn of_steps(config: &Config, name: &str, signal: Signal, steps: &[Step]) -> Wanted {
        let mut wanted = Wanted { name: name.to_owned(), signal, stages: Vec::new(), steps: Vec::new() };
        for step in steps {
            match step {
                Step::Guest(stage) => {
                    wanted.needs(config, stage);
                    match wanted.steps.last_mut() {
                        Some(WantedStep::Judge(neighbours)) => neighbours.push(stage.clone()),
                        _ => wanted.steps.push(WantedStep::Judge(vec![stage.clone()])),
                    }
                }
                Step::Sample(keys) => {
                    keys.units.iter().for_each(|unit| wanted.needs(config, unit));
                    wanted.steps.push(WantedStep::Decide(Arc::clone(keys)));
                }
                Step::Merge(keys) => wanted.steps.push(WantedStep::PassThrough(keys.name.clone())),
            }
        }
        wanted
    }

    fn needs(&mut self, config: &Config, stage: &str) {
        if self.stages.iter().all(|known| known.name != stage) {
            self.stages.extend(config.stages.iter().find(|known| known.name == stage).cloned());
        }
    }
}

/// What is left of a step if it is about this stage.
fn alone(step: &Step, name: &str) -> Option<Step> {
    match step {
        Step::Guest(stage) if stage == name => Some(step.clone()),
        Step::Sample(keys) if keys.name == name => Some(step.clone()),
        Step::Sample(keys) if keys.units.iter().any(|unit| unit == name) => {
            Some(Step::Sample(Arc::new(TailSampling { units: vec![name.to_owned()], ..TailSampling::clone(keys) })))
        }
        Step::Guest(_) | Step::Sample(_) | Step::Merge(_) => None,
    }
}
