//! What those who watch are shown of a batch: gathered while a trial runs ([`Sight`]), shown when it counts ([`Audiences::show`]).

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::batch::{Batch, Level, RowSet};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::{Fault, Generation};
use crate::pipeline::stages::{Snapshot, Stages};
use crate::pipeline::trial::leave_out;
use crate::pipeline::watcher::{After, Point, Seen, Watcher, Watchers};
use crate::signal::Signal;

/// Who wants to see a batch at the stages of a step. Without watchers there is nothing in it.
pub(super) struct Audiences(Vec<Audience>);

/// Those who want to see a batch at one stage.
pub(super) struct Audience {
    index: usize,
    watchers: Arc<Watchers>,
    wanting: Vec<Arc<dyn Watcher>>,
    is_redacted: (bool, bool),
}

/// What one stage is shown and makes of it, as far as it is known.
pub(super) struct Sight {
    before: Vec<Bytes>,
    dropped: Vec<(u32, u16)>,
    edited: Vec<(u16, u64)>,
    /// Item rows that go on though it faulted on them.
    passed: Vec<(Range<u32>, Fault)>,
    has_judged: bool,
    pub elapsed: Duration,
}

/// What is shown of one stage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub index: usize,
    before: Vec<Bytes>,
    made: Made,
    elapsed: Duration,
}

#[derive(Clone, Debug)]
enum Made {
    Judged { bodies: Vec<Bytes>, dropped: Vec<(u32, u16)>, edited: Vec<(u16, u64)> },
    Passed(Fault),
    Failed(Fault),
}

impl Audiences {
    /// Asks those who watch these stages whether they want to see the next batch.
    pub(super) fn of(pipeline: &Pipeline, stages: &Stages, snapshot: &Snapshot, indices: &[usize]) -> Audiences {
        let is_watched = |index: &&usize| stages.watchers(**index).is_some_and(|watchers| watchers.are_any());
        let mut audiences: Vec<Audience> = Vec::new();
        for &index in indices.iter().filter(is_watched) {
            let (Some(watchers), Some(generation)) = (stages.watchers(index), snapshot.get(index)) else { continue };
            if audiences.iter().any(|known| known.index == index) {
                continue;
            }
            let redaction = pipeline.redaction(snapshot);
            let is_redacted = (redaction.is_before(index), redaction.is_after(index));
            audiences.extend(Audience::of(pipeline, generation, index, watchers, is_redacted));
        }
        Audiences(audiences)
    }

    /// To gather what is shown of this stage, where anybody wants to see it; the batch is as the stage will be shown it.
    pub(super) fn sight(&self, index: usize, batch: &Batch) -> Option<Sight> {
        self.at(index)?;
        // What cannot be written shows when the batch is settled.
        let before = batch.segments_now().ok()?;
        let (dropped, edited, passed) = Default::default();
        Some(Sight { before, dropped, edited, passed, has_judged: false, elapsed: Duration::ZERO })
    }

    /// Shows it to them.
    pub(super) fn show(&self, pipeline: &Pipeline, generation: &Arc<dyn Generation>, view: &View) {
        let Some(audience) = self.at(view.index) else { return };
        let after = match &view.made {
            Made::Judged { bodies, dropped, edited } => After::Judged { bodies, dropped, edited },
            Made::Passed(fault) => After::Passed(fault),
            Made::Failed(fault) => After::Failed(fault),
        };
        let point = audience.point(pipeline, generation);
        let seen = Seen { point, before: &view.before, after, elapsed: view.elapsed };
        audience.each(|watcher| watcher.seen(&seen));
    }

    fn at(&self, index: usize) -> Option<&Audience> {
        self.0.iter().find(|audience| audience.index == index)
    }
}

impl Audience {
    /// Those who want to see the next batch of a stage; None where nobody does. `is_redacted`: what it is shown, what it leaves.
    pub(super) fn of(
        pipeline: &Pipeline,
        generation: &Arc<dyn Generation>,
        index: usize,
        watchers: &Arc<Watchers>,
        is_redacted: (bool, bool),
    ) -> Option<Audience> {
        let mut audience = Audience { index, watchers: Arc::clone(watchers), wanting: Vec::new(), is_redacted };
        let point = audience.point(pipeline, generation);
        let wants = |watcher: &Arc<dyn Watcher>| tell(watchers, watcher, |watcher| watcher.wants(&point)) == Some(true);
        audience.wanting = watchers.all().into_iter().filter(wants).collect();
        (!audience.wanting.is_empty()).then_some(audience)
    }

