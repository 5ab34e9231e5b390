//! Judging: a batch is indexed once, shown to each stage in slices, and spliced once.
//!
//! A request that is not valid protobuf is refused for good, as the Collector does, and whatever a stage's `on_fault` says: to judge
//! its unreadable items as if they had no fields would be wrong, to pass them on would be somebody else's error. Where nobody looks,
//! in fields that no stage reads, it is not noticed and goes on as it came.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ack::Outcome;
use crate::batch::{Batch, Drops};
use crate::config::model::OnFault;
use crate::observe::metrics::{Counter, Metrics, StageMetrics};
use crate::pipeline::stage::{Effects, Fault, FaultKind, Generation, Instance};
use crate::pipeline::stages::{Snapshot, Stages};
use crate::pipeline::{Part, Pipeline};

/// A guest call sees at most this much; larger batches are shown in slices.
const SLICE_ROWS_MAX: u32 = 2048;
const SLICE_BYTES_MAX: u32 = 1 << 20;
/// What a sender is told to wait after a stage could not judge its request.
const RETRY_AFTER_FAULT: Duration = Duration::from_secs(1);

/// One worker's instances and counters.
pub struct Bench {
    stages: Arc<Stages>,
    metrics: Arc<Metrics>,
    seats: Vec<Option<Seat>>,
}

/// A stage's instance on this worker.
struct Seat {
    generation: Arc<dyn Generation>,
    instance: Option<Box<dyn Instance>>,
    memory_bytes: i64,
    metrics: StageMetrics,
    /// By pipeline name and rule: a worker meets few pipelines.
    drops: Vec<(String, Vec<Counter>)>,
}

/// What happened to one batch, counted only when the whole of it is through.
#[derive(Default)]
struct Ledger {
    drops: Vec<(usize, u16, u64)>,
    passed: Vec<(usize, u64)>,
}

/// The batch as a whole cannot go on.
enum Rejected {
    /// A stage that must not be passed did not judge it.
    Unjudged { stage: String },
    /// A stage came across something unreadable.
    Malformed { stage: String, message: String },
}

impl Bench {
    /// No instances yet: they are taken from the generations when first needed.
    pub fn new(stages: Arc<Stages>, metrics: Arc<Metrics>) -> Self {
        Self { stages, metrics, seats: Vec::new() }
    }

