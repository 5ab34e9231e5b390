//! Where in a pipeline everything that may edit has judged what is there: what may be shown of telemetry that must not be seen unredacted.

use crate::config::model::OnFault;
use crate::pipeline::stages::Snapshot;
use crate::pipeline::{Pipeline, Step};

/// The stages of a pipeline, divided by the last one that edits.
pub(super) struct Redaction {
    /// Indices of stages, in the order of the pipeline.
    stages: Vec<usize>,
    /// The place of the last one that edits; None where none does, or one passes what it fails to judge.
    last: Option<usize>,
}

impl Pipeline {
    /// By what serves in this snapshot. A stage that is not there counts as one that edits.
    pub(super) fn redaction(&self, snapshot: &Snapshot) -> Redaction {
        let stages = self.stages_before(self.steps.len());
        let edits = |stage: &usize| snapshot.get(*stage).is_none_or(|generation| generation.edits());
        // What an editing stage passes it has not judged.
        let passes =
            |stage: &usize| snapshot.get(*stage).is_none_or(|generation| generation.on_fault() == OnFault::Pass);
        let is_whole = !stages.iter().any(|stage| edits(stage) && passes(stage));
        let last = stages.iter().rposition(edits).filter(|_| is_whole);
        Redaction { stages, last }
    }

    /// Whether what stands before this step is redacted.
    pub(super) fn is_redacted_at_step(&self, snapshot: &Snapshot, step: usize) -> bool {
        self.redaction(snapshot).last.is_some_and(|last| last < self.stages_before(step).len())
    }

    fn stages_before(&self, step: usize) -> Vec<usize> {
        let of_step = |step: &Step| match step {
            Step::Guests(stages) => stages.clone(),
            Step::Merge(_) | Step::Sample(..) => Vec::new(),
        };
        self.steps.iter().take(step).flat_map(of_step).collect()
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

    /// Whether no stage is shown anything redacted.
    pub(super) fn covers_nothing(&self) -> bool {
        !self.stages.iter().any(|&stage| self.is_before(stage))
    }

    /// Whether a stage stands at this place or behind it, and not before it.
    fn is_from(&self, place: usize, stage: usize) -> bool {
        let (before, from) = self.stages.split_at(place.min(self.stages.len()));
        from.contains(&stage) && !before.contains(&stage)
    }
}
