//! `adaptive`.

use std::collections::BTreeMap;

use sluicebox_guest::{Tally, Threshold, TraceSet};

use super::key::KeySource;
use crate::call::Call;
use crate::config::Goal;
use crate::votes::{Thresholds, Traits, Voter, Votes};

/// A probability for each key so that what is kept of all meets a goal: every key may keep the same number of spans, and what keys with few
/// do not need goes to the others.
#[derive(Debug)]
pub struct AdaptivePolicy {
    pub goal: Goal,
    pub key: KeySource,
    /// Spans of each key, fading.
    pub tally: Tally,
    pub half_life_seconds: f64,
}

impl Voter for AdaptivePolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let due = call.due(asked);
        if due.is_empty() {
            return Votes::none(call.len);
        }
        let keys = self.key.of_traces(call);
        let mut seen: BTreeMap<u64, f64> = BTreeMap::new();
        for trace in due.iter() {
            *seen.entry(keys[trace]).or_default() += f64::from(call.span_counts()[trace]);
        }
        self.tally.add(&seen.iter().map(|(key, spans)| (*key, 0, *spans)).collect::<Vec<_>>());
        let known = self.tally.keys();
        let rows = self.tally.read(&known);
        let spans: BTreeMap<u64, f64> =
            known.into_iter().zip(rows.iter().map(|row| row.first().copied().unwrap_or(0.0))).collect();
        let level = level(spans.values().copied().collect(), self.goal(spans.values().sum()));
        let probability = |key: &u64| spans.get(key).map_or(1.0, |spans| (level / spans).min(1.0));
        let mut votes = Votes::none(call.len);
        let mut thresholds = vec![Threshold::ALWAYS; call.len];
        for trace in due.iter() {
            thresholds[trace] = threshold(probability(&keys[trace]), call.thresholds()[trace]);
            if thresholds[trace].keeps(call.randomness()[trace]) {
                votes.keep.insert(trace);
            }
        }
        votes.chance = &due & &!&votes.keep;
        votes.thresholds = Thresholds::Each(thresholds);
        votes
    }

    fn traits(&self) -> Traits {
        Traits { is_stateful: true, ..Traits::default() }
    }
}

impl AdaptivePolicy {
    /// What may be kept, in the measure of the tally: a sum to which a rate of `r` a second has come in the long run is
    /// `r * half-life / ln 2`.
    fn goal(&self, spans: f64) -> f64 {
        match self.goal {
            Goal::SpansPerSecond(rate) => rate * self.half_life_seconds / std::f64::consts::LN_2,
            Goal::Share(share) => share * spans,
        }
    }
}

/// The threshold that keeps this part of what arrives. What has been sampled before is what has passed its threshold, so that the parts
/// multiply.
fn threshold(probability: f64, came_with: Option<Threshold>) -> Threshold {
    match came_with {
        _ if probability >= 1.0 => Threshold::ALWAYS,
        Some(before) => Threshold::of(probability * before.probability().unwrap_or(1.0)),
        None => Threshold::of(probability),
    }
}

/// The level to which `amounts` have to be cut so that they add up to `goal`; infinite where they do anyway.
fn level(mut amounts: Vec<f64>, goal: f64) -> f64 {
    amounts.sort_unstable_by(f64::total_cmp);
    let mut left = goal;
    for (index, amount) in amounts.iter().enumerate() {
        let share = left / (amounts.len() - index) as f64;
        if *amount > share {
            return share;
        }
        left -= amount;
    }
    f64::INFINITY
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn what_few_do_not_need_goes_to_the_others() {
        assert_eq!(level(vec![1.0, 2.0, 3.0], 6.0), f64::INFINITY);
        assert_eq!(level(vec![10.0, 10.0], 10.0), 5.0);
        assert_eq!(level(vec![100.0, 1.0, 1.0], 12.0), 10.0);
        assert_eq!(level(vec![100.0, 4.0, 50.0], 24.0), 10.0);
        assert_eq!(level(Vec::new(), 1.0), f64::INFINITY);
        assert_eq!(level(vec![5.0], 0.0), 0.0);
    }
}
