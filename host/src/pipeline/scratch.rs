//! A pipeline that serves nobody: requests go through its steps on the caller's thread, by the code that serves, and what is left comes
//! back.
//!
//! It is a [`Pipeline`] as any other with metrics, stages and health of its own, so what a request meets here is what it meets in the engine:
//! faults, searches for single records and `on_fault` included. What waits for others in the engine, merges and tail samplers, does not wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::ack::{Outcome, promise};
use crate::config::model::TailSampling;
use crate::memory::Budget;
use crate::observe::metrics::Metrics;
use crate::pipeline::bisect::BISECTING_MAX;
use crate::pipeline::hand_over::FAILING_VOTES_UNTIL;
use crate::pipeline::judge::{ALONE_MAX, Bench};
use crate::pipeline::sampling::{Sampler, Terms, scratch};
use crate::pipeline::stage::{Fault, Generation, PolicyVote};
use crate::pipeline::stages::{Current, Stages};
use crate::pipeline::watcher::{After, Point, Seen, Voted, Watcher, Watching};
use crate::pipeline::worker::Way;
use crate::pipeline::{Part, Pipeline, Step};
use crate::signal::Signal;

pub use crate::pipeline::sampling::scratch::Decided;

/// What a sampler of a scratch pipeline may hold where its file does not say: several times what is tried.
const TAIL_BYTES_MAX: u64 = 256 << 20;

/// What a scratch pipeline is made of.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its signal.
    pub signal: Signal,
    /// Its stages: of nobody else, as they are called here.
    pub generations: Vec<Arc<dyn Generation>>,
    /// What happens in it, in order.
    pub steps: Vec<PlanStep>,
}

/// A step; stages by their place among the generations.
#[derive(Clone, Debug)]
pub enum PlanStep {
    /// Neighbouring stages.
    Judge(Vec<usize>),
    /// A tail sampler and its policies.
    Decide(Arc<TailSampling>, Vec<usize>),
}

/// A pipeline that serves nobody.
pub struct Scratch {
    pipeline: Pipeline,
    bench: Bench,
    seen: Arc<Sightings>,
    budget: Arc<Budget>,
    _watching: Vec<Watching>,
}

/// What came of requests.
#[derive(Debug)]
pub struct Run {
    /// One for each step that was reached.
    pub steps: Vec<StepRun>,
    /// What is left at the end.
    pub left: Vec<Bytes>,
    /// What senders would be told of requests that were not taken, or not wholly.
    pub refused: Vec<Outcome>,
    /// There was no time for all of it.
    pub is_late: bool,
}

/// What happened at a step.
#[derive(Debug)]
pub struct StepRun {
    /// What its stages were shown and said, in order.
    pub sightings: Vec<Sighting>,
    /// Of a tail sampler.
    pub decided: Option<Decided>,
}

/// What a stage was shown and made of it.
#[derive(Debug)]
pub enum Sighting {
    /// A processor.
    Seen {
        /// Its name.
        stage: String,
        /// Requests.
        before: Vec<Bytes>,
        /// What it made of them.
        after: Made,
    },
    /// A policy.
    Voted {
        /// Its name.
        stage: String,
        /// Traces.
        traces: Vec<[u8; 16]>,
        /// What it said of each.
        votes: Result<Vec<PolicyVote>, Fault>,
    },
}

/// As [`After`].
#[derive(Debug)]
pub enum Made {
    /// It judged all of it.
    Judged {
        /// What it left.
        bodies: Vec<Bytes>,
        /// Rows that it dropped, and their rules.
        dropped: Vec<(u32, u16)>,
        /// Places that it edited, by rule.
        edited: Vec<(u16, u64)>,
    },
    /// It failed, and what it was shown goes on.
    Passed(Fault),
    /// It failed, and nothing goes on.
    Failed(Fault),
}

/// What a stage cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Guest calls.
    pub calls: u64,
    /// The time in them.
    pub call_time: Duration,
    /// Guest memory after the last one.
    pub memory_bytes: u64,
}

/// Sees everything.
#[derive(Default)]
struct Sightings(Mutex<Vec<Sighting>>);

impl Scratch {
    /// Assembles a pipeline. What it takes is charged to the budget; of the runtime nothing is used while requests are run.
    pub fn new(plan: Plan, budget: &Arc<Budget>, runtime: Handle) -> Scratch {
        let Plan { name, signal, generations, steps } = plan;
        let metrics = Arc::new(Metrics::new());
        let count = generations.len();
        let stages = Stages::new(generations, &metrics);
        let seen = Arc::<Sightings>::default();
        let watch = |index| Some(stages.watchers(index)?.watch(Arc::<Sightings>::clone(&seen) as Arc<dyn Watcher>));
        let watching = (0..count).filter_map(watch).collect();
        let step = |step| match step {
            PlanStep::Judge(stages) => Step::Guests(stages),
            PlanStep::Decide(keys, units) => {
                let sampler = Sampler::new(&keys.name, 1, budget);
                let bytes_max = keys.memory_bytes_max.unwrap_or(TAIL_BYTES_MAX);
                Step::Sample(sampler, Terms { keys, units, bytes_max })
            }
        };
        let pipeline = Pipeline {
            metrics: metrics.pipeline(&name, signal),
            name,
            signal,
            stages: Arc::clone(&stages),
            steps: steps.into_iter().map(step).collect(),
            exporters: Vec::new(),
            workers: Way::to_nobody(),
            runtime,
            all_metrics: Arc::clone(&metrics),
            failing_votes_until: FAILING_VOTES_UNTIL,
            bisecting_max: BISECTING_MAX,
            alone_max: ALONE_MAX,
            dead_letters: None,
            open_parts: 0.into(),
        };
        let (bench, budget) = (Bench::new(Current::new(stages), metrics), Arc::clone(budget));
        Scratch { pipeline, bench, seen, budget, _watching: watching }
    }

