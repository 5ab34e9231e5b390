//! Judging: what becomes of the requests that a worker shows to the stages of a step.
//!
//! They are judged together (`trial`); if that fails, each alone, so that one does not cost the others theirs; and a request
//! that fails alone for what is in it, without the records that do (`bisect`). Whatever happens, nothing goes on that a stage did not
//! judge, unless that stage's `on_fault` passes it.
//!
//! A request that is not valid protobuf is refused for good, as the Collector does, and whatever a stage's `on_fault` says: to judge
//! its unreadable items as if they had no fields would be wrong, to pass them on would be somebody else's error. Where nobody looks,
//! in fields that no stage reads, it is not noticed and goes on as it came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ack::{Ack, Outcome};
use crate::batch::{Batch, Segment};
use crate::observe::dead_letter;
use crate::observe::metrics::Metrics;
use crate::pipeline::audience::Audiences;
use crate::pipeline::bisect::Poison;
use crate::pipeline::burial::{Records, Unjudgeable};
use crate::pipeline::canary::JudgedBatch;
use crate::pipeline::condition::{Condition, HeldBack};
use crate::pipeline::late::LATE_MAX;
use crate::pipeline::seat::{Cause, Failed, Seat};
use crate::pipeline::stage::{Fault, FaultKind, Generation};
use crate::pipeline::stages::{Current, Snapshot, Stages};
use crate::pipeline::trial::{Judged, Rejection, Trial, Unjudged};
use crate::pipeline::{Part, Pipeline, retry};

/// What a sender is told to wait after a stage could not judge its request.
const RETRY_AFTER_FAULT: Duration = Duration::from_secs(1);
/// After a fault on several requests each is judged alone, as many as there is time for: a guest that faults always, at its
/// deadline, must not keep the thread for minutes.
pub(super) const ALONE_MAX: Duration = Duration::from_secs(1);

/// One worker's instances and counters.
pub struct Bench {
    current: Arc<Current>,
    /// Of the pipeline that is judged for.
    stages: Arc<Stages>,
    metrics: Arc<Metrics>,
    seats: Vec<Option<Seat>>,
    /// Of candidates, beside those of what serves.
    candidates: Vec<Option<Seat>>,
    /// With the candidates that judge the batch at hand, if any.
    drawn: Option<Arc<Snapshot>>,
    /// The stage of which records are looked for that it cannot judge.
    searched: Option<usize>,
}

impl Bench {
    /// No instances yet: they are taken from the generations when first needed.
    pub fn new(current: Arc<Current>, metrics: Arc<Metrics>) -> Self {
        let stages = current.stages();
        Self { stages, current, metrics, seats: Vec::new(), candidates: Vec::new(), drawn: None, searched: None }
    }

    /// Judges parts by the given stages; what is left of them comes back, the rest is settled. `step` is the
    /// pipeline's step; at the first one items are counted for the first time.
    pub fn judge(&mut self, pipeline: &Pipeline, step: usize, stages: &[usize], mut parts: Vec<Part>) -> Vec<Part> {
        // Should a defect have ended a search.
        self.search_for(None);
        self.stages = Arc::clone(&pipeline.stages);
        let snapshot = self.stages.snapshot();
        if snapshot.has_canaries() {
            parts = match self.judge_by_candidates(pipeline, step, stages, &snapshot, parts) {
                Ok(left) => return left,
                Err(parts) => parts,
            };
        }
        let audiences = Audiences::of(pipeline, &self.stages, &snapshot, stages);
        let trial = Trial { pipeline, step, stages, snapshot, audiences };
        let bodies = parts.iter().map(|part| part.body.clone()).collect();
        let judged = self.contained(&trial, bodies, None);
        if trial.snapshot.has_canaries()
            && let Err(unjudged) = &judged
        {
            tell_of_failure(&trial, unjudged);
        }
        match judged {
            Ok(judged) => self.settle(&trial, judged, parts),
            Err(Unjudged::Rejected(rejection)) if rejection.cause.is_uncalled() => hold_back(&trial, parts, &rejection),
            Err(unjudged) => match parts.pop() {
                Some(part) if parts.is_empty() => {
                    let mut time_left = pipeline.bisecting_max;
                    self.judge_rest(&trial, part, unjudged, &mut time_left)
                }
                last => {
                    parts.extend(last);
                    self.judge_each(&trial, parts, &unjudged)
                }
            },
        }
    }

