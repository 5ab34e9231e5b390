//! What policies say of the traces that they are asked about.

use sluicebox_guest::{Threshold, TraceSet};

/// A policy at work.
pub trait Voter: std::fmt::Debug {
    /// Says something of each of the traces that are asked for, and of no others.
    fn vote(&self, call: &crate::call::Call<'_>, asked: &TraceSet) -> Votes;
    fn traits(&self) -> Traits;
}

/// What is known of a policy whatever it is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits {
    /// It changes host state, so it is asked once for each trace: when that is decided, and not before.
    pub is_stateful: bool,
    /// It may vote to drop.
    pub can_drop: bool,
    /// It may be without an answer.
    pub can_fail: bool,
}

impl Traits {
    /// Of a policy that is made of others.
    pub fn of_all<'a>(voters: impl IntoIterator<Item = &'a Box<dyn Voter>>) -> Traits {
        voters.into_iter().map(|voter| voter.traits()).fold(Traits::default(), |all, one| Traits {
            is_stateful: all.is_stateful | one.is_stateful,
            can_drop: all.can_drop | one.can_drop,
            can_fail: all.can_fail | one.can_fail,
        })
    }
}

/// Of each trace that was asked for, one of: keep, drop, failed, or else nothing.
#[derive(Debug)]
pub struct Votes {
    pub keep: TraceSet,
    pub drop: TraceSet,
    /// Without an answer, which is nothing said, and stays nothing under a `not`.
    pub failed: TraceSet,
    /// Of those of which nothing is said: where another draw of randomness, or another moment, could have made it a vote.
    pub chance: TraceSet,
    /// Of which no further spans can change any of this.
    pub settled: TraceSet,
    /// Of those that are kept.
    pub thresholds: Thresholds,
}

impl Votes {
    /// Nothing is said of any, and all can change.
    pub fn none(len: usize) -> Votes {
        let none = TraceSet::empty(len);
        Votes {
            keep: none.clone(),
            drop: none.clone(),
            failed: none.clone(),
            chance: none.clone(),
            settled: none,
            thresholds: Thresholds::Same(Threshold::ALWAYS),
        }
    }

    /// What depends on the trace alone: all are kept that match.
    pub fn matched(len: usize, matched: TraceSet, settled: TraceSet) -> Votes {
        Votes { keep: matched, settled, ..Votes::none(len) }
    }

    /// Those of `asked` of which nothing is said.
    pub fn silent(&self, asked: &TraceSet) -> TraceSet {
        asked & &!(&(&self.keep | &self.drop) | &self.failed)
    }
}

/// The threshold of each trace that is kept.
#[derive(Clone, Debug)]
pub enum Thresholds {
    Same(Threshold),
    Each(Vec<Threshold>),
}

impl Thresholds {
    pub fn of(&self, trace: usize) -> Threshold {
        match self {
            Thresholds::Same(threshold) => *threshold,
            Thresholds::Each(thresholds) => thresholds[trace],
        }
    }

    /// Of traces that are kept by both: whoever is kept has passed the higher one. Where one is not known, that of both is not.
    pub fn and(self, other: Thresholds, len: usize) -> Thresholds {
        let both = |one: Threshold, other: Threshold| match (one, other) {
            (Threshold::UNKNOWN, _) | (_, Threshold::UNKNOWN) => Threshold::UNKNOWN,
            _ => Threshold::from_bits(one.to_bits().max(other.to_bits())),
        };
        match (self, other) {
            (Thresholds::Same(one), Thresholds::Same(other)) => Thresholds::Same(both(one, other)),
            (one, other) => Thresholds::Each((0..len).map(|trace| both(one.of(trace), other.of(trace))).collect()),
        }
    }
}
