//! The policies of a tail sampler while one of them has a canary: the traces that are drawn for its candidate are decided by that, the
//! others by what serves.

use std::collections::BTreeSet;

use crate::pipeline::Pipeline;
use crate::pipeline::canary::{Canary, JudgedBatch};
use crate::pipeline::sampling::panel::{Panel, randomness};
use crate::pipeline::stage::{Fault, FaultKind};
use crate::pipeline::stages::Snapshot;
use crate::tail::shard::{Due, Shard};
use crate::tail::traces::{Traces, Trigger};
use crate::tail::verdict::{THRESHOLD_UNKNOWN, Verdict, Vote};

/// A candidate could not decide; what serves has to.
#[derive(Debug)]
pub(super) struct CandidateFailed;

impl Panel {
    /// The verdicts on traces that are due, at this step of the pipeline. All of them are by one snapshot of the stages, but for those that
    /// are drawn for a candidate.
    pub(super) fn judge(&mut self, pipeline: &Pipeline, step: usize, shard: &Shard, due: &mut Due) -> Vec<Verdict> {
        self.failed.clear();
        let snapshot = self.stages.snapshot();
        if snapshot.has_canaries() {
            return self.judge_apart(&snapshot, (pipeline, step), shard, due);
        }
        let judged = self.judge_by(&snapshot, (pipeline, step), shard, due);
        judged.unwrap_or_else(|CandidateFailed| self.fall_back(&due.traces))
    }

    /// Each trace by the candidates that it is drawn for, which is for good, and else by what serves.
    fn judge_apart(
        &mut self,
        snapshot: &Snapshot,
        place: (&Pipeline, usize),
        shard: &Shard,
        due: &mut Due,
    ) -> Vec<Verdict> {
        let canaries: Vec<_> = self.units.iter().filter_map(|unit| snapshot.canary(unit.stage)).cloned().collect();
        let drawn_for = |trace| {
            let drawn = canaries.iter().filter(|canary| canary.draws_trace(randomness(&due.traces, trace)));
            drawn.map(|canary| canary.stage()).collect::<Vec<_>>()
        };
        let drawn: Vec<_> = (0..due.traces.len()).map(drawn_for).collect();
        let mut verdicts = vec![None; drawn.len()];
        for candidates in drawn.iter().collect::<BTreeSet<_>>() {
            let mut part = due.part(|trace| drawn.get(trace) == Some(candidates));
            let by_candidates = (!candidates.is_empty()).then(|| {
                let by = snapshot.with_candidates(candidates.clone());
                self.change_seats(candidates);
                let judged = self.judge_by(&by, place, shard, &mut part);
                self.change_seats(candidates);
                judged.ok()
            });
            let judged = by_candidates.flatten().unwrap_or_else(|| {
                let judged = self.judge_by(snapshot, place, shard, &mut part);
                judged.unwrap_or_else(|CandidateFailed| self.fall_back(&part.traces))
            });
            let places = (0..drawn.len()).filter(|&trace| drawn.get(trace) == Some(candidates));
            for (trace, verdict) in places.zip(judged) {
                verdicts[trace] = Some(verdict);
            }
        }
        // Of a part only.
        self.spans = None;
        let of_fallback = |trace| self.fallback.of(&due.traces, trace);
        // Each trace is in one of the parts.
        let verdicts = verdicts.into_iter().enumerate();
        verdicts.map(|(trace, verdict)| verdict.unwrap_or_else(|| of_fallback(trace))).collect()
    }

    fn change_seats(&mut self, stages: &[usize]) {
        self.units.iter_mut().filter(|unit| stages.contains(&unit.stage)).for_each(|unit| unit.change_seats());
    }
}

/// Tells a canary how a policy voted on traces that are decided by that.
pub(super) fn tell_of_voted(canary: &Canary, by_candidate: bool, traces: &Traces, voted: Option<&[Verdict]>) {
    let is_kept = |trace: usize, verdict: &Verdict| {
        let is_above = verdict.threshold == THRESHOLD_UNKNOWN || randomness(traces, trace) >= verdict.threshold;
        verdict.vote == Vote::Keep && is_above
    };
    let Some(voted) = voted else {
        // Of a candidate it was told with its fault.
        if !by_candidate {
            let message = "the fallback stands in".to_owned();
            canary.failed(false, &Fault { kind: FaultKind::Trap, message });
        }
        return;
    };
    let decided = traces.triggers.iter().zip(voted).enumerate();
    // Those offered early come again, unless this settles them.
    let decided = decided.filter(|(_, (trigger, verdict))| **trigger != Trigger::Early as u8 || verdict.is_settled);
    let (mut records, mut dropped) = (0, 0);
    for (trace, (_, verdict)) in decided {
        records += 1;
        dropped += u64::from(!is_kept(trace, verdict));
    }
    canary.judged(&JudgedBatch { by_candidate, records, dropped, edited: &[], is_whole: true });
}
