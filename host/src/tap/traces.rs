//! Traces that policies voted on, or that a sampler decided: which of them match, and what is shown of them.

use bytes::Bytes;

use super::eye::Work;
use super::line::{TapShown, TraceShown};
use super::look::{Found, Look};
use super::rows;
use crate::batch::RowSet;
use crate::compare;
use crate::pipeline::stage::{Fault, PolicyVote};
use crate::signal::Signal;
use crate::tail::traces::{Traces, Trigger};
use crate::tail::verdict::{THRESHOLD_END, Verdict, Vote};

/// Spans that are shown of one trace.
const SPANS_MAX: usize = 64;

/// What was said of traces, one for each.
#[derive(Clone, Copy)]
pub(super) enum Said<'a> {
    Votes(&'a [PolicyVote]),
    Verdicts(&'a [Verdict]),
}

impl Said<'_> {
    fn of(self, trace: usize) -> Option<(Vote, u64, bool)> {
        match self {
            Said::Votes(votes) => votes.get(trace).map(|vote| (vote.vote, vote.threshold, vote.is_settled)),
            Said::Verdicts(verdicts) => verdicts.get(trace).map(|vote| (vote.vote, vote.threshold, vote.is_settled)),
        }
    }
}

/// How many traces a policy voted on for good, and those that match.
pub(super) fn voted(
    look: &mut Look,
    work: &Work,
    traces: &Traces,
    spans: &Bytes,
    votes: &Result<Vec<PolicyVote>, Fault>,
) -> Result<(u64, Vec<Found>), Fault> {
    let holds = asked(look, work, spans)?;
    let said = votes.as_deref().ok().map(Said::Votes);
    let rule = |trace: usize| work.facts.as_ref()?.rule(votes.as_ref().ok()?.get(trace)?.rule?);
    Ok(find(look, traces, holds.as_ref(), said, rule))
}

/// How many traces a sampler decided, and those that match.
pub(super) fn decided(
    look: &mut Look,
    traces: &Traces,
    spans: &Bytes,
    verdicts: &[Verdict],
) -> Result<(u64, Vec<Found>), Fault> {
    let holds = match look.conditions.first_mut() {
        Some(condition) => Some(condition.rows(std::slice::from_ref(spans))?),
        None => None,
    };
    let rule = |trace: usize| Some(verdicts.get(trace)?.decider.as_ref()?.policy.clone());
    Ok(find(look, traces, holds.as_ref(), Some(Said::Verdicts(verdicts)), rule))
}

fn asked(look: &mut Look, work: &Work, spans: &Bytes) -> Result<Option<RowSet>, Fault> {
    look.asked(work, std::slice::from_ref(spans))
}

fn find(
    look: &Look,
    traces: &Traces,
    holds: Option<&RowSet>,
    said: Option<Said<'_>>,
    rule: impl Fn(usize) -> Option<String>,
) -> (u64, Vec<Found>) {
    let mut is_asked_for = vec![holds.is_none(); traces.len()];
    for (span, &trace) in (0..).zip(&traces.trace_of) {
        if holds.is_some_and(|holds| holds.contains(span))
            && let Some(of_trace) = is_asked_for.get_mut(trace as usize)
        {
            *of_trace = true;
        }
    }
    let (mut seen, mut found) = (0, Vec::new());
    for (row, (trace, is_asked_for)) in (0..).zip(is_asked_for.into_iter().enumerate()) {
        let of_trace = said.and_then(|said| said.of(trace));
        // What is offered early comes again, unless it is settled.
        let is_early = traces.triggers.get(trace).is_some_and(|&trigger| trigger == Trigger::Early as u8);
        if is_early && !of_trace.is_some_and(|(_, _, is_settled)| is_settled) {
            continue;
        }
        seen += 1;
        let fate = match (of_trace, said) {
            (Some((Vote::Keep, ..)), _) => "kept",
            (Some((Vote::Drop, ..)), _) | (Some((Vote::None, ..)), Some(Said::Verdicts(_))) => "dropped",
            (Some((Vote::None, ..)), _) => "none",
            (None, _) => "failed",
        };
        if is_asked_for && look.wants(fate) {
            found.push(Found { row, fate, rule: rule(trace) });
        }
    }
    (seen, found)
}

/// What is shown of these, in their order.
pub(super) fn shown(traces: &Traces, spans: &Bytes, said: Option<Said<'_>>, found: &[&Found]) -> Vec<TapShown> {
    found.iter().map(|found| trace(traces, spans, said, found.row)).collect()
}

fn trace(traces: &Traces, spans: &Bytes, said: Option<Said<'_>>, number: u32) -> TapShown {
    let rows: Vec<u32> = (0..).zip(&traces.trace_of).filter(|(_, of)| **of == number).map(|(row, _)| row).collect();
    let shown = rows.iter().take(SPANS_MAX).copied();
    let bodies = rows::only(Signal::Traces, std::slice::from_ref(spans), shown);
    let records = match bodies.map(|bodies| compare::records(Signal::Traces, &bodies)) {
        Ok(Ok(records)) => records,
        Ok(Err(error)) => return TapShown::Unreadable { unreadable: error.to_string() },
        Err(error) => return TapShown::Unreadable { unreadable: error.to_string() },
    };
    let place = number as usize;
    let of = |list: &[u64]| list.get(place).copied().unwrap_or_default();
    let nanos = of(&traces.ends_unix_nano).saturating_sub(of(&traces.starts_unix_nano));
    let id = traces.ids.get(place).copied().unwrap_or_default();
    let trigger = traces.triggers.get(place).and_then(|&trigger| Trigger::ALL.get(usize::from(trigger)));
    TapShown::Trace(Box::new(TraceShown {
        trace_id: format!("{:032x}", u128::from_be_bytes(id)),
        trigger: trigger.map_or("", |trigger| trigger.as_str()),
        probability: said.and_then(|said| said.of(place)).and_then(|(vote, threshold, _)| probability(vote, threshold)),
        spans: traces.span_counts.get(place).copied().unwrap_or_default(),
        errors: traces.error_counts.get(place).copied().unwrap_or_default(),
        duration_us: nanos / 1_000,
        records_left_out: rows.len().saturating_sub(SPANS_MAX),
        records: records.iter().filter_map(|record| serde_json::to_value(record).ok()).collect(),
    }))
}

/// Of a vote to keep, if it says at which rate.
fn probability(vote: Vote, threshold: u64) -> Option<f64> {
    let kept = THRESHOLD_END.checked_sub(threshold).filter(|_| vote == Vote::Keep)?;
    #[allow(clippy::cast_precision_loss, reason = "a share of 2^56 to 16 digits")]
    let share = kept as f64 / THRESHOLD_END as f64;
    Some(share)
}
