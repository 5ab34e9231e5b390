//! Trying: requests that somebody supplies go through stages that serve nobody, and what each made of them is told.
//!
//! Stages are built as for serving, by a runtime whose guests touch nothing of the engine's: neither tokens nor metrics nor its log. They are
//! called by the code that serves (`pipeline::scratch`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::compare::Unreadable;
use crate::config::model::Stage;
use crate::memory::Budget;
use crate::pipeline::scratch::{Plan, PlanStep, Scratch};
use crate::pipeline::stage::Generation;
use crate::wasm::BuildError;

pub mod alone;
mod assemble;
pub mod input;
pub mod tried;
pub mod wanted;

use self::assemble::Assembling;
use self::input::Input;
use self::tried::Tried;
use self::wanted::{Wanted, WantedStep};

/// Longest run of requests, building stages not included.
pub const RUN_MAX: Duration = Duration::from_secs(10);
/// Wasm stacks are 512 KiB; host functions get the rest.
const STACK_BYTES: usize = 4 << 20;
/// How much a try gives way to the data path: as much as the compiler.
const NICE: i32 = 10;

/// Builds a stage for one try. May block for as long as compiling takes.
pub type BuildScratch = dyn Fn(&Stage) -> Result<Arc<dyn Generation>, BuildError> + Send + Sync;

/// Builders of stages for tries: each with host state and metrics that no other one sees.
pub type Scratches = dyn Fn() -> Arc<BuildScratch> + Send + Sync;

/// Nothing was tried.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// A stage.
    #[error("stage \"{}\" cannot be built, at step {}", .stage.name, .source.step())]
    Stage {
        /// Which.
        stage: Box<Stage>,
        /// Why not.
        source: BuildError,
    },
    /// What went in or came out.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// A thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// A defect of ours.
    #[error("an internal error; the engine goes on")]
    Abandoned,
}

/// What a try is given.
pub struct Given {
    /// Builds its stages.
    pub build: Arc<BuildScratch>,
    /// What it takes is charged there.
    pub budget: Arc<Budget>,
    /// Of the process. Nothing runs on it.
    pub runtime: Handle,
}

/// Tries requests on a thread of its own, which gives way to all others; `tell` is called there at the end.
///
/// # Errors
/// If the thread cannot be started.
pub fn begin(
    given: Given,
    wanted: Wanted,
    input: Input,
    tell: impl FnOnce(Result<Tried, TryError>) + Send + 'static,
) -> Result<(), TryError> {
    let work = move || {
        // Where that is not allowed it runs like all others.
        let _unchanged = rustix::process::nice(NICE);
        // What stages log and how they fail is told to who tries them: in the engine's log it would be of what serves.
        let silent = tracing::subscriber::NoSubscriber::new();
        tell(tracing::subscriber::with_default(silent, || run(&given, &wanted, &input)));
    };
    let thread = std::thread::Builder::new().name("try".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(work).map(drop).map_err(TryError::Thread)
}

/// The same, waited for.
///
/// # Errors
/// See [`TryError`].
pub fn wait(given: Given, wanted: Wanted, input: Input) -> Result<Tried, TryError> {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    begin(given, wanted, input, move |tried| drop(tell.send(tried)))?;
    // A thread that panicked has told nothing.
    told.recv().unwrap_or(Err(TryError::Abandoned))
}

fn run(given: &Given, wanted: &Wanted, input: &Input) -> Result<Tried, TryError> {
    let mut assembling = Assembling::default();
    let mut generations = Vec::with_capacity(wanted.stages.len());
    for stage in &wanted.stages {
        let started = Instant::now();
        let built = (given.build)(stage);
        let generation = built.map_err(|source| TryError::Stage { stage: Box::new(stage.clone()), source })?;
        assembling.built(&generation, started.elapsed());
        generations.push(generation);
    }
    let plan = Plan { name: wanted.name.clone(), signal: wanted.signal, generations, steps: plan_steps(wanted) };
    let mut scratch = Scratch::new(plan, &given.budget, given.runtime.clone());
    let started = Instant::now();
    let run = scratch.run(input.requests.clone(), started + RUN_MAX);
    let elapsed = started.elapsed();
    for stage in &wanted.stages {
        assembling.cost(&stage.name, scratch.cost(&stage.name));
    }
    let requests: &[Bytes] = &input.requests;
    Ok(assembling.assemble(wanted, requests, input.case.as_ref(), run, elapsed)?)
}

/// Steps that only wait are no steps here.
fn plan_steps(wanted: &Wanted) -> Vec<PlanStep> {
    let place = |name: &String| wanted.stages.iter().position(|stage| stage.name == *name);
    let step = |step: &WantedStep| match step {
        WantedStep::Judge(stages) => Some(PlanStep::Judge(stages.iter().filter_map(place).collect())),
        WantedStep::Decide(keys) => {
            Some(PlanStep::Decide(Arc::clone(keys), keys.units.iter().filter_map(place).collect()))
        }
        WantedStep::PassThrough(_) => None,
    };
    wanted.steps.iter().filter_map(step).collect()
}
