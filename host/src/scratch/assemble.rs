//! From what was seen to what is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::tried::{
    Tried, TriedCost, TriedDecision, TriedFault, TriedField, TriedMismatch, TriedRecord, TriedStep, TriedVote,
};
use super::wanted::{Wanted, WantedStep};
use crate::ack::Outcome;
use crate::compare::case::{Case, Mismatch};
use crate::compare::{self, Difference, Fate, Record, Unreadable, fates, records};
use crate::json;
use crate::pipeline::scratch::{Cost, Decided, Made, Run, Sighting, StepRun};
use crate::pipeline::stage::{Fault, Generation, PolicyVote};
use crate::signal::Signal;
use crate::tail::explain::TraceState;
use crate::tail::verdict::Vote;

/// Records that are told of one stage.
const CHANGES_MAX: usize = 1_000;
/// Bytes of values that are told of one stage, about.
const CHANGES_BYTES_MAX: usize = 4 << 20;
/// Decisions that are told.
const DECISIONS_MAX: usize = 1_000;
/// Faults that are told of one stage, and refusals.
const FAULTS_MAX: usize = 16;
/// Fields that say what a record is.
const ABOUT: [&str; 8] = [
    "span.name",
    "log.body",
    "metric.name",
    "resource.attributes[\"service.name\"]",
    "span.trace_id",
    "span.span_id",
    "log.trace_id",
    "log.span_id",
];

/// What is known of the stages of a try.
#[derive(Default)]
pub(super) struct Assembling {
    stages: HashMap<String, Known>,
}

struct Known {
    digest: String,
    rules: Vec<String>,
    cost: TriedCost,
}

type Votes = BTreeMap<[u8; 16], Vec<TriedVote>>;

impl Assembling {
    pub(super) fn built(&mut self, generation: &Arc<dyn Generation>, took: Duration) {
        let cost = TriedCost { build_seconds: took.as_secs_f64(), ..TriedCost::default() };
        let known = Known { digest: generation.digest().to_owned(), rules: generation.rules().to_vec(), cost };
        self.stages.insert(generation.stage().to_owned(), known);
    }

    pub(super) fn cost(&mut self, stage: &str, Cost { calls, call_time, memory_bytes }: Cost) {
        if let Some(known) = self.stages.get_mut(stage) {
            let call_seconds = call_time.as_secs_f64();
            known.cost = TriedCost { calls, call_seconds, memory_bytes, ..known.cost };
        }
    }

    pub(super) fn assemble(
        &self,
        wanted: &Wanted,
        input: &[Bytes],
        case: Option<&Case>,
        run: Run,
        elapsed: Duration,
    ) -> Result<Tried, Unreadable> {
        let Run { steps, left, refused, is_late } = run;
        let signal = wanted.signal;
        let mut told = Vec::new();
        let mut runs = steps.into_iter();
        for step in &wanted.steps {
            match step {
                WantedStep::PassThrough(name) => told.push(named(name, "passed_through")),
                WantedStep::Judge(stages) => {
                    let sightings = runs.next().map(|run| run.sightings).unwrap_or_default();
                    for name in stages {
                        told.push(self.stage(signal, name, &sightings)?);
                    }
                }
                WantedStep::Decide(keys) => told.extend(self.sampler(&keys.name, &keys.units, runs.next())),
            }
        }
        let mismatches = case.map(|case| case.mismatches(&left)).transpose()?;
        let output = left.iter().map(|body| json_of(signal, body)).collect::<Result<_, _>>()?;
        Ok(Tried {
            name: wanted.name.clone(),
            signal: signal.as_str().to_owned(),
            records: count(signal, input)?,
            left: count(signal, &left)?,
            steps: told,
            refused: refused.iter().filter_map(said).take(FAULTS_MAX).collect(),
            output,
            mismatches: mismatches.map(|mismatches| mismatches.into_iter().map(mismatch).collect()),
            is_late,
            elapsed_seconds: elapsed.as_secs_f64(),
        })
    }