    pub(super) fn point<'a>(&self, pipeline: &'a Pipeline, generation: &'a Arc<dyn Generation>) -> Point<'a> {
        Point {
            pipeline: pipeline.name(),
            signal: pipeline.signal(),
            generation,
            is_redacted_before: self.is_redacted.0,
            is_redacted_after: self.is_redacted.1,
        }
    }

    pub(super) fn each(&self, show: impl Fn(&dyn Watcher)) {
        for watcher in &self.wanting {
            tell(&self.watchers, watcher, &show);
        }
    }
}

/// Tells one of them; None where it panics, and then it watches no more: what it does must cost nobody a batch.
pub(super) fn tell<T>(
    watchers: &Watchers,
    watcher: &Arc<dyn Watcher>,
    tell: impl FnOnce(&dyn Watcher) -> T,
) -> Option<T> {
    let told = catch_unwind(AssertUnwindSafe(|| tell(watcher.as_ref())));
    if told.is_err() {
        tracing::error!("an internal error of what watches a stage; it watches no more");
        watchers.dismiss(watcher);
    }
    told.ok()
}

impl Sight {
    /// These item rows go on though it faulted on them.
    pub(super) fn passed(&mut self, rows: Range<u32>, fault: &Fault) {
        self.passed.push((rows, fault.clone()));
    }

    /// All of it is as it was before this stage.
    pub(super) fn passed_all(&mut self, fault: &Fault) {
        self.has_judged = false;
        self.dropped.clear();
        self.edited.clear();
        self.passed = vec![(0..u32::MAX, fault.clone())];
    }

    /// What a rule newly drops, as rows that accounts count.
    pub(super) fn dropped(&mut self, rule: u16, before: &RowSet, after: &RowSet) {
        self.dropped.extend(after.iter().filter(|row| !before.contains(*row)).map(|row| (row, rule)));
    }

    /// It judged all that it did not pass, if anything, and edited so many places by these rules.
    pub(super) fn edited(&mut self, edited: &[(u16, u64)], has_judged: bool) {
        self.has_judged = has_judged;
        self.dropped.sort_unstable();
        for &(rule, places) in edited {
            match self.edited.iter_mut().find(|(known, _)| *known == rule) {
                Some((_, sum)) => *sum += places,
                None => self.edited.push((rule, places)),
            }
        }
        self.edited.sort_unstable();
    }

    /// What is shown if it holds; `bodies` are what the stage left.
    pub(super) fn judged(self, index: usize, signal: Signal, bodies: impl FnOnce() -> Option<Vec<Bytes>>) -> Vec<View> {
        let Sight { before, dropped, edited, passed, has_judged, elapsed } = self;
        if !has_judged {
            let first = passed.into_iter().next();
            let view = |(_, fault)| View { index, before, made: Made::Passed(fault), elapsed };
            return first.map(view).into_iter().collect();
        }
        let of_slice = |(rows, fault): (Range<u32>, Fault)| {
            let elapsed = Duration::ZERO;
            Some(View { index, before: only(signal, &before, rows)?, made: Made::Passed(fault), elapsed })
        };
        let passed: Vec<_> = passed.into_iter().filter_map(of_slice).collect();
        let judged = |bodies| View { index, before, made: Made::Judged { bodies, dropped, edited }, elapsed };
        bodies().map(judged).into_iter().chain(passed).collect()
    }

    /// What is shown if nothing goes on.
    pub(super) fn failed(self, index: usize, fault: &Fault) -> View {
        View { index, before: self.before, made: Made::Failed(fault.clone()), elapsed: self.elapsed }
    }
}

/// Requests without all other item rows.
fn only(signal: Signal, bodies: &[Bytes], rows: Range<u32>) -> Option<Vec<Bytes>> {
    let mut batch = Batch::index(signal, bodies.to_vec()).ok()?;
    let items = batch.items();
    let mut others = RowSet::empty(Level::Item, items);
    others.insert_range(0..rows.start);
    others.insert_range(rows.end..items.max(rows.end));
    leave_out(&mut batch, &others).ok()?;
    batch.segments_now().ok()
}
