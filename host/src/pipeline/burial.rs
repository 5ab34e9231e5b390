//! What a pipeline tells the dead letter: of records that stages could not judge, ids, sizes and faults. Telemetry itself only where the
//! file asks for it and all editing stages of the pipeline have judged it.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::{Batch, Column, Field};
use crate::observe::dead_letter::{DeadLetters, Entry, IDS_MAX, Id, Outcome, PAYLOAD_BYTES_MAX};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::{FaultKind, Generation};
use crate::pipeline::stages::Snapshot;
use crate::signal::Signal;
use crate::tail::traces::{Traces, Trigger};

/// Rows whose ids are told.
#[allow(clippy::cast_possible_truncation, reason = "it is small")]
const ROWS_WITH_IDS: u32 = IDS_MAX as u32;
/// Bytes that the columns of ids may take.
const COLUMN_BYTES_MAX: u64 = 1 << 20;

/// Records that were not judged, as far as they may be told of.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    /// Spans, data points or log records; traces where a policy failed.
    pub items: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// Of the first [`IDS_MAX`] of them.
    pub ids: Vec<Id>,
}

/// What a stage could not judge.
pub(super) struct Unjudgeable<'a> {
    pub generation: &'a dyn Generation,
    pub fault: FaultKind,
    pub outcome: Outcome,
    pub records: Records,
    /// As the stage was shown it, where that may be written.
    pub shown: Option<Bytes>,
}

impl Pipeline {
    /// Tells the dead letter, if there is one. `tell` is asked only then.
    pub(super) fn bury<'a>(&self, tell: impl FnOnce() -> Option<Unjudgeable<'a>>) {
        let Some(dead_letters) = &self.dead_letters else { return };
        let Some(Unjudgeable { generation, fault, outcome, records, shown }) = tell() else { return };
        let Records { items, bytes, ids } = records;
        dead_letters.put(Entry {
            at_unix_milli: DeadLetters::now_unix_milli(),
            pipeline: self.name.clone(),
            stage: generation.stage().to_owned(),
            generation: generation.number(),
            digest: generation.digest().to_owned(),
            fault: fault.as_str(),
            outcome,
            signal: self.signal.as_str(),
            items,
            bytes,
            ids,
            payload: shown.filter(|shown| shown.len() <= PAYLOAD_BYTES_MAX).map(|shown| (self.signal, shown.to_vec())),
        });
    }

    /// Tells the dead letter of traces that a policy could not decide. Those offered early come again.
    pub(super) fn bury_traces(&self, generation: &dyn Generation, fault: FaultKind, traces: &Traces) {
        self.bury(|| {
            let is_decided = |trace: &usize| traces.triggers.get(*trace).is_some_and(|&at| at != Trigger::Early as u8);
            let decided: Vec<_> = (0..traces.len()).filter(is_decided).collect();
            let id = |trace: &usize| {
                let trace_id = format!("{:032x}", u128::from_be_bytes(*traces.ids.get(*trace)?));
                Some(Id { trace_id, span_id: String::new() })
            };
            let records = Records {
                items: decided.len() as u64,
                bytes: decided.iter().filter_map(|trace| traces.byte_counts.get(*trace)).sum(),
                ids: decided.iter().take(IDS_MAX).filter_map(id).collect(),
            };
            let outcome = Outcome::Fallback;
            (!decided.is_empty()).then_some(Unjudgeable { generation, fault, outcome, records, shown: None })
        });
    }

    /// Whether what this stage is shown may be written: the file asks for it, and an editing stage stands before it and none behind.
    pub(super) fn may_write(&self, snapshot: &Snapshot, stage: usize) -> bool {
        self.dead_letters.as_ref().is_some_and(|dead_letters| dead_letters.with_payload())
            && self.redaction(snapshot).is_before(stage)
    }

    /// Says once where telemetry is not written although the file asks for it.
    pub fn warn_of_payload(&self, snapshot: &Snapshot) {
        let asks = self.dead_letters.as_ref().is_some_and(|dead_letters| dead_letters.with_payload());
        if asks && self.redaction(snapshot).covers_nothing() {
            tracing::warn!(
                pipeline = self.name,
                "the dead letter holds no payload of this pipeline: no stage of it stands behind an editing one that is its last"
            );
        }
    }
}

impl Records {
    /// These item rows.
    pub(super) fn of(batch: &Batch, items: Range<u32>) -> Records {
        let ids = ids_of(batch, items.start..items.end.min(items.start.saturating_add(ROWS_WITH_IDS)));
        Records { items: batch.account_of(items.clone()), bytes: batch.bytes_of_items(items), ids }
    }

    /// Those of a request.
    pub(super) fn of_request(signal: Signal, body: &Bytes) -> Records {
        let of = |batch: Batch| Records::of(&batch, 0..batch.items());
        Batch::index(signal, vec![body.clone()]).map_or_else(|_malformed| Records::default(), of)
    }

    /// All of these together.
    pub(super) fn add(&mut self, more: Records) {
        self.items += more.items;
        self.bytes += more.bytes;
        let room = IDS_MAX.saturating_sub(self.ids.len());
        self.ids.extend(more.ids.into_iter().take(room));
    }
}

/// Ids of item rows, as far as they are valid: others may be any text.
fn ids_of(batch: &Batch, items: Range<u32>) -> Vec<Id> {
    let level = match batch.signal() {
        Signal::Traces => "span",
        Signal::Logs => "log",
        Signal::Metrics => return Vec::new(),
    };
    let open = |id: &str| Field::open(&[format!("{level}.{id}.string")]);
    let (Ok(trace), Ok(span)) = (open("trace_id"), open("span_id")) else { return Vec::new() };
    let mut columns = [Column::default(), Column::default()];
    let mut bytes_left = COLUMN_BYTES_MAX;
    if batch.columns(&batch.slice(items), &[&trace, &span], &mut columns, &mut bytes_left).is_err() {
        return Vec::new();
    }
    let [traces, spans] = &columns;
    let ids = traces.codes.iter().zip(&spans.codes).filter_map(|(&trace, &span)| {
        Some(Id { trace_id: hex(traces.value(trace).1, 32)?, span_id: hex(spans.value(span).1, 16)? })
    });
    ids.collect()
}

fn hex(text: &[u8], digits: usize) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| text.to_owned())
}
