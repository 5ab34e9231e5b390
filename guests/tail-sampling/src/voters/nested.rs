//! `and`, `not`, `drop` and `composite`.

use sluicebox_guest::{Bucket, Threshold, TraceSet};

use super::limit::take;
use crate::call::Call;
use crate::votes::{Thresholds, Traits, Voter, Votes};

/// Keeps what all keep; drops what all keep or drop and one drops.
#[derive(Debug)]
pub struct AndPolicy {
    pub voters: Vec<Box<dyn Voter>>,
    /// Whether it matters to somebody why it says nothing: a `not` above it, or who looks whether a drop was avoided by chance.
    pub is_watched: bool,
}

impl Voter for AndPolicy {
    /// Policies are asked in order about the traces that have passed those before them. What changes nothing is asked about all, since
    /// its answer may settle what the others leave open.
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let empty = || TraceSet::empty(call.len);
        let (mut open, mut dropped, mut failed) = (asked.clone(), empty(), empty());
        let (mut settled, mut out_for_good, mut certainly_out, mut certainly_out_for_good) =
            (asked.clone(), empty(), empty(), empty());
        let mut thresholds = Thresholds::Same(Threshold::ALWAYS);
        for voter in &self.voters {
            let asked_of = if voter.traits().is_stateful { open.clone() } else { asked.clone() };
            let votes = voter.vote(call, &asked_of);
            let silent = votes.silent(&asked_of);
            let certain = &silent & &!&votes.chance;
            out_for_good |= &(&(&silent | &votes.failed) & &votes.settled);
            certainly_out_for_good |= &(&certain & &votes.settled);
            certainly_out |= &certain;
            settled &= &votes.settled;
            failed |= &(&open & &votes.failed);
            open &= &(&votes.keep | &votes.drop);
            dropped |= &votes.drop;
            thresholds = thresholds.and(votes.thresholds, call.len);
        }
        if !self.is_watched {
            settled |= &out_for_good;
        } else if !self.traits().can_fail {
            settled |= &certainly_out_for_good;
        }
        let drop = &open & &dropped;
        let keep = &open & &!&drop;
        let chance = asked & &!&(&(&open | &failed) | &certainly_out);
        Votes { keep, drop, failed, chance, settled, thresholds }
    }

    fn traits(&self) -> Traits {
        Traits::of_all(&self.voters)
    }
}

/// Drops what all of its policies keep or drop.
#[derive(Debug)]
pub struct DropPolicy(pub AndPolicy);

impl Voter for DropPolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let votes = self.0.vote(call, asked);
        Votes { drop: &votes.keep | &votes.drop, keep: TraceSet::empty(call.len), ..votes }
    }

    fn traits(&self) -> Traits {
        Traits { can_drop: true, ..self.0.traits() }
    }
}

/// Keeps what another says nothing of.
#[derive(Debug)]
pub struct NotPolicy(pub Box<dyn Voter>);

impl Voter for NotPolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let votes = self.0.vote(call, asked);
        let keep = votes.silent(asked);
        let threshold = |trace| if votes.chance.contains(trace) { Threshold::UNKNOWN } else { Threshold::ALWAYS };
        let thresholds = Thresholds::Each((0..call.len).map(threshold).collect());
        let by_chance = |trace: &usize| votes.thresholds.of(*trace) != Threshold::ALWAYS;
        let mut chance = TraceSet::empty(call.len);
        votes.keep.iter().filter(by_chance).for_each(|trace| chance.insert(trace));
        Votes { keep, drop: votes.drop, failed: votes.failed, chance, settled: votes.settled, thresholds }
    }

    fn traits(&self) -> Traits {
        self.0.traits()
    }
}

/// Policies that are asked one after the other: the first that keeps a trace spends its share of a rate on it, or does without.
#[derive(Debug)]
pub struct CompositePolicy {
    /// In the order in which they are asked, each with the bucket of its share.
    pub voters: Vec<(Box<dyn Voter>, Bucket)>,
    /// Of all together, where the shares add up to more.
    pub total: Option<Bucket>,
}

impl Voter for CompositePolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let mut all = Votes::none(call.len);
        let mut open = call.due(asked);
        let spans = |trace: usize| u64::from(call.span_counts()[trace]);
        for (voter, share) in &self.voters {
            let votes = voter.vote(call, &open);
            let mut kept = take(share, &votes.keep, call, spans);
            if let Some(total) = &self.total {
                kept = take(total, &kept, call, spans);
            }
            open = votes.silent(&open);
            all.keep |= &kept;
            all.drop |= &votes.drop;
            all.failed |= &votes.failed;
        }
        // What is left had no luck with a rate, or is said nothing of; these are not told apart.
        all.chance = all.silent(&call.due(asked));
        all.thresholds = Thresholds::Same(Threshold::UNKNOWN);
        all
    }

    fn traits(&self) -> Traits {
        Traits { is_stateful: true, ..Traits::of_all(self.voters.iter().map(|(voter, _)| voter)) }
    }
}
