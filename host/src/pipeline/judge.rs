//! Judging: a batch is indexed once, shown to each stage in slices, and spliced once.
//!
//! What stages say is only gathered while they run (`Judged`). It is counted and takes effect when all of them are through, so a
//! failure anywhere, a defect of our own included, leaves the requests as they were.
//!
//! A request that is not valid protobuf is refused for good, as the Collector does, and whatever a stage's `on_fault` says: to judge
//! its unreadable items as if they had no fields would be wrong, to pass them on would be somebody else's error. Where nobody looks,
//! in fields that no stage reads, it is not noticed and goes on as it came.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::ack::Outcome;
use crate::batch::{Batch, Drops, EditError, Edits, Malformed, Segment};
use crate::config::model::OnFault;
use crate::observe::metrics::Metrics;
use crate::pipeline::seat::Seat;
use crate::pipeline::stage::{Effects, Fault, FaultKind, Generation};
use crate::pipeline::stages::{Snapshot, Stages};
use crate::pipeline::{Part, Pipeline, retry};
use crate::signal::Signal;

/// A guest call sees at most this much; larger batches are shown in slices.
const SLICE_ROWS_MAX: u32 = 2048;
const SLICE_BYTES_MAX: u32 = 1 << 20;
/// What a sender is told to wait after a stage could not judge its request.
const RETRY_AFTER_FAULT: Duration = Duration::from_secs(1);
/// After a fault on several requests each is judged alone, as many as there is time for: a guest that faults always, at its
/// deadline, must not keep the thread for minutes.
const ALONE_MAX: Duration = Duration::from_secs(1);

/// One worker's instances and counters.
pub struct Bench {
    stages: Arc<Stages>,
    metrics: Arc<Metrics>,
    seats: Vec<Option<Seat>>,
}

/// What stages made of some requests.
struct Judged {
    snapshot: Arc<Snapshot>,
    /// Items of each request before the stages.
    accounts: Vec<u64>,
    /// What is left of each request.
    segments: Vec<Segment>,
    /// By stage index: rule, items.
    drops: Vec<(usize, u16, u64)>,
    /// By stage index: items that went on although it faulted.
    passed: Vec<(usize, u64)>,
}

/// Why requests were not judged. `account` is how many items they have, where that is known.
#[derive(Debug)]
enum Unjudged {
    Malformed(Malformed),
    /// By a stage that must not be passed.
    Rejected {
        stage: String,
        account: u64,
    },
    /// A stage came across something that is not valid protobuf.
    Unreadable {
        stage: String,
        account: u64,
        message: String,
    },
    /// A defect of ours.
    Panicked,
}

impl Bench {
    /// No instances yet: they are taken from the generations when first needed.
    pub fn new(stages: Arc<Stages>, metrics: Arc<Metrics>) -> Self {
        Self { stages, metrics, seats: Vec::new() }
    }

    /// Judges parts by the given stages; what is left of them comes back, the rest is settled. `enters` is true for the
    /// pipeline's first step, where items are counted for the first time.
    pub fn judge(&mut self, pipeline: &Pipeline, enters: bool, stages: &[usize], parts: Vec<Part>) -> Vec<Part> {
        let bodies = parts.iter().map(|part| part.body.clone()).collect();
        match self.contained(pipeline.signal, stages, bodies) {
            Ok(judged) => self.settle(pipeline, enters, judged, parts),
            Err(unjudged) if parts.len() > 1 => self.judge_each(pipeline, enters, stages, parts, &unjudged),
            Err(unjudged) => {
                give_up(pipeline, enters, parts, &unjudged);
                Vec::new()
            }
        }
    }

