//! What a tap is asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TapError;
use crate::config::model::DataAccess;
use crate::signal::Signal;

/// Most matches of one tap.
pub const LIMIT_MAX: u32 = 10_000;
/// Most matches in a second.
pub const RATE_MAX: u32 = 1_000;
/// Longest time of one tap, in seconds.
pub const SECONDS_MAX: u32 = 600;
/// Longest condition.
pub const CONDITION_BYTES_MAX: usize = 16 << 10;

/// What `POST /v1/taps` takes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TapRequest {
    /// A stage, or a `tail_sampling` processor: then traces are shown as they are decided, of a policy with its votes.
    pub stage: String,
    /// Only in this pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Which side of the stage is shown.
    #[serde(default)]
    pub point: TapPoint,
    /// Only what this became of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<TapOnly>,
    /// Only records that this is true of: an OTTL condition as the filter processor has them, such as `span.attributes["http.route"] == "/health"`.
    /// With `diff` on either side.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Only `traces`, `metrics` or `logs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// It ends after so many matches; at most 10,000.
    #[serde(default = "limit_default")]
    pub limit: u32,
    /// Of more matches than this a sample is shown, the first always; at most 1,000.
    #[serde(default = "rate_default")]
    pub rate_per_second: u32,
    /// It ends after so long; at most 600.
    #[serde(default = "seconds_default")]
    pub seconds: u32,
    /// Also each match as OTLP JSON requests: what the stage was shown, and what it left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requests: bool,
}

/// Which side of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TapPoint {
    /// As the stage is shown it.
    Before,
    /// As the stage leaves it.
    After,
    /// Both, and what is different.
    #[default]
    Diff,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TapOnly {
    /// The stage dropped it, or voted to.
    Dropped,
    /// It goes on with other values.
    Changed,
    /// The stage failed on it.
    Faulted,
}

impl TapRequest {
    /// Its signal, if it asks for one.
    pub(super) fn signal(&self) -> Result<Option<Signal>, TapError> {
        let Some(name) = &self.signal else { return Ok(None) };
        let known = Signal::ALL.into_iter().find(|signal| signal.as_str() == name);
        known.map(Some).ok_or(TapError::Value { what: "signal", may_be: "traces, metrics or logs".to_owned() })
    }

    /// Whether its numbers are what they may be.
    pub(super) fn check(&self) -> Result<(), TapError> {
        for (what, value, max) in [
            ("limit", self.limit, LIMIT_MAX),
            ("rate_per_second", self.rate_per_second, RATE_MAX),
            ("seconds", self.seconds, SECONDS_MAX),
        ] {
            if value == 0 || value > max {
                return Err(TapError::Value { what, may_be: format!("1 to {max}") });
            }
        }
        if self.condition.as_ref().is_some_and(|condition| condition.len() > CONDITION_BYTES_MAX) {
            return Err(TapError::Value { what: "where", may_be: format!("at most {CONDITION_BYTES_MAX} bytes") });
        }
        if (self.point, self.only) == (TapPoint::After, Some(TapOnly::Dropped)) {
            return Err(TapError::Value {
                what: "point",
                may_be: "before or diff: what was dropped is not there after".to_owned(),
            });
        }
        Ok(())
    }
}

impl TapPoint {
    /// As the request has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            TapPoint::Before => "before",
            TapPoint::After => "after",
            TapPoint::Diff => "diff",
        }
    }

    /// What access it takes, given whether what is before and after the stage is redacted.
    pub(super) fn needs(self, (before, after): (bool, bool)) -> DataAccess {
        let is_redacted = match self {
            TapPoint::Before => before,
            TapPoint::After => after,
            TapPoint::Diff => before && after,
        };
        if is_redacted { DataAccess::Redacted } else { DataAccess::Full }
    }
}

const fn limit_default() -> u32 {
    100
}

const fn rate_default() -> u32 {
    10
}

const fn seconds_default() -> u32 {
    30
}
