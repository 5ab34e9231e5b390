//! What came of a try, as it is told: by the admin API, and by `--output json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What came of a try.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tried {
    /// The pipeline or the stage that was tried.
    pub name: String,
    /// `traces`, `metrics` or `logs`.
    pub signal: String,
    /// Spans, data points or log records that went in.
    pub records: u64,
    /// Those that came out.
    pub left: u64,
    /// In order. Stages that nothing came to are there, too.
    pub steps: Vec<TriedStep>,
    /// What a sender would be told of requests that were not taken, or not wholly.
    pub refused: Vec<String>,
    /// What came out: OTLP/JSON requests.
    pub output: Vec<Value>,
    /// What is not as the case expects; there where a case was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mismatches: Option<Vec<TriedMismatch>>,
    /// There was no time for all of it: what is told is what came so far.
    pub is_late: bool,
    /// The run, without building the stages.
    pub elapsed_seconds: f64,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriedStep {
    /// The stage, the sampler, or what only waits.
    pub name: String,
    /// `stage`, `policy`, `sampler`, or `passed_through`: what only waits does not wait here.
    pub kind: String,
    /// SHA-256 of its component, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it cost, where it is a component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<TriedCost>,
    /// Records that it was shown.
    pub shown: u64,
    /// Records that it dropped.
    pub dropped: u64,
    /// Records that it changed.
    pub changed: u64,
    /// Records by the rule that dropped them.
    pub dropped_by_rule: BTreeMap<String, u64>,
    /// Places by the rule that edited them.
    pub edited_by_rule: BTreeMap<String, u64>,
    /// Those that it dropped or changed, as far as there is room for them.
    pub changes: Vec<TriedRecord>,
    /// Records that it dropped or changed and that are not among `changes`.
    pub left_out: u64,
    /// How it failed.
    pub faults: Vec<TriedFault>,
    /// Of a sampler: traces and what became of them, as far as there is room for them.
    pub decisions: Vec<TriedDecision>,
    /// Decisions that are not among `decisions`.
    pub decisions_left_out: u64,
}

/// What a component cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriedCost {
    /// Loading, instantiating, configuring, and the first calls of its instances on made-up batches.
    pub build_seconds: f64,
    /// Guest calls.
    pub calls: u64,
    /// In these.
    pub call_seconds: f64,
    /// Guest memory after the last one.
    pub memory_bytes: u64,
}

/// A record that a stage dropped or changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriedRecord {
    /// Its number among those that the stage was shown, from 0.
    pub row: u64,
    /// What it is, for people: a span's or a metric's name, a log record's body, and ids.
    pub about: BTreeMap<String, Value>,
    /// The rule that dropped it; None: it was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_by: Option<String>,
    /// What was changed, by path.
    pub fields: Vec<TriedField>,
}

/// A field that was changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriedField {
    /// Where, as OTTL writes it.
    pub path: String,
    /// Missing: it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub before: Option<Value>,
    /// Missing: it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub after: Option<Value>,
}

/// How a stage failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriedFault {
    /// `trap`, `deadline`, `memory`, and so on.
    pub kind: String,
    /// With the guest's stack, where there is one.
    pub message: String,
    /// What it was shown goes on as it came; else nothing of it goes on.
    pub is_passed: bool,
    /// Records, or traces of a policy.
    pub records: u64,
}

/// What became of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriedDecision {
    /// In hex.
    pub trace_id: String,
    /// `kept` or `dropped`.
    pub state: String,
    /// Who decided; missing where no policy said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Why it would be decided then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The probability with which such traces are kept, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Its spans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spans: Option<u64>,
    /// What each policy stage said.
    pub votes: Vec<TriedVote>,
}

/// What a policy stage said of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriedVote {
    /// The stage.
    pub stage: String,
    /// `keep`, `drop` or `none`.
    pub vote: String,
    /// The policy in it that said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// What is not as a case expects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriedMismatch {
    /// Its number among the records that came out, from 0; missing where their number differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// `before` is what was expected, `after` what came out; `path` is `records` where their number differs.
    pub field: TriedField,
}

impl Tried {
    /// Whether a stage failed.
    pub fn has_faults(&self) -> bool {
        self.steps.iter().any(|step| !step.faults.is_empty())
    }

    /// Whether a case was tried, and something else came out than it expects.
    pub fn differs(&self) -> bool {
        self.mismatches.as_ref().is_some_and(|mismatches| !mismatches.is_empty())
    }
}

/// An empty value is a value: only a missing one is none.
fn there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
