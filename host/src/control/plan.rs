//! What a changed file means for the stages that run: which are built, which go, and whether pipelines can stay as they are.

use crate::config::model::{Config, Stage, Step};
use crate::config::{self, Change, Diff};
use crate::control::known::{Known, Says};
use crate::control::{State, SwapError};

/// What is to be done. Nothing of it has begun.
#[derive(Debug)]
pub(super) struct Plan {
    /// What the file says anew.
    pub diff: Diff,
    /// Stages to be built, in the file's order, new ones among them.
    pub wanted: Vec<Stage>,
    /// Stages that go.
    pub removed: Vec<String>,
    /// The pipelines that run do what the file says, once the stages are built.
    pub keeps_pipelines: bool,
}

impl Plan {
    /// From what runs to `next`, given what that says of the stages that run. With `force` it counts for stages that drifted, too.
    ///
    /// # Errors
    /// [`SwapError::OtherChanges`]: the file changes what no running engine can. [`SwapError::Drifted`]: it overrules a swap.
    pub(super) fn of(state: &State, next: &Config, says: &[(String, Says)], force: bool) -> Result<Plan, SwapError> {
        let diff = config::diff(&state.file, next);
        let restarts: Vec<_> = diff.restarts().map(|(change, why)| format!("{} ({why})", place(change))).collect();
        if !restarts.is_empty() {
            return Err(SwapError::OtherChanges { what: restarts.join(", ") });
        }
        let said = |stage: &str| says.iter().find(|(name, _)| name == stage).map(|(_, says)| *says);
        // A stage of which the file says nothing at all is gone.
        let is_overruled = |known: &&Known| matches!(said(&known.serving.name), Some(Says::New) | None);
        let drifted = state.stages.iter().filter(|known| known.has_drifted());
        let overruled: Vec<_> =
            drifted.filter(is_overruled).map(|known| format!("\"{}\"", known.serving.name)).collect();
        if !force && !overruled.is_empty() {
            return Err(SwapError::Drifted { stages: overruled.join(", ") });
        }
        let is_wanted = |stage: &&Stage| match (state.known(&stage.name), said(&stage.name)) {
            (None, _) | (Some(_), Some(Says::New)) => true,
            (Some(known), Some(Says::NothingNew)) => force && known.has_drifted(),
            (Some(_), Some(Says::WhatServes) | None) => false,
        };
        let wanted: Vec<_> = next.stages.iter().filter(is_wanted).cloned().collect();
        let is_gone = |known: &&Known| next.stages.iter().all(|stage| stage.name != known.serving.name);
        let removed = state.stages.iter().filter(is_gone).map(|known| known.serving.name.clone()).collect();
        let keeps_pipelines = diff.is_of_stages_alone() && !are_apart(next, &wanted);
        Ok(Plan { diff, wanted, removed, keeps_pipelines })
    }
}

/// Whether a pipeline has some of these stages on both sides of a step in which requests wait. One that waits there was judged by those
/// before it as they were, and would be by those behind it as they are now: by neither file.
fn are_apart(config: &Config, stages: &[Stage]) -> bool {
    config.pipelines.iter().any(|pipeline| {
        let runs = pipeline.steps.split(|step| !matches!(step, Step::Guest(_)));
        let is_one = |step: &Step| matches!(step, Step::Guest(name) if stages.iter().any(|stage| stage.name == *name));
        runs.filter(|run| run.iter().any(is_one)).count() > 1
    })
}

fn place(change: &Change) -> String {
    match change.place {
        // A line of an included file says nothing without the file's name, which is not known here.
        Some(place) if place.file == 0 => format!("{}, line {}", change.part, place.line),
        Some(_) | None => change.part.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{System, load_text};

    #[test]
    fn stages_on_both_sides_of_a_wait_are_apart() {
        for (steps, stages, expected) in [
            ("[filter/a, filter/b, batch]", &["filter/a", "filter/b"][..], false),
            ("[filter/a, batch, filter/b]", &["filter/a", "filter/b"], true),
            ("[filter/a, batch, filter/b]", &["filter/b"], false),
            ("[filter/a, tail_sampling, filter/b]", &["filter/a", "filter/b"], true),
            ("[batch, filter/a, filter/b]", &["filter/a", "filter/b"], false),
        ] {
            let text = format!(
                "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\n\
                 processors: {{filter/a: {{error_mode: ignore}}, filter/b: {{error_mode: ignore}}, batch: ,\n  \
                 tail_sampling: {{policies: [{{name: all, type: always_sample}}]}}}}\nexporters: {{debug: }}\n\
                 service: {{pipelines: {{traces: {{receivers: [otlp], processors: {steps}, exporters: [debug]}}}}}}\n"
            );
            let config = load_text("test.yaml".into(), text, Path::new(""), &System).unwrap().config;
            let changed: Vec<_> =
                config.stages.iter().filter(|stage| stages.contains(&stage.name.as_str())).cloned().collect();
            assert_eq!(changed.len(), stages.len());
            assert_eq!(are_apart(&config, &changed), expected, "{steps} {stages:?}");
        }
    }
}
