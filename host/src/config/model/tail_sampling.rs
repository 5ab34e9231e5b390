//! `tail_sampling` as it runs.

use std::time::Duration;

use crate::config::source::Place;

/// `tail_sampling`: traces wait here until policies decide on them. Each pipeline that names it has its own state.
#[derive(Clone, Debug, PartialEq)]
pub struct TailSampling {
    /// `tail_sampling`, `tail_sampling/name`.
    pub name: String,
    /// Names of the [`Stage`](super::Stage)s that vote, in the order of the policies; at least one, no name twice.
    pub units: Vec<String>,
    /// `decision_wait`: from a trace's first span to its decision.
    pub decision_wait: Duration,
    /// `decision_wait_after_root_received`: a shorter wait once the root is there; None (0 in the file) = no other wait.
    pub wait_after_root: Option<Duration>,
    /// `num_traces`: with more of them waiting, the oldest are decided early.
    pub traces_max: usize,
    /// `memory_mib`, in bytes: what waiting traces and remembered decisions may hold; None = a share of the process's budget.
    pub memory_bytes_max: Option<u64>,
    /// `block_on_overflow`: requests wait for room instead of being told to come back.
    pub block_on_overflow: bool,
    /// `maximum_trace_size_bytes`: a larger trace is dropped; None (0 in the file) = none is.
    pub drop_larger_than_bytes: Option<u64>,
    /// `span_limit`: a trace of so many spans is decided at once; None (0 in the file) = no limit.
    pub span_limit: Option<u32>,
    /// `decision_cache.sampled_cache_size`; None (0 in the file) = as [`Self::remembered`] says.
    pub kept_ids_max: Option<usize>,
    /// `decision_cache.non_sampled_cache_size`; None (0 in the file) = as [`Self::remembered`] says.
    pub dropped_ids_max: Option<usize>,
    /// `sample_on_first_match`: the first unit that keeps a trace decides, unless one drops it.
    pub first_match: bool,
    /// `drop_pending_traces_on_shutdown`: what waits at a stop is dropped, else it is decided.
    pub drop_pending_on_shutdown: bool,
    /// `num_shards`: threads that hold traces; None = by the machine.
    pub shards: Option<usize>,
    /// Of `fallback_percentage`: the rejection threshold by which traces without an error are kept when no policy can be asked, 0 (all)
    /// to 2^56 (none).
    pub fallback_threshold: u64,
    /// `record_decisions`: kept spans say who decided, in attributes.
    pub records_decisions: bool,
    /// Where it stands, for messages.
    pub place: Place,
}

/// The Collector's documentation recommends as many for each of its caches.
const REMEMBERED_PER_TRACE: usize = 10;

impl TailSampling {
    /// How many ids of kept and of dropped traces are remembered: ten times `traces_max` each unless the file says how many.
    pub fn remembered(&self) -> (usize, usize) {
        let given = |ids: Option<usize>| ids.unwrap_or(self.traces_max.saturating_mul(REMEMBERED_PER_TRACE));
        (given(self.kept_ids_max), given(self.dropped_ids_max))
    }

    /// Whether another one does the same; where they stand does not count.
    pub fn is_same(&self, other: &Self) -> bool {
        Self { place: other.place, ..self.clone() } == *other
    }
}
