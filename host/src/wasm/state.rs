//! What a Store holds: its bounds, what the guest opened, and the call it is in.

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use wasmtime::component::Resource;

use super::bindings::logging::Severity;
use super::columns::{Columns, Reading};
use super::contents::Shown;
use super::deadline::Deadline;
use super::fault::{Misuse, bad_output, over_budget};
use super::given::Given;
use super::host_state::{Session, StateSpec};
use super::limits::{Bounds, CONFIGURE_HOST_CALLS_MAX, HOST_CALLS_MAX, Limiter};
use super::logbook::Logbook;
use super::meters::Meters;
use super::rowsets::RowSets;
use crate::batch::{Batch, EditError, Edits, Field, Level, RowSet, Slice};
use crate::memory::Budget;
use crate::observe::guests::MetricSpec;
use crate::pipeline::stage::Effects;
use crate::signal::Signal;
use crate::tail::traces::Traces;

/// Type of handles of `fields.field`; a handle stands for the field's number.
#[derive(Debug)]
pub struct FieldHandle;
/// Type of handles of `fields.rule`; a handle stands for the rule's number.
#[derive(Debug)]
pub struct RuleHandle;
/// Type of handles of `batches.rows`; [`RowSets`] numbers them.
#[derive(Debug)]
pub struct RowsHandle;
/// Type of handles of `batches.batch`; there is one batch per call, so all stand for it.
#[derive(Debug)]
pub struct BatchHandle;

/// Type of handles of `host-hash.key`; a handle stands for the place of the key's name among those opened.
#[derive(Debug)]
pub struct KeyHandle;

/// Type of handles of `traces.trace-batch`; there is one per call, as of batches.
#[derive(Debug)]
pub struct TraceBatchHandle;
/// Type of handles of `host-state.bucket`; a handle stands for the state's number.
#[derive(Debug)]
pub struct BucketHandle;
/// Type of handles of `host-state.tally`, numbered with the buckets.
#[derive(Debug)]
pub struct TallyHandle;

/// Type of handles of `logging.line`; a handle stands for the line's number.
#[derive(Debug)]
pub struct LineHandle;
/// Type of handles of `metering.counter`; a handle stands for the metric's number.
#[derive(Debug)]
pub struct CounterHandle;
/// Type of handles of `metering.gauge`, numbered with the counters.
#[derive(Debug)]
pub struct GaugeHandle;
/// Type of handles of `metering.histogram`, numbered with the counters.
#[derive(Debug)]
pub struct HistogramHandle;
/// Type of handles of `lookup.table`; a handle stands for the number of what was opened.
#[derive(Debug)]
pub struct TableHandle;

/// A line as it was opened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LineSpec {
    pub(super) severity: Severity,
    /// The texts around its numbers: one more than there are numbers.
    pub(super) parts: Vec<String>,
}

/// Columns of a table as they were opened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenedTable {
    pub(super) name: String,
    /// Their places in the table.
    pub(super) columns: Arc<[u32]>,
}

/// What an instance opened while it was configured, in order. The same for all instances of a generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Opened {
    pub(super) fields: Vec<Field>,
    /// Numbers of the fields that were opened to be written, ascending.
    pub(super) to_write: Vec<u32>,
    pub(super) rules: Vec<String>,
    /// Names of keys.
    pub(super) keys: Vec<String>,
    /// Buckets and tallies.
    pub(super) states: Vec<StateSpec>,
    pub(super) lines: Vec<LineSpec>,
    pub(super) metrics: Vec<MetricSpec>,
    pub(super) tables: Vec<OpenedTable>,
}

impl Opened {
    pub(super) fn is_to_write(&self, field: u32) -> bool {
        self.to_write.binary_search(&field).is_ok()
    }
}

/// A batch while a guest judges it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) batch: Batch,
    pub(super) slice: Slice,
    /// The traces that a policy votes on.
    pub(super) traces: Option<Arc<Traces>>,
    pub(super) effects: Effects,
    pub(super) reading: Reading,
}

