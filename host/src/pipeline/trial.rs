//! A trial: requests are indexed once, shown to each stage of a step in slices, and spliced once.
//!
//! What stages say is only gathered while they run ([`Judged`]). It is counted and takes effect when all of them are through, so a
//! failure anywhere, a defect of our own included, leaves the requests as they were; and what comes out of it was judged by every
//! stage, or passed on by the `on_fault` of one.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::batch::{Batch, Drops, EditError, Edits, Malformed, RowSet, Segment};
use crate::config::model::OnFault;
use crate::observe::dead_letter::PAYLOAD_BYTES_MAX;
use crate::pipeline::Pipeline;
use crate::pipeline::audience::{Audiences, Sight, View};
use crate::pipeline::burial::Records;
use crate::pipeline::judge::Bench;
use crate::pipeline::seat::{Cause, Failed, Seat};
use crate::pipeline::stage::{Effects, Fault, FaultKind, Generation};
use crate::pipeline::stages::Snapshot;

/// A guest call sees at most this much; larger batches are shown in slices.
pub(super) const SLICE_ROWS_MAX: u32 = 2048;
pub(super) const SLICE_BYTES_MAX: u32 = 1 << 20;

/// Who judges what.
pub(super) struct Trial<'a> {
    pub pipeline: &'a Pipeline,
    /// Of the pipeline.
    pub step: usize,
    /// Indices into the snapshot.
    pub stages: &'a [usize],
    /// One for all that comes of a batch.
    pub snapshot: Arc<Snapshot>,
    /// Who wants to see what comes of it.
    pub audiences: Audiences,
}

impl Trial<'_> {
    /// At the pipeline's first step items are counted for the first time.
    pub(super) fn enters(&self) -> bool {
        self.step == 0
    }

    /// Shows those who watch what counted.
    pub(super) fn show<'a>(&self, views: impl IntoIterator<Item = &'a View>) {
        for view in views {
            if let Some(generation) = self.snapshot.get(view.index) {
                self.audiences.show(self.pipeline, generation, view);
            }
        }
    }
}

/// What stages made of some requests.
pub(super) struct Judged {
    /// Items of each request before the stages.
    pub accounts: Vec<u64>,
    /// What is left of each request.
    pub segments: Vec<Segment>,
    /// One for each stage.
    pub tallies: Vec<Tally>,
    /// What those who watch are shown, should this count.
    pub views: Vec<View>,
}

/// What one stage did.
#[derive(Default)]
pub(super) struct Tally {
    /// The stage's index.
    pub index: usize,
    /// Rule, items.
    pub dropped: Vec<(u16, u64)>,
    /// Rule, places.
    pub edited: Vec<(u16, u64)>,
    /// Fields removed since nobody could judge them.
    pub unjudgeable: u64,
    /// Items that went on although it faulted.
    pub passed: u64,
    /// Those among them that it was shown, with its faults, where somebody wants to know.
    pub faulted: Vec<(FaultKind, Records)>,
}

/// Why requests were not judged. `account` is how many items they have, where that is known.
#[derive(Debug)]
pub(super) enum Unjudged {
    Malformed(Malformed),
    Rejected(Box<Rejection>),
    /// A stage came across something that is not valid protobuf.
    Unreadable {
        stage: String,
        account: u64,
        message: String,
        view: Option<Box<View>>,
    },
    /// Of ours: a panic, or a stage that is not there.
    Defect,
}

/// By a stage that must not be passed.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    pub index: usize,
    pub stage: String,
    pub account: u64,
    pub cause: Cause,
    /// How it faulted; of a stage that was not called, how it did last.
    pub fault: Fault,
    /// Calls that its instance had judged before.
    pub judged_before: u64,
    /// As the stage was shown them, where that may be written down.
    pub shown: Option<Bytes>,
    /// For those who watch the stage.
    pub view: Option<Box<View>>,
}

