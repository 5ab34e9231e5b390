//! A shard: owns a part of the traces.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::arrivals::Arrival;
use super::explain::Explanation;
use super::traces::{Traces, Trigger};
use super::verdict::{Decider, Verdict};
use crate::memory::Budget;

/// The time of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// A clock that never goes back.
    pub since_start: Duration,
    /// The wall clock.
    pub unix_nano: u64,
}

/// How a shard works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The processor's name in the file.
    pub sampler: String,
    /// How long a trace waits after its first span.
    pub decision_wait: Duration,
    /// How long it waits at most after its root.
    pub wait_after_root: Option<Duration>,
    /// Traces that may wait; above, the oldest are decided.
    pub traces_max: usize,
    /// Bytes that the shard may hold, everything counted.
    pub bytes_max: u64,
    /// A trace with as many spans is decided at once.
    pub span_limit: Option<u32>,
    /// A trace with as many bytes is decided at once.
    pub trace_bytes_limit: u64,
    /// A trace that would have more bytes is dropped.
    pub drop_larger_than_bytes: Option<u64>,
    /// Kept traces that are remembered.
    pub kept_ids_max: usize,
    /// Dropped traces that are remembered.
    pub dropped_ids_max: usize,
    /// Decisions that can be explained in full.
    pub history_max: usize,
    /// Kept spans say why they were.
    pub records_decisions: bool,
}

/// A part of the traces, owned by one thread.
#[derive(Debug)]
pub struct Shard {
    settings: Settings,
}

/// Traces to be decided.
#[derive(Debug)]
pub struct Due {
    /// What policies are told of them.
    pub traces: Traces,
}

/// What became of an arrival; numbers of spans but `new_traces`.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Late spans of kept traces.
    pub released: Vec<Released>,
    /// Traces that began to wait.
    pub new_traces: u64,
    /// Spans that came after their trace was kept.
    pub late_kept: u64,
    /// Spans that came after their trace was dropped.
    pub late_dropped: u64,
    /// Spans of traces that were dropped as they are too large.
    pub too_large: u64,
}

/// There is no room: nothing was taken.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("no memory left for more spans")]
pub struct Full;

/// What became of the traces that were due.
#[derive(Debug, Default)]
pub struct Settled {
    /// Spans of kept traces.
    pub released: Vec<Released>,
    /// One for each decided trace, in order.
    pub decisions: Vec<Decision>,
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Decision {
    /// It was kept.
    pub vote_kept: bool,
    /// Who decided.
    pub decider: Option<Arc<Decider>>,
    /// Why then.
    pub trigger: Trigger,
    /// Its spans.
    pub spans: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Since its first span came.
    pub waited: Duration,
}

/// An OTLP request with spans of kept traces.
#[derive(Clone, Debug)]
pub struct Released {
    /// ExportTraceServiceRequest.
    pub body: Bytes,
    /// How many.
    pub spans: u64,
}

/// What a shard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Traces that wait.
    pub traces: u64,
    /// Their spans.
    pub spans: u64,
    /// All bytes: tables, caches and history included.
    pub bytes: u64,
}

impl Shard {
    /// An empty shard; what it holds is charged to `budget`. The seed keys its hashes.
    pub fn new(settings: Settings, _budget: &Arc<Budget>, _seed: u64) -> Shard {
        Shard { settings }
    }

    /// Takes spans, or nothing.
    pub fn ingest(&mut self, _now: Now, _arrival: &Arrival) -> Result<Ingested, Full> {
        Ok(Ingested::default())
    }

    /// The next traces to be decided; `settle` must follow before the next `ingest` or `due`.
    pub fn due(&mut self, _now: Now) -> Option<Due> {
        None
    }

    /// Their spans as one OTLP request; fills `due.traces.trace_of` in the order of its spans.
    pub fn spans_of(&self, _due: &mut Due) -> Bytes {
        Bytes::new()
    }

    /// Decides: one verdict for each trace.
    pub fn settle(&mut self, _now: Now, _due: Due, _verdicts: Vec<Verdict>) -> Settled {
        Settled::default()
    }

    /// From now on every waiting trace is due.
    pub fn drain(&mut self) {}

    /// Time since start at which `due` may next have something; None: only after an `ingest`.
    pub fn wake_at(&self) -> Option<Duration> {
        None
    }

    /// Whether changed traces are offered early.
    pub fn offer_early(&mut self, _wanted: bool) {}

    /// What is known of a trace.
    pub fn explain(&self, _id: [u8; 16]) -> Option<Explanation> {
        let _ = &self.settings.sampler;
        None
    }

    /// What it holds.
    pub fn load(&self) -> Load {
        Load::default()
    }
}
