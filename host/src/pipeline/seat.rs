//! A stage's place on one worker: the instance that sits there, what is counted of it, and what a failure of it means.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::observe::metrics::{Counter, GaugeShare, Metrics, StageMetrics};
use crate::pipeline::Pipeline;
use crate::pipeline::condition::HeldBack;
use crate::pipeline::stage::{Effects, Fault, FaultKind, Generation, Instance};
use crate::pipeline::tenure::Tenure;
use crate::pipeline::trial::Tally;
use crate::signal::Signal;

/// A stage's instance on one worker. Dropped with the generation, or after it was replaced.
pub(super) struct Seat {
    generation: Arc<dyn Generation>,
    /// None after a fault, until the next call.
    instance: Option<Box<dyn Instance>>,
    tenure: Tenure,
    /// Of guest memory.
    memory: GaugeShare,
    metrics: StageMetrics,
    /// Signals of which this generation judged anything here.
    judged: [bool; Signal::ALL.len()],
    /// Of each rule.
    drops: ByPipeline,
    /// Of each rule, once one edited.
    edits: ByPipeline,
    /// One counter, once it is needed.
    unjudgeable: ByPipeline,
}

/// A stage did not judge what it was shown.
#[derive(Debug)]
pub(super) struct Failed {
    pub fault: Fault,
    pub cause: Cause,
    /// Calls that its instance had judged before.
    pub judged_before: u64,
}

/// What a failure says of what the stage was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It is not valid protobuf where the stage reads it.
    Malformed,
    /// Some of it may be what the guest cannot take.
    Content,
    /// It took too long; what of it did is not known.
    Late,
    /// Nothing: the stage cannot judge anything now.
    Unavailable,
    /// Nothing: the stage was not called, and is not for so long, since it failed too often.
    HeldBack(Duration),
    /// Nothing: the stage was not called, since somebody paused it. It may be worth to come again after so long.
    Paused(Duration),
}

/// Counters by pipeline name: a worker meets few pipelines.
#[derive(Default)]
struct ByPipeline(Vec<(String, Vec<Counter>)>);

impl Seat {
    /// Empty: an instance is taken from the generation when first needed.
    pub(super) fn new(generation: Arc<dyn Generation>, metrics: &Metrics) -> Self {
        let tenure = Tenure::new(metrics.instances(generation.stage()));
        let metrics = metrics.stage(generation.stage());
        Self {
            generation,
            instance: None,
            tenure,
            memory: GaugeShare::marking(&metrics.memory_bytes, &metrics.memory_high),
            metrics,
            judged: [false; _],
            drops: ByPipeline::default(),
            edits: ByPipeline::default(),
            unjudgeable: ByPipeline::default(),
        }
    }

    /// Whether what sits here is of this very generation.
    pub(super) fn is_of(&self, generation: &Arc<dyn Generation>) -> bool {
        Arc::ptr_eq(&self.generation, generation)
    }

    /// What sits here is of this one.
    pub(super) fn generation(&self) -> &Arc<dyn Generation> {
        &self.generation
    }

    /// Makes room for another generation. An instance that works is given back: its generation may be kept.
    pub(super) fn leave(self) {
        if let Some(instance) = self.instance {
            self.generation.give_back(instance);
        }
    }

    /// One guest call. After a fault the instance is gone, and the next call takes another one.
    pub(super) fn call(&mut self, batch: Batch, rows: Range<u32>) -> (Batch, Result<Effects, Failed>) {
        let mut instance = match self.take_instance() {
            Ok(instance) => instance,
            Err(fault) => {
                self.faulted(&fault);
                return (batch, Err(Failed { fault, cause: Cause::Unavailable, judged_before: 0 }));
            }
        };
        let judged_before = self.tenure.calls();
        let started = Instant::now();
        let (batch, result) = instance.call(batch, rows);
        self.metrics.called(started.elapsed());
        self.metrics.instance_high.note(instance.memory_bytes());
        // What is malformed is the sender's doing, not the instance's.
        let is_whole = result.as_ref().map_or_else(|fault| fault.kind == FaultKind::Malformed, |_effects| true);
        match &result {
            Ok(_) => self.tenure.judged(),
            Err(fault) if is_whole => self.metrics.fault(fault.kind.as_str()),
            Err(fault) => self.faulted(fault),
        }
        if is_whole && !instance.wants_recycling() {
            self.memory.set(instance.memory_bytes());
            self.instance = Some(instance);
        } else {
            self.memory.set(0);
        }
        (batch, result.map_err(|fault| Failed::in_call(fault, judged_before)))
    }

