//! Traces whose decision is due.

use std::rc::Rc;

use super::{Data, Rows, bit};
use crate::Level;

/// What is known of one trace.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub id: [u8; 16],
    pub randomness: u64,
    pub threshold: u64,
    pub arrival_unix_nano: u64,
    pub start_unix_nano: u64,
    pub end_unix_nano: u64,
    pub span_count: u32,
    pub error_count: u32,
    pub ok_count: u32,
    pub byte_count: u64,
    pub marks: u8,
    pub trigger: u8,
}

/// The traces of a call.
#[derive(Debug)]
pub struct TraceBatch {
    now_unix_nano: u64,
    facts: Vec<Facts>,
    trace_of: Vec<u32>,
    spans: Rc<Data>,
}

/// As in the contract.
#[derive(Debug)]
pub struct Verdicts {
    pub votes: Vec<u8>,
    pub thresholds: Vec<u64>,
    pub rules: Vec<u32>,
    pub settled: Vec<u8>,
}

impl TraceBatch {
    /// `trace_of` has an entry for each span of `spans`.
    pub(crate) fn new(now_unix_nano: u64, facts: Vec<Facts>, trace_of: Vec<u32>, spans: Rc<Data>) -> TraceBatch {
        TraceBatch { now_unix_nano, facts, trace_of, spans }
    }

    pub fn len(&self) -> u32 {
        self.facts.len() as u32
    }

    pub fn ids(&self) -> Vec<u8> {
        self.facts.iter().flat_map(|facts| facts.id).collect()
    }

    pub fn randomness(&self) -> Vec<u64> {
        self.each(|facts| facts.randomness)
    }

    pub fn thresholds(&self) -> Vec<u64> {
        self.each(|facts| facts.threshold)
    }

    pub fn now_unix_nano(&self) -> u64 {
        self.now_unix_nano
    }

    pub fn arrivals_unix_nano(&self) -> Vec<u64> {
        self.each(|facts| facts.arrival_unix_nano)
    }

    pub fn starts_unix_nano(&self) -> Vec<u64> {
        self.each(|facts| facts.start_unix_nano)
    }

    pub fn ends_unix_nano(&self) -> Vec<u64> {
        self.each(|facts| facts.end_unix_nano)
    }

    pub fn span_counts(&self) -> Vec<u32> {
        self.each(|facts| facts.span_count)
    }

    pub fn error_counts(&self) -> Vec<u32> {
        self.each(|facts| facts.error_count)
    }

    pub fn ok_counts(&self) -> Vec<u32> {
        self.each(|facts| facts.ok_count)
    }

    pub fn byte_counts(&self) -> Vec<u64> {
        self.each(|facts| facts.byte_count)
    }

    pub fn marks(&self) -> Vec<u8> {
        self.each(|facts| facts.marks)
    }

    pub fn triggers(&self) -> Vec<u8> {
        self.each(|facts| facts.trigger)
    }

    pub fn trace_of(&self) -> Vec<u32> {
        self.trace_of.clone()
    }

    pub fn where_any(&self, which: &Rows) -> Vec<u8> {
        let mut bitmap = vec![0; self.facts.len().div_ceil(8)];
        for trace in self.traces_of(which) {
            bitmap[trace / 8] |= 1 << (trace % 8);
        }
        bitmap
    }

    pub fn counts(&self, which: &Rows) -> Vec<u32> {
        let mut counts = vec![0; self.facts.len()];
        for trace in self.traces_of(which) {
            counts[trace] += 1;
        }
        counts
    }

    pub fn spans_of(&self, which: &[u8]) -> Rows {
        let set = self.trace_of.iter().map(|trace| bit(which, *trace as usize)).collect();
        Rows { data: self.spans.clone(), level: Level::Span, set }
    }

    /// The trace of each of these rows.
    fn traces_of(&self, rows: &Rows) -> impl Iterator<Item = usize> {
        let level = rows.level;
        assert!(
            self.spans.is_above(Level::Span, level),
            "fault: rows of level `{}` belong to no trace",
            level.as_str()
        );
        let set = rows.set.iter().enumerate().filter(|(_, set)| **set);
        set.map(move |(row, _)| self.trace_of[self.spans.ancestor(level, row, Level::Span)] as usize)
    }

    fn each<T>(&self, of: impl Fn(&Facts) -> T) -> Vec<T> {
        self.facts.iter().map(of).collect()
    }
}
