//! Bisection: which records of a request a stage cannot judge.
//!
//! A stage that must not be passed would hold up a whole request for one poison record, at each retry again. So the request is judged
//! in parts, of halves of halves, until a record is found that faults alone, on a new instance. Without it the request is judged
//! again from its first stage on, as it came; and so on until nothing faults. Only that last trial has an effect.
//!
//! A record is blamed only where the stage judges others: a broken guest must not cost all of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::batch::{Batch, Level, RowSet};
use crate::pipeline::audience::View;
use crate::pipeline::judge::Bench;
use crate::pipeline::seat::Cause;
use crate::pipeline::stage::Fault;
use crate::pipeline::trial::{Judged, Rejection, Trial, Unjudged};

/// For the bisections of one batch, new instances included (up to 2 ms after each fault).
pub(super) const BISECTING_MAX: Duration = Duration::from_millis(100);

/// Failed calls of a bisection during which the stage judged nothing at all, before it or in it: then it is no record's fault.
const CALLS_IN_VAIN_MAX: u32 = 64;

/// A record that faults alone.
pub(super) struct Poison {
    /// Of the stage that faults.
    pub index: usize,
    pub stage: String,
    /// Spans, data points or log records.
    pub account: u64,
    /// Its item row in the request.
    pub row: u32,
    pub fault: Fault,
    /// As the stage was shown it, where that may be written down.
    pub shown: Option<Bytes>,
    /// For those who watch the stage.
    pub view: Option<Box<View>>,
}

/// A request that is bisected.
struct Search<'a> {
    trial: &'a Trial<'a>,
    body: &'a Bytes,
    items: u32,
    /// Item rows found so far.
    poison: RowSet,
    started: Instant,
    time_max: Duration,
    /// Failed calls of a stage that judged nothing yet.
    in_vain: u32,
    /// How the whole request faulted: the answer where no record is to blame.
    whole: Rejection,
    /// How other stages faulted, by index.
    others: BTreeMap<usize, Fault>,
}

impl Bench {
    /// Judges what `rejection` rejected for its content: the request without the records that fault alone, which come back too.
    /// Takes the time it needs from `time_left`; an error where that is not enough, or where no single record is to blame.
    pub(super) fn isolate(
        &mut self,
        trial: &Trial<'_>,
        body: &Bytes,
        rejection: Rejection,
        time_left: &mut Duration,
    ) -> Result<(Judged, Vec<Poison>), Unjudged> {
        let batch = Batch::index(trial.pipeline.signal, vec![body.clone()]).map_err(Unjudged::Malformed)?;
        let (started, items) = (Instant::now(), batch.items());
        let poison = RowSet::empty(Level::Item, items);
        let (time_max, whole) = (*time_left, rejection);
        self.search_for(Some(whole.index));
        let mut search =
            Search { trial, body, items, poison, started, time_max, in_vain: 0, whole, others: BTreeMap::new() };
        let result = self.search(&mut search, &batch);
        self.search_for(None);
        // A search in vain is a failure of every stage that faulted in it; that of its own is known.
        for (index, fault) in search.others.iter().filter(|_| result.is_err()) {
            if let Some(generation) = trial.snapshot.get(*index) {
                self.note_failed(*index, generation.as_ref(), fault);
            }
        }
        *time_left = time_left.saturating_sub(started.elapsed());
        result
    }

    fn search(&mut self, search: &mut Search<'_>, batch: &Batch) -> Result<(Judged, Vec<Poison>), Unjudged> {
        let mut found = Vec::new();
        let judged = loop {
            // The first time, this tells whether it was the instance's own state.
            self.renew_instances(search.trial);
            if let Ok(judged) = self.probe(search, 0..search.items)? {
                if found.is_empty() {
                    self.note_recovered(search);
                }
                break judged;
            }
            let (row, rejection) = self.culprit(search)?;
            let Rejection { index, stage, fault, shown, view, .. } = *rejection;
            search.poison.insert(row);
            let account = batch.account_of(row..row + 1);
            found.push(Poison { index, stage, account, row, fault, shown, view });
        };
        // A guest that judges nothing is broken, and no record is to blame.
        if found.iter().all(|poison| self.has_judged(search.trial, poison.index)) {
            Ok((judged, found))
        } else {
            Err(search.unresolved())
        }
    }

    /// A row that faults alone, of a request that faults as a whole.
    fn culprit(&mut self, search: &mut Search<'_>) -> Result<(u32, Box<Rejection>), Unjudged> {
        if search.items == 0 {
            // What it faults on is a resource that has no rows.
            return Err(search.unresolved());
        }
        let (mut first, mut end) = (0, search.items);
        while end - first > 1 {
            let middle = first + (end - first) / 2;
            match self.probe(search, first..middle)? {
                Ok(_) => first = middle,
                Err(_) => end = middle,
            }
        }
        self.renew_instances(search.trial);
        match self.probe(search, first..end)? {
            Err(rejection) => Ok((first, rejection)),
            // Rows fault only together.
            Ok(_) => Err(search.unresolved()),
        }
    }

    /// A new instance judged the very request that the last one could not.
    fn note_recovered(&self, search: &Search<'_>) {
        let Rejection { index, fault, judged_before, .. } = &search.whole;
        if let Some(generation) = search.trial.snapshot.get(*index) {
            self.note(*index, |condition| condition.recovered(generation.number(), *judged_before, fault));
        }
    }

    /// Judges only these item rows, without those found to be poison; or says how they fault.
    fn probe(&mut self, search: &mut Search<'_>, rows: Range<u32>) -> Result<Result<Judged, Box<Rejection>>, Unjudged> {
        if search.started.elapsed() >= search.time_max || search.in_vain >= CALLS_IN_VAIN_MAX {
            return Err(search.unresolved());
        }
        let mut without = search.poison.clone();
        without.insert_range(0..rows.start);
        without.insert_range(rows.end..search.items);
        match self.contained(search.trial, vec![search.body.clone()], Some(&without)) {
            Ok(judged) => Ok(Ok(judged)),
            Err(Unjudged::Rejected(rejection)) if rejection.cause == Cause::Content => {
                search.in_vain += u32::from(!self.has_judged(search.trial, rejection.index));
                if rejection.index != search.whole.index {
                    search.others.insert(rejection.index, rejection.fault.clone());
                }
                Ok(Err(rejection))
            }
            Err(unjudged) => Err(unjudged),
        }
    }
}

impl Search<'_> {
    /// No record is blamed.
    fn unresolved(&self) -> Unjudged {
        Unjudged::Rejected(Box::new(self.whole.clone()))
    }
}