/// The data of a Store.
#[derive(Debug)]
pub(super) struct State {
    pub(super) limiter: Limiter,
    pub(super) deadline: Deadline,
    pub(super) opened: Opened,
    pub(super) is_configuring: bool,
    pub(super) call: Option<Call>,
    pub(super) columns: Columns,
    pub(super) contents: Shown,
    pub(super) given: Arc<Given>,
    pub(super) host_state: Session,
    pub(super) meters: Meters,
    pub(super) logbook: Logbook,
    /// The time of the call that is on, once it was asked for.
    pub(super) now_unix_nano: Option<u64>,
    pub(super) rows: RowSets,
    /// Handles of row sets that the guest holds, those of earlier calls included.
    pub(super) row_handles: u32,
    host_calls_left: u32,
    output_bytes_left: u64,
    bounds: Bounds,
}

impl State {
    pub(super) fn new(bounds: &Bounds, given: Arc<Given>, budget: &Arc<Budget>) -> Self {
        Self {
            limiter: Limiter::new(bounds.memory_bytes_max, budget),
            deadline: Deadline::default(),
            opened: Opened::default(),
            is_configuring: false,
            call: None,
            columns: Columns::default(),
            contents: Shown::default(),
            given,
            host_state: Session::default(),
            meters: Meters::default(),
            logbook: Logbook::default(),
            now_unix_nano: None,
            rows: RowSets::default(),
            row_handles: 0,
            host_calls_left: 0,
            output_bytes_left: 0,
            bounds: *bounds,
        }
    }

    /// Before `configure`: everything may be opened.
    pub(super) fn begin_configure(&mut self) {
        self.is_configuring = true;
        self.host_calls_left = CONFIGURE_HOST_CALLS_MAX;
        self.output_bytes_left = self.bounds.output_bytes_max;
    }

    /// After `configure`: what is open stays, nothing is added.
    pub(super) fn end_configure(&mut self) {
        self.is_configuring = false;
        self.columns = Columns::new(&self.opened.fields);
        self.meters = Meters::new(&self.opened.metrics);
        self.now_unix_nano = None;
    }

    /// Takes a batch in for one call, for a policy's with its traces. It is in, and comes back by [`Self::end_call`], after an error too.
    pub(super) fn begin_call(
        &mut self,
        batch: Batch,
        items: Range<u32>,
        traces: Option<Arc<Traces>>,
    ) -> Result<(), Misuse> {
        self.host_state.begin();
        self.now_unix_nano = None;
        self.rows.begin_call();
        self.host_calls_left = HOST_CALLS_MAX;
        self.output_bytes_left = self.bounds.output_bytes_max;
        let slice = batch.slice(items);
        let bytes_left = self.bounds.host_bytes_max(batch.bytes_of(&slice));
        let reading = Reading { bytes_left, malformed: 0 };
        let call = self.call.insert(Call { batch, slice, traces, effects: Effects::default(), reading });
        for level in self.columns.levels(call.batch.signal()) {
            call.batch.ensure(level).map_err(|malformed| Misuse::Unreadable(malformed.to_string()))?;
        }
        Ok(())
    }

    /// Adds to a call's effects the removal of what could not be shown to a guest that asked for everything.
    pub(super) fn remove_unjudgeable(&mut self) -> wasmtime::Result<()> {
        let Self { contents, call: Some(Call { batch, effects, reading, .. }), .. } = self else { return Ok(()) };
        let mut removals = Edits::default();
        match contents.remove_unjudgeable(batch, &mut removals, &mut reading.bytes_left) {
            Ok(0) => {}
            Ok(count) => {
                // They come first: what they are within may be set by the guest.
                removals.append(mem::take(&mut effects.edits));
                effects.edits = removals;
                effects.unjudgeable = count;
            }
            Err(EditError::Malformed(_)) => reading.malformed = reading.malformed.saturating_add(1),
            Err(_) => return Err(too_large()),
        }
        Ok(())
    }

    /// Gives the batch back. Unless the call is to hold, what it did to host state and metrics is undone.
    pub(super) fn end_call(&mut self, holds: bool) -> Option<Call> {
        if holds {
            self.host_state.commit();
        } else {
            self.host_state.roll_back();
        }
        self.meters.end_call(holds);
        self.columns.end_call();
        self.contents.end_call();
        self.call.take()
    }

