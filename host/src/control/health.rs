//! How the pipelines of the file fare: what health checks and `/v1/status` tell of them.

use std::time::UNIX_EPOCH;

use crate::config::model::{Config, Pipeline, Step};
use crate::control::Control;
use crate::observe::health::StageState;
use crate::observe::readiness::{PipelineHealth, Pipelines, StageHealth};
use crate::pipeline::condition::Told;

/// The pipelines of a file of which nothing is built yet.
#[derive(Debug)]
pub struct Planned(Vec<PipelineHealth>);

impl Planned {
    /// Those of this file.
    pub fn of(config: &Config) -> Planned {
        Planned(pipelines(config, |stage| StageHealth {
            stage: stage.to_owned(),
            state: StageState::Starting,
            since_unix: 0,
            reason: None,
            restarts: 0,
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
        pipelines(&self.state().file, |stage| self.health_of(stage))
    }
}

impl Control {
    /// How a stage fares.
    pub(super) fn health_of(&self, stage: &str) -> StageHealth {
        let stages = self.current.stages();
        let told = stages.position(stage).and_then(|index| stages.condition(index)).map(|condition| condition.told());
        let Some(Told { state, since, fault, restarts }) = told else {
            let (stage, state) = (stage.to_owned(), StageState::Starting);
            return StageHealth { stage, state, since_unix: 0, reason: None, restarts: 0 };
        };
        StageHealth {
            stage: stage.to_owned(),
            state,
            since_unix: since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            reason: fault.map(|fault| fault.to_string().replace(char::is_control, " ")),
            restarts,
        }
    }

    /// The engine stops: every stage is told.
    pub fn stopped(&self) {
        self.current.stages().conditions().for_each(|condition| condition.stopped());
    }
}

fn pipelines(config: &Config, tell: impl Fn(&str) -> StageHealth) -> Vec<PipelineHealth> {
    let stages = |pipeline: &Pipeline| {
        let names = |step: &Step| match step {
            Step::Guest(name) => vec![name.clone()],
            Step::Sample(sampler) => sampler.units.clone(),
            Step::Merge(_) => Vec::new(),
        };
        pipeline.steps.iter().flat_map(names).map(|name| tell(&name)).collect()
    };
    let health = |pipeline: &Pipeline| PipelineHealth { pipeline: pipeline.name.clone(), stages: stages(pipeline) };
    config.pipelines.iter().map(health).collect()
}
