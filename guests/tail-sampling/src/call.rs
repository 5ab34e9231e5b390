//! The traces of one call, each list and column of them fetched from the host at most once.

use std::cell::OnceCell;

use ottl::Source;
use sluicebox_guest::{Batch, Level, Rows, Threshold, TraceSet, Traces, Trigger, Values};

/// The traces of a call.
#[derive(Debug)]
pub struct Call<'a> {
    traces: &'a Traces<'a>,
    sources: &'a [Source],
    columns: Vec<OnceCell<Values>>,
    pub len: usize,
    /// Traces that are offered before they are due: only what is settled counts.
    early: TraceSet,
    randomness: OnceCell<Vec<u64>>,
    thresholds: OnceCell<Vec<Option<Threshold>>>,
    durations_nano: OnceCell<Vec<u64>>,
    span_counts: OnceCell<Vec<u32>>,
    trace_of: OnceCell<Vec<u32>>,
}

impl<'a> Call<'a> {
    pub fn new(traces: &'a Traces<'a>, sources: &'a [Source]) -> Call<'a> {
        let triggers = traces.triggers();
        Call {
            traces,
            sources,
            columns: sources.iter().map(|_| OnceCell::new()).collect(),
            len: triggers.len(),
            early: TraceSet::of(triggers.len(), |trace| triggers[trace] == Trigger::Early),
            randomness: OnceCell::new(),
            thresholds: OnceCell::new(),
            durations_nano: OnceCell::new(),
            span_counts: OnceCell::new(),
            trace_of: OnceCell::new(),
        }
    }

    /// What has no list of its own here.
    pub fn traces(&self) -> &'a Traces<'a> {
        self.traces
    }

    /// Those of `asked` that are decided in this call.
    pub fn due(&self, asked: &TraceSet) -> TraceSet {
        asked & &!&self.early
    }

    pub fn randomness(&self) -> &[u64] {
        self.randomness.get_or_init(|| self.traces.randomness())
    }

    pub fn thresholds(&self) -> &[Option<Threshold>] {
        self.thresholds.get_or_init(|| self.traces.thresholds())
    }

    pub fn durations_nano(&self) -> &[u64] {
        self.durations_nano.get_or_init(|| self.traces.durations_nano())
    }

    pub fn span_counts(&self) -> &[u32] {
        self.span_counts.get_or_init(|| self.traces.span_counts())
    }

    /// The trace of each span.
    pub fn trace_of(&self) -> &[u32] {
        self.trace_of.get_or_init(|| self.traces.trace_of())
    }

    pub fn spans(&self) -> &Batch<'a> {
        self.traces.spans()
    }

    /// What a policy reads, by the number that it got when it was opened.
    pub fn source(&self, number: usize) -> &'a Source {
        &self.sources[number]
    }

    /// The different values of a source.
    pub fn values(&self, number: usize) -> &Values {
        self.columns[number].get_or_init(|| self.sources[number].values(self.spans()))
    }

    /// The traces that have any of these rows, seen from `level`, which is that of spans or below.
    pub fn having(&self, rows: Option<Rows>, of: Level, level: Level) -> TraceSet {
        match rows {
            None => TraceSet::empty(self.len),
            Some(rows) if of == level => self.traces.where_any(&rows),
            Some(rows) => self.traces.where_any(&rows.at(level)),
        }
    }
}
