use crate::{Rule, Threshold, host};

/// By the contract's numbers.
const KEEP: u8 = 1;
const DROP: u8 = 2;
const NO_RULE: u32 = u32::MAX;

/// What a policy says of each trace of the current call; nothing, at first.
///
/// Several calls for a trace combine as the votes of several policies do: a drop beats keeps, and of calls that say the same the first
/// names the rule. The thresholds of several keeps make [`Threshold::either`]. A trace that is not of the call is a fault.
#[derive(Debug)]
pub struct Verdicts {
    lists: host::Verdicts,
}

impl Verdicts {
    /// For [`export_policy!`](crate::export_policy).
    #[doc(hidden)]
    pub fn __none(len: usize) -> Self {
        let (votes, settled) = (vec![0; len], vec![0; len]);
        Verdicts { lists: host::Verdicts { votes, thresholds: vec![0; len], rules: vec![NO_RULE; len], settled } }
    }

    /// For [`export_policy!`](crate::export_policy).
    #[doc(hidden)]
    pub fn __into_lists(self) -> host::Verdicts {
        self.lists
    }

    /// Votes to keep a trace, which such traces are with the probability that the threshold stands for. With [`Threshold::NEVER`] it is no
    /// vote.
    pub fn keep(&mut self, trace: usize, threshold: Threshold, rule: &Rule) {
        let host::Verdicts { votes, thresholds, rules, .. } = &mut self.lists;
        match votes[trace] {
            _ if threshold == Threshold::NEVER => {}
            DROP => {}
            KEEP => thresholds[trace] = Threshold::from_bits(thresholds[trace]).either(threshold).to_bits(),
            _ => (votes[trace], thresholds[trace], rules[trace]) = (KEEP, threshold.to_bits(), rule.number),
        }
    }

    /// Votes to drop a trace, whatever others say.
    pub fn drop(&mut self, trace: usize, rule: &Rule) {
        let host::Verdicts { votes, thresholds, rules, .. } = &mut self.lists;
        if votes[trace] != DROP {
            (votes[trace], thresholds[trace], rules[trace]) = (DROP, 0, rule.number);
        }
    }

    /// Says that no further spans can change what is said of this trace. It can be decided at once then.
    pub fn settle(&mut self, trace: usize) {
        self.lists.settled[trace] = 1;
    }
}
