//! What the pipeline knows of a stage: a generation of it, instances that judge batches, and faults.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::batch::{Batch, Edits, RowSet};
use crate::config::model::OnFault;
use crate::tail::traces::Traces;
use crate::tail::verdict::Vote;

/// One configured component, ready to judge. Replaced as a whole by a newer generation; never changed.
pub trait Generation: Send + Sync + fmt::Debug {
    /// The stage's name as in the config, such as `filter/traces`.
    fn stage(&self) -> &str;
    /// Counts from 1 for each stage.
    fn number(&self) -> u64;
    /// SHA-256 of the component's bytes, in hex.
    fn digest(&self) -> &str;
    /// What happens to a batch when an instance faults.
    fn on_fault(&self) -> OnFault;
    /// Whether it can change what is there. What is shown to stages behind the last one that can is as it leaves.
    fn edits(&self) -> bool {
        true
    }
    /// Names that drops are accounted to, opened while configuring, in order.
    fn rules(&self) -> &[String];
    /// An instance for one worker thread: one that was prepared before the commit, else a new one.
    ///
    /// An error says that the stage cannot judge anything now, for whatever reason and whatever it would be shown: with
    /// [`OnFault::Reject`] requests are told to retry then, and none of their records is blamed.
    fn instance(&self) -> Result<Box<dyn Instance>, Fault>;
    /// The most guest memory that one of its instances may have.
    fn instance_bytes_max(&self) -> u64 {
        0
    }
    /// An instance for one thread of a tail sampler, where the component is a policy; a fault where it is not.
    fn policy(&self) -> Result<Box<dyn Policy>, Fault> {
        Err(Fault { kind: FaultKind::BadOutput, message: "the component is not a policy".to_owned() })
    }
    /// The component's own cases, as it carries them: what its author says that it makes of some requests.
    fn cases(&self) -> Option<&[u8]> {
        None
    }
    /// The same beside the data path: with a copy of the stage's host state, and counted nowhere; or the same component with another
    /// configuration (JSON) and no state yet.
    ///
    /// # Errors
    /// How an instance of it faulted, or that there is no such thing.
    fn apart(&self, _config: Option<&str>) -> Result<Arc<dyn Generation>, Fault> {
        Err(Fault { kind: FaultKind::BadOutput, message: "the component runs nowhere else".to_owned() })
    }
    /// Takes back an instance of this generation that works and that nobody needs now: it serves on where the generation is kept.
    fn give_back(&self, _instance: Box<dyn Any>) {}
    /// The same component with the same configuration under another number; instances that are prepared or given back are shared.
    /// None where a generation cannot serve again.
    fn renumbered(&self, _number: u64) -> Option<Arc<dyn Generation>> {
        None
    }
}

/// A live instance of a policy, owned by one thread.
pub trait Policy: Any + Send {
    /// True if it reads spans beside what [`Traces`] tell: then they have to be shown.
    fn reads_spans(&self) -> bool;
    /// Votes on traces, one guest call. `spans` holds the spans of [`Traces::trace_of`], all in one segment, or none. The batch always
    /// comes back. After a fault the instance must not be called again.
    fn decide(&mut self, traces: &Arc<Traces>, spans: Batch) -> (Batch, Result<Vec<PolicyVote>, Fault>);
    /// Bytes of guest memory now.
    fn memory_bytes(&self) -> u64;
    /// As of [`Instance::wants_recycling`].
    fn wants_recycling(&self) -> bool;
}

/// What a policy says of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyVote {
    /// Its vote.
    pub vote: Vote,
    /// Of a vote to keep: the rejection threshold, below 2^56, or [`THRESHOLD_UNKNOWN`](crate::tail::verdict::THRESHOLD_UNKNOWN).
    pub threshold: u64,
    /// Index into [`Generation::rules`].
    pub rule: Option<u16>,
    /// True where no further spans can change it.
    pub is_settled: bool,
}

/// A live instance, owned by one worker thread.
pub trait Instance: Any + Send {
    /// Judges the item rows `items` of the batch, at most one guest call. The batch always comes back, unchanged: effects are
    /// applied by the caller, and only if the call succeeded. After a fault the instance must not be called again, except that after
    /// [`FaultKind::Malformed`] it may be unless it [`wants_recycling`](Self::wants_recycling).
    fn call(&mut self, batch: Batch, items: Range<u32>) -> (Batch, Result<Effects, Fault>);
    /// Bytes of guest memory now.
    fn memory_bytes(&self) -> u64;
    /// True once the instance should be replaced at the next batch boundary although it did not fault (75 % of its memory), or must
    /// not be called again.
    fn wants_recycling(&self) -> bool;
}

/// What a call asks for, valid for the slice it was shown.
#[derive(Debug, Default)]
pub struct Effects {
    /// In call order; the first rule that drops a row is accounted for it.
    pub drops: Vec<RuleDrop>,
    /// What it changes. A drop beats edits.
    pub edits: Edits,
    /// Index into [`Generation::rules`] and places that were edited for it, in call order.
    pub edited: Vec<(u16, u64)>,
    /// Removals among the edits of what nobody could judge: nested too deep, or in fields that this version of OTLP does not have.
    pub unjudgeable: u64,
}

/// Rows to drop, and why.
#[derive(Debug)]
pub struct RuleDrop {
    /// Rows of the slice that was shown.
    pub rows: RowSet,
    /// Index into [`Generation::rules`].
    pub rule: u16,
}

/// A failed guest call.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{kind}: {message}")]
pub struct Fault {
    /// Its class, for counters and for what to do next.
    pub kind: FaultKind,
    /// For the operator; never holds telemetry.
    pub message: String,
}

/// Classes of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped.
    Trap,
    /// The guest was stopped at its deadline.
    Deadline,
    /// The guest asked for more memory than it may have.
    Memory,
    /// Not the guest's doing: the process budget had no memory left for it.
    ProcessMemory,
    /// The guest made too many host calls, or moved too many bytes in them.
    HostCallBudget,
    /// The guest answered something that cannot be right.
    BadOutput,
    /// The guest returned an error.
    ReturnedError,
    /// Not the guest's doing: the request is not valid protobuf where the guest reads it.
    Malformed,
}

impl FaultKind {
    /// Every class.
    pub const ALL: [FaultKind; 8] = [
        FaultKind::Trap,
        FaultKind::Deadline,
        FaultKind::Memory,
        FaultKind::ProcessMemory,
        FaultKind::HostCallBudget,
        FaultKind::BadOutput,
        FaultKind::ReturnedError,
        FaultKind::Malformed,
    ];

    /// The name used in labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultKind::Trap => "trap",
            FaultKind::Deadline => "deadline",
            FaultKind::Memory => "memory",
            FaultKind::ProcessMemory => "process_memory",
            FaultKind::HostCallBudget => "host_call_budget",
            FaultKind::BadOutput => "bad_output",
            FaultKind::ReturnedError => "returned_error",
            FaultKind::Malformed => "malformed",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