    /// A processor, by what was seen of it.
    fn stage(&self, signal: Signal, name: &str, sightings: &[Sighting]) -> Result<TriedStep, Unreadable> {
        let mut told = self.component(name, "stage");
        let mut bytes_left = CHANGES_BYTES_MAX;
        for sighting in sightings {
            let Sighting::Seen { stage, before, after } = sighting else { continue };
            if stage != name {
                continue;
            }
            match after {
                Made::Judged { bodies, dropped, edited } => {
                    let (before, after) = (records(signal, before)?, records(signal, bodies)?);
                    for (record, fate) in before.iter().zip(fates(&before, &after, dropped)) {
                        self.fate(name, record, &fate, &mut told, &mut bytes_left);
                        told.shown += 1;
                    }
                    for &(rule, places) in edited {
                        *told.edited_by_rule.entry(self.rule(name, rule)).or_default() += places;
                    }
                }
                Made::Passed(fault) => note(&mut told, fault, true, count(signal, before)?),
                Made::Failed(fault) => note(&mut told, fault, false, count(signal, before)?),
            }
        }
        Ok(told)
    }

    fn fate(&self, name: &str, record: &Record, fate: &Fate<'_>, told: &mut TriedStep, bytes_left: &mut usize) {
        let (dropped_by, fields) = match fate {
            Fate::Kept(changes) if changes.is_empty() => return,
            Fate::Kept(changes) => {
                told.changed += 1;
                (None, changes.as_slice())
            }
            Fate::Dropped(rule) => {
                told.dropped += 1;
                let rule = self.rule(name, *rule);
                *told.dropped_by_rule.entry(rule.clone()).or_default() += 1;
                (Some(rule), [].as_slice())
            }
        };
        let about = || ABOUT.iter().filter_map(|path| Some((*path, record.get(path)?)));
        let of_value = |value: Option<&Value>| value.map_or(0, size);
        let bytes = about().map(|(path, value)| path.len() + size(value)).sum::<usize>()
            + fields.iter().map(|f| f.path.len() + of_value(f.before) + of_value(f.after)).sum::<usize>();
        if told.changes.len() >= CHANGES_MAX || bytes > *bytes_left {
            told.left_out += 1;
            return;
        }
        *bytes_left -= bytes;
        told.changes.push(TriedRecord {
            row: told.shown,
            about: about().map(|(path, value)| (path.to_owned(), value.clone())).collect(),
            dropped_by,
            fields: fields.iter().map(field).collect(),
        });
    }

    /// A sampler and its policies.
    fn sampler(&self, name: &str, units: &[String], run: Option<StepRun>) -> Vec<TriedStep> {
        let mut told = named(name, "sampler");
        let mut policies: Vec<_> = units.iter().map(|unit| self.component(unit, "policy")).collect();
        let StepRun { sightings, decided } = run.unwrap_or(StepRun { sightings: Vec::new(), decided: None });
        let mut votes = Votes::new();
        for sighting in &sightings {
            let Sighting::Voted { stage, traces, votes: said } = sighting else { continue };
            let Some(policy) = policies.iter_mut().find(|policy| policy.name == *stage) else { continue };
            policy.shown += traces.len() as u64;
            match said {
                Ok(said) => {
                    for (trace, vote) in traces.iter().zip(said).take(DECISIONS_MAX) {
                        votes.entry(*trace).or_default().push(self.vote(stage, vote));
                    }
                }
                // Others decide in its place.
                Err(fault) => note(policy, fault, true, traces.len() as u64),
            }
        }
        let Decided { decisions, too_large_spans, refused, memory_bytes, .. } = decided.unwrap_or_default();
        for (name, bytes) in memory_bytes {
            let cost = policies.iter_mut().find(|policy| policy.name == name).and_then(|policy| policy.cost.as_mut());
            cost.into_iter().for_each(|cost| cost.memory_bytes = bytes);
        }
        told.shown = decisions.len() as u64;
        told.decisions_left_out = told.shown.saturating_sub(DECISIONS_MAX as u64);
        for refusal in refused.into_iter().take(FAULTS_MAX) {
            let fault = TriedFault { kind: "refused".to_owned(), message: refusal, ..TriedFault::default() };
            told.faults.push(fault);
        }
        if too_large_spans > 0 {
            told.dropped_by_rule.insert("trace_too_large".to_owned(), too_large_spans);
        }
        for (id, explanation) in decisions.into_iter().take(DECISIONS_MAX) {
            told.decisions.push(TriedDecision {
                trace_id: format!("{:032x}", u128::from_be_bytes(id)),
                state: if explanation.state == TraceState::Kept { "kept" } else { "dropped" }.to_owned(),
                policy: explanation.policy,
                trigger: explanation.trigger.map(str::to_owned),
                probability: explanation.probability,
                spans: explanation.spans,
                votes: votes.remove(&id).unwrap_or_default(),
            });
        }
        policies.insert(0, told);
        policies
    }

