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
