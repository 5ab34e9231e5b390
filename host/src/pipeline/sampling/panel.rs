//! The policies of one tail sampler as one thread has them: instances of the serving generations, their votes combined.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::batch::Batch;
use crate::observe::metrics::{GaugeShare, Metrics, StageMetrics};
use crate::pipeline::Pipeline;
use crate::pipeline::audience::Audience;
use crate::pipeline::canary::Canary;
use crate::pipeline::condition::Condition;
use crate::pipeline::sampling::Terms;
use crate::pipeline::sampling::apart::{CandidateFailed, tell_of_voted};
use crate::pipeline::stage::{Fault, FaultKind, Generation, Policy, PolicyVote};
use crate::pipeline::stages::{Snapshot, Stages};
use crate::pipeline::tenure::Tenure;
use crate::pipeline::watcher::Voted;
use crate::signal::Signal;
use crate::tail::shard::{Due, Shard};
use crate::tail::traces::{Traces, Trigger};
use crate::tail::verdict::{Decider, Verdict, Vote, combine};

/// Whose verdicts stand in for those of a policy that fails.
const FALLBACK: &str = "fallback";

/// What decides for one shard.
pub(super) struct Panel {
    pub(super) stages: Arc<Stages>,
    metrics: Arc<Metrics>,
    pub(super) units: Vec<Unit>,
    pub(super) fallback: Fallback,
    /// Traces that the fallback judged for a policy.
    pub(super) fallback_traces: u64,
    /// What failed at the last judgement, and how.
    pub(super) failed: Vec<(Arc<dyn Generation>, FaultKind)>,
    /// Spans of the last judgement, where they were shown to anybody.
    pub(super) spans: Option<Bytes>,
}

/// Errors are kept, the rest at a fixed consistent rate: volume stays bounded, and nothing is biased without being told.
pub(super) struct Fallback {
    threshold: u64,
    decider: Arc<Decider>,
}

/// A stage of the sampler, by its index among the stages.
pub(super) struct Unit {
    pub(super) stage: usize,
    seat: Option<Seat>,
    /// Of a candidate, beside that of what serves.
    candidate: Option<Seat>,
    /// It may be called for what is judged now.
    is_admitted: bool,
    /// It may not since it failed too often: how it did last.
    held_back: Option<Fault>,
    /// Those who want to see what it says of that.
    audience: Option<Audience>,
}

/// What a policy said, for those who watch it.
#[derive(Default)]
struct Said {
    votes: Vec<PolicyVote>,
    fault: Option<Fault>,
    elapsed: Duration,
}

/// A policy's place on this thread.
struct Seat {
    generation: Arc<dyn Generation>,
    /// None after a fault, until the next call.
    policy: Option<Box<dyn Policy>>,
    tenure: Tenure,
    /// Of each rule.
    deciders: Vec<Arc<Decider>>,
    metrics: StageMetrics,
    /// Of guest memory.
    memory: GaugeShare,
}

impl Panel {
    /// By the terms of the file that has these stages.
    pub(super) fn new(stages: &Arc<Stages>, metrics: &Arc<Metrics>, terms: &Terms) -> Panel {
        let units = terms.units.iter().map(|&stage| Unit::new(stage, None, None)).collect();
        let fallback = Fallback::new(terms.keys.fallback_threshold);
        let (stages, metrics) = (Arc::clone(stages), Arc::clone(metrics));
        Panel { stages, metrics, units, fallback, fallback_traces: 0, failed: Vec::new(), spans: None }
    }

    /// By another file's from now on. Policies that stay keep their instances.
    pub(super) fn stand_at(&mut self, stages: &Arc<Stages>, terms: &Terms) {
        let mut before = std::mem::take(&mut self.units);
        let unit = |&stage: &usize| match before.iter_mut().find(|unit| unit.stage == stage) {
            Some(known) => Unit::new(stage, known.seat.take(), known.candidate.take()),
            None => Unit::new(stage, None, None),
        };
        self.units = terms.units.iter().map(unit).collect();
        before.into_iter().flat_map(|unit| [unit.seat, unit.candidate]).flatten().for_each(Seat::leave);
        self.stages = Arc::clone(stages);
        self.fallback = Fallback::new(terms.keys.fallback_threshold);
    }

