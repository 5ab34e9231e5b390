//! What can be told of one trace.

use std::pin::Pin;

use serde::Serialize;

/// Decisions of one tail sampler that are told of at once.
pub const RECENT_MAX: usize = 1_000;

/// Who knows of traces: the tail samplers of a process.
pub trait Why: Send + Sync {
    /// What each tail sampler knows of a trace; one that does not know it, or has forgotten it, says nothing.
    fn explain(&self, id: [u8; 16]) -> Pin<Box<dyn Future<Output = Vec<Explanation>> + Send + '_>>;

    /// The last decisions of all tail samplers, the newest first: of each at most [`RECENT_MAX`].
    fn recent(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Vec<Recent>> + Send + '_>>;
}

/// What is known of a trace in one tail sampler.
#[derive(Clone, Debug, Serialize, PartialEq, utoipa::ToSchema)]
pub struct Explanation {
    /// The processor's name in the file.
    pub sampler: String,
    /// Where it stands.
    pub state: TraceState,
    /// Who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The generation of the stage that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Why it was decided then: a name of [`Trigger`](super::traces::Trigger).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub trigger: Option<&'static str>,
    /// The probability with which such traces are kept, 0 to 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// When it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_unix_nano: Option<u64>,
    /// When its first span arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived_unix_nano: Option<u64>,
    /// Spans that wait, or that were decided on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spans: Option<u64>,
    /// Spans that came after the decision, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_spans: Option<u64>,
    /// When it will be decided at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_unix_nano: Option<u64>,
}

/// Where a trace stands.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceState {
    /// It waits for its decision.
    Waiting,
    /// It was kept.
    Kept,
    /// It was dropped.
    Dropped,
}

/// Which decisions are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// By this policy; empty: of none.
    pub policy: Option<String>,
    /// With this result.
    pub result: Option<TraceState>,
    /// At most so many.
    pub limit: usize,
}

/// A decision on a trace.
#[derive(Clone, Debug, Serialize, PartialEq, utoipa::ToSchema)]
pub struct Recent {
    /// 32 hex digits.
    pub trace_id: String,
    /// The processor's name in the file.
    pub sampler: String,
    /// `kept` or `dropped`.
    pub result: TraceState,
    /// Who decided; None where no policy said anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The generation of the stage that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Why it was decided then: a name of [`Trigger`](super::traces::Trigger).
    pub trigger: &'static str,
    /// The probability with which such traces are kept, 0 to 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Spans that were decided on.
    pub spans: u64,
    /// Their bytes, as they were received.
    pub bytes: u64,
    /// When the first of them arrived.
    pub arrived_unix_nano: u64,
    /// When it was decided.
    pub decided_unix_nano: u64,
}
