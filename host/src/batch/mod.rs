//! A batch: OTLP request bytes as they came, an offset index over them, and what stages changed.
//!
//! Nothing here is decoded: the index knows where each resource, scope, item and sub-item begins and ends
//! (u32 offsets, one array per level); fields are read from the bytes when a stage asks for them, each different
//! value once. Dropped rows leave the index at once and the bytes by splicing, when the batch leaves the stages; what stages write
//! ([`Edits`]) is spliced in together with that, or before, when another stage wants to read it ([`Batch::settle`]).
//!
//! Bytes are read by the rules of protobuf (<https://protobuf.dev/programming-guides/encoding/>), with prost's limits:
//! fields in any order, unknown ones kept, the last of a scalar wins, parts of a message are merged, overlong varints
//! are taken. What the index and the fields asked for never look into is not judged.

use std::ops::Range;

use bytes::Bytes;

use crate::signal::Signal;

mod catalog;
mod column;
mod contents;
mod drops;
mod edits;
mod field;
mod index;
mod levels;
mod new_values;
mod plan;
mod rows;
mod scalars;
mod scan;
mod splice;
mod value;
pub(crate) mod wire;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use column::{Column, TooLarge};
pub use contents::{Contents, Leaves, Texts};
pub use drops::Drops;
pub use edits::{EditError, Edits};
pub use field::{Field, Path, PathError};
pub use levels::{Level, Slice};
pub use new_values::NewValues;
pub use rows::RowSet;
pub use write::Mode;

use edits::Changes;
use index::{Children, Index};
use splice::Cut;

/// The bytes are not an OTLP request that can be indexed.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("malformed protobuf at byte {offset}: {what}")]
pub struct Malformed {
    /// Offset in the segment.
    pub offset: u32,
    /// What is wrong, without any content.
    pub what: &'static str,
}

/// One or more requests of one signal, judged together.
#[derive(Debug)]
pub struct Batch {
    signal: Signal,
    segments: Vec<Source>,
    index: Index,
    /// Written by a stage and not in the bytes yet.
    changes: Option<Changes>,
}

/// What leaves: one per segment that came in, in order.
#[derive(Debug)]
pub struct Segment {
    /// The very bytes that came in where nothing changed; empty where every item was dropped.
    pub bytes: Bytes,
    /// Spans, data points or log records in it.
    pub account: u64,
}

/// A segment as it came, and what was cut from it so far.
#[derive(Debug)]
struct Source {
    bytes: Bytes,
    /// Sorted and disjoint.
    cuts: Vec<Cut>,
    /// It had items and lost them all.
    dropped: bool,
}

impl Batch {
    /// Indexes requests of `signal`; each segment is one request's bytes (together at most 4 GiB).
    pub fn index(signal: Signal, segments: Vec<Bytes>) -> Result<Batch, Malformed> {
        let bytes = segments.iter().map(Bytes::len).fold(0, usize::saturating_add);
        if u32::try_from(bytes).is_err() {
            return Err(Malformed { offset: u32::MAX, what: "requests of more than 4 GiB together" });
        }
        let index = Index::of(signal, segments.iter().map(|segment| segment.as_ref()))?;
        let segments = segments.into_iter().map(|bytes| Source { bytes, cuts: Vec::new(), dropped: false }).collect();
        Ok(Batch { signal, segments, index, changes: None })
    }

    /// The signal of all its requests.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Live item rows: spans, log records, metrics.
    pub fn items(&self) -> u32 {
        self.index.items.len() as u32
    }

    /// Live spans, log records or data points.
    pub fn account(&self) -> u64 {
        self.account_of(0..self.items())
    }

    /// Live spans, log records or data points in these item rows.
    pub fn account_of(&self, items: Range<u32>) -> u64 {
        let items = items.start.min(self.items())..items.end.min(self.items());
        let counted = match self.signal {
            Signal::Metrics => self.index.below(items, Level::Item, Level::Point).unwrap_or_default(),
            Signal::Traces | Signal::Logs => items,
        };
        u64::from(counted.end.saturating_sub(counted.start))
    }

    /// Bytes of these item rows' own messages, without the resources and scopes around them.
    pub fn bytes_of_items(&self, items: Range<u32>) -> u64 {
        let extents = self.index.items.get(items.start as usize..items.end as usize).unwrap_or_default();
        extents.iter().map(|extent| u64::from(extent.end - extent.start)).sum()
    }

