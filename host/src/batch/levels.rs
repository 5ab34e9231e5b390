//! The levels of a batch and how their rows lie below each other.

use std::ops::Range;

use crate::signal::Signal;

use super::Batch;
use super::index::{Head, Index};
use super::rows::RowSet;

/// A level of a batch; lower levels see the fields of the levels above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// A resource and all its scopes (ResourceSpans, ResourceMetrics, ResourceLogs).
    Resource,
    /// An instrumentation scope and all its items (ScopeSpans, ScopeMetrics, ScopeLogs).
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
    /// Every level.
    pub const ALL: [Level; 6] = [Level::Resource, Level::Scope, Level::Item, Level::Event, Level::Link, Level::Point];

    /// `resource`, `scope`, `span`/`log`/`metric`, `spanevent`, `spanlink`, `datapoint`.
    pub fn parse(name: &str) -> Option<Level> {
        Some(match name {
            "resource" => Level::Resource,
            "scope" => Level::Scope,
            "span" | "log" | "metric" => Level::Item,
            "spanevent" => Level::Event,
            "spanlink" => Level::Link,
            "datapoint" => Level::Point,
            _ => return None,
        })
    }

    /// Whether a batch of `signal` has rows of this level.
    pub fn exists_in(self, signal: Signal) -> bool {
        match self {
            Level::Resource | Level::Scope | Level::Item => true,
            Level::Event | Level::Link => signal == Signal::Traces,
            Level::Point => signal == Signal::Metrics,
        }
    }

    /// Steps below the resource.
    pub(super) fn depth(self) -> u8 {
        match self {
            Level::Resource => 0,
            Level::Scope => 1,
            Level::Item => 2,
            Level::Event | Level::Link | Level::Point => 3,
        }
    }
}

/// Ranges of rows of each level, as one guest call sees them. Row 0 of a level is the slice's first.
#[derive(Clone, Debug)]
pub struct Slice {
    pub(super) resources: Range<u32>,
    pub(super) scopes: Range<u32>,
    pub(super) items: Range<u32>,
}

impl Slice {
    /// The item rows of the batch that the slice shows.
    pub fn items(&self) -> Range<u32> {
        self.items.clone()
    }
}

impl Batch {
    /// The part of the batch that one guest call sees. Resources and scopes without items belong to what follows them, at the end to
    /// what is before: slices of all items show every row.
    pub fn slice(&self, items: Range<u32>) -> Slice {
        let items = items.start.min(self.items())..items.end.min(self.items());
        if items.is_empty() && self.items() > 0 {
            return Slice { resources: 0..0, scopes: 0..0, items: 0..0 };
        }
        let scopes = above(&self.index.scopes.from, &items);
        let resources = above(&self.index.resources.from, &scopes);
        Slice { resources, scopes, items }
    }

    /// Bytes of what the slice shows, at least: from its first item to its last, and the resources and scopes of these.
    pub fn bytes_of(&self, slice: &Slice) -> u64 {
        let of_head = |head: &Head| u64::from(head.extent.end - head.extent.start);
        let resources = self.index.resources.heads.get(places(&slice.resources)).unwrap_or_default();
        let scopes = self.index.scopes.heads.get(places(&slice.scopes)).unwrap_or_default();
        let heads: u64 = resources.iter().chain(scopes).map(of_head).sum();
        let items = self.index.items.get(places(&slice.items)).unwrap_or_default();
        let (Some(first), Some(last)) = (items.first(), items.last()) else { return heads };
        let segments = self.segment_of(slice.items.start)..self.segment_of(slice.items.end - 1);
        let before_last = self.segments.get(segments).unwrap_or_default();
        let before_last: u64 = before_last.iter().map(|segment| segment.bytes.len() as u64).sum();
        heads + (before_last + u64::from(last.end)).saturating_sub(u64::from(first.start))
    }

    /// Rows of `level` within the slice; 0 where the signal has no such level or it was not made available by `ensure`.
    pub fn rows(&self, slice: &Slice, level: Level) -> u32 {
        self.index.rows_of(slice, level).map_or(0, |rows| rows.end - rows.start)
    }

