//! The policies of one tail sampler as one thread has them: instances of the serving generations, their votes combined.

use std::sync::Arc;
use std::time::Instant;

use crate::batch::Batch;
use crate::observe::metrics::{GaugeShare, Metrics, StageMetrics};
use crate::pipeline::sampling::Terms;
use crate::pipeline::stage::{Fault, Generation, Policy, PolicyVote};
use crate::pipeline::stages::{Snapshot, Stages};
use crate::signal::Signal;
use crate::tail::shard::{Due, Shard};
use crate::tail::traces::{Traces, Trigger};
use crate::tail::verdict::{Decider, Verdict, Vote, combine};

/// Whose verdicts stand in for those of a policy that fails.
const FALLBACK: &str = "fallback";

/// What decides for one shard.
pub(super) struct Panel {
    stages: Arc<Stages>,
    metrics: Arc<Metrics>,
    units: Vec<Unit>,
    fallback: Fallback,
    /// Traces that the fallback judged for a policy.
    pub(super) fallback_traces: u64,
}

/// Errors are kept, the rest at a fixed consistent rate: volume stays bounded, and nothing is biased without being told.
struct Fallback {
    threshold: u64,
    decider: Arc<Decider>,
}

/// A stage of the sampler, by its index among the stages.
struct Unit {
    stage: usize,
    seat: Option<Seat>,
}

/// A policy's place on this thread.
struct Seat {
    generation: Arc<dyn Generation>,
    /// None after a fault, until the next call.
    policy: Option<Box<dyn Policy>>,
    /// Of each rule.
    deciders: Vec<Arc<Decider>>,
    metrics: StageMetrics,
    /// Of guest memory.
    memory: GaugeShare,
}

impl Panel {
    /// By the terms of the file that has these stages.
    pub(super) fn new(stages: &Arc<Stages>, metrics: &Arc<Metrics>, terms: &Terms) -> Panel {
        let units = terms.units.iter().map(|&stage| Unit { stage, seat: None }).collect();
        let fallback = Fallback::new(terms.keys.fallback_threshold);
        Panel { stages: Arc::clone(stages), metrics: Arc::clone(metrics), units, fallback, fallback_traces: 0 }
    }

    /// By another file's from now on. Policies that stay keep their instances.
    pub(super) fn stand_at(&mut self, stages: &Arc<Stages>, terms: &Terms) {
        let mut before = std::mem::take(&mut self.units);
        let mut seat = |stage| before.iter_mut().find(|unit| unit.stage == stage)?.seat.take();
        self.units = terms.units.iter().map(|&stage| Unit { stage, seat: seat(stage) }).collect();
        self.stages = Arc::clone(stages);
        self.fallback = Fallback::new(terms.keys.fallback_threshold);
    }

    /// The verdicts of what serves now on traces that are due. All of them are by one snapshot of the stages.
    pub(super) fn judge(&mut self, shard: &Shard, due: &mut Due) -> Vec<Verdict> {
        let snapshot = self.stages.snapshot();
        let mut reads_spans = false;
        for unit in &mut self.units {
            reads_spans |= unit.sit(&snapshot, &self.metrics).is_some_and(Seat::reads_spans);
        }
        let spans = if reads_spans { Some(shard.spans_of(due)) } else { None };
        let spans = spans.into_iter().collect();
        // Shared with the policies, which have let go of it when they have answered.
        let traces = Arc::new(std::mem::take(&mut due.traces));
        // What the shard puts together of spans that it read can be read.
        let mut batch = Batch::index(Signal::Traces, spans).ok();
        let mut votes: Vec<Vec<Verdict>> = Vec::with_capacity(self.units.len());
        for unit in &mut self.units {
            let stage = unit.stage;
            let judged = unit.seat.as_mut().map_or_else(|| Err(not_there()), |seat| seat.judge(&traces, &mut batch));
            votes.push(judged.unwrap_or_else(|fault| {
                if let Some(left_out) = self.stages.fault_line(stage) {
                    let name = snapshot.get(stage).map_or("", |generation| generation.stage());
                    tracing::warn!(stage = name, %fault, left_out, "a policy failed: errors are kept, and the rest at a fixed rate");
                }
                self.fallback_traces += decided(&traces);
                self.fallback.judge(&traces)
            }));
        }
        due.traces = Arc::unwrap_or_clone(traces);
        (0..due.traces.len()).map(|trace| combine(votes.iter().filter_map(|votes| votes.get(trace).cloned()))).collect()
    }

    /// After a panic: instances are not called again, in whatever state they are.
    pub(super) fn forget_instances(&mut self) {
        self.units.iter_mut().for_each(|unit| unit.seat = None);
    }

    /// The fallback's verdicts.
    pub(super) fn fall_back(&mut self, traces: &Traces) -> Vec<Verdict> {
        self.fallback_traces += decided(traces);
        self.fallback.judge(traces)
    }