    /// Item rows in pieces of at most `rows_max` rows (of items and of points) and `bytes_max` bytes; a larger single item goes alone.
    /// A batch without items is one piece of none: there may be resources to judge.
    pub fn slices(&self, rows_max: u32, bytes_max: u32) -> Vec<Range<u32>> {
        if self.items() == 0 {
            return if self.segments.iter().all(|segment| segment.dropped) {
                Vec::new()
            } else {
                std::iter::once(0..0).collect()
            };
        }
        let mut slices = Vec::new();
        let mut start = 0;
        let (mut rows, mut bytes) = (0_u64, 0_u64);
        for (item, extent) in (0..).zip(&self.index.items) {
            let item_rows = match self.signal {
                Signal::Metrics => self.account_of(item..item + 1).max(1),
                Signal::Traces | Signal::Logs => 1,
            };
            let item_bytes = u64::from(extent.end - extent.start);
            let full = rows + item_rows > u64::from(rows_max) || bytes + item_bytes > u64::from(bytes_max);
            if full && item > start {
                slices.push(start..item);
                start = item;
                (rows, bytes) = (0, 0);
            }
            rows += item_rows;
            bytes += item_bytes;
        }
        if start < self.items() {
            slices.push(start..self.items());
        }
        slices
    }

    /// Makes rows of this level available (events and links are indexed only when asked for).
    pub fn ensure(&mut self, level: Level) -> Result<(), Malformed> {
        let wanted = matches!(level, Level::Event | Level::Link) && self.signal == Signal::Traces;
        if !wanted || self.index.events.is_some() {
            return Ok(());
        }
        let (mut events, mut links) = (Children::default(), Children::default());
        for (number, segment) in self.segments.iter().enumerate() {
            self.index.events_and_links(number, &segment.bytes, &mut events, &mut links)?;
        }
        for children in [&mut events, &mut links] {
            children.from.push(children.extents.len() as u32);
        }
        self.index.events = Some(events);
        self.index.links = Some(links);
        Ok(())
    }

    /// The segment (request) that an item row belongs to; past the last row, the number of segments.
    pub fn segment_of(&self, item: u32) -> usize {
        if item >= self.items() {
            return self.segments.len();
        }
        let above = |from: &[u32], row| from.partition_point(|&first| first <= row).saturating_sub(1) as u32;
        let resource = above(&self.index.resources.from, above(&self.index.scopes.from, item));
        above(self.index.segments.get(..self.segments.len()).unwrap_or_default(), resource) as usize
    }

    /// The item rows of a segment; none past the last segment.
    pub fn items_of(&self, segment: usize) -> Range<u32> {
        self.index.items_of(segment)
    }

    /// Applies what one stage wants, of all slices: rows it drops, and edits (a drop beats them). Row numbers change by drops.
    ///
    /// On an error the batch is as it was. Edits are not seen by readers before [`Batch::settle`].
    pub fn apply(&mut self, drops: Drops, edits: Edits) -> Result<(), EditError> {
        if self.changes.is_some() {
            return Err(EditError::Conflict("edits of the stage before have not been settled"));
        }
        if !edits.is_empty() {
            self.changes = Some(edits.into_changes(self.segments.len())?);
        }
        self.drop_rows(drops);
        Ok(())
    }

    /// Makes edits part of the bytes, for readers to come. Without edits it does nothing.
    ///
    /// An error means that they cannot be: the batch must not be used any more.
    pub fn settle(&mut self) -> Result<(), EditError> {
        let Some(changes) = self.changes.take() else { return Ok(()) };
        for (number, source) in self.segments.iter_mut().enumerate() {
            source.bytes = source.spliced(&self.index, number, &changes)?;
            source.cuts.clear();
        }
        let segments = self.segments.iter().map(|source| source.bytes.as_ref());
        let unreadable = |_malformed| EditError::BadValue("what was written cannot be read");
        self.index = Index::of(self.signal, segments).map_err(unreadable)?;
        Ok(())
    }

    /// What would leave if it left now, one for each segment: the very bytes where nothing changed since they were settled, else a copy.
    ///
    /// # Errors
    /// As of [`Batch::into_segments`].
    pub fn segments_now(&self) -> Result<Vec<Bytes>, EditError> {
        let (none, changes) = (Changes::default(), self.changes.as_ref());
        let now = |(number, source): (usize, &Source)| source.spliced(&self.index, number, changes.unwrap_or(&none));
        self.segments.iter().enumerate().map(now).collect()
    }

    /// What is left, each changed segment spliced in one copy. An error means that a segment would grow to 4 GiB.
    pub fn into_segments(mut self) -> Result<Vec<Segment>, EditError> {
        let sources = std::mem::take(&mut self.segments);
        let changes = self.changes.take().unwrap_or_default();
        let out = |(number, source): (usize, Source)| {
            let account = self.account_of(self.index.items_of(number));
            Ok(Segment { bytes: source.spliced(&self.index, number, &changes)?, account })
        };
        sources.into_iter().enumerate().map(out).collect()
    }
}

impl Source {
    fn spliced(&self, index: &Index, number: usize, changes: &Changes) -> Result<Bytes, EditError> {
        if self.dropped {
            return Ok(Bytes::new());
        }
        if self.cuts.is_empty() && changes.are_none_of(number) {
            return Ok(self.bytes.clone());
        }
        splice::splice(&self.bytes, index, number, &self.cuts, changes).ok_or(EditError::TooLarge)
    }
}
