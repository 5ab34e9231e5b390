//! What policies are told of traces.

/// Traces that are to be decided, one entry for each in every list (wit/telemetry.wit, `traces`).
#[derive(Clone, Debug, Default)]
pub struct Traces {
    /// The time of the decision.
    pub now_unix_nano: u64,
    /// Trace ids.
    pub ids: Vec<[u8; 16]>,
    /// 56 random bits: `rv` of the tracestate, else the last 7 bytes of the id.
    pub randomness: Vec<u64>,
    /// Rejection thresholds that they came with (`ot=th`, the largest of the spans'); [`THRESHOLD_UNKNOWN`](super::verdict::THRESHOLD_UNKNOWN)
    /// where there is none.
    pub thresholds: Vec<u64>,
    /// When the first span arrived.
    pub arrivals_unix_nano: Vec<u64>,
    /// The earliest start of the spans.
    pub starts_unix_nano: Vec<u64>,
    /// The latest end of the spans.
    pub ends_unix_nano: Vec<u64>,
    /// Spans.
    pub span_counts: Vec<u32>,
    /// Spans whose status is an error.
    pub error_counts: Vec<u32>,
    /// Spans whose status is ok.
    pub ok_counts: Vec<u32>,
    /// Bytes of the spans as they were received.
    pub byte_counts: Vec<u64>,
    /// [`MARK_ROOT`] and [`MARK_SAMPLED`].
    pub marks: Vec<u8>,
    /// [`Trigger`] numbers.
    pub triggers: Vec<u8>,
    /// The trace of each span that is shown beside, by number; empty where none are shown.
    pub trace_of: Vec<u32>,
}

/// A root span has arrived.
pub const MARK_ROOT: u8 = 1;
/// A span has the sampled flag of W3C Trace Context.
pub const MARK_SAMPLED: u8 = 2;

impl Traces {
    /// How many traces.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Those that are chosen by their place, in their order; no spans are shown of them.
    pub fn part(&self, is_chosen: impl Fn(usize) -> bool) -> Traces {
        fn chosen<T: Copy>(list: &[T], is_chosen: impl Fn(usize) -> bool) -> Vec<T> {
            list.iter().enumerate().filter(|(place, _)| is_chosen(*place)).map(|(_, &value)| value).collect()
        }
        Traces {
            now_unix_nano: self.now_unix_nano,
            ids: chosen(&self.ids, &is_chosen),
            randomness: chosen(&self.randomness, &is_chosen),
            thresholds: chosen(&self.thresholds, &is_chosen),
            arrivals_unix_nano: chosen(&self.arrivals_unix_nano, &is_chosen),
            starts_unix_nano: chosen(&self.starts_unix_nano, &is_chosen),
            ends_unix_nano: chosen(&self.ends_unix_nano, &is_chosen),
            span_counts: chosen(&self.span_counts, &is_chosen),
            error_counts: chosen(&self.error_counts, &is_chosen),
            ok_counts: chosen(&self.ok_counts, &is_chosen),
            byte_counts: chosen(&self.byte_counts, &is_chosen),
            marks: chosen(&self.marks, &is_chosen),
            triggers: chosen(&self.triggers, &is_chosen),
            trace_of: Vec::new(),
        }
    }
}

/// Why a trace is decided now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Trigger {
    /// Early: something changed that may settle it.
    Early = 0,
    /// `decision_wait` is over.
    Wait = 1,
    /// The wait after its root is over.
    Root = 2,
    /// It has reached a limit of spans or bytes.
    Limit = 3,
    /// Memory is short, or too many traces wait.
    Memory = 4,
    /// The process stops.
    Shutdown = 5,
}

impl Trigger {
    /// Every trigger, by number.
    pub const ALL: [Trigger; 6] =
        [Trigger::Early, Trigger::Wait, Trigger::Root, Trigger::Limit, Trigger::Memory, Trigger::Shutdown];

    /// The name used in labels and attributes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Trigger::Early => "early",
            Trigger::Wait => "decision_wait",
            Trigger::Root => "root_received",
            Trigger::Limit => "limit",
            Trigger::Memory => "memory",
            Trigger::Shutdown => "shutdown",
        }
    }
}