    /// The verdicts on traces that are due of what judges in this snapshot, at this step of the pipeline; an error where a candidate failed.
    pub(super) fn judge_by(
        &mut self,
        snapshot: &Snapshot,
        (pipeline, step): (&Pipeline, usize),
        shard: &Shard,
        due: &mut Due,
    ) -> Result<Vec<Verdict>, CandidateFailed> {
        let mut reads_spans = false;
        for unit in &mut self.units {
            unit.sit(snapshot, &self.metrics, &self.stages);
            unit.ask_audience(pipeline, step, snapshot, &self.stages);
            reads_spans |= unit.is_admitted && unit.seat.as_mut().is_some_and(Seat::reads_spans);
            reads_spans |= unit.audience.is_some();
        }
        self.spans = reads_spans.then(|| shard.spans_of(due));
        let spans = self.spans.iter().cloned().collect();
        let lent = Lent::of(due);
        let traces = &lent.traces;
        // What the shard puts together of spans that it read can be read.
        let mut batch = Batch::index(Signal::Traces, spans).ok();
        let mut votes: Vec<Vec<Verdict>> = Vec::with_capacity(self.units.len());
        let (mut said, mut result) = (Vec::new(), Ok(()));
        for (number, unit) in self.units.iter_mut().enumerate() {
            let mut heard = unit.audience.is_some().then(Said::default);
            let canary = snapshot.canary(unit.stage);
            let by_candidate = snapshot.is_candidate(unit.stage);
            let judged = match canary.filter(|_| by_candidate) {
                Some(canary) => unit.judge_on_trial(canary, &self.stages, traces, &mut batch, heard.as_mut()),
                None => unit.judge(&self.stages, traces, &mut batch, &mut self.failed, heard.as_mut()),
            };
            canary.iter().for_each(|canary| tell_of_voted(canary, by_candidate, traces, judged.as_deref()));
            if judged.is_none() && by_candidate {
                // Of the others the next judgement tells.
                said = heard.map(|heard| (number, heard)).into_iter().collect();
                result = Err(CandidateFailed);
                break;
            }
            said.extend(heard.map(|heard| (number, heard)));
            votes.push(judged.unwrap_or_else(|| {
                self.fallback_traces += decided(traces);
                self.fallback.judge(traces)
            }));
        }
        for (number, said) in &said {
            if let (Some(unit), Some(spans)) = (self.units.get(*number), &self.spans) {
                unit.show(pipeline, traces, spans, said);
            }
        }
        let combined = |trace| combine(votes.iter().filter_map(|votes| votes.get(trace).cloned()));
        result.map(|()| (0..traces.len()).map(combined).collect())
    }

    /// After a panic: instances are not called again, in whatever state they are.
    pub(super) fn forget_instances(&mut self) {
        self.units.iter_mut().for_each(|unit| (unit.seat, unit.candidate) = (None, None));
    }

    /// The fallback's verdicts.
    pub(super) fn fall_back(&mut self, traces: &Traces) -> Vec<Verdict> {
        self.fallback_traces += decided(traces);
        self.fallback.judge(traces)
    }

    /// Gives back instances of generations that no longer serve. True if there were any.
    pub(super) fn let_go_of_replaced(&mut self) -> bool {
        let serving = self.stages.snapshot();
        let mut was_replaced = false;
        for unit in &mut self.units {
            let is_serving =
                |seat: &Seat| serving.get(unit.stage).is_some_and(|now| Arc::ptr_eq(now, &seat.generation));
            if let Some(replaced) = unit.seat.take_if(|seat| !is_serving(seat)) {
                replaced.leave();
                was_replaced = true;
            }
            if let Some(replaced) = unit.candidate.take_if(|seat| !serving.has_candidate(&seat.generation)) {
                replaced.leave();
            }
        }
        was_replaced
    }
}

/// Traces that are shared with policies, which have let go of them when they have answered. They go back whatever happens: after a panic
/// the fallback decides on them.
struct Lent<'a> {
    due: &'a mut Due,
    traces: Arc<Traces>,
}

