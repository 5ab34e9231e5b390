//! Votes: random verdicts for the simulation, and the rule by which those of several units are combined.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use sluicebox::tail::verdict::{Decider, THRESHOLD_END, THRESHOLD_UNKNOWN, Verdict, Vote, combine};

/// A verdict as policies of this generation might say it; `is_fallback`: as their stand-in says it.
pub fn random(rng: &mut StdRng, generation: u64, is_fallback: bool, randomness: u64) -> Verdict {
    let vote = [Vote::Keep, Vote::Keep, Vote::Drop, Vote::None][rng.random_range(0..4)];
    let threshold = match (vote, rng.random_range(0..5)) {
        (Vote::None | Vote::Drop, _) | (_, 0) => 0,
        (Vote::Keep, 1) => THRESHOLD_UNKNOWN,
        // Few digits, as of round percentages.
        (Vote::Keep, 2) => u64::from(rng.random_range(1..16_u32)) << 52,
        // As close to the randomness as can be.
        (Vote::Keep, 3) => randomness.max(1),
        (Vote::Keep, _) => rng.random_range(1..THRESHOLD_END),
    };
    let policy = if is_fallback { "fallback".to_owned() } else { format!("policy-{}", rng.random_range(0..3)) };
    let decider = (vote != Vote::None).then(|| Arc::new(Decider { policy, generation }));
    Verdict { vote, threshold, is_settled: rng.random(), decider }
}

/// Every combination of three units' votes, against the rule said in other words.
#[test]
fn votes_of_several_units_are_combined_as_the_rules_say() {
    let mut all = Vec::new();
    for vote in [Vote::None, Vote::Keep, Vote::Drop] {
        let thresholds: &[u64] = if vote == Vote::Keep { &[0, 1, 5, THRESHOLD_UNKNOWN] } else { &[0] };
        for threshold in thresholds {
            all.extend([true, false].map(|is_settled| (vote, *threshold, is_settled)));
        }
    }
    let unit = |index: usize, (vote, threshold, is_settled): (Vote, u64, bool)| {
        let decider = (vote != Vote::None).then(|| Arc::new(Decider { policy: index.to_string(), generation: 1 }));
        Verdict { vote, threshold, is_settled, decider }
    };
    for (&a, (&b, &c)) in
        all.iter().flat_map(|a| all.iter().flat_map(|b| all.iter().map(move |c| (b, c))).map(move |bc| (a, bc)))
    {
        let units = [unit(0, a), unit(1, b), unit(2, c)];
        let combined = combine(units.iter().cloned());
        let of = |vote: Vote| units.iter().filter(move |unit| unit.vote == vote);
        let wins = if of(Vote::Drop).count() > 0 {
            Vote::Drop
        } else if of(Vote::Keep).count() > 0 {
            Vote::Keep
        } else {
            Vote::None
        };
        assert_eq!(combined.vote, wins, "{units:?}");
        let decider = if wins == Vote::None { None } else { of(wins).next().and_then(|unit| unit.decider.clone()) };
        assert_eq!(combined.decider, decider, "{units:?}");
        if wins == Vote::Keep {
            let mut thresholds: Vec<_> = of(Vote::Keep).map(|unit| unit.threshold).collect();
            thresholds.sort_unstable();
            let last = thresholds[thresholds.len() - 1];
            let wanted = if thresholds[0] > 0 && last == THRESHOLD_UNKNOWN { last } else { thresholds[0] };
            assert_eq!(combined.threshold, wanted, "{units:?}");
        }
        let settled = of(Vote::Drop).any(|unit| unit.is_settled) || units.iter().all(|unit| unit.is_settled);
        assert_eq!(combined.is_settled, settled, "{units:?}");
    }
}