impl Bench {
    /// Judges requests, without these item rows if any; a panic on the way costs the instances, not the thread.
    pub(super) fn contained(
        &mut self,
        trial: &Trial<'_>,
        bodies: Vec<Bytes>,
        without: Option<&RowSet>,
    ) -> Result<Judged, Unjudged> {
        let judged = catch_unwind(AssertUnwindSafe(|| self.run(trial, bodies, without)));
        judged.unwrap_or_else(|_panic| {
            self.forget_instances();
            Err(Unjudged::Defect)
        })
    }

    /// Each stage in turn sees what the stages before it left.
    fn run(&mut self, trial: &Trial<'_>, bodies: Vec<Bytes>, without: Option<&RowSet>) -> Result<Judged, Unjudged> {
        let requests = bodies.len();
        let mut batch = Batch::index(trial.pipeline.signal, bodies).map_err(Unjudged::Malformed)?;
        let accounts: Vec<u64> = (0..requests).map(|number| batch.account_of(batch.items_of(number))).collect();
        if let Some(rows) = without {
            leave_out(&mut batch, rows).map_err(|_error| Unjudged::Defect)?;
        }
        let account = accounts.iter().sum();
        let mut tallies = Vec::with_capacity(trial.stages.len());
        let mut views = Vec::new();
        let mut stages = trial.stages.iter().peekable();
        while let Some(&index) = stages.next() {
            // Nothing goes round a stage, and if it is not there, nothing goes on.
            let Some(generation) = trial.snapshot.get(index) else { return Err(Unjudged::Defect) };
            let mut sight = trial.audiences.sight(index, &batch);
            let (left, result) = self.show(trial, index, generation, batch, sight.as_mut());
            batch = left;
            let unjudged = |failed: Failed, sight: Option<Sight>, shown| {
                let view = sight.map(|sight| Box::new(sight.failed(index, &failed.fault)));
                failed.into_unjudged(index, generation, account, shown, view)
            };
            match result {
                Ok(tally) => tallies.push(tally),
                Err(failed) => {
                    let may_write = trial.pipeline.may_write(&trial.snapshot, index);
                    return Err(unjudged(failed, sight, if may_write { whole(batch) } else { None }));
                }
            }
            // What cannot be written is rejected, whatever `on_fault` says: there is nothing left that could be passed.
            if stages.peek().is_some() {
                if let Err(error) = batch.settle() {
                    return Err(unjudged(self.discredit(index, generation, error), sight, None));
                }
                let bodies = || batch.segments_now().ok();
                views.extend(sight.into_iter().flat_map(|sight| sight.judged(index, batch.signal(), bodies)));
            } else {
                let signal = batch.signal();
                let segments = match batch.into_segments() {
                    Ok(segments) => segments,
                    Err(error) => return Err(unjudged(self.discredit(index, generation, error), sight, None)),
                };
                let bodies = || Some(segments.iter().map(|segment| segment.bytes.clone()).collect());
                views.extend(sight.into_iter().flat_map(|sight| sight.judged(index, signal, bodies)));
                return Ok(Judged { accounts, segments, tallies, views });
            }
        }
        // A step has a stage.
        Err(Unjudged::Defect)
    }

