//! The last decisions, for explanations.

use std::collections::VecDeque;
use std::sync::Arc;

use super::explain::{Asked, Explanation, RECENT_MAX, Recent, TraceState};
use super::remembered::{Dropped, Kept};
use super::shard::probability;
use super::trace::Trace;
use super::traces::Trigger;
use super::verdict::Decider;

/// A decision.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub id: [u8; 16],
    pub is_kept: bool,
    /// Of a kept one: the rejection threshold.
    pub threshold: u64,
    pub decider: Option<Arc<Decider>>,
    pub trigger: Trigger,
    pub arrived_unix_nano: u64,
    pub decided_unix_nano: u64,
    pub spans: u64,
    /// Of these, as they were received.
    pub bytes: u64,
}

/// A ring of them.
#[derive(Debug)]
pub(super) struct History {
    past: VecDeque<Past>,
    max: usize,
}

impl History {
    pub(super) fn new(max: usize) -> History {
        History { past: VecDeque::with_capacity(max), max }
    }

    /// Keeps as many from now on; the oldest go.
    pub(super) fn resize(&mut self, max: usize) {
        self.past.drain(..self.past.len().saturating_sub(max));
        self.past.shrink_to(max);
        self.past.reserve_exact(max - self.past.len());
        self.max = max;
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> u64 {
        (self.past.capacity() * size_of::<Past>()) as u64
    }

    /// Adds a decision; the oldest goes.
    pub(super) fn push(&mut self, past: Past) {
        if self.past.len() >= self.max {
            self.past.pop_front();
        }
        if self.max > 0 {
            self.past.push_back(past);
        }
    }

    /// The last decisions that were asked for, the newest first.
    pub(super) fn recent(&self, sampler: &str, asked: &Asked) -> Vec<Recent> {
        let of = self.past.iter().rev().filter(|past| past.is_asked_for(asked)).take(asked.limit.min(RECENT_MAX));
        of.map(|past| Recent::of(sampler, past)).collect()
    }

    /// The last decision on a trace.
    pub(super) fn last(&self, id: [u8; 16]) -> Option<&Past> {
        self.past.iter().rev().find(|past| past.id == id)
    }
}

impl Past {
    fn state(&self) -> TraceState {
        if self.is_kept { TraceState::Kept } else { TraceState::Dropped }
    }

    fn is_asked_for(&self, asked: &Asked) -> bool {
        let policy = self.decider.as_ref().map_or("", |decider| decider.policy.as_str());
        asked.policy.as_ref().is_none_or(|asked| asked == policy)
            && asked.result.is_none_or(|asked| asked == self.state())
    }
}

impl Recent {
    fn of(sampler: &str, past: &Past) -> Recent {
        Recent {
            trace_id: format!("{:032x}", u128::from_be_bytes(past.id)),
            sampler: sampler.to_owned(),
            result: past.state(),
            policy: past.decider.as_ref().map(|decider| decider.policy.clone()),
            generation: past.decider.as_ref().map(|decider| decider.generation),
            trigger: past.trigger.as_str(),
            probability: if past.is_kept { probability(past.threshold) } else { None },
            spans: past.spans,
            bytes: past.bytes,
            arrived_unix_nano: past.arrived_unix_nano,
            decided_unix_nano: past.decided_unix_nano,
        }
    }
}

impl Explanation {
    pub(super) fn of_waiting(sampler: String, trace: &Trace) -> Explanation {
        Explanation {
            arrived_unix_nano: Some(trace.arrived_unix_nano),
            spans: Some(u64::from(trace.facts.spans)),
            due_unix_nano: Some(trace.arrived_unix_nano.saturating_add(trace.due.saturating_sub(trace.arrived))),
            ..Explanation::of(sampler, TraceState::Waiting)
        }
    }

    pub(super) fn of_kept(sampler: String, kept: &Kept, past: Option<&Past>) -> Explanation {
        Explanation {
            policy: kept.decider.as_ref().map(|decider| decider.policy.clone()),
            generation: kept.decider.as_ref().map(|decider| decider.generation),
            trigger: Some(kept.trigger.as_str()),
            probability: probability(kept.threshold),
            decided_unix_nano: Some(kept.decided_unix_nano),
            arrived_unix_nano: past.map(|past| past.arrived_unix_nano),
            spans: past.map(|past| past.spans),
            late_spans: Some(u64::from(kept.late_spans)),
            ..Explanation::of(sampler, TraceState::Kept)
        }
    }

    pub(super) fn of_dropped(sampler: String, dropped: &Dropped, past: Option<&Past>) -> Explanation {
        let known = past.filter(|past| !past.is_kept).map(|past| Explanation::of_past(sampler.clone(), past));
        let mut explanation = known.unwrap_or_else(|| Explanation {
            trigger: Some(dropped.trigger.as_str()),
            decided_unix_nano: Some(u64::from(dropped.decided_unix_seconds) * 1_000_000_000),
            ..Explanation::of(sampler, TraceState::Dropped)
        });
        explanation.late_spans = Some(u64::from(dropped.late_spans));
        explanation
    }

    pub(super) fn of_past(sampler: String, past: &Past) -> Explanation {
        Explanation {
            policy: past.decider.as_ref().map(|decider| decider.policy.clone()),
            generation: past.decider.as_ref().map(|decider| decider.generation),
            trigger: Some(past.trigger.as_str()),
            probability: if past.is_kept { probability(past.threshold) } else { None },
            decided_unix_nano: Some(past.decided_unix_nano),
            arrived_unix_nano: Some(past.arrived_unix_nano),
            spans: Some(past.spans),
            ..Explanation::of(sampler, past.state())
        }
    }

    fn of(sampler: String, state: TraceState) -> Explanation {
        Explanation {
            sampler,
            state,
            policy: None,
            generation: None,
            trigger: None,
            probability: None,
            decided_unix_nano: None,
            arrived_unix_nano: None,
            spans: None,
            late_spans: None,
            due_unix_nano: None,
        }
    }
}