    /// Gives back instances of generations that no longer serve.
    pub fn let_go_of_replaced(&mut self) {
        self.stages = self.current.stages();
        let serving = self.stages.snapshot();
        for seat in &mut self.candidates {
            if let Some(replaced) = seat.take_if(|seat| !serving.has_candidate(seat.generation())) {
                replaced.leave();
            }
        }
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let is_serving = |seat: &Seat| serving.get(index).is_some_and(|generation| seat.is_of(generation));
            if let Some(replaced) = seat.take_if(|seat| !is_serving(seat)) {
                replaced.leave();
            }
        }
    }

    /// Judges parts with the candidates that they are drawn for. They come back where there are none, or where one failed: a candidate must
    /// cost nobody anything, so what serves judges them then.
    fn judge_by_candidates(
        &mut self,
        pipeline: &Pipeline,
        step: usize,
        stages: &[usize],
        serving: &Snapshot,
        parts: Vec<Part>,
    ) -> Result<Vec<Part>, Vec<Part>> {
        let Some(drawn) = serving.draw(stages) else { return Err(parts) };
        let snapshot = Arc::new(drawn);
        let audiences = Audiences::of(pipeline, &self.stages, &snapshot, stages);
        let trial = Trial { pipeline, step, stages, snapshot, audiences };
        self.drawn = Some(Arc::clone(&trial.snapshot));
        let bodies = parts.iter().map(|part| part.body.clone()).collect();
        let result = match self.contained(&trial, bodies, None) {
            Ok(judged) => Ok(self.settle(&trial, judged, parts)),
            Err(unjudged) => {
                tell_of_failure(&trial, &unjudged);
                Err(parts)
            }
        };
        self.drawn = None;
        result
    }

    /// One request must not cost the others theirs.
    fn judge_each(&mut self, trial: &Trial<'_>, parts: Vec<Part>, unjudged: &Unjudged) -> Vec<Part> {
        let until = Instant::now() + trial.pipeline.alone_max;
        let mut time_left = trial.pipeline.bisecting_max;
        let mut left = Vec::with_capacity(parts.len());
        let mut parts = parts.into_iter();
        for part in parts.by_ref() {
            left.extend(match self.contained(trial, vec![part.body.clone()], None) {
                Ok(judged) => self.settle(trial, judged, vec![part]),
                Err(unjudged) => self.judge_rest(trial, part, unjudged, &mut time_left),
            });
            if Instant::now() > until {
                break;
            }
        }
        let rest: Vec<_> = parts.collect();
        if !rest.is_empty() {
            let busy = retry(RETRY_AFTER_FAULT, "requests beside it could not be judged, and this one not in time");
            trial.pipeline.refuse(rest, trial.step, unjudged.stage(), "fault", &busy);
        }
        left
    }

    /// What is left of a request that cannot be judged as it is.
    fn judge_rest(
        &mut self,
        trial: &Trial<'_>,
        mut part: Part,
        unjudged: Unjudged,
        time_left: &mut Duration,
    ) -> Vec<Part> {
        match unjudged {
            Unjudged::Rejected(rejection) if rejection.cause == Cause::Content => {
                match self.isolate(trial, &part.body, *rejection, time_left) {
                    Ok((judged, poison)) => {
                        let account = judged.accounts.iter().sum();
                        self.count(trial, &judged, std::slice::from_ref(&part));
                        trial.show(poison.iter().filter_map(|poison| poison.view.as_deref()));
                        bury_poison(trial, &part, &poison);
                        part.ack = reject(trial.pipeline, part.ack, account, &poison);
                        go_on(trial.pipeline, judged.segments, vec![part])
                    }
                    Err(unjudged) => give_up(trial, part, &unjudged),
                }
            }
            Unjudged::Rejected(rejection)
                if rejection.cause == Cause::Late && self.is_late_always(trial, &part, &rejection) =>
            {
                enter(trial, &mut part, rejection.account);
                trial.show(rejection.view.as_deref());
                bury(trial, &part, &rejection, dead_letter::Outcome::Rejected);
                let message = format!("stage {:?} could not judge them in time, {LATE_MAX} times", rejection.stage);
                let rejected = Outcome::Partial { rejected: rejection.account, message };
                trial.pipeline.refuse(vec![part], trial.step, &rejection.stage, "poison", &rejected);
                Vec::new()
            }
            unjudged => give_up(trial, part, &unjudged),
        }
    }

    /// Whether this content made this generation late too often, which judges others.
    fn is_late_always(&self, trial: &Trial<'_>, part: &Part, rejection: &Rejection) -> bool {
        let number = trial.snapshot.get(rejection.index).map_or(0, |generation| generation.number());
        let times = self.stages.note_late(rejection.index, number, &part.body);
        times >= LATE_MAX && self.has_judged(trial, rejection.index)
    }

    /// Whether the stage's serving generation judged anything of this signal here, so that it can.
    pub(super) fn has_judged(&self, trial: &Trial<'_>, index: usize) -> bool {
        let seat = self.seats.get(index).and_then(Option::as_ref);
        let (Some(seat), Some(generation)) = (seat, trial.snapshot.get(index)) else { return false };
        seat.is_of(generation) && seat.has_judged(trial.pipeline.signal)
    }

    /// Whether a stage may be called now. One of which records are looked for may: its failed call was let through.
    pub(super) fn admit(&self, index: usize, generation: &dyn Generation) -> Result<(), HeldBack> {
        match self.stages.condition(index) {
            Some(condition) if self.searched != Some(index) => condition.admit(generation.number()),
            Some(_) | None => Ok(()),
        }
    }

    /// Tells the stage's condition something.
    pub(super) fn note(&self, index: usize, event: impl FnOnce(&Condition)) {
        if let Some(condition) = self.stages.condition(index) {
            event(condition);
        }
    }

    /// Tells the stage's condition of a failure. What fails while a record is looked for belongs to the failure that began it.
    pub(super) fn note_failed(&self, index: usize, generation: &dyn Generation, fault: &Fault) {
        if !self.is_searching() {
            self.note(index, |condition| condition.failed(generation.number(), fault));
        }
    }

    /// From now on records are looked for that this stage cannot judge; None: no longer.
    pub(super) fn search_for(&mut self, stage: Option<usize>) {
        self.searched = stage;
    }

    pub(super) fn is_searching(&self) -> bool {
        self.searched.is_some()
    }

    /// Has the next calls made on instances that judged nothing before.
    pub(super) fn renew_instances(&mut self, trial: &Trial<'_>) {
        for &index in trial.stages {
            if let Some(Some(seat)) = self.seats.get_mut(index) {
                seat.renew();
            }
        }
    }

    /// After a panic: in whatever state they are, they are not called again.
    pub(super) fn forget_instances(&mut self) {
        self.seats.clear();
        self.candidates.clear();
    }

    /// The stage's seat, with an instance of this generation or none.
    pub(super) fn seat(&mut self, index: usize, generation: &Arc<dyn Generation>) -> &mut Seat {
        let is_candidate = self.drawn.as_ref().is_some_and(|drawn| drawn.is_candidate(index));
        let seats = if is_candidate { &mut self.candidates } else { &mut self.seats };
        if seats.len() <= index {
            seats.resize_with(index + 1, || None);
        }
        let seat = &mut seats[index];
        if let Some(replaced) = seat.take_if(|seat| !seat.is_of(generation)) {
            replaced.leave();
        }
        let metrics = &self.metrics;
        seat.get_or_insert_with(|| Seat::new(Arc::clone(generation), metrics))
    }

    /// A line on a fault, unless there was one just before.
    pub(super) fn log(&self, index: usize, generation: &dyn Generation, failed: &Failed) {
        // What is malformed is the sender's doing, and it is told.
        if failed.cause != Cause::Malformed
            && let Some(left_out) = self.stages.condition(index).and_then(|condition| condition.fault_line())
        {
            let (stage, number, fault) = (generation.stage(), generation.number(), &failed.fault);
            tracing::warn!(stage, generation = number, %fault, left_out, "a guest call failed");
        }
    }

    /// Counts what was judged; a part of which nothing is left is settled.
    fn settle(&mut self, trial: &Trial<'_>, judged: Judged, parts: Vec<Part>) -> Vec<Part> {
        self.count(trial, &judged, &parts);
        go_on(trial.pipeline, judged.segments, parts)
    }

    fn count(&mut self, trial: &Trial<'_>, judged: &Judged, parts: &[Part]) {
        let pipeline = trial.pipeline;
        if trial.enters() {
            for (part, &account) in parts.iter().zip(&judged.accounts) {
                part.count(account);
            }
            pipeline.entered(judged.accounts.iter().sum());
        }
        for tally in &judged.tallies {
            if let Some(generation) = trial.snapshot.get(tally.index) {
                self.seat(tally.index, generation).count(pipeline, tally);
                for (fault, records) in &tally.faulted {
                    let (generation, fault, records) = (generation.as_ref(), *fault, records.clone());
                    let outcome = dead_letter::Outcome::Passed;
                    pipeline.bury(|| Some(Unjudgeable { generation, fault, outcome, records, shown: None }));
                }
            }
            pipeline.left(tally.dropped.iter().map(|(_, account)| account).sum());
        }
        trial.show(&judged.views);
        if trial.snapshot.has_canaries() {
            tell_of_judged(&trial.snapshot, judged);
        }
    }
}