impl<'a> Lent<'a> {
    fn of(due: &'a mut Due) -> Self {
        let traces = Arc::new(std::mem::take(&mut due.traces));
        Self { due, traces }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.due.traces = Arc::unwrap_or_clone(std::mem::take(&mut self.traces));
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
    pub(super) fn of(&self, traces: &Traces, trace: usize) -> Verdict {
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
    fn new(stage: usize, seat: Option<Seat>, candidate: Option<Seat>) -> Unit {
        Unit { stage, seat, candidate, is_admitted: false, held_back: None, audience: None }
    }

    /// Has a candidate take the seat of what serves, and at the second time leave it again.
    pub(super) fn change_seats(&mut self) {
        std::mem::swap(&mut self.seat, &mut self.candidate);
    }

    /// Asks those who watch it, if it has a seat, whether they want to see what it says.
    fn ask_audience(&mut self, pipeline: &Pipeline, step: usize, snapshot: &Snapshot, stages: &Stages) {
        self.audience = None;
        let watchers = stages.watchers(self.stage).filter(|watchers| watchers.are_any());
        if let (Some(watchers), Some(seat)) = (watchers, &self.seat) {
            // What a policy says of traces changes nothing in them.
            let is_redacted = pipeline.redaction(snapshot).is_at_step(step);
            let is_redacted = (is_redacted, is_redacted);
            self.audience = Audience::of(pipeline, &seat.generation, self.stage, watchers, is_redacted);
        }
    }

    /// Shows what it said.
    fn show(&self, pipeline: &Pipeline, traces: &Arc<Traces>, spans: &Bytes, said: &Said) {
        let (Some(audience), Some(seat)) = (&self.audience, &self.seat) else { return };
        let votes = said.fault.as_ref().map_or(Ok(said.votes.as_slice()), Err);
        let point = audience.point(pipeline, &seat.generation);
        let voted = Voted { point, traces, spans, votes, elapsed: said.elapsed };
        audience.each(|watcher| watcher.voted(&voted));
    }

    /// Has its seat taken by the serving generation, and asks whether that may be called.
    fn sit(&mut self, snapshot: &Snapshot, metrics: &Metrics, stages: &Stages) {
        self.is_admitted = false;
        let Some(generation) = snapshot.get(self.stage) else { return };
        if let Some(replaced) = self.seat.take_if(|seat| !Arc::ptr_eq(&seat.generation, generation)) {
            replaced.leave();
        }
        self.seat.get_or_insert_with(|| Seat::new(generation, metrics));
        let held_back = |condition: &Arc<Condition>| condition.admit(generation.number()).err();
        self.held_back = stages.condition(self.stage).and_then(held_back).map(|held_back| held_back.fault);
        self.is_admitted = self.held_back.is_none();
    }

    /// Its verdicts; None where the fallback stands in, since it failed, or failed too often to be called.
    fn judge(
        &mut self,
        stages: &Stages,
        traces: &Arc<Traces>,
        batch: &mut Option<Batch>,
        failed: &mut Vec<(Arc<dyn Generation>, FaultKind)>,
        mut said: Option<&mut Said>,
    ) -> Option<Vec<Verdict>> {
        let (seat, condition) = (self.seat.as_mut()?, stages.condition(self.stage)?);
        if !self.is_admitted {
            if let Some(said) = said {
                said.fault.clone_from(&self.held_back);
            }
            return None;
        }
        let judged = seat.judge(condition, traces, batch, said.as_deref_mut());
        if let Some(said) = said {
            said.fault = judged.as_ref().err().cloned();
        }
        let tell = |fault: &Fault| {
            failed.push((Arc::clone(&seat.generation), fault.kind));
            if let Some(left_out) = condition.fault_line() {
                let stage = seat.generation.stage();
                tracing::warn!(stage, %fault, left_out, "a policy failed: errors are kept, and the rest at a fixed rate");
            }
        };
        judged.inspect_err(tell).ok()
    }

    /// The verdicts of a candidate; None where it failed, which its canary is told.
    fn judge_on_trial(
        &mut self,
        canary: &Canary,
        stages: &Stages,
        traces: &Arc<Traces>,
        batch: &mut Option<Batch>,
        mut said: Option<&mut Said>,
    ) -> Option<Vec<Verdict>> {
        let (seat, condition) = (self.seat.as_mut()?, stages.condition(self.stage)?);
        let judged = seat.judge(condition, traces, batch, said.as_deref_mut());
        if let Some(said) = said {
            said.fault = judged.as_ref().err().cloned();
        }
        judged.inspect_err(|fault| canary.failed(true, fault)).ok()
    }
}

impl Seat {
    fn new(generation: &Arc<dyn Generation>, metrics: &Metrics) -> Seat {
        let number = generation.number();
        let decider = |policy: &String| Arc::new(Decider { policy: policy.clone(), generation: number });
        let tenure = Tenure::new(metrics.instances(generation.stage()));
        let metrics = metrics.stage(generation.stage());
        Seat {
            policy: None,
            tenure,
            deciders: generation.rules().iter().map(decider).collect(),
            memory: GaugeShare::marking(&metrics.memory_bytes, &metrics.memory_high),
            metrics,
            generation: Arc::clone(generation),
        }
    }

    /// Makes room for another generation. An instance that works is given back: its generation may be kept.
    fn leave(self) {
        if let Some(policy) = self.policy {
            self.generation.give_back(policy);
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

    /// One call; after a fault that may lie in the instance, another one on a new instance.
    fn judge(
        &mut self,
        condition: &Condition,
        traces: &Arc<Traces>,
        batch: &mut Option<Batch>,
        mut said: Option<&mut Said>,
    ) -> Result<Vec<Verdict>, Fault> {
        let number = self.generation.number();
        let judged_before = if self.policy.is_some() { self.tenure.calls() } else { 0 };
        let result = match self.call(traces, batch, said.as_deref_mut()) {
            Err(fault) if judged_before > 0 && fault.kind.may_be_of_instance() => {
                let again = self.call(traces, batch, said);
                if again.is_ok() {
                    condition.recovered(number, judged_before, &fault);
                }
                again
            }
            first => first.inspect(|_verdicts| condition.judged(number)),
        };
        result.inspect_err(|fault| condition.failed(number, fault))
    }

    fn call(
        &mut self,
        traces: &Arc<Traces>,
        batch: &mut Option<Batch>,
        said: Option<&mut Said>,
    ) -> Result<Vec<Verdict>, Fault> {
        let mut policy = self.take_instance()?;
        let spans = batch.take().ok_or_else(not_there)?;
        let started = Instant::now();
        let (spans, result) = policy.decide(traces, spans);
        *batch = Some(spans);
        let elapsed = started.elapsed();
        self.metrics.called(elapsed);
        self.metrics.instance_high.note(policy.memory_bytes());
        if let Some(said) = said {
            said.elapsed += elapsed;
            said.votes = result.as_ref().cloned().unwrap_or_default();
        }
        match &result {
            Ok(_) => self.tenure.judged(),
            Err(fault) => self.faulted(fault),
        }
        if result.is_ok() && !policy.wants_recycling() {
            self.memory.set(policy.memory_bytes());
            self.policy = Some(policy);
        } else {
            self.memory.set(0);
        }
        Ok(result?.into_iter().map(|vote| self.verdict(vote)).collect())
    }

    fn take_instance(&mut self) -> Result<Box<dyn Policy>, Fault> {
        if let Some(policy) = self.policy.take() {
            return Ok(policy);
        }
        let policy = self.generation.policy().inspect_err(|fault| self.faulted(fault))?;
        self.tenure.begins();
        Ok(policy)
    }

    fn faulted(&mut self, fault: &Fault) {
        self.metrics.fault(fault.kind.as_str());
        self.tenure.faulted();
    }

    fn verdict(&self, vote: PolicyVote) -> Verdict {
        let PolicyVote { vote, threshold, rule, is_settled } = vote;
        let decider = rule.and_then(|rule| self.deciders.get(usize::from(rule)).cloned());
        Verdict { vote, threshold, is_settled, decider }
    }
}

/// A stage of the sampler that has no generation: a defect of ours, and decided like any fault.
fn not_there() -> Fault {
    Fault { kind: FaultKind::Trap, message: "the stage is not there".to_owned() }
}
