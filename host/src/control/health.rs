//! How the pipelines of the file fare: what health checks and `/v1/status` tell of them.

use std::time::UNIX_EPOCH;

use crate::config::model::{Config, OnFault, Pipeline, StageRole, Step};
use crate::control::Control;
use crate::observe::health::StageState;
use crate::observe::readiness::{PipelineHealth, Pipelines, StageHealth, Unjudged};
use crate::pipeline::condition::Told;

/// The pipelines of a file of which nothing is built yet.
#[derive(Debug)]
pub struct Planned(Vec<PipelineHealth>);

impl Planned {
    /// Those of this file.
    pub fn of(config: &Config) -> Planned {
        Planned(pipelines(config, |stage, _| StageHealth {
            stage: stage.to_owned(),
            state: StageState::Starting,
            since_unix: 0,
            reason: None,
            restarts: 0,
            on_fault: None,
        }))
    }
}

impl Pipelines for Planned {
    fn pipelines(&self) -> Vec<PipelineHealth> {
        self.0.clone()
    }
}

impl Pipelines for Control {
    fn pipelines(&self) -> Vec<PipelineHealth> {
        pipelines(&self.state().file, |stage, role| self.health_of(stage, role))
    }
}

impl Control {
    /// How a stage fares.
    pub(super) fn health_of(&self, stage: &str, role: StageRole) -> StageHealth {
        let stages = self.current.stages();
        let told = stages.position(stage).and_then(|index| stages.condition(index)).map(|condition| condition.told());
        let on_fault = self.unjudged(stage, role);
        let Some(Told { state, since, fault, restarts, pause }) = told else {
            let (stage, state) = (stage.to_owned(), StageState::Starting);
            return StageHealth { stage, state, since_unix: 0, reason: None, restarts: 0, on_fault };
        };
        let fault = || fault.map(|fault| fault.to_string().replace(char::is_control, " "));
        StageHealth {
            stage: stage.to_owned(),
            state,
            since_unix: since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            reason: pause.map(|pause| pause.to_string()).or_else(fault),
            restarts,
            on_fault,
        }
    }

    /// What becomes of what a stage does not judge.
    pub(super) fn unjudged(&self, stage: &str, role: StageRole) -> Option<Unjudged> {
        let serving = self.current.snapshot();
        let on_fault = serving.named(stage)?.on_fault();
        Some(match (role, on_fault) {
            (StageRole::Policy, _) => Unjudged::Fallback,
            (StageRole::Processor, OnFault::Reject) => Unjudged::Reject,
            (StageRole::Processor, OnFault::Pass) => Unjudged::Pass,
        })
    }

    /// Names of the pipelines that a stage stands in.
    pub fn pipelines_of(&self, stage: &str) -> Vec<String> {
        let state = self.state();
        let has = |pipeline: &&Pipeline| {
            pipeline.steps.iter().any(|step| match step {
                Step::Guest(name) => name == stage,
                Step::Sample(sampler) => sampler.units.iter().any(|unit| unit == stage),
                Step::Merge(_) => false,
            })
        };
        state.file.pipelines.iter().filter(has).map(|pipeline| pipeline.name.clone()).collect()
    }

    /// The engine stops: every stage is told.
    pub fn stopped(&self) {
        self.current.stages().conditions().for_each(|condition| condition.stopped());
    }
}

fn pipelines(config: &Config, tell: impl Fn(&str, StageRole) -> StageHealth) -> Vec<PipelineHealth> {
    let stages = |pipeline: &Pipeline| {
        let told = |step: &Step| match step {
            Step::Guest(name) => vec![tell(name, StageRole::Processor)],
            Step::Sample(sampler) => sampler.units.iter().map(|unit| tell(unit, StageRole::Policy)).collect(),
            Step::Merge(_) => Vec::new(),
        };
        pipeline.steps.iter().flat_map(told).collect()
    };
    let health = |pipeline: &Pipeline| PipelineHealth { pipeline: pipeline.name.clone(), stages: stages(pipeline) };
    config.pipelines.iter().map(health).collect()
}
