//! Both sides of a comparison: what serves and a candidate, field by field, and what is told of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::guards::{self, Samples, Subject, Tally};
use crate::compare::outputs::{Disagreements, Output};
use crate::compare::{Fate, Record, Unreadable, fates, field_of, records};
use crate::config::model::DataAccess;
use crate::pipeline::aside::Made;
use crate::pipeline::stage::PolicyVote;
use crate::signal::Signal;
use crate::tail::traces::{Traces, Trigger};
use crate::tail::verdict::{THRESHOLD_UNKNOWN, Vote};

/// What stands for a key of attributes where telemetry may not be shown.
const HIDDEN_KEY: &str = "[*]";

/// What both made of telemetry.
#[derive(Clone, Debug, Default)]
pub(super) struct Scales {
    pub(super) serving: Tally,
    pub(super) candidate: Tally,
    different: Disagreements,
}

/// What is told of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TrialReport {
    /// `probe`, `shadow` or `canary`.
    pub step: String,
    /// For how long it has gone on.
    pub seconds: f64,
    /// The share that the candidate saw, in percent.
    pub percent: f64,
    /// Batches that were not compared since there were too many.
    pub skipped: u64,
    /// What serves.
    pub serving: SideReport,
    /// The candidate.
    pub candidate: SideReport,
    /// Records of which both did not make the same, where both saw the same.
    pub different: DifferenceReport,
    /// In what the candidate is worse.
    pub findings: Vec<String>,
}

/// What one of them made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SideReport {
    /// Batches; of a policy, batches of traces.
    pub batches: u64,
    /// Batches that it could not judge.
    pub faults: u64,
    /// Spans, log records or data points; of a policy, traces.
    pub records: u64,
    /// Records that it dropped; of a policy, traces that it did not vote to keep.
    pub dropped: u64,
    /// Records in which a field changed (`field ...`), and places that were edited (`rule ...`).
    pub edits: BTreeMap<String, u64>,
}

/// Records of which two did not make the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DifferenceReport {
    /// Records that both judged.
    pub compared: u64,
    /// Only what serves dropped these.
    pub dropped_by_serving_only: u64,
    /// Only the candidate dropped these.
    pub dropped_by_candidate_only: u64,
    /// Both let these pass, with other fields.
    pub fields: u64,
    /// The same by field.
    pub by_field: BTreeMap<String, u64>,
}

/// What one side made of a batch, and the names of its rules.
pub(super) type Side<'a> = (Result<&'a Made, ()>, &'a [String]);

impl Scales {
    /// A batch that both judged.
    pub(super) fn batch(
        &mut self,
        signal: Signal,
        before: &[Bytes],
        serving: Side<'_>,
        candidate: Side<'_>,
    ) -> Result<(), Unreadable> {
        if let (Ok(served), Ok(tried)) = (serving.0, candidate.0) {
            let before = records(signal, before)?;
            let (after, after_candidate) = (records(signal, &served.bodies)?, records(signal, &tried.bodies)?);
            judged(&mut self.serving, &before, &after, served, serving.1);
            judged(&mut self.candidate, &before, &after_candidate, tried, candidate.1);
            let output = |records, made| Output { records, dropped: made };
            let (first, second) = (output(&after, &served.dropped), output(&after_candidate, &tried.dropped));
            self.different.count(before.len(), first, second);
        } else {
            if serving.0.is_err() {
                self.serving.faulted();
            }
            if candidate.0.is_err() {
                self.candidate.faulted();
            }
        }
        Ok(())
    }

    /// Traces that both voted on.
    pub(super) fn votes(
        &mut self,
        traces: &Traces,
        serving: Result<&[PolicyVote], ()>,
        candidate: Result<&[PolicyVote], ()>,
    ) {
        if let (Ok(served), Ok(tried)) = (serving, candidate) {
            // Those offered early come again, unless one of them settles them.
            let is_decided = |trace: usize| {
                let is_settled = |votes: &[PolicyVote]| votes.get(trace).is_some_and(|vote| vote.is_settled);
                let is_early = traces.triggers.get(trace) == Some(&(Trigger::Early as u8));
                !is_early || is_settled(served) || is_settled(tried)
            };
            let kept = |votes: &[PolicyVote]| -> Vec<bool> {
                let votes = votes.iter().zip(&traces.randomness).enumerate().filter(|(trace, _)| is_decided(*trace));
                votes.map(|(_, (vote, &randomness))| is_kept(vote, randomness)).collect()
            };
            let (served, tried) = (kept(served), kept(tried));
            for (tally, kept) in [(&mut self.serving, &served), (&mut self.candidate, &tried)] {
                tally.judged(kept.len() as u64, kept.iter().filter(|kept| !**kept).count() as u64, []);
            }
            self.different.compared += served.len() as u64;
            for (served, tried) in served.into_iter().zip(tried) {
                self.different.dropped_by_first_only += u64::from(!served && tried);
                self.different.dropped_by_second_only += u64::from(served && !tried);
            }
        } else {
            if serving.is_err() {
                self.serving.faulted();
            }
            if candidate.is_err() {
                self.candidate.faulted();
            }
        }
    }

