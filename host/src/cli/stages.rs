//! Stages as `validate` and a failed start show them: each problem at its line of the file.

use std::error::Error;

use crate::cli::report::causes;
use crate::config::code::Code;
use crate::config::model::{Component, Stage, StageRole};
use crate::config::{Loaded, Problem};
use crate::engine::generation_spec;
use crate::memory::Budget;
use crate::wasm::{BuildError, Bundled, Compiler, Runtime, RuntimeOptions, Ungranted};

/// Guests of a check are not charged to what serves.
const CHECK_BYTES_MAX: u64 = 1 << 30;

/// Loads and configures each stage of the file as a start would.
pub fn problems(loaded: &Loaded, bundled: &'static [Bundled]) -> Vec<Problem> {
    let options = RuntimeOptions {
        budget: Budget::new(CHECK_BYTES_MAX),
        bundled,
        compiler: Compiler::this_executable(),
        cache_dir: super::run::cache_dir(),
    };
    let runtime = match Runtime::new(options) {
        Ok(runtime) => runtime,
        Err(error) => {
            let help = "run it where memory can be mapped executable";
            return vec![
                Problem::new(Code::Component, None, "stages cannot be checked here", help).detail(error.to_string()),
            ];
        }
    };
    let build = |stage: &Stage| {
        runtime.build_generation(generation_spec(stage, 1, 1)).err().map(|error| problem(loaded, stage, &error))
    };
    loaded.config.stages.iter().filter_map(build).collect()
}

/// A stage that cannot be built, at its line.
pub fn problem(loaded: &Loaded, stage: &Stage, error: &BuildError) -> Problem {
    let is_bundled = matches!(stage.component, Component::Bundled(_));
    let (message, help) = match error {
        BuildError::Load(_) => (
            "cannot be loaded",
            "name a component built for this engine; `sluicebox inspect FILE` shows what a file is",
        ),
        BuildError::Compile(_) => {
            ("cannot be compiled", "check that the component is not damaged, and that memory is left")
        }
        BuildError::Ungranted(asked) => return ungranted(loaded, stage, asked),
        BuildError::Link(_) => ("does not fit the contract", "build it again with the contract in wit/"),
        BuildError::Configure(_) if stage.role == StageRole::Policy && is_bundled => (
            "refuses its configuration",
            "change what the detail points at; \"policies[0]\" is the first one from this line on",
        ),
        BuildError::Configure(_) => ("refuses its configuration", "change what the detail points at"),
        BuildError::Probe(_) => ("fails on a first batch", "the component has a fault: run its own tests"),
        BuildError::Abandoned(_) => ("could not be built", "try again"),
    };
    // A config in a file of its own has other owners: they need to know which file is meant.
    let in_own_file = matches!(error, BuildError::Configure(_)) && has_own_file(stage);
    let at = if in_own_file { stage.config_place } else { stage.place };
    let place = loaded.report.source_of(at).line_place(at.line);
    let detail: Vec<_> = [error.to_string()].into_iter().chain(causes(error as &dyn Error)).collect();
    let what = if stage.role == StageRole::Policy && !is_bundled { "policy" } else { "processor" };
    Problem::new(Code::Component, place, format!("{what} \"{}\" {message}", stage.name), help).detail(detail.join("\n"))
}

/// A component that asks for more than the file grants it: at the grants, or at the stage where there are none.
fn ungranted(loaded: &Loaded, stage: &Stage, error: &Ungranted) -> Problem {
    let place = stage.grants_place.unwrap_or_else(|| loaded.report.source_of(stage.place).line_place(stage.place.line));
    let names: Vec<String> = error.asked.iter().map(|(capability, _)| format!("\"{capability}\"")).collect();
    let file = match &stage.component {
        Component::File { path, .. } => path.display().to_string(),
        Component::Bundled(_) | Component::Uploaded(_) => "FILE".to_owned(),
    };
    let what = if stage.role == StageRole::Policy { "policy" } else { "processor" };
    let message = format!("{what} \"{}\" asks for a capability it was not granted", stage.name);
    let granted = names.join(" and ");
    let help = format!("add {granted} to \"grants\", or see what the component may do: sluicebox inspect {file}");
    Problem::new(Code::Ungranted, place, message, help).detail(error.to_string())
}

/// Whether a stage's configuration stands in another file than the stage.
pub fn has_own_file(stage: &Stage) -> bool {
    stage.config_place.file != stage.place.file
}