    /// Drops instances of generations that no longer serve.
    pub fn let_go_of_replaced(&mut self) {
        let serving = self.stages.snapshot();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            if let Some(taken) = seat
                && !serving.get(index).is_some_and(|generation| taken.is_of(generation))
            {
                *seat = None;
            }
        }
    }

    /// One request must not cost the others theirs.
    fn judge_each(
        &mut self,
        pipeline: &Pipeline,
        enters: bool,
        stages: &[usize],
        parts: Vec<Part>,
        unjudged: &Unjudged,
    ) -> Vec<Part> {
        let until = Instant::now() + ALONE_MAX;
        let mut left = Vec::with_capacity(parts.len());
        let mut parts = parts.into_iter();
        for part in parts.by_ref() {
            left.extend(self.judge(pipeline, enters, stages, vec![part]));
            if Instant::now() > until {
                break;
            }
        }
        let rest: Vec<_> = parts.collect();
        if !rest.is_empty() {
            let busy = retry(RETRY_AFTER_FAULT, "requests beside it could not be judged, and this one not in time");
            pipeline.refuse(rest, unjudged.stage(), "fault", &busy);
        }
        left
    }

    /// Judges; a panic on the way costs the instances, not the thread.
    fn contained(&mut self, signal: Signal, stages: &[usize], bodies: Vec<Bytes>) -> Result<Judged, Unjudged> {
        let judged = catch_unwind(AssertUnwindSafe(|| self.run(signal, stages, bodies)));
        judged.unwrap_or_else(|_panic| {
            self.seats.clear();
            Err(Unjudged::Panicked)
        })
    }

    /// Each stage in turn sees what the stages before it left. All of them are of one snapshot.
    fn run(&mut self, signal: Signal, stages: &[usize], bodies: Vec<Bytes>) -> Result<Judged, Unjudged> {
        let requests = bodies.len();
        let mut batch = Batch::index(signal, bodies).map_err(Unjudged::Malformed)?;
        let accounts: Vec<u64> = (0..requests).map(|number| batch.account_of(batch.items_of(number))).collect();
        let snapshot = self.stages.snapshot();
        let (mut drops, mut passed) = (Vec::new(), Vec::new());
        for &index in stages {
            let Some(generation) = snapshot.get(index) else { continue };
            let mut effects = Vec::new();
            for slice in batch.slices(SLICE_ROWS_MAX, SLICE_BYTES_MAX) {
                let (same, result) = self.call(index, generation, batch, slice.clone());
                batch = same;
                match (result, generation.on_fault()) {
                    (Ok(wanted), _) => effects.push((slice, wanted)),
                    (Err(Fault { kind: FaultKind::Malformed, message }), _) => {
                        let (stage, account) = (generation.stage().to_owned(), accounts.iter().sum());
                        return Err(Unjudged::Unreadable { stage, account, message });
                    }
                    (Err(_), OnFault::Pass) => passed.push((index, batch.account_of(slice))),
                    (Err(_), OnFault::Reject) => {
                        let account = accounts.iter().sum();
                        return Err(Unjudged::Rejected { stage: generation.stage().to_owned(), account });
                    }
                }
            }
            let count = |rule, account| drops.push((index, rule, account));
            batch = apply(batch, effects, count).map_err(|_error| Unjudged::Panicked)?;
        }
        let segments = batch.into_segments().map_err(|_error| Unjudged::Panicked)?;
        Ok(Judged { snapshot, accounts, segments, drops, passed })
    }

    fn call(
        &mut self,
        index: usize,
        generation: &Arc<dyn Generation>,
        batch: Batch,
        rows: Range<u32>,
    ) -> (Batch, Result<Effects, Fault>) {
        let (batch, result) = self.seat(index, generation).call(batch, rows);
        // What is malformed is the sender's doing, and it is told.
        if let Err(fault) = &result
            && fault.kind != FaultKind::Malformed
            && let Some(left_out) = self.stages.fault_line(index)
        {
            let (stage, number) = (generation.stage(), generation.number());
            tracing::warn!(stage, generation = number, %fault, left_out, "a guest call failed");
        }
        (batch, result)
    }

    /// The stage's seat, with an instance of this generation or none.
    fn seat(&mut self, index: usize, generation: &Arc<dyn Generation>) -> &mut Seat {
        if self.seats.len() <= index {
            self.seats.resize_with(index + 1, || None);
        }
        let seat = &mut self.seats[index];
        if seat.as_ref().is_some_and(|seat| !seat.is_of(generation)) {
            *seat = None;
        }
        let metrics = &self.metrics;
        seat.get_or_insert_with(|| Seat::new(Arc::clone(generation), metrics))
    }

    /// Counts what was judged; a part of which nothing is left is settled.
    fn settle(&mut self, pipeline: &Pipeline, enters: bool, judged: Judged, parts: Vec<Part>) -> Vec<Part> {
        if enters {
            for (part, &account) in parts.iter().zip(&judged.accounts) {
                part.request.count(account);
            }
            pipeline.entered(judged.accounts.iter().sum());
        }
        for (index, rule, account) in judged.drops {
            if let Some(generation) = judged.snapshot.get(index) {
                self.seat(index, generation).count_drop(pipeline, rule, account);
            }
            pipeline.left(account);
        }
        for (index, account) in judged.passed {
            if let Some(generation) = judged.snapshot.get(index) {
                self.seat(index, generation).count_passed(account);
            }
        }
        let mut left = Vec::with_capacity(parts.len());
        for (mut part, segment) in parts.into_iter().zip(judged.segments) {
            if segment.bytes.is_empty() {
                pipeline.closed(1);
                part.ack.settle(Outcome::ACCEPTED);
            } else {
                part.replace_body(segment.bytes, segment.account);
                left.push(part);
            }
        }
        left
    }
}

impl Unjudged {
    /// The `stage` of their account.
    fn stage(&self) -> &str {
        match self {
            Unjudged::Rejected { stage, .. } | Unjudged::Unreadable { stage, .. } => stage,
            Unjudged::Malformed(_) | Unjudged::Panicked => "workers",
        }
    }
}

/// Settles a request that cannot be judged even alone.
fn give_up(pipeline: &Pipeline, enters: bool, mut parts: Vec<Part>, unjudged: &Unjudged) {
    let (reason, outcome) = match unjudged {
        Unjudged::Malformed(malformed) => ("malformed", Outcome::Refused { message: malformed.to_string() }),
        Unjudged::Unreadable { message, .. } => ("malformed", Outcome::Refused { message: message.clone() }),
        Unjudged::Rejected { stage, .. } => {
            ("fault", retry(RETRY_AFTER_FAULT, format!("stage \"{stage}\" could not judge the request")))
        }
        Unjudged::Panicked => ("internal_error", retry(RETRY_AFTER_FAULT, "an internal error; the engine goes on")),
    };
    if let (Unjudged::Rejected { account, .. } | Unjudged::Unreadable { account, .. }, true) = (unjudged, enters) {
        for part in &mut parts {
            part.account = *account;
            part.request.count(*account);
            pipeline.entered(*account);
        }
    }
    pipeline.refuse(parts, unjudged.stage(), reason, &outcome);
}

/// Effects hold only after all slices were judged: row numbers change when they are applied.
fn apply(
    mut batch: Batch,
    effects: Vec<(Range<u32>, Effects)>,
    mut count: impl FnMut(u16, u64),
) -> Result<Batch, EditError> {
    let mut drops = Drops::new(&batch);
    for (slice, effects) in effects {
        let slice = batch.slice(slice);
        for wanted in effects.drops {
            count(wanted.rule, drops.add(&batch, &slice, &wanted.rows));
        }
    }
    batch.apply(drops, Edits::default())?;
    Ok(batch)
}
