//! The lines of a tap's stream, each a JSON object with one key that says what it is; the last one has `end`.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::request::TapRequest;
use crate::compare::Change;
use crate::config::model::DataAccess;
use crate::pipeline::stage::Fault;

/// The first line.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TapBegun {
    /// Counts from 1.
    pub id: u64,
    /// What was asked for, with its defaults.
    #[serde(flatten)]
    pub request: TapRequest,
    /// `processor`, `policy` or `sampler`.
    pub kind: &'static str,
    /// Pipelines in which it is watched.
    pub pipelines: Vec<String>,
    /// Of these, pipelines of which nothing is shown: what is there is not redacted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
    /// `redacted` or `full`: what the file allowed when it began.
    pub data_access: &'static str,
}

/// Where and when something was seen, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TapMatch {
    /// Counts from 1.
    pub number: u64,
    /// When the tap looked at it.
    pub at_unix: f64,
    /// Its pipeline.
    pub pipeline: String,
    /// `traces`, `metrics` or `logs`.
    pub signal: &'static str,
    /// What judged: the number. Of a sampler the policy's that decided, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// `kept`, `changed`, `dropped`, `passed` (it failed and this goes on), `failed` (and nothing does); of traces `kept`, `dropped`, `failed` or
    /// `none`: no vote.
    pub fate: &'static str,
    /// The rule that dropped it; of traces the rule or policy that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How the stage failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<TapFault>,
    /// In the guest, for all that was judged together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_us: Option<u64>,
    /// What is shown.
    #[serde(flatten)]
    pub shown: TapShown,
}

/// What is shown of a match.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TapShown {
    /// A span, a log record or a data point with all that stands above it.
    Record(Box<RecordShown>),
    /// A trace.
    Trace(Box<TraceShown>),
    /// Nothing: it cannot be decoded.
    Unreadable {
        /// Why.
        unreadable: String,
    },
}

/// A record: values by OTTL path.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct RecordShown {
    /// As the stage was shown it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    /// As the stage left it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
    /// What is different.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub changes: Option<Vec<Change>>,
    /// The record as it was shown, as an OTLP JSON request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub input: Option<Value>,
    /// What was left of it; a request without records where it was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub expected: Option<Value>,
}

/// A trace.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct TraceShown {
    /// 32 hex digits.
    pub trace_id: String,
    /// Why it was looked at now.
    pub trigger: &'static str,
    /// Of a vote to keep: the share of such traces that is kept, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// How many.
    pub spans: u32,
    /// Of these, errors.
    pub errors: u32,
    /// From the first start to the last end.
    pub duration_us: u64,
    /// Spans, values by OTTL path.
    #[schema(value_type = Vec<Object>)]
    pub records: Vec<Value>,
    /// Spans that are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    pub records_left_out: usize,
}

/// How a stage failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TapFault {
    /// Its class.
    pub kind: &'static str,
    /// Never holds telemetry.
    pub message: String,
}

/// What a tap has seen so far: of samplers and policies traces, else records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct TapCounts {
    /// That were looked at.
    pub seen: u64,
    /// Of these, as was asked for.
    pub matched: u64,
    /// Of these, shown; of the others the rate allowed no more.
    pub sent: u64,
    /// That came by too fast to be looked at.
    pub lost: u64,
    /// Batches of which nothing may be shown.
    pub withheld: u64,
}

/// Why a tap ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TapEnd {
    /// As many matches as were asked for.
    Limit,
    /// It was over.
    Time,
    /// The file allows less than before.
    DataAccess,
    /// The file has no such stage any more.
    StageGone,
    /// The condition could not be answered.
    WhereFailed,
    /// Who asked has hung up. Nobody reads this line; it is in the log.
    HungUp,
}

/// A line, and what access it takes to show it.
#[derive(Debug)]
pub(super) struct Line {
    pub text: Bytes,
    pub needs: Option<DataAccess>,
}

/// `{"key": value}` and a line feed.
pub(super) fn line(key: &str, value: &impl Serialize) -> Bytes {
    let object = std::collections::BTreeMap::from([(key, value)]);
    // What is written here has only texts as keys.
    let mut text = serde_json::to_vec(&object).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

impl TapEnd {
    /// As the last line has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            TapEnd::Limit => "limit",
            TapEnd::Time => "time",
            TapEnd::DataAccess => "data_access",
            TapEnd::StageGone => "stage_gone",
            TapEnd::WhereFailed => "where_failed",
            TapEnd::HungUp => "hung_up",
        }
    }
}

impl From<&Fault> for TapFault {
    fn from(fault: &Fault) -> Self {
        Self { kind: fault.kind.as_str(), message: fault.message.clone() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
