//! A policy's instance: called for traces that are due, answers with votes. Everything it answers is checked.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Resource;

use super::bindings::{Sampler, Verdicts};
use super::fault::malformed;
use super::instance::{CallError, GuestInstance};
use super::limits::DEADLINE_PER_ROW;
use super::state::Call;
use crate::batch::Batch;
use crate::pipeline::stage::{Fault, FaultKind, Policy, PolicyVote};
use crate::tail::traces::Traces;
use crate::tail::verdict::{THRESHOLD_END, THRESHOLD_UNKNOWN, Vote};

/// The rule of a vote that no rule decided.
const NO_RULE: u32 = u32::MAX;

impl GuestInstance<Sampler> {
    /// One call of `decide`, with the guest's own error text.
    ///
    /// Host state that the call changed holds only if all of the answer is right.
    pub(super) fn vote(&mut self, traces: &Arc<Traces>, spans: Batch) -> (Batch, Result<Vec<PolicyVote>, CallError>) {
        let items = if self.reads_spans() { 0..spans.items() } else { 0..0 };
        if !items.is_empty() && traces.trace_of.len() != items.len() {
            let fault = malformed("the spans that are shown are not those of the traces");
            return (spans, Err(CallError::Fault(fault)));
        }
        let allowance = self.vote_allowance(traces.len(), items.len());
        if let Err(misuse) = self.store.state_mut().begin_call(spans, items, Some(Arc::clone(traces))) {
            return (self.take_back(false).batch, Err(CallError::Fault(malformed(misuse))));
        }
        let policy = self.guest.sluicebox_telemetry_policy();
        let answer = self
            .store
            .run(allowance, |store| policy.call_decide(store, Resource::new_borrow(0), Resource::new_borrow(0)));
        let rules = self.store.state().opened.rules.len();
        let votes = match answer {
            Ok(Ok(verdicts)) => votes_of(&verdicts, traces.len(), rules)
                .map_err(|wrong| CallError::Fault(Fault { kind: FaultKind::BadOutput, message: wrong.to_owned() })),
            Ok(Err(text)) => Err(self.returned(text)),
            Err(fault) => Err(CallError::Fault(fault)),
        };
        self.is_spent = votes.is_err();
        let is_readable = self.store.state().call.as_ref().is_none_or(|call| call.reading.malformed == 0);
        let Call { batch, reading, .. } = self.take_back(votes.is_ok() && is_readable);
        if is_readable { (batch, votes) } else { (batch, Err(reading.unreadable())) }
    }

    fn vote_allowance(&self, traces: usize, spans: usize) -> Duration {
        let rows = u32::try_from(traces.max(spans)).unwrap_or(u32::MAX);
        self.bounds.deadline.saturating_add(DEADLINE_PER_ROW.saturating_mul(rows))
    }
}

impl Policy for GuestInstance<Sampler> {
    fn reads_spans(&self) -> bool {
        !self.opened().fields.is_empty()
    }

    fn decide(&mut self, traces: &Arc<Traces>, spans: Batch) -> (Batch, Result<Vec<PolicyVote>, Fault>) {
        let (batch, result) = self.vote(traces, spans);
        (batch, result.map_err(|error| self.with_lines(error.without_text())))
    }

    fn memory_bytes(&self) -> u64 {
        self.guest_memory_bytes()
    }

    fn wants_recycling(&self) -> bool {
        self.is_worn()
    }
}

/// The votes on so many traces of a guest with so many rules; the error says what is wrong, never what was answered.
fn votes_of(verdicts: &Verdicts, traces: usize, rules: usize) -> Result<Vec<PolicyVote>, &'static str> {
    let Verdicts { votes, thresholds, rules: deciders, settled } = verdicts;
    let lengths = [votes.len(), thresholds.len(), deciders.len(), settled.len()];
    if lengths.iter().any(|&length| length != traces) {
        return Err("verdicts whose lists do not have one entry for each trace");
    }
    let parts = votes.iter().zip(thresholds).zip(deciders).zip(settled);
    parts.map(|(((&vote, &threshold), &rule), &settled)| vote_of(vote, threshold, rule, settled, rules)).collect()
}

fn vote_of(vote: u8, threshold: u64, rule: u32, settled: u8, rules: usize) -> Result<PolicyVote, &'static str> {
    let vote = match vote {
        0 => Vote::None,
        1 => Vote::Keep,
        2 => Vote::Drop,
        _ => return Err("a vote that is neither none nor keep nor drop"),
    };
    if threshold >= THRESHOLD_END && threshold != THRESHOLD_UNKNOWN {
        return Err("a threshold that does not have 56 bits");
    }
    let rule = match u16::try_from(rule) {
        Ok(number) if usize::from(number) < rules => Some(number),
        _ if rule == NO_RULE => None,
        _ => return Err("a rule that was not opened"),
    };
    if settled > 1 {
        return Err("a verdict that is neither settled nor not");
    }
    Ok(PolicyVote { vote, threshold, rule, is_settled: settled == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts() -> Verdicts {
        Verdicts {
            votes: vec![0, 1, 2],
            thresholds: vec![THRESHOLD_UNKNOWN, THRESHOLD_END - 1, 0],
            rules: vec![NO_RULE, 1, 0],
            settled: vec![0, 1, 0],
        }
    }

    #[test]
    fn right_answers_are_votes() {
        let votes = votes_of(&verdicts(), 3, 2).expect("are right");
        let kept = PolicyVote { vote: Vote::Keep, threshold: THRESHOLD_END - 1, rule: Some(1), is_settled: true };
        assert_eq!(votes[1], kept);
        assert_eq!((votes[0].vote, votes[0].rule), (Vote::None, None));
        assert_eq!((votes[2].vote, votes[2].threshold, votes[2].is_settled), (Vote::Drop, 0, false));
        assert_eq!(
            votes_of(&Verdicts { votes: vec![], thresholds: vec![], rules: vec![], settled: vec![] }, 0, 0),
            Ok(vec![])
        );
    }

    type Change = fn(&mut Verdicts);

    #[test]
    fn every_part_of_an_answer_is_checked() {
        let wrong: [(&str, Change); 12] = [
            ("one entry", |v| v.votes.truncate(2)),
            ("one entry", |v| v.thresholds.truncate(2)),
            ("one entry", |v| v.rules.truncate(2)),
            ("one entry", |v| v.settled.truncate(2)),
            ("one entry", |v| v.votes.push(0)),
            ("neither none", |v| v.votes[0] = 3),
            ("56 bits", |v| v.thresholds[0] = THRESHOLD_END),
            ("56 bits", |v| v.thresholds[0] = u64::MAX - 1),
            ("not opened", |v| v.rules[0] = 2),
            ("not opened", |v| v.rules[0] = NO_RULE - 1),
            ("not opened", |v| v.rules[0] = 1 << 16),
            ("settled", |v| v.settled[0] = 2),
        ];
        for (told, change) in wrong {
            let mut verdicts = verdicts();
            change(&mut verdicts);
            let error = votes_of(&verdicts, 3, 2).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }
}
