use crate::{Batch, Rows, Threshold, TraceSet, host};

/// Of [`host::TraceBatch::marks`].
const MARK_ROOT: u8 = 1;
const MARK_SAMPLED: u8 = 2;

/// The traces of the current call, whose decision is due. Lists have one entry for each trace, in the same order; each call of a method
/// that returns a list copies it from the host, so call it once.
#[derive(Debug)]
pub struct Traces<'a> {
    handle: &'a host::TraceBatch,
    spans: Batch<'a>,
}

impl<'a> Traces<'a> {
    /// For [`export_policy!`](crate::export_policy).
    #[doc(hidden)]
    pub fn __of_call(handle: &'a host::TraceBatch, spans: &'a host::Batch) -> Self {
        Traces { handle, spans: Batch::__of_call(spans) }
    }

    /// How many traces.
    pub fn len(&self) -> usize {
        self.handle.len() as usize
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Trace ids. Spans whose id is not of 16 bytes belong to the trace of 16 zero bytes.
    pub fn ids(&self) -> Vec<[u8; 16]> {
        self.handle.ids().as_chunks().0.to_vec()
    }

    /// 56 random bits of each, to be compared by [`Threshold::keeps`].
    pub fn randomness(&self) -> Vec<u64> {
        self.handle.randomness()
    }

    /// The threshold that each came with (`ot=th` of its tracestate, the largest of its spans), if it came with one.
    pub fn thresholds(&self) -> Vec<Option<Threshold>> {
        let known = |bits| Some(Threshold::from_bits(bits)).filter(|threshold| *threshold != Threshold::UNKNOWN);
        self.handle.thresholds().into_iter().map(known).collect()
    }

    /// The time of the decision, in nanoseconds since 1970.
    pub fn now_unix_nano(&self) -> u64 {
        self.handle.now_unix_nano()
    }

    /// When the first span of each arrived.
    pub fn arrivals_unix_nano(&self) -> Vec<u64> {
        self.handle.arrivals_unix_nano()
    }

    /// The earliest start of the spans of each.
    pub fn starts_unix_nano(&self) -> Vec<u64> {
        self.handle.starts_unix_nano()
    }

    /// The latest end of the spans of each.
    pub fn ends_unix_nano(&self) -> Vec<u64> {
        self.handle.ends_unix_nano()
    }

    /// From the earliest start to the latest end of each; 0 where that would be negative.
    pub fn durations_nano(&self) -> Vec<u64> {
        let (starts, ends) = (self.starts_unix_nano(), self.ends_unix_nano());
        ends.into_iter().zip(starts).map(|(end, start)| end.saturating_sub(start)).collect()
    }

    /// Spans of each.
    pub fn span_counts(&self) -> Vec<u32> {
        self.handle.span_counts()
    }

    /// Spans of each whose status is an error.
    pub fn error_counts(&self) -> Vec<u32> {
        self.handle.error_counts()
    }

    /// Spans of each whose status is ok; the status of those that are neither is not set.
    pub fn ok_counts(&self) -> Vec<u32> {
        self.handle.ok_counts()
    }

    /// Bytes of the spans of each, as they were received.
    pub fn byte_counts(&self) -> Vec<u64> {
        self.handle.byte_counts()
    }

    /// Those of which a root span has arrived.
    pub fn has_root(&self) -> TraceSet {
        self.marked(MARK_ROOT)
    }

    /// Those of which a span has the sampled flag of W3C Trace Context.
    pub fn is_sampled(&self) -> TraceSet {
        self.marked(MARK_SAMPLED)
    }

    /// Why each is decided now.
    pub fn triggers(&self) -> Vec<Trigger> {
        self.handle.triggers().into_iter().map(Trigger::of).collect()
    }

    /// The spans of the traces. It is empty for a policy that has opened no field.
    pub fn spans(&self) -> &Batch<'a> {
        &self.spans
    }

    /// The trace of each span of [`Traces::spans`], by number.
    pub fn trace_of(&self) -> Vec<u32> {
        self.handle.trace_of()
    }

    /// The traces that have any of these rows, which are of level span or below, in themselves or below.
    pub fn where_any(&self, rows: &Rows) -> TraceSet {
        TraceSet::of_bitmap(self.handle.where_any(&rows.handle), self.len())
    }

    /// How many of these rows, which are of level span or below, each trace has.
    pub fn counts(&self, rows: &Rows) -> Vec<u32> {
        self.handle.counts(&rows.handle)
    }

    /// The spans of these traces.
    pub fn spans_of(&self, traces: &TraceSet) -> Rows {
        Rows { handle: self.handle.spans_of(traces.as_bitmap()) }
    }

    fn marked(&self, mark: u8) -> TraceSet {
        let marks = self.handle.marks();
        TraceSet::of(marks.len(), |trace| marks[trace] & mark != 0)
    }
}

/// Why a trace is decided now. Further reasons can be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trigger {
    /// Something changed that may settle it; only what is settled ([`Verdicts::settle`](crate::Verdicts::settle)) counts.
    Early,
    /// `decision_wait` is over.
    DecisionWait,
    /// The wait after its root is over.
    RootReceived,
    /// It has reached a limit of spans or bytes.
    Limit,
    /// Memory is short.
    Memory,
    /// The process stops.
    Shutdown,
    /// A reason that this version does not know.
    Unknown,
}

impl Trigger {
    /// By the contract's numbers.
    const ALL: [Trigger; 6] = [
        Trigger::Early,
        Trigger::DecisionWait,
        Trigger::RootReceived,
        Trigger::Limit,
        Trigger::Memory,
        Trigger::Shutdown,
    ];

    fn of(number: u8) -> Trigger {
        Trigger::ALL.get(usize::from(number)).copied().unwrap_or(Trigger::Unknown)
    }

    /// The contract's number.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn number(self) -> u8 {
        Trigger::ALL.iter().position(|trigger| *trigger == self).map_or(u8::MAX, |at| at as u8)
    }
}
