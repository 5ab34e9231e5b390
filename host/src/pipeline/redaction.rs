//! Where in a pipeline everything that may edit has judged what is there: what may be shown of telemetry that must not be seen unredacted.

use std::time::Duration;

use crate::config::model::OnFault;
use crate::pipeline::stages::Snapshot;
use crate::pipeline::{Pipeline, Step};

/// Beyond the times of the file, for what takes longer: what was under way when something changed, what a later step does not take at once.
const UNDER_WAY_MAX: Duration = Duration::from_secs(60);

/// The stages of a pipeline, divided by the last one that edits.
pub(super) struct Redaction {
    /// Indices of stages and their steps, in the order of the pipeline.
    stages: Vec<(usize, usize)>,
    /// The place of the last one that edits; None where none does, or one passes what it fails to judge.
    last: Option<usize>,
    /// The first step from which on something may come by that waited since before a change of what edits.
    stale_from: Option<usize>,
}

impl Pipeline {
    /// By what serves in this snapshot. A stage that is not there counts as one that edits.
    pub(super) fn redaction(&self, snapshot: &Snapshot) -> Redaction {
        let of_step = |(number, step): (usize, &Step)| match step {
            Step::Guests(stages) => stages.iter().map(|&stage| (stage, number)).collect(),
            Step::Merge(_) | Step::Sample(..) => Vec::new(),
        };
        let stages: Vec<(usize, usize)> = self.steps.iter().enumerate().flat_map(of_step).collect();
        let edits = |(stage, _): &(usize, usize)| snapshot.get(*stage).is_none_or(|generation| generation.edits());
        // What an editing stage passes it has not judged.
        let passes = |(stage, _): &(usize, usize)| {
            snapshot.get(*stage).is_none_or(|generation| generation.on_fault() == OnFault::Pass)
        };
        let is_whole = !stages.iter().any(|stage| edits(stage) && passes(stage));
        let last = stages.iter().rposition(edits).filter(|_| is_whole);
        let stale_from = last.and_then(|last| stages.get(last)).and_then(|(_, step)| self.stale_from(*step));
        Redaction { stages, last, stale_from }
    }

    /// Behind the step of the last stage that edits, the first step in which something may wait that came before that was so.
    fn stale_from(&self, step: usize) -> Option<usize> {
        let same_for = self.stages.same_edits_for()?;
        let mut waits = UNDER_WAY_MAX;
        for (number, step) in self.steps.iter().enumerate().skip(step + 1) {
            waits += match step {
                Step::Guests(_) => continue,
                Step::Merge(merger) => merger.timeout(),
                Step::Sample(_, terms) => terms.keys.decision_wait + terms.keys.wait_after_root.unwrap_or_default(),
            };
            if same_for < waits {
                return Some(number);
            }
        }
        None
    }
}

impl Redaction {
    /// Whether what this stage is shown is redacted: the last stage that edits stands before it, and it stands nowhere else as well.
    pub(super) fn is_before(&self, stage: usize) -> bool {
        self.last.is_some_and(|last| self.is_from(last + 1, stage))
    }

    /// The same of what it leaves.
    pub(super) fn is_after(&self, stage: usize) -> bool {
        self.last.is_some_and(|last| self.is_from(last, stage))
    }

    /// Whether what comes to this step, in which no stage stands, is redacted.
    pub(super) fn is_at_step(&self, step: usize) -> bool {
        let last = self.last.and_then(|last| self.stages.get(last));
        last.is_some_and(|(_, of_last)| *of_last < step) && !self.is_stale(step)
    }

    /// Whether no stage is shown anything redacted.
    pub(super) fn covers_nothing(&self) -> bool {
        !self.stages.iter().any(|&(stage, _)| self.is_before(stage))
    }

    /// Whether a stage stands at this place or behind it, and not before it.
    fn is_from(&self, place: usize, stage: usize) -> bool {
        let (before, from) = self.stages.split_at(place.min(self.stages.len()));
        let is_it = |(known, _): &&(usize, usize)| *known == stage;
        from.iter().find(is_it).is_some_and(|(_, step)| !self.is_stale(*step))
            && !before.iter().any(|known| is_it(&known))
    }

    fn is_stale(&self, step: usize) -> bool {
        self.stale_from.is_some_and(|from| step >= from)
    }
}