    /// Drops instances of generations that no longer serve.
    pub fn let_go_of_replaced(&mut self) {
        let serving = self.stages.snapshot();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let replaced = match (seat.as_ref(), serving.get(index)) {
                (Some(seat), Some(generation)) => !Arc::ptr_eq(&seat.generation, generation),
                (seat, _) => seat.is_some(),
            };
            if replaced {
                *seat = None;
            }
        }
    }

    /// Judges parts by the given stages; what is left of them comes back, the rest is settled. `enters` is true for the
    /// pipeline's first step, where items are counted for the first time.
    pub fn judge(
        &mut self,
        pipeline: &Arc<Pipeline>,
        enters: bool,
        stages: &[usize],
        mut parts: Vec<Part>,
    ) -> Vec<Part> {
        let bodies = parts.iter().map(|part| part.body.clone()).collect();
        let batch = match Batch::index(pipeline.signal, bodies) {
            Ok(batch) => batch,
            Err(malformed) if parts.len() == 1 => {
                for part in parts {
                    part.ack.settle(Outcome::Refused { message: malformed.to_string() });
                    pipeline.closed(1);
                }
                return Vec::new();
            }
            Err(_) => return self.judge_each(pipeline, enters, stages, parts),
        };
        if enters {
            for (segment, part) in parts.iter_mut().enumerate() {
                part.account = batch.account_of(batch.items_of(segment));
                part.request.count(part.account);
            }
        }
        let account = batch.account();
        let snapshot = self.stages.snapshot();
        let mut ledger = Ledger::default();
        let judged = self.run(&snapshot, stages, batch, &mut ledger);
        if judged.is_err() && parts.len() > 1 {
            // One request must not cost the others theirs.
            return self.judge_each(pipeline, enters, stages, parts);
        }
        if enters {
            pipeline.entered(account);
        }
        match judged {
            Ok(batch) => {
                self.count(pipeline, &snapshot, &ledger);
                splice(pipeline, batch, parts)
            }
            Err(Rejected::Malformed { stage, message }) => {
                pipeline.turn_away(parts, &stage, "malformed", &Outcome::Refused { message });
                Vec::new()
            }
            Err(Rejected::Unjudged { stage }) => {
                let message = format!("stage \"{stage}\" could not judge the request");
                pipeline.refuse(parts, &stage, "fault", Some(RETRY_AFTER_FAULT), &message);
                Vec::new()
            }
        }
    }

    fn judge_each(&mut self, pipeline: &Arc<Pipeline>, enters: bool, stages: &[usize], parts: Vec<Part>) -> Vec<Part> {
        parts.into_iter().flat_map(|part| self.judge(pipeline, enters, stages, vec![part])).collect()
    }

    /// Each stage in turn sees what the stages before it left.
    fn run(
        &mut self,
        snapshot: &Snapshot,
        stages: &[usize],
        mut batch: Batch,
        ledger: &mut Ledger,
    ) -> Result<Batch, Rejected> {
        for &index in stages {
            let Some(generation) = snapshot.get(index) else { continue };
            let mut effects = Vec::new();
            for slice in batch.slices(SLICE_ROWS_MAX, SLICE_BYTES_MAX) {
                let (same, result) = self.call(index, generation, batch, slice.clone());
                batch = same;
                match (result, generation.on_fault()) {
                    (Ok(wanted), _) => effects.push((slice, wanted)),
                    (Err(Fault { kind: FaultKind::Malformed, message }), _) => {
                        return Err(Rejected::Malformed { stage: generation.stage().to_owned(), message });
                    }
                    (Err(_), OnFault::Pass) => ledger.passed.push((index, batch.account_of(slice))),
                    (Err(_), OnFault::Reject) => {
                        return Err(Rejected::Unjudged { stage: generation.stage().to_owned() });
                    }
                }
            }
            batch = apply(batch, index, effects, ledger);
        }
        Ok(batch)
    }

    fn call(
        &mut self,
        index: usize,
        generation: &Arc<dyn Generation>,
        batch: Batch,
        rows: Range<u32>,
    ) -> (Batch, Result<Effects, Fault>) {
        let seat = self.seat(index, generation);
        let mut instance = match seat.take_instance() {
            Ok(instance) => instance,
            Err(fault) => {
                seat.metrics.fault(fault.kind.as_str());
                tracing::warn!(stage = generation.stage(), %fault, "no instance");
                return (batch, Err(fault));
            }
        };
        let started = Instant::now();
        let (batch, result) = instance.call(batch, rows);
        seat.metrics.calls.inc();
        let elapsed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        seat.metrics.call_nanoseconds.inc_by(elapsed);
        match &result {
            Ok(_) if instance.wants_recycling() => seat.set_memory(0),
            Ok(_) => {
                seat.set_memory(instance.memory_bytes());
                seat.instance = Some(instance);
            }
            // The sender's doing, and it is told.
            Err(fault) if fault.kind == FaultKind::Malformed && !instance.wants_recycling() => {
                seat.metrics.fault(fault.kind.as_str());
                tracing::debug!(stage = generation.stage(), %fault, "a request is refused");
                seat.instance = Some(instance);
            }
            Err(fault) => {
                seat.set_memory(0);
                seat.metrics.fault(fault.kind.as_str());
                tracing::warn!(stage = generation.stage(), generation = generation.number(), %fault, "a guest call failed");
            }
        }
        (batch, result)
    }

    fn seat(&mut self, index: usize, generation: &Arc<dyn Generation>) -> &mut Seat {
        if self.seats.len() <= index {
            self.seats.resize_with(index + 1, || None);
        }
        let seat = &mut self.seats[index];
        if seat.as_ref().is_some_and(|seat| !Arc::ptr_eq(&seat.generation, generation)) {
            *seat = None;
        }
        let metrics = &self.metrics;
        seat.get_or_insert_with(|| Seat {
            generation: Arc::clone(generation),
            instance: None,
            memory_bytes: 0,
            metrics: metrics.stage(generation.stage()),
            drops: Vec::new(),
        })
    }

    fn count(&mut self, pipeline: &Pipeline, snapshot: &Snapshot, ledger: &Ledger) {
        for &(index, rule, account) in &ledger.drops {
            if let Some(generation) = snapshot.get(index) {
                self.seat(index, generation).count_drop(pipeline, rule, account);
            }
            pipeline.left(account);
        }
        for &(index, account) in &ledger.passed {
            if let Some(generation) = snapshot.get(index) {
                self.seat(index, generation).metrics.passed_unjudged.inc_by(account);
            }
        }
    }
}

impl Seat {
    fn take_instance(&mut self) -> Result<Box<dyn Instance>, Fault> {
        self.instance.take().map_or_else(|| self.generation.instance(), Ok)
    }

    fn set_memory(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.memory_bytes.inc_by(bytes - self.memory_bytes);
        self.memory_bytes = bytes;
    }

    fn count_drop(&mut self, pipeline: &Pipeline, rule: u16, account: u64) {
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
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.set_memory(0);
    }
}

/// Effects hold only after all slices were judged: row numbers change when they are applied.
fn apply(mut batch: Batch, index: usize, effects: Vec<(Range<u32>, Effects)>, ledger: &mut Ledger) -> Batch {
    let mut drops = Drops::new(&batch);
    for (slice, effects) in effects {
        let slice = batch.slice(slice);
        for wanted in effects.drops {
            let account = drops.add(&batch, &slice, &wanted.rows);
            ledger.drops.push((index, wanted.rule, account));
        }
    }
    if !drops.is_empty() {
        batch.apply(drops);
    }
    batch
}

/// What is left of each part; a part of which nothing is left is settled.
fn splice(pipeline: &Arc<Pipeline>, batch: Batch, parts: Vec<Part>) -> Vec<Part> {
    let mut left = Vec::with_capacity(parts.len());
    for (mut part, segment) in parts.into_iter().zip(batch.into_segments()) {
        if segment.bytes.is_empty() {
            part.ack.settle(Outcome::ACCEPTED);
            pipeline.closed(1);
            continue;
        }
        part.body = segment.bytes;
        part.account = segment.account;
        left.push(part);
    }
    left
}
