//! The policies of the list: in which order they are asked, and what comes of their votes.

use sluicebox_guest::{Rule, Threshold, TraceSet, Verdicts};

use crate::call::Call;
use crate::votes::Voter;

/// A policy of the list and what its decisions are accounted to.
#[derive(Debug)]
pub struct Ruled {
    pub voter: Box<dyn Voter>,
    pub rule: Rule,
}

/// All of them.
#[derive(Debug)]
pub struct Policies {
    /// Those that may drop come first, as at the Collector: nobody else is asked about what they drop.
    ruled: Vec<Ruled>,
    /// Whether policies with state are asked about traces that are kept already.
    sample_on_first_match: bool,
}

impl Policies {
    pub fn new(mut ruled: Vec<Ruled>, sample_on_first_match: bool) -> Policies {
        ruled.sort_by_key(|ruled| !ruled.voter.traits().can_drop);
        Policies { ruled, sample_on_first_match }
    }

    /// A drop beats keeps. Of several policies that say the same, the first is the one that decides; the threshold of what is kept
    /// is that of all that keep it.
    pub fn decide(&self, call: &Call<'_>, verdicts: &mut Verdicts) {
        let mut tally = Combined::new(call.len);
        for (number, Ruled { voter, .. }) in self.ruled.iter().enumerate() {
            let mut asked = !&tally.dropped;
            if self.sample_on_first_match && voter.traits().is_stateful {
                asked &= &!&tally.kept;
            }
            let votes = voter.vote(call, &asked);
            for trace in votes.keep.iter() {
                tally.thresholds[trace] = tally.thresholds[trace].either(votes.thresholds.of(trace));
                tally.rules[trace].get_or_insert(number);
                if votes.thresholds.of(trace) == Threshold::ALWAYS && votes.settled.contains(trace) {
                    tally.surely_kept.insert(trace);
                }
            }
            votes.drop.iter().for_each(|trace| tally.rules[trace] = Some(number));
            tally.surely_dropped |= &(&votes.drop & &votes.settled);
            tally.dropped |= &votes.drop;
            tally.kept |= &votes.keep;
            tally.settled &= &votes.settled;
            if voter.traits().can_drop {
                tally.drops_settled &= &votes.settled;
                tally.spared_by_chance |= &votes.chance;
            }
        }
        self.pronounce(&tally, verdicts);
    }

    fn pronounce(&self, tally: &Combined, verdicts: &mut Verdicts) {
        for (trace, number) in tally.rules.iter().enumerate() {
            let rule = number.and_then(|number| self.ruled.get(number)).map(|ruled| &ruled.rule);
            let is_dropped = tally.dropped.contains(trace);
            match rule {
                Some(rule) if is_dropped => verdicts.drop(trace, rule),
                Some(rule) => verdicts.keep(trace, tally.threshold(trace), rule),
                None => {}
            }
            if tally.is_settled(trace) {
                verdicts.settle(trace);
            }
        }
    }
}

/// What the policies that were asked so far say together.
struct Combined {
    dropped: TraceSet,
    kept: TraceSet,
    thresholds: Vec<Threshold>,
    /// The policy that decides.
    rules: Vec<Option<usize>>,
    surely_dropped: TraceSet,
    /// Always kept by a policy that will not change its mind.
    surely_kept: TraceSet,
    /// Of which no policy can change its mind.
    settled: TraceSet,
    /// The same of those that may drop.
    drops_settled: TraceSet,
    /// Not dropped, but only by chance.
    spared_by_chance: TraceSet,
}

impl Combined {
    fn new(len: usize) -> Combined {
        let (none, all) = (TraceSet::empty(len), TraceSet::all(len));
        Combined {
            dropped: none.clone(),
            kept: none.clone(),
            thresholds: vec![Threshold::NEVER; len],
            rules: vec![None; len],
            surely_dropped: none.clone(),
            surely_kept: none.clone(),
            settled: all.clone(),
            drops_settled: all,
            spared_by_chance: none,
        }
    }

    /// The rate of what is kept is not known where some of its like have been dropped by chance.
    fn threshold(&self, trace: usize) -> Threshold {
        if self.spared_by_chance.contains(trace) { Threshold::UNKNOWN } else { self.thresholds[trace] }
    }

    fn is_settled(&self, trace: usize) -> bool {
        if self.dropped.contains(trace) {
            return self.surely_dropped.contains(trace);
        }
        let is_kept_anyway = self.surely_kept.contains(trace) && self.drops_settled.contains(trace);
        is_kept_anyway || self.settled.contains(trace)
    }
}
