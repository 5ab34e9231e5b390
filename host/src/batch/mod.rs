//! A batch: OTLP request bytes as they came, an offset index over them, and what stages changed.
//!
//! Nothing here is decoded: the index knows where each resource, scope, item and sub-item begins and ends
//! (u32 offsets, structure of arrays); fields are read from the bytes when a stage asks for them, each different
//! value once; dropped rows leave by splicing bytes around them, once, when the batch leaves the stages.

#![allow(unused_variables, clippy::todo, missing_docs, reason = "skeleton")]

use std::ops::Range;

use bytes::Bytes;

use crate::signal::Signal;

/// A level of a batch; lower levels see the fields of the levels above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    Resource,
    Scope,
    /// Span, log record or metric.
    Item,
    /// A span's event.
    Event,
    /// A span's link.
    Link,
    /// A metric's data point.
    Point,
}

impl Level {
    /// `resource`, `scope`, `span`/`log`/`metric`, `spanevent`, `spanlink`, `datapoint`.
    pub fn parse(name: &str) -> Option<Level> {
        todo!()
    }
}

/// The bytes are not an OTLP request that can be indexed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed protobuf at byte {offset}: {what}")]
pub struct Malformed {
    /// Offset in the segment.
    pub offset: u32,
    /// What is wrong, without any content.
    pub what: &'static str,
}

/// One or more requests of one signal, judged together.
#[derive(Debug)]
pub struct Batch {}

/// What leaves: one per segment that came in, in order.
#[derive(Debug)]
pub struct Segment {
    /// The very bytes that came in where nothing changed; empty where every item was dropped.
    pub bytes: Bytes,
    /// Spans, data points or log records in it.
    pub account: u64,
}

impl Batch {
    /// Indexes requests of `signal`; each segment is one request's bytes (together at most 4 GiB).
    pub fn index(signal: Signal, segments: Vec<Bytes>) -> Result<Batch, Malformed> {
        todo!()
    }
    pub fn signal(&self) -> Signal {
        todo!()
    }
    /// Live item rows: spans, log records, metrics.
    pub fn items(&self) -> u32 {
        todo!()
    }
    /// Live spans, log records or data points.
    pub fn account(&self) -> u64 {
        todo!()
    }
    /// Live spans, log records or data points in these item rows.
    pub fn account_of(&self, items: Range<u32>) -> u64 {
        todo!()
    }
    /// Item rows in pieces of at most `rows_max` rows (of items and of points) and `bytes_max` bytes; a larger single item goes alone.
    pub fn slices(&self, rows_max: u32, bytes_max: u32) -> Vec<Range<u32>> {
        todo!()
    }
    /// Makes rows of this level available (events and links are indexed only when asked for).
    pub fn ensure(&mut self, level: Level) -> Result<(), Malformed> {
        todo!()
    }
    /// The part of the batch that one guest call sees.
    pub fn slice(&self, items: Range<u32>) -> Slice {
        todo!()
    }
    /// Rows of `level` within the slice.
    pub fn rows(&self, slice: &Slice, level: Level) -> u32 {
        todo!()
    }
    /// Reads all these fields (of one level) in one scan. `out` has one column per field, its buffers are reused.
    pub fn columns(&self, slice: &Slice, fields: &[&Field], out: &mut [Column]) {
        todo!()
    }
    /// `rows` seen from `level`: lowered to everything below its rows, or lifted to the rows that have any of them below.
    /// None where no such level exists in this signal or the two are on different branches (event, link).
    pub fn rows_at(&self, slice: &Slice, rows: &RowSet, level: Level) -> Option<RowSet> {
        todo!()
    }
    /// Removes rows; row numbers of the batch change with this call.
    pub fn apply(&mut self, drops: Drops) {
        todo!()
    }
    /// Splices what was dropped out of the bytes, in one copy per changed segment.
    pub fn into_segments(self) -> Vec<Segment> {
        todo!()
    }
    /// The segment (request) that an item row belongs to.
    pub fn segment_of(&self, item: u32) -> usize {
        todo!()
    }
}

/// Ranges of rows of each level, as one guest call sees them. Row 0 of a level is the slice's first.
#[derive(Clone, Debug)]
pub struct Slice {}

/// A set of rows of one level of one slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSet {
    level: Level,
    len: u32,
    bits: Vec<u64>,
}

impl RowSet {
    pub fn empty(level: Level, len: u32) -> RowSet {
        todo!()
    }
    /// From a bitmap, least significant bit of byte 0 first; missing bytes are zeros, bits past `len` are ignored.
    pub fn from_bitmap(level: Level, len: u32, bitmap: &[u8]) -> RowSet {
        todo!()
    }
    /// The rows whose code's bit is set in `bitmap`.
    pub fn from_codes(level: Level, codes: &[u32], bitmap: &[u8]) -> RowSet {
        todo!()
    }
    pub fn level(&self) -> Level {
        self.level
    }
    pub fn len(&self) -> u32 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
    pub fn count(&self) -> u32 {
        todo!()
    }
    pub fn contains(&self, row: u32) -> bool {
        todo!()
    }
    pub fn insert(&mut self, row: u32) {
        todo!()
    }
    /// None where level or length differ (as for `or`).
    pub fn and(&self, other: &RowSet) -> Option<RowSet> {
        todo!()
    }
    pub fn or(&self, other: &RowSet) -> Option<RowSet> {
        todo!()
    }
    pub fn not(&self) -> RowSet {
        todo!()
    }
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::empty()
    }
}

/// Rows to remove from a batch, gathered over its slices.
#[derive(Debug)]
pub struct Drops {}

impl Drops {
    pub fn new(batch: &Batch) -> Drops {
        todo!()
    }
    /// Adds a slice's rows (any level: resource and scope rows stand for the slice's items below them).
    /// Returns how many spans, log records or data points this newly drops (events and links count 0).
    pub fn add(&mut self, batch: &Batch, slice: &Slice, rows: &RowSet) -> u64 {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}

/// One field, or a tuple of fields, read at one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    level: Level,
    paths: Vec<Path>,
}

/// A path that no field has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct PathError(pub String);

impl Field {
    /// Parses OTTL paths, such as `span.attributes["http.route"]`; the level is the lowest of them. The signal is None where
    /// only resource and scope are named. Errors name the path and list what exists.
    pub fn open(paths: &[String]) -> Result<Field, PathError> {
        todo!()
    }
    pub fn level(&self) -> Level {
        self.level
    }
    pub fn signal(&self) -> Option<Signal> {
        todo!()
    }
    pub fn arity(&self) -> usize {
        self.paths.len()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {}

/// The different values of a field in a slice, and which row has which.
///
/// kinds: 0 absent, 1 string, 2 bool (1 byte), 3 int (8 bytes LE), 4 double (8 bytes LE), 5 bytes (or invalid UTF-8),
/// 6 array and 7 map (AnyValue bytes), 8 empty. Entry 0 is always absent (for a tuple of k: entries 0..k).
/// The value at position `i` is `bytes[offsets[i]..offsets[i + 1]]`; tuple `c` has positions `c * k .. (c + 1) * k`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    pub kinds: Vec<u8>,
    pub offsets: Vec<u32>,
    pub bytes: Vec<u8>,
    /// Per row of the field's level.
    pub codes: Vec<u32>,
}
