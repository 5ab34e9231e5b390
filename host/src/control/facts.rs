//! All that is known of what runs, for whoever shows it.

use std::sync::Arc;

use super::{Control, Drift, Known};
use crate::config::model::{Component, Config, Stage};
use crate::observe::readiness::StageHealth;
use crate::pipeline::condition::Pause;
use crate::pipeline::stage::{Fault, Generation};

/// A stage that runs.
#[derive(Clone, Debug)]
pub struct StageFacts {
    /// What it is made of.
    pub stage: Stage,
    /// What serves.
    pub generation: Arc<dyn Generation>,
    /// How it fares.
    pub health: StageHealth,
    /// Its last fault, however it fares now.
    pub last_fault: Option<Fault>,
    /// Where it is paused.
    pub pause: Option<Pause>,
    /// Where the file says something else.
    pub drift: Option<Drift>,
}

impl StageFacts {
    /// Where its component comes from, for people.
    pub fn component(&self) -> String {
        match &self.stage.component {
            Component::Bundled(name) => format!("bundled {name}"),
            Component::File { path, .. } => path.display().to_string(),
            Component::Uploaded(_) => "uploaded".to_owned(),
        }
    }
}

impl Control {
    /// The file that is in force, as it was last loaded.
    pub fn file(&self) -> Config {
        self.state().file.clone()
    }

    /// Every stage that runs, in file order.
    pub fn stage_facts(&self) -> Vec<StageFacts> {
        let (state, snapshot) = (self.state(), self.current.snapshot());
        let facts = |known: &Known| {
            let name = &known.serving.name;
            let condition = self.condition(name);
            Some(StageFacts {
                generation: Arc::clone(snapshot.named(name)?),
                health: self.health_of(name, known.serving.role),
                last_fault: condition.as_ref().and_then(|condition| condition.last_fault()),
                pause: condition.and_then(|condition| condition.told().pause),
                drift: self.drift(known, &state.file.files),
                stage: known.serving.clone(),
            })
        };
        state.stages.iter().filter_map(facts).collect()
    }
}
