//! A stage's place on one worker: the instance that sits there, and what is counted of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::batch::Batch;
use crate::observe::metrics::{Counter, Metrics, StageMetrics};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::{Effects, Fault, FaultKind, Generation, Instance};

/// A stage's instance on one worker. Dropped with the generation, or after it was replaced.
pub(super) struct Seat {
    generation: Arc<dyn Generation>,
    /// None after a fault, until the next call.
    instance: Option<Box<dyn Instance>>,
    memory_bytes: i64,
    metrics: StageMetrics,
    /// By pipeline name and rule: a worker meets few pipelines.
    drops: Vec<(String, Vec<Counter>)>,
}

impl Seat {
    /// Empty: an instance is taken from the generation when first needed.
    pub(super) fn new(generation: Arc<dyn Generation>, metrics: &Metrics) -> Self {
        let metrics = metrics.stage(generation.stage());
        Self { generation, instance: None, memory_bytes: 0, metrics, drops: Vec::new() }
    }

    /// Whether what sits here is of this very generation.
    pub(super) fn is_of(&self, generation: &Arc<dyn Generation>) -> bool {
        Arc::ptr_eq(&self.generation, generation)
    }

    /// One guest call. After a fault the instance is gone, and the next call takes another one.
    pub(super) fn call(&mut self, batch: Batch, rows: Range<u32>) -> (Batch, Result<Effects, Fault>) {
        let mut instance = match self.instance.take().map_or_else(|| self.generation.instance(), Ok) {
            Ok(instance) => instance,
            Err(fault) => {
                self.metrics.fault(fault.kind.as_str());
                return (batch, Err(fault));
            }
        };
        let started = Instant::now();
        let (batch, result) = instance.call(batch, rows);
        let elapsed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.metrics.calls.inc();
        self.metrics.call_nanoseconds.inc_by(elapsed);
        match &result {
            Ok(_) if instance.wants_recycling() => self.set_memory(0),
            Ok(_) => {
                self.set_memory(instance.memory_bytes());
                self.instance = Some(instance);
            }
            Err(fault) => {
                self.metrics.fault(fault.kind.as_str());
                // The sender's doing, not the instance's.
                if fault.kind == FaultKind::Malformed && !instance.wants_recycling() {
                    self.instance = Some(instance);
                } else {
                    self.set_memory(0);
                }
            }
        }
        (batch, result)
    }

    /// Items that a rule of this generation dropped.
    pub(super) fn count_drop(&mut self, pipeline: &Pipeline, rule: u16, account: u64) {
        let known = self.drops.iter().position(|(name, _)| *name == pipeline.name);
        let place = known.unwrap_or_else(|| {
            let generation = &self.generation;
            let counter = |rule: &String| {
                let metrics = &pipeline.all_metrics;
                metrics.dropped(&pipeline.name, pipeline.signal, generation.stage(), rule, "rule", true)
            };
            self.drops.push((pipeline.name.clone(), generation.rules().iter().map(counter).collect()));
            self.drops.len() - 1
        });
        if let Some(counter) = self.drops.get(place).and_then(|(_, rules)| rules.get(usize::from(rule))) {
            counter.inc_by(account);
        }
    }

    /// Items that went on although this generation faulted on them.
    pub(super) fn count_passed(&self, account: u64) {
        self.metrics.passed_unjudged.inc_by(account);
    }

    fn set_memory(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.memory_bytes.inc_by(bytes - self.memory_bytes);
        self.memory_bytes = bytes;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.set_memory(0);
    }
}