    /// Counts a host call, with the bytes that the guest passed in it.
    pub(super) fn host_call(&mut self, output_bytes: usize) -> wasmtime::Result<()> {
        self.host_calls_left =
            self.host_calls_left.checked_sub(1).ok_or_else(|| over_budget("too many host calls in one guest call"))?;
        self.output_bytes_left = self
            .output_bytes_left
            .checked_sub(output_bytes as u64)
            .ok_or_else(|| over_budget("more bytes passed to the host than `limits.output_mib` allows"))?;
        Ok(())
    }

    /// Counts bytes that the host keeps for the guest until the call is over.
    pub(super) fn host_took(&mut self, bytes: u64) -> wasmtime::Result<()> {
        let reading = &mut self.call()?.reading;
        reading.bytes_left = reading.bytes_left.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }

    /// The call that is on. Guests hold a batch only during a call, so its absence is a handle forged or kept.
    pub(super) fn call(&mut self) -> wasmtime::Result<&mut Call> {
        self.call.as_mut().ok_or_else(|| bad_output("a batch was used outside of a call"))
    }

    /// The traces of the call that is on.
    pub(super) fn traces(&mut self) -> wasmtime::Result<&Arc<Traces>> {
        let traces = self.call.as_ref().and_then(|call| call.traces.as_ref());
        traces.ok_or_else(|| bad_output("a trace-batch was used outside of a call"))
    }

    /// A field that can be read in the batch of this call.
    pub(super) fn field(&mut self, number: u32) -> wasmtime::Result<&Field> {
        let signal = self.call()?.batch.signal();
        let field = self.opened.fields.get(number as usize).ok_or_else(|| bad_output("a field that was not opened"))?;
        match field.signal() {
            Some(other) if other != signal => {
                Err(bad_output(format!("a field of {other} was read in a batch of {signal}")))
            }
            _ => Ok(field),
        }
    }

    /// A rule's number.
    pub(super) fn rule(&self, rule: &Resource<RuleHandle>) -> wasmtime::Result<u16> {
        let number = u16::try_from(rule.rep()).ok().filter(|&rule| usize::from(rule) < self.opened.rules.len());
        number.ok_or_else(|| bad_output("a rule that was not opened"))
    }

    /// A level of this call's signal, its rows made available.
    pub(super) fn level(&mut self, name: &str) -> wasmtime::Result<Level> {
        let call = self.call()?;
        let signal = call.batch.signal();
        let level = level_of(signal, name).ok_or_else(|| bad_output(format!("a level that {signal} do not have")))?;
        call.batch.ensure(level).map_err(|malformed| Misuse::Unreadable(malformed.to_string()))?;
        Ok(level)
    }

    /// Keeps a new row set and names it.
    pub(super) fn new_rows(&mut self, rows: RowSet) -> wasmtime::Result<Resource<RowsHandle>> {
        self.host_took(bytes_of(&rows))?;
        let handle = self.rows.insert(rows)?;
        self.row_handles += 1;
        Ok(Resource::new_own(handle))
    }

    /// The guest is done with a row set. Handles of earlier calls may be given back at any time.
    pub(super) fn drop_rows(&mut self, handle: u32) {
        self.row_handles = self.row_handles.saturating_sub(1);
        if let (Some(rows), Some(call)) = (self.rows.remove(handle), &mut self.call) {
            call.reading.bytes_left += bytes_of(&rows);
        }
    }
}

/// The host would take more for a call than it may.
pub(super) fn too_large() -> wasmtime::Error {
    over_budget(
        "the values, row sets and edits of one call take more than `limits.output_mib` and what its batch's size allows",
    )
}

fn bytes_of(rows: &RowSet) -> u64 {
    64 + u64::from(rows.len()).div_ceil(8)
}

/// Names of levels by signal (wit/telemetry.wit, interface `batches`).
fn level_of(signal: Signal, name: &str) -> Option<Level> {
    let has = match name {
        "resource" | "scope" => true,
        "span" | "spanevent" | "spanlink" => signal == Signal::Traces,
        "metric" | "datapoint" => signal == Signal::Metrics,
        "log" => signal == Signal::Logs,
        _ => false,
    };
    if has { Level::parse(name) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_belong_to_signals() {
        assert_eq!(level_of(Signal::Traces, "span"), Some(Level::Item));
        assert_eq!(level_of(Signal::Traces, "log"), None);
        assert_eq!(level_of(Signal::Metrics, "datapoint"), Some(Level::Point));
        assert_eq!(level_of(Signal::Logs, "item"), None);
    }
}