    /// Runs requests through all steps; between steps it notices that the deadline is over.
    pub fn run(&mut self, requests: Vec<Bytes>, deadline: Instant) -> Run {
        let refused = Arc::<Mutex<Vec<Outcome>>>::default();
        self.pipeline.opened(requests.len());
        let mut parts: Vec<Part> = requests.into_iter().map(|body| self.part(body, &refused)).collect();
        let mut runs = Vec::with_capacity(self.pipeline.steps.len());
        let mut is_late = false;
        for number in 0..self.pipeline.steps.len() {
            is_late |= Instant::now() >= deadline;
            if is_late {
                break;
            }
            let decided = match self.pipeline.steps.get(number) {
                Some(Step::Guests(stages)) => {
                    parts = self.bench.judge(&self.pipeline, number, stages, parts);
                    None
                }
                Some(Step::Sample(_, terms)) => {
                    let bodies = parts.iter().map(|part| part.body.clone()).collect();
                    let mut decided = scratch::decide(&self.pipeline, number, terms, bodies, &self.budget, deadline);
                    self.pipeline.closed(parts.len());
                    // Spans are acknowledged before they are decided on.
                    parts.into_iter().for_each(|part| part.ack.settle(Outcome::ACCEPTED));
                    let released = std::mem::take(&mut decided.released);
                    self.pipeline.opened(released.len());
                    parts = released.into_iter().map(|body| self.part(body, &refused)).collect();
                    Some(decided)
                }
                Some(Step::Merge(_)) | None => None,
            };
            runs.push(StepRun { sightings: self.seen.take(), decided });
        }
        let left = parts.iter().map(|part| part.body.clone()).collect();
        self.pipeline.closed(parts.len());
        // What was rejected of them is told when they are settled.
        parts.into_iter().for_each(|part| part.ack.settle(Outcome::ACCEPTED));
        let refused = std::mem::take(&mut *refused.lock().unwrap_or_else(PoisonError::into_inner));
        Run { steps: runs, left, refused, is_late }
    }

    /// What a stage cost so far.
    pub fn cost(&self, stage: &str) -> Cost {
        let metrics = self.pipeline.all_metrics.stage(stage);
        Cost {
            calls: metrics.calls.get(),
            call_time: Duration::from_nanos(metrics.call_nanoseconds.get()),
            memory_bytes: u64::try_from(metrics.memory_bytes.get()).unwrap_or_default(),
        }
    }

    fn part(&self, body: Bytes, refused: &Arc<Mutex<Vec<Outcome>>>) -> Part {
        let refused = Arc::clone(refused);
        let tell = move |outcome: &Outcome| {
            if !matches!(outcome, Outcome::Accepted { .. }) {
                refused.lock().unwrap_or_else(PoisonError::into_inner).push(outcome.clone());
            }
        };
        // Who asks waits for the run, not for each answer.
        let (ack, _answer) = promise(tell);
        let charge = Arc::new(self.budget.charge_over(body.len() as u64));
        Part { body, account: 0, ack, charge, request: None, kept: None }
    }
}

impl Sightings {
    fn take(&self) -> Vec<Sighting> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, sighting: Sighting) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sighting);
    }
}

impl Watcher for Sightings {
    fn wants(&self, _point: &Point<'_>) -> bool {
        true
    }

    fn seen(&self, seen: &Seen<'_>) {
        let after = match seen.after {
            After::Judged { bodies, dropped, edited } => {
                Made::Judged { bodies: bodies.to_vec(), dropped: dropped.to_vec(), edited: edited.to_vec() }
            }
            After::Passed(fault) => Made::Passed(fault.clone()),
            After::Failed(fault) => Made::Failed(fault.clone()),
        };
        let stage = seen.point.generation.stage().to_owned();
        self.push(Sighting::Seen { stage, before: seen.before.to_vec(), after });
    }

    fn voted(&self, voted: &Voted<'_>) {
        let votes = voted.votes.map(<[PolicyVote]>::to_vec).map_err(Fault::clone);
        let stage = voted.point.generation.stage().to_owned();
        self.push(Sighting::Voted { stage, traces: voted.traces.ids.clone(), votes });
    }
}
