//! What policies say of a trace.

use std::sync::Arc;

/// The rejection threshold of a vote whose rate is not known.
pub const THRESHOLD_UNKNOWN: u64 = u64::MAX;
/// Thresholds and randomness are below this.
pub const THRESHOLD_END: u64 = 1 << 56;

/// A vote on a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Vote {
    /// Neither.
    #[default]
    None,
    /// Keep it.
    Keep,
    /// Drop it; beats votes to keep it.
    Drop,
}

/// Who decided: named in attributes, counters and explanations, so never made of telemetry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decider {
    /// The policy's name in the file, or the fallback's.
    pub policy: String,
    /// The generation of its stage.
    pub generation: u64,
}

/// The verdict on one trace, of one stage or of all of them combined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The vote.
    pub vote: Vote,
    /// Of a vote to keep: the rejection threshold that it stands for, or [`THRESHOLD_UNKNOWN`].
    pub threshold: u64,
    /// True where no further spans can change it.
    pub is_settled: bool,
    /// Who decided; None where no policy said anything.
    pub decider: Option<Arc<Decider>>,
}

/// The verdict of all units, given one of each in their order: any vote to drop beats votes to keep, which beat none.
///
/// The first unit that votes so decides. Of several votes to keep the threshold is 0 if any has 0, else not known if any is not, else the
/// least. A vote to drop that is settled settles it; else all units must be settled.
pub fn combine(votes: impl Iterator<Item = Verdict>) -> Verdict {
    let mut combined = Verdict { vote: Vote::None, threshold: 0, is_settled: true, decider: None };
    let mut is_dropped_for_good = false;
    for verdict in votes {
        combined.is_settled &= verdict.is_settled;
        is_dropped_for_good |= verdict.vote == Vote::Drop && verdict.is_settled;
        match (combined.vote, verdict.vote) {
            (_, Vote::None) | (Vote::Drop, _) => {}
            (Vote::None | Vote::Keep, Vote::Drop) => {
                combined.vote = Vote::Drop;
                combined.threshold = 0;
                combined.decider = verdict.decider;
            }
            (Vote::None, Vote::Keep) => {
                combined.vote = Vote::Keep;
                combined.threshold = verdict.threshold;
                combined.decider = verdict.decider;
            }
            (Vote::Keep, Vote::Keep) => combined.threshold = of_both(combined.threshold, verdict.threshold),
        }
    }
    combined.is_settled |= is_dropped_for_good;
    combined
}

/// The threshold of two votes to keep.
fn of_both(one: u64, other: u64) -> u64 {
    match (one, other) {
        (0, _) | (_, 0) => 0,
        (THRESHOLD_UNKNOWN, _) | (_, THRESHOLD_UNKNOWN) => THRESHOLD_UNKNOWN,
        (one, other) => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(vote: Vote, threshold: u64, is_settled: bool, policy: &str) -> Verdict {
        let decider = (vote != Vote::None).then(|| Arc::new(Decider { policy: policy.to_owned(), generation: 1 }));
        Verdict { vote, threshold, is_settled, decider }
    }

    fn combined(votes: &[(Vote, u64, bool)]) -> (Vote, u64, bool, Option<String>) {
        let named = votes.iter().enumerate().map(|(i, &(vote, t, settled))| verdict(vote, t, settled, &i.to_string()));
        let all = combine(named);
        (all.vote, all.threshold, all.is_settled, all.decider.map(|decider| decider.policy.clone()))
    }

    #[test]
    fn drop_beats_keep_beats_none() {
        use Vote::{Drop, Keep, None as Not};
        let by = |policy: &str| Some(policy.to_owned());
        assert_eq!(combined(&[]), (Not, 0, true, None));
        assert_eq!(combined(&[(Not, 0, true), (Not, 0, false)]), (Not, 0, false, None));
        assert_eq!(combined(&[(Not, 0, true), (Keep, 7, true), (Keep, 9, true)]), (Keep, 7, true, by("1")));
        assert_eq!(combined(&[(Keep, 0, true), (Drop, 0, true), (Drop, 0, true)]), (Drop, 0, true, by("1")));
    }

    #[test]
    fn what_one_unit_keeps_always_is_kept_always() {
        use Vote::Keep;
        let threshold = |list: &[u64]| combined(&list.iter().map(|&t| (Keep, t, true)).collect::<Vec<_>>()).1;
        assert_eq!(threshold(&[5, 3, 4]), 3);
        assert_eq!(threshold(&[5, THRESHOLD_UNKNOWN, 3]), THRESHOLD_UNKNOWN);
        assert_eq!(threshold(&[5, THRESHOLD_UNKNOWN, 0]), 0);
        assert_eq!(threshold(&[0, THRESHOLD_UNKNOWN]), 0);
    }

    #[test]
    fn a_settled_drop_settles_it_else_all_must_be() {
        use Vote::{Drop, Keep, None as Not};
        let settled = |list: &[(Vote, u64, bool)]| combined(list).2;
        assert!(settled(&[(Keep, 0, false), (Drop, 0, true), (Not, 0, false)]));
        assert!(!settled(&[(Keep, 0, true), (Drop, 0, false)]));
        assert!(!settled(&[(Keep, 0, true), (Not, 0, false)]));
        assert!(settled(&[(Keep, 0, true), (Not, 0, true)]));
    }
}