    /// What others have weighed, too.
    pub(super) fn merge(&mut self, other: &Scales) {
        self.serving.merge(&other.serving);
        self.candidate.merge(&other.candidate);
        let (all, more) = (&mut self.different, &other.different);
        all.compared += more.compared;
        all.dropped_by_first_only += more.dropped_by_first_only;
        all.dropped_by_second_only += more.dropped_by_second_only;
        all.different += more.different;
        all.different_by_field.merge(&more.different_by_field);
    }

    /// In what the candidate is worse, and both sides' numbers, as they may be told.
    pub(super) fn report(&self, samples: Samples, access: DataAccess) -> TrialReport {
        let findings = guards::findings(&self.serving, &self.candidate, samples);
        let mut findings: Vec<_> = findings.iter().map(|finding| shown(&finding.to_string(), access)).collect();
        findings.dedup();
        let different = &self.different;
        let mut by_field = BTreeMap::new();
        for (field, count) in different.different_by_field.iter() {
            *by_field.entry(shown(field, access)).or_default() += count;
        }
        if different.different_by_field.other() > 0 {
            by_field.insert("other fields".to_owned(), different.different_by_field.other());
        }
        TrialReport {
            serving: side(&self.serving, access),
            candidate: side(&self.candidate, access),
            different: DifferenceReport {
                compared: different.compared,
                dropped_by_serving_only: different.dropped_by_first_only,
                dropped_by_candidate_only: different.dropped_by_second_only,
                fields: different.different,
                by_field,
            },
            findings,
            ..TrialReport::default()
        }
    }
}

/// Counts a batch that one of them judged: fields by records in which they changed, rules by places.
pub(super) fn judged(tally: &mut Tally, before: &[Record], after: &[Record], made: &Made, rules: &[String]) {
    let mut dropped = 0;
    let mut edits = BTreeMap::<Subject, u64>::new();
    for fate in fates(before, after, &made.dropped) {
        match fate {
            Fate::Dropped(_) => dropped += 1,
            Fate::Kept(changes) => {
                let mut fields: Vec<_> = changes.iter().map(|change| field_of(change.path)).collect();
                fields.sort_unstable();
                fields.dedup();
                for field in fields {
                    *edits.entry(Subject::Field(field)).or_default() += 1;
                }
            }
        }
    }
    for (subject, places) in edits_by_rule(&made.edited, rules) {
        *edits.entry(subject).or_default() += places;
    }
    tally.judged(before.len() as u64, dropped, edits);
}

/// Places by rule.
pub(super) fn edits_by_rule<'a>(
    edited: &'a [(u16, u64)],
    rules: &'a [String],
) -> impl Iterator<Item = (Subject, u64)> + 'a {
    let name = |rule: u16| rules.get(usize::from(rule)).cloned().unwrap_or_default();
    edited.iter().map(move |&(rule, places)| (Subject::Rule(name(rule)), places))
}

fn is_kept(vote: &PolicyVote, randomness: u64) -> bool {
    vote.vote == Vote::Keep && (vote.threshold == THRESHOLD_UNKNOWN || randomness >= vote.threshold)
}

fn side(tally: &Tally, access: DataAccess) -> SideReport {
    let mut edits = BTreeMap::new();
    for (subject, count) in tally.edits() {
        *edits.entry(shown(&subject.to_string(), access)).or_default() += count;
    }
    SideReport {
        batches: tally.batches(),
        faults: tally.faults(),
        records: tally.records(),
        dropped: tally.dropped(),
        edits,
    }
}

/// Keys of attributes come from telemetry: without access to it, only that they are keys is shown.
fn shown(text: &str, access: DataAccess) -> String {
    if access > DataAccess::Off || text.starts_with("rule ") || text.starts_with("edits of rule ") {
        return text.to_owned();
    }
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(open) = rest.find("[\"") {
        let (head, key) = rest.split_at(open);
        shown.push_str(head);
        shown.push_str(HIDDEN_KEY);
        // Keys are written as JSON: a quote that ends one has no backslash before it.
        let end = key.match_indices("\"]").map(|(at, _)| at).find(|&at| at > 1 && !key[..at].ends_with('\\'));
        rest = end.map_or("", |end| &key[end + 2..]);
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_hidden_unless_telemetry_may_be_shown() {
        for (text, hidden) in [
            (r#"field span.attributes["user.email"]"#, "field span.attributes[*]"),
            (r#"field span.attributes["a\"]b"].c"#, "field span.attributes[*].c"),
            (
                r#"edits of field span.events.attributes["k"]: 0 in 5"#,
                "edits of field span.events.attributes[*]: 0 in 5",
            ),
            ("field span.name", "field span.name"),
            (r#"rule drop["x"]"#, r#"rule drop["x"]"#),
        ] {
            assert_eq!(shown(text, DataAccess::Off), hidden);
            assert_eq!(shown(text, DataAccess::Redacted), text);
        }
    }
}