    /// Drops instances of generations that no longer serve. True if there were any.
    pub(super) fn let_go_of_replaced(&mut self) -> bool {
        let serving = self.stages.snapshot();
        let mut was_replaced = false;
        for unit in &mut self.units {
            let is_serving =
                |seat: &Seat| serving.get(unit.stage).is_some_and(|now| Arc::ptr_eq(now, &seat.generation));
            if unit.seat.as_ref().is_some_and(|seat| !is_serving(seat)) {
                unit.seat = None;
                was_replaced = true;
            }
        }
        was_replaced
    }
}

impl Fallback {
    /// Keeps traces without errors at this threshold.
    pub(super) fn new(threshold: u64) -> Fallback {
        Fallback { threshold, decider: Arc::new(Decider { policy: FALLBACK.to_owned(), generation: 0 }) }
    }

    fn judge(&self, traces: &Traces) -> Vec<Verdict> {
        (0..traces.len()).map(|trace| self.of(traces, trace)).collect()
    }

    /// No vote where it does not keep: other policies may.
    fn of(&self, traces: &Traces, trace: usize) -> Verdict {
        let threshold = if has_error(traces, trace) { 0 } else { self.threshold };
        let vote = if randomness(traces, trace) >= threshold { Vote::Keep } else { Vote::None };
        Verdict { vote, threshold, is_settled: false, decider: Some(Arc::clone(&self.decider)) }
    }
}

/// How many of them are decided whatever the verdict: those offered early are only if it is settled.
fn decided(traces: &Traces) -> u64 {
    traces.triggers.iter().filter(|&&trigger| trigger != Trigger::Early as u8).count() as u64
}

pub(super) fn has_error(traces: &Traces, trace: usize) -> bool {
    traces.error_counts.get(trace).is_some_and(|&errors| errors > 0)
}

pub(super) fn randomness(traces: &Traces, trace: usize) -> u64 {
    traces.randomness.get(trace).copied().unwrap_or_default()
}

impl Unit {
    /// Its seat, taken by the serving generation.
    fn sit(&mut self, snapshot: &Snapshot, metrics: &Metrics) -> Option<&mut Seat> {
        let generation = snapshot.get(self.stage)?;
        if self.seat.as_ref().is_some_and(|seat| !Arc::ptr_eq(&seat.generation, generation)) {
            self.seat = None;
        }
        Some(self.seat.get_or_insert_with(|| Seat::new(generation, metrics)))
    }
}

impl Seat {
    fn new(generation: &Arc<dyn Generation>, metrics: &Metrics) -> Seat {
        let number = generation.number();
        let decider = |policy: &String| Arc::new(Decider { policy: policy.clone(), generation: number });
        let metrics = metrics.stage(generation.stage());
        Seat {
            policy: None,
            deciders: generation.rules().iter().map(decider).collect(),
            memory: GaugeShare::of(&metrics.memory_bytes),
            metrics,
            generation: Arc::clone(generation),
        }
    }

    /// Whether spans have to be shown; where there is no instance to ask, that shows when it is called.
    fn reads_spans(&mut self) -> bool {
        self.take_instance().is_ok_and(|policy| {
            let reads_spans = policy.reads_spans();
            self.policy = Some(policy);
            reads_spans
        })
    }

    /// One call; after a fault another one on a new instance, as the first may have been worn out.
    fn judge(&mut self, traces: &Arc<Traces>, batch: &mut Option<Batch>) -> Result<Vec<Verdict>, Fault> {
        self.call(traces, batch).or_else(|_counted| self.call(traces, batch))
    }

    fn call(&mut self, traces: &Arc<Traces>, batch: &mut Option<Batch>) -> Result<Vec<Verdict>, Fault> {
        let mut policy = self.take_instance()?;
        let spans = batch.take().ok_or_else(not_there)?;
        let started = Instant::now();
        let (spans, result) = policy.decide(traces, spans);
        *batch = Some(spans);
        self.metrics.calls.inc();
        self.metrics.call_nanoseconds.inc_by(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        match &result {
            Ok(_) if !policy.wants_recycling() => {
                self.memory.set(policy.memory_bytes());
                self.policy = Some(policy);
            }
            Ok(_) => self.memory.set(0),
            Err(fault) => {
                self.metrics.fault(fault.kind.as_str());
                self.memory.set(0);
            }
        }
        Ok(result?.into_iter().map(|vote| self.verdict(vote)).collect())
    }

    fn take_instance(&mut self) -> Result<Box<dyn Policy>, Fault> {
        match self.policy.take() {
            Some(policy) => Ok(policy),
            None => self.generation.policy().inspect_err(|fault| self.metrics.fault(fault.kind.as_str())),
        }
    }

    fn verdict(&self, vote: PolicyVote) -> Verdict {
        let PolicyVote { vote, threshold, rule, is_settled } = vote;
        let decider = rule.and_then(|rule| self.deciders.get(usize::from(rule)).cloned());
        Verdict { vote, threshold, is_settled, decider }
    }
}

/// A stage of the sampler that has no generation: a defect of ours, and decided like any fault.
fn not_there() -> Fault {
    Fault { kind: crate::pipeline::stage::FaultKind::Trap, message: "the stage is not there".to_owned() }
}