/// Tells canaries what became of a batch.
fn tell_of_judged(snapshot: &Snapshot, judged: &Judged) {
    for tally in &judged.tallies {
        if let Some(canary) = snapshot.canary(tally.index) {
            canary.judged(&JudgedBatch {
                by_candidate: snapshot.is_candidate(tally.index),
                records: judged.accounts.iter().sum(),
                dropped: tally.dropped.iter().map(|(_, account)| account).sum(),
                edited: &tally.edited,
                is_whole: tally.passed == 0,
            });
        }
    }
}

/// Tells canaries of what was not judged, and by whom.
fn tell_of_failure(trial: &Trial<'_>, unjudged: &Unjudged) {
    let snapshot = &trial.snapshot;
    let failed = |index: usize, fault: &Fault| {
        snapshot.canary(index).iter().for_each(|canary| canary.failed(snapshot.is_candidate(index), fault));
    };
    match unjudged {
        Unjudged::Rejected(rejection) => {
            failed(rejection.index, &rejection.fault);
            if snapshot.is_candidate(rejection.index) {
                trial.show(rejection.view.as_deref());
            }
        }
        Unjudged::Defect => {
            let fault = Fault { kind: FaultKind::Trap, message: "an internal error".to_owned() };
            snapshot.candidates().iter().for_each(|&index| failed(index, &fault));
        }
        // The sender's doing.
        Unjudged::Malformed(_) | Unjudged::Unreadable { .. } => {}
    }
}