    /// One stage sees the batch in slices; what it wants takes effect when it has seen all of them. After a failure the batch is as it was.
    fn show(
        &mut self,
        trial: &Trial<'_>,
        index: usize,
        generation: &Arc<dyn Generation>,
        mut batch: Batch,
        mut sight: Option<&mut Sight>,
    ) -> (Batch, Result<Tally, Failed>) {
        if let Err(held_back) = self.admit(index, generation.as_ref()) {
            let passed = Tally { index, passed: batch.account(), ..Tally::default() };
            let failed = Failed::held_back(held_back);
            if let Some(sight) = sight {
                sight.passed_all(&failed.fault);
            }
            return (batch, if failed.may_be_passed(generation.as_ref()) { Ok(passed) } else { Err(failed) });
        }
        let is_told = trial.pipeline.dead_letters.is_some();
        let mut passed = Tally { index, ..Tally::default() };
        let mut effects = Vec::new();
        for slice in batch.slices(SLICE_ROWS_MAX, SLICE_BYTES_MAX) {
            let started = sight.is_some().then(Instant::now);
            let (same, result) = self.call(index, generation, batch, slice.clone());
            batch = same;
            if let (Some(sight), Some(started)) = (sight.as_deref_mut(), started) {
                sight.elapsed += started.elapsed();
            }
            match result {
                Ok(wanted) => effects.push((slice, wanted)),
                Err(failed) if failed.may_be_passed(generation.as_ref()) => {
                    if let Some(sight) = sight.as_deref_mut() {
                        sight.passed(slice.clone(), &failed.fault);
                    }
                    passed.pass(&batch, slice, failed.fault.kind, is_told);
                }
                Err(failed) => return (batch, Err(failed)),
            }
        }
        let has_judged = !effects.is_empty();
        let result = match apply(&mut batch, effects, sight.as_deref_mut()) {
            Ok(tally) => {
                if let Some(sight) = sight {
                    sight.edited(&tally.edited, has_judged);
                }
                if has_judged {
                    self.seat(index, generation).note_judged(batch.signal());
                }
                Ok(Tally { index, passed: passed.passed, faulted: passed.faulted, ..tally })
            }
            Err(error) => {
                let failed = self.discredit(index, generation, error);
                if let Some(sight) = sight {
                    sight.passed_all(&failed.fault);
                }
                if failed.may_be_passed(generation.as_ref()) {
                    // The batch is as it was before this stage.
                    let (mut passed, all) = (Tally { index, ..Tally::default() }, 0..batch.items());
                    passed.pass(&batch, all, failed.fault.kind, is_told);
                    Ok(passed)
                } else {
                    Err(failed)
                }
            }
        };
        (batch, result)
    }

    /// One call; after a fault that may lie in the instance, another one on a new instance.
    fn call(
        &mut self,
        index: usize,
        generation: &Arc<dyn Generation>,
        batch: Batch,
        rows: Range<u32>,
    ) -> (Batch, Result<Effects, Failed>) {
        let (batch, result) = self.seat(index, generation).call(batch, rows.clone());
        let failed = match result {
            Ok(effects) => {
                self.note(index, |condition| condition.judged(generation.number()));
                return (batch, Ok(effects));
            }
            Err(failed) => failed,
        };
        self.log(index, generation.as_ref(), &failed);
        // Who looks for a record looks for one that faults on any instance.
        if !failed.may_be_of_instance() || self.is_searching() {
            self.note_failed(index, generation.as_ref(), &failed.fault);
            return (batch, Err(failed));
        }
        let (batch, result) = self.seat(index, generation).call(batch, rows);
        match &result {
            Ok(_) => {
                let (number, calls) = (generation.number(), failed.judged_before);
                self.note(index, |condition| condition.recovered(number, calls, &failed.fault));
            }
            Err(again) => {
                self.log(index, generation.as_ref(), again);
                self.note_failed(index, generation.as_ref(), &again.fault);
            }
        }
        (batch, result)
    }

    /// What a stage wrote cannot be: bad output that shows after its calls.
    fn discredit(&mut self, index: usize, generation: &Arc<dyn Generation>, error: EditError) -> Failed {
        let kind = match error {
            EditError::Malformed(_) => FaultKind::Malformed,
            EditError::BadValue(_) | EditError::Conflict(_) | EditError::TooLarge => FaultKind::BadOutput,
        };
        let seat: &mut Seat = self.seat(index, generation);
        let failed = seat.discredit(Fault { kind, message: error.to_string() });
        self.log(index, generation.as_ref(), &failed);
        self.note_failed(index, generation.as_ref(), &failed.fault);
        failed
    }
}

impl Tally {
    /// Items go on although the stage faulted on them.
    fn pass(&mut self, batch: &Batch, items: Range<u32>, fault: FaultKind, is_told: bool) {
        self.passed += batch.account_of(items.clone());
        if is_told {
            self.faulted.push((fault, Records::of(batch, items)));
        }
    }
}