    /// `rows` seen from `level`: lowered to everything below its rows, or lifted to the rows that have any of them below.
    /// None where no such level exists in this signal, it was not made available by `ensure`, or the two are on different
    /// branches (event, link).
    pub fn rows_at(&self, slice: &Slice, rows: &RowSet, level: Level) -> Option<RowSet> {
        let from = self.index.rows_of(slice, rows.level())?;
        let to = self.index.rows_of(slice, level)?;
        let mut seen = RowSet::empty(level, to.end - to.start);
        if rows.level() == level {
            return Some(rows.clone());
        }
        if rows.level().depth() == level.depth() {
            return None;
        }
        if rows.level().depth() < level.depth() {
            for row in rows.iter() {
                let row = from.start + row;
                let below = self.index.below(row..row + 1, rows.level(), level)?;
                seen.insert_range(within(&below, &to));
            }
            return Some(seen);
        }
        for row in to.clone() {
            let below = self.index.below(row..row + 1, level, rows.level())?;
            if rows.any_in(within(&below, &from)) {
                seen.insert(row - to.start);
            }
        }
        Some(seen)
    }

    /// How many of `rows` each row of `level`, theirs or one above, has in itself or below. None where [`Batch::rows_at`] gives none, and
    /// where `level` is below.
    pub fn counts_at(&self, slice: &Slice, rows: &RowSet, level: Level) -> Option<Vec<u32>> {
        let from = self.index.rows_of(slice, rows.level())?;
        let to = self.index.rows_of(slice, level)?;
        if rows.level() != level && rows.level().depth() <= level.depth() {
            return None;
        }
        let count = |row| {
            let below = self.index.below(row..row + 1, level, rows.level())?;
            Some(rows.count_in(within(&below, &from)))
        };
        to.map(count).collect()
    }
}

impl Index {
    /// Rows of the batch that are in the slice.
    pub(super) fn rows_of(&self, slice: &Slice, level: Level) -> Option<Range<u32>> {
        match level {
            Level::Resource => Some(slice.resources.clone()),
            Level::Scope => Some(slice.scopes.clone()),
            Level::Item => Some(slice.items.clone()),
            Level::Event | Level::Link | Level::Point => self.below(slice.items.clone(), Level::Item, level),
        }
    }

    /// Rows of level `to` below these rows of level `from`, which are contiguous; None where `to` is not below `from`.
    pub(super) fn below(&self, rows: Range<u32>, from: Level, to: Level) -> Option<Range<u32>> {
        if from == to {
            return Some(rows);
        }
        let (children, next): (&[u32], Level) = match from {
            Level::Resource => (&self.resources.from, Level::Scope),
            Level::Scope => (&self.scopes.from, Level::Item),
            Level::Item => (&self.children(to)?.from, to),
            Level::Event | Level::Link | Level::Point => return None,
        };
        if next.depth() > to.depth() {
            return None;
        }
        let first = children.get(rows.start as usize)?;
        let end = children.get(rows.end as usize)?;
        self.below(*first..*end, next, to)
    }
}

/// Rows whose children (beginning at `from`, closed by the number of children) include any of `children`, and childless ones
/// before them; after them where these are the last.
fn above(from: &[u32], children: &Range<u32>) -> Range<u32> {
    let rows = from.len().saturating_sub(1);
    let at_or_after = from.partition_point(|&start| start < children.start);
    let begins = from.get(at_or_after).is_some_and(|&start| start == children.start);
    let first = if begins { at_or_after } else { at_or_after.saturating_sub(1) };
    let is_last = from.last().is_some_and(|&all| children.end >= all);
    let end = if is_last { rows } else { from.partition_point(|&start| start < children.end) };
    first.min(end) as u32..end as u32
}

fn places(rows: &Range<u32>) -> Range<usize> {
    rows.start as usize..rows.end as usize
}

/// The part of `rows` in `slice`, counted from the slice's first row.
pub(super) fn within(rows: &Range<u32>, slice: &Range<u32>) -> Range<u32> {
    let start = rows.start.clamp(slice.start, slice.end);
    start - slice.start..rows.end.clamp(start, slice.end) - slice.start
}
