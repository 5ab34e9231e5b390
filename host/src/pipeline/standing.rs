//! Where stages and samplers stand in the pipelines that are in force, for whoever wants to watch them.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use crate::pipeline::watcher::Watchers;
use crate::pipeline::{Pipeline, Step};
use crate::signal::Signal;

/// The pipelines that are in force.
#[derive(Debug, Default)]
pub struct Standing(ArcSwap<Vec<Weak<Pipeline>>>);

/// Where something of a name stands.
#[derive(Clone, Debug)]
pub struct Stand {
    /// The pipeline's name.
    pub pipeline: String,
    /// Its signal.
    pub signal: Signal,
    /// What it is.
    pub kind: Kind,
    /// As of [`Point`](crate::pipeline::watcher::Point), by what serves now.
    pub is_redacted_before: bool,
    /// The same of what it leaves.
    pub is_redacted_after: bool,
    /// Who watches it; shared by all pipelines that it is in, unless it is a sampler.
    pub watchers: Arc<Watchers>,
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It judges requests.
    Processor,
    /// It votes on traces.
    Policy,
    /// It decides on traces, by the votes of its policies.
    Sampler,
}

impl Standing {
    /// These are in force from now on.
    pub fn set(&self, pipelines: &[Arc<Pipeline>]) {
        self.0.store(Arc::new(pipelines.iter().map(Arc::downgrade).collect()));
    }

    /// Where that stands which has this name. A sampler goes before a policy of the same name, which is its only one.
    pub fn of(&self, name: &str) -> Vec<Stand> {
        self.all().into_iter().filter(|(known, _)| known == name).map(|(_, stand)| stand).collect()
    }

    /// Every name, once, in the order of the pipelines.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in self.all() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    fn all(&self) -> Vec<(String, Stand)> {
        self.0.load().iter().filter_map(Weak::upgrade).flat_map(|pipeline| stands(&pipeline)).collect()
    }
}

fn stands(pipeline: &Pipeline) -> Vec<(String, Stand)> {
    let snapshot = pipeline.stages.snapshot();
    let redaction = pipeline.redaction(&snapshot);
    let stand = |kind, (is_redacted_before, is_redacted_after), watchers: &Arc<Watchers>| Stand {
        pipeline: pipeline.name.clone(),
        signal: pipeline.signal,
        kind,
        is_redacted_before,
        is_redacted_after,
        watchers: Arc::clone(watchers),
    };
    let stage = |kind, index: usize, is_redacted| {
        let (generation, watchers) = (snapshot.get(index)?, pipeline.stages.watchers(index)?);
        Some((generation.stage().to_owned(), stand(kind, is_redacted, watchers)))
    };
    let mut found = Vec::new();
    for (number, step) in pipeline.steps.iter().enumerate() {
        match step {
            Step::Guests(indices) => {
                let processor = |&index: &usize| {
                    stage(Kind::Processor, index, (redaction.is_before(index), redaction.is_after(index)))
                };
                found.extend(indices.iter().filter_map(processor));
            }
            Step::Sample(sampler, terms) => {
                let is_redacted = redaction.is_at_step(number);
                let is_redacted = (is_redacted, is_redacted);
                found.push((sampler.name().to_owned(), stand(Kind::Sampler, is_redacted, sampler.watchers())));
                let units = terms.units.iter().filter_map(|&index| stage(Kind::Policy, index, is_redacted));
                found.extend(units.filter(|(name, _)| name != sampler.name()));
            }
            Step::Merge(_) => {}
        }
    }
    found
}