    fn vote(&self, stage: &str, vote: &PolicyVote) -> TriedVote {
        let said = match vote.vote {
            Vote::None => "none",
            Vote::Keep => "keep",
            Vote::Drop => "drop",
        };
        let policy = vote.rule.map(|rule| self.rule(stage, rule));
        TriedVote { stage: stage.to_owned(), vote: said.to_owned(), policy }
    }

    fn component(&self, name: &str, kind: &str) -> TriedStep {
        let known = self.stages.get(name);
        TriedStep { digest: known.map(|k| k.digest.clone()), cost: known.map(|k| k.cost), ..named(name, kind) }
    }

    fn rule(&self, stage: &str, rule: u16) -> String {
        let rules = self.stages.get(stage).map_or(&[][..], |known| &known.rules);
        rules.get(usize::from(rule)).cloned().unwrap_or_default()
    }
}

fn named(name: &str, kind: &str) -> TriedStep {
    TriedStep { name: name.to_owned(), kind: kind.to_owned(), ..TriedStep::default() }
}

fn note(told: &mut TriedStep, fault: &Fault, is_passed: bool, records: u64) {
    told.shown += records;
    if told.faults.len() < FAULTS_MAX {
        let (kind, message) = (fault.kind.as_str().to_owned(), fault.message.clone());
        told.faults.push(TriedFault { kind, message, is_passed, records });
    }
}

fn field(difference: &Difference<'_>) -> TriedField {
    let compare::Change { path, before, after } = difference.to_change();
    TriedField { path, before, after }
}

fn mismatch(mismatch: Mismatch) -> TriedMismatch {
    match mismatch {
        Mismatch::Records { expected, found } => {
            let (before, after) = (Some(Value::from(expected)), Some(Value::from(found)));
            TriedMismatch { record: None, field: TriedField { path: "records".to_owned(), before, after } }
        }
        Mismatch::Field { record, change: compare::Change { path, before, after } } => {
            TriedMismatch { record: Some(record as u64), field: TriedField { path, before, after } }
        }
    }
}

fn count(signal: Signal, bodies: &[Bytes]) -> Result<u64, Unreadable> {
    Ok(records(signal, bodies)?.len() as u64)
}

fn json_of(signal: Signal, body: &[u8]) -> Result<Value, Unreadable> {
    let text = json::to_json(signal, body)?;
    let mut deserializer = serde_json::Deserializer::from_slice(&text);
    // Our own writer bounds how deep it nests.
    deserializer.disable_recursion_limit();
    Value::deserialize(&mut deserializer).map_err(|_| Unreadable::Protobuf(json::ProtobufError::Malformed))
}

/// What a sender would be told.
fn said(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Accepted { .. } => None,
        Outcome::Partial { rejected, message } => Some(format!("{rejected} rejected: {message}")),
        Outcome::Retry { message, .. } => Some(format!("retry: {message}")),
        Outcome::Refused { message } => Some(format!("refused: {message}")),
    }
}

/// About how long it is as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(list) => list.iter().map(|value| size(value) + 1).sum::<usize>() + 2,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value) + 4).sum::<usize>() + 2,
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}