    fn take_instance(&mut self) -> Result<Box<dyn Instance>, Fault> {
        if let Some(instance) = self.instance.take() {
            return Ok(instance);
        }
        let instance = self.generation.instance()?;
        self.tenure.begins();
        Ok(instance)
    }

    fn faulted(&mut self, fault: &Fault) {
        self.metrics.fault(fault.kind.as_str());
        self.tenure.faulted();
    }

    /// What the last calls returned was not to be had: a fault of theirs, though they ended well.
    pub(super) fn discredit(&mut self, fault: Fault) -> Failed {
        self.faulted(&fault);
        self.renew();
        // Some of what it judged is this.
        Failed::in_call(fault, self.tenure.calls().saturating_sub(1))
    }

    /// The next call takes another instance.
    pub(super) fn renew(&mut self) {
        self.instance = None;
        self.memory.set(0);
    }

    /// This generation judged items of this signal.
    pub(super) fn note_judged(&mut self, signal: Signal) {
        if let Some(judged) = self.judged.get_mut(signal as usize) {
            *judged = true;
        }
    }

    /// Whether this generation judged any items of this signal here.
    pub(super) fn has_judged(&self, signal: Signal) -> bool {
        self.judged.get(signal as usize).copied().unwrap_or_default()
    }

    /// Counts what this generation did to batches of a pipeline.
    pub(super) fn count(&mut self, pipeline: &Pipeline, tally: &Tally) {
        let (stage, rules) = (self.generation.stage(), self.generation.rules());
        let (metrics, name, signal) = (&pipeline.all_metrics, &pipeline.name, pipeline.signal);
        if !tally.dropped.is_empty() {
            let counter = |rule: &String| metrics.dropped(name, signal, stage, rule, "rule", true);
            self.drops.of(name, || rules.iter().map(counter).collect()).count(&tally.dropped);
        }
        if !tally.edited.is_empty() {
            let counter = |rule: &String| metrics.edited(name, signal, stage, rule);
            self.edits.of(name, || rules.iter().map(counter).collect()).count(&tally.edited);
        }
        if tally.unjudgeable > 0 {
            let counter = || vec![metrics.unjudgeable(name, signal, stage)];
            self.unjudgeable.of(name, counter).count(&[(0, tally.unjudgeable)]);
        }
        self.metrics.passed_unjudged.inc_by(tally.passed);
    }
}

impl Cause {
    /// The stage was not called.
    pub(super) fn is_uncalled(self) -> bool {
        matches!(self, Cause::HeldBack(_) | Cause::Paused(_))
    }
}

impl Failed {
    /// The stage was not called.
    pub(super) fn held_back(held_back: HeldBack) -> Failed {
        let HeldBack { left, fault, is_paused } = held_back;
        let cause = if is_paused { Cause::Paused(left) } else { Cause::HeldBack(left) };
        Failed { fault, cause, judged_before: 0 }
    }

    /// Whether a new instance may judge what this one could not.
    pub(super) fn may_be_of_instance(&self) -> bool {
        self.judged_before > 0 && self.fault.kind.may_be_of_instance()
    }

    /// A fault in a call, or of what it returned.
    fn in_call(fault: Fault, judged_before: u64) -> Failed {
        let cause = match fault.kind {
            FaultKind::Malformed => Cause::Malformed,
            FaultKind::Deadline => Cause::Late,
            FaultKind::ProcessMemory => Cause::Unavailable,
            FaultKind::Trap
            | FaultKind::Memory
            | FaultKind::HostCallBudget
            | FaultKind::BadOutput
            | FaultKind::ReturnedError => Cause::Content,
        };
        Failed { fault, cause, judged_before }
    }
}

impl ByPipeline {
    /// The counters of a pipeline, made when they are first needed.
    fn of(&mut self, pipeline: &str, counters: impl FnOnce() -> Vec<Counter>) -> Counters<'_> {
        let known = self.0.iter().position(|(name, _)| name == pipeline);
        let place = known.unwrap_or_else(|| {
            self.0.push((pipeline.to_owned(), counters()));
            self.0.len() - 1
        });
        Counters(self.0.get(place).map_or(&[], |(_, counters)| counters))
    }
}

/// One for each rule.
struct Counters<'a>(&'a [Counter]);

impl Counters<'_> {
    fn count(&self, by_rule: &[(u16, u64)]) {
        for &(rule, count) in by_rule {
            if let Some(counter) = self.0.get(usize::from(rule)) {
                counter.inc_by(count);
            }
        }
    }
}
