//! `ottl_condition`.

use ottl::Expr;
use sluicebox_guest::{Level, TraceSet};

use crate::call::Call;
use crate::votes::{Traits, Voter, Votes};

/// Conditions, any of which keeps a trace in which it is true of a span or an event.
#[derive(Debug)]
pub struct ConditionPolicy {
    pub conditions: Vec<Condition>,
    /// A trace in which one of them cannot be answered has no answer; otherwise that is the same as false.
    pub propagate: bool,
}

/// One condition.
#[derive(Debug)]
pub struct Condition {
    pub expr: Expr,
    /// What it reads.
    pub source: usize,
    /// Spans or events.
    pub level: Level,
}

impl Voter for ConditionPolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let (mut matched, mut failed) = (TraceSet::empty(call.len), TraceSet::empty(call.len));
        for condition in &self.conditions {
            let source = call.source(condition.source);
            let judged = source.judge(&condition.expr, call.values(condition.source));
            let traces = |entries| call.having(source.rows(call.spans(), entries), source.level(), condition.level);
            matched |= &traces(&judged.matched);
            if self.propagate {
                failed |= &traces(&judged.failed);
            }
        }
        failed &= asked;
        let keep = &matched & &(asked & &!&failed);
        // A later span may be one that has no answer, so that with `propagate` only that is for good.
        let settled = if self.propagate { failed.clone() } else { keep.clone() };
        Votes { failed, ..Votes::matched(call.len, keep, settled) }
    }

    fn traits(&self) -> Traits {
        Traits { can_fail: self.propagate, ..Traits::default() }
    }
}