/// What is left of parts goes on; those of which nothing is left are settled.
fn go_on(pipeline: &Pipeline, segments: Vec<Segment>, parts: Vec<Part>) -> Vec<Part> {
    let mut left = Vec::with_capacity(parts.len());
    for (mut part, segment) in parts.into_iter().zip(segments) {
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

/// Rejects the records of a request that cannot be judged; what comes back stands for the others. The request has `account` items.
fn reject(pipeline: &Pipeline, ack: Ack, account: u64, poison: &[Poison]) -> Ack {
    if poison.is_empty() {
        return ack;
    }
    let mut by_stage = BTreeMap::<&str, u64>::new();
    for Poison { stage, account, .. } in poison {
        *by_stage.entry(stage).or_default() += account;
    }
    for (stage, &account) in &by_stage {
        pipeline.all_metrics.dropped(&pipeline.name, pipeline.signal, stage, "", "poison", false).inc_by(account);
        pipeline.left(account);
    }
    let items = pipeline.signal.items();
    let said = by_stage.iter().map(|(stage, account)| format!("stage {stage:?} cannot judge {account} of the {items}"));
    let rejected = by_stage.values().sum();
    ack.reject_some(rejected, account - rejected, said.collect::<Vec<_>>().join("; "))
}

/// Settles a request that cannot be judged even alone.
fn give_up(trial: &Trial<'_>, mut part: Part, unjudged: &Unjudged) -> Vec<Part> {
    let (reason, outcome) = match unjudged {
        Unjudged::Malformed(malformed) => ("malformed", Outcome::Refused { message: malformed.to_string() }),
        Unjudged::Unreadable { message, .. } => ("malformed", Outcome::Refused { message: message.clone() }),
        Unjudged::Rejected(rejection) => {
            let stage = &rejection.stage;
            let outcome = match rejection.cause {
                Cause::HeldBack(left) => {
                    retry(left, format!("stage \"{stage}\" failed too often and is not called for now"))
                }
                Cause::Paused(left) => retry(left, format!("stage \"{stage}\" is paused")),
                _ => retry(RETRY_AFTER_FAULT, format!("stage \"{stage}\" could not judge the request")),
            };
            (if matches!(rejection.cause, Cause::Paused(_)) { "paused" } else { "fault" }, outcome)
        }
        Unjudged::Defect => ("internal_error", retry(RETRY_AFTER_FAULT, "an internal error; the engine goes on")),
    };
    if let Some(account) = unjudged.account() {
        enter(trial, &mut part, account);
    }
    trial.show(unjudged.view());
    match unjudged {
        // What it was not shown says nothing of it.
        Unjudged::Rejected(rejection) if rejection.cause.is_uncalled() => {}
        Unjudged::Rejected(rejection) => bury(trial, &part, rejection, dead_letter::Outcome::Retry),
        Unjudged::Malformed(_) | Unjudged::Unreadable { .. } | Unjudged::Defect => {}
    }
    trial.pipeline.refuse(vec![part], trial.step, unjudged.stage(), reason, &outcome);
    Vec::new()
}

/// Settles requests that a stage is not called for: none of them would fare better alone.
fn hold_back(trial: &Trial<'_>, parts: Vec<Part>, rejection: &Rejection) -> Vec<Part> {
    // All of them were shown together.
    trial.show(rejection.view.as_deref());
    for part in parts {
        let batch = Batch::index(trial.pipeline.signal, vec![part.body.clone()]);
        let account = batch.map_or(part.account, |batch| batch.account());
        give_up(trial, part, &Unjudged::Rejected(Box::new(Rejection { account, view: None, ..rejection.clone() })));
    }
    Vec::new()
}

/// Counts the items of a request that goes no further than this step, if it is the first.
fn enter(trial: &Trial<'_>, part: &mut Part, account: u64) {
    if trial.enters() {
        part.account = account;
        part.count(account);
        trial.pipeline.entered(account);
    }
}

/// Tells the dead letter of a whole request.
fn bury(trial: &Trial<'_>, part: &Part, rejection: &Rejection, outcome: dead_letter::Outcome) {
    trial.pipeline.bury(|| {
        let generation = trial.snapshot.get(rejection.index)?.as_ref();
        let records = Records::of_request(trial.pipeline.signal, &part.body);
        let (fault, shown) = (rejection.fault.kind, rejection.shown.clone());
        Some(Unjudgeable { generation, fault, outcome, records, shown })
    });
}

/// Tells the dead letter of records of a request that stages faulted on: one entry for each stage.
fn bury_poison(trial: &Trial<'_>, part: &Part, poison: &[Poison]) {
    let mut stages: Vec<usize> = poison.iter().map(|poison| poison.index).collect();
    stages.sort_unstable();
    stages.dedup();
    for index in stages {
        trial.pipeline.bury(|| {
            let generation = trial.snapshot.get(index)?.as_ref();
            let batch = Batch::index(trial.pipeline.signal, vec![part.body.clone()]).ok()?;
            let (mut records, mut shown) = (Records::default(), Vec::new());
            let of_stage: Vec<_> = poison.iter().filter(|poison| poison.index == index).collect();
            for poison in &of_stage {
                records.add(Records::of(&batch, poison.row..poison.row + 1));
                shown.extend(poison.shown.iter().flatten());
            }
            // Requests that follow each other are one request; an incomplete one would mislead.
            let is_shown = of_stage.iter().all(|poison| poison.shown.is_some());
            let (fault, outcome) = (of_stage.first()?.fault.kind, dead_letter::Outcome::Rejected);
            Some(Unjudgeable { generation, fault, outcome, records, shown: is_shown.then(|| shown.into()) })
        });
    }
}