impl Failed {
    /// What is malformed is nobody's to pass on.
    fn may_be_passed(&self, generation: &dyn Generation) -> bool {
        self.cause != Cause::Malformed && generation.on_fault() == OnFault::Pass
    }

    fn into_unjudged(
        self,
        index: usize,
        generation: &Arc<dyn Generation>,
        account: u64,
        shown: Option<Bytes>,
        view: Option<Box<View>>,
    ) -> Unjudged {
        let stage = generation.stage().to_owned();
        match self.cause {
            Cause::Malformed => Unjudged::Unreadable { stage, account, message: self.fault.message, view },
            cause => {
                let Failed { fault, judged_before, .. } = self;
                let rejection = Rejection { index, stage, account, cause, fault, judged_before, shown, view };
                Unjudged::Rejected(Box::new(rejection))
            }
        }
    }
}

impl Unjudged {
    /// The `stage` of their account.
    pub(super) fn stage(&self) -> &str {
        match self {
            Unjudged::Rejected(rejection) => &rejection.stage,
            Unjudged::Unreadable { stage, .. } => stage,
            Unjudged::Malformed(_) | Unjudged::Defect => "workers",
        }
    }

    /// What those who watch are shown, should this be the end of it.
    pub(super) fn view(&self) -> Option<&View> {
        match self {
            Unjudged::Rejected(rejection) => rejection.view.as_deref(),
            Unjudged::Unreadable { view, .. } => view.as_deref(),
            Unjudged::Malformed(_) | Unjudged::Defect => None,
        }
    }

    /// Items of the requests, where they were counted.
    pub(super) fn account(&self) -> Option<u64> {
        match self {
            Unjudged::Rejected(rejection) => Some(rejection.account),
            Unjudged::Unreadable { account, .. } => Some(*account),
            Unjudged::Malformed(_) | Unjudged::Defect => None,
        }
    }
}

/// Effects hold only after all slices were judged: row numbers change when they are applied.
fn apply(
    batch: &mut Batch,
    effects: Vec<(Range<u32>, Effects)>,
    mut sight: Option<&mut Sight>,
) -> Result<Tally, EditError> {
    let mut drops = Drops::new(batch);
    let mut edits = Edits::default();
    let mut tally = Tally::default();
    for (slice, effects) in effects {
        let slice = batch.slice(slice);
        for wanted in effects.drops {
            let before = sight.is_some().then(|| drops.leaves(batch).clone());
            tally.dropped.push((wanted.rule, drops.add(batch, &slice, &wanted.rows)));
            if let (Some(sight), Some(before)) = (sight.as_deref_mut(), before) {
                sight.dropped(wanted.rule, &before, drops.leaves(batch));
            }
        }
        edits.append(effects.edits);
        tally.edited.extend(effects.edited);
        tally.unjudgeable += effects.unjudgeable;
    }
    batch.apply(drops, edits)?;
    Ok(tally)
}

pub(super) fn leave_out(batch: &mut Batch, rows: &RowSet) -> Result<(), EditError> {
    let mut drops = Drops::new(batch);
    drops.add(batch, &batch.slice(0..batch.items()), rows);
    batch.apply(drops, Edits::default())
}

/// What a stage was shown, if it is short enough to be written down.
fn whole(batch: Batch) -> Option<Bytes> {
    let mut segments = batch.into_segments().ok()?.into_iter().map(|segment| segment.bytes);
    let first = segments.next()?;
    let rest: Vec<_> = segments.collect();
    let bytes = rest.iter().map(Bytes::len).fold(first.len(), usize::saturating_add);
    let fits = bytes <= PAYLOAD_BYTES_MAX;
    let all = || std::iter::once(&first).chain(&rest).flat_map(|segment| segment.iter().copied()).collect();
    fits.then(|| if rest.is_empty() { first.clone() } else { all() })
}
