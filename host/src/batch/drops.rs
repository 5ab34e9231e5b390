//! Dropping rows: what is gathered from calls, and taking it out of the index.

use std::ops::Range;

use crate::signal::Signal;

use super::Batch;
use super::index::{Children, Index, Metric};
use super::levels::{Level, Slice, within};
use super::rows::RowSet;
use super::splice::Cut;

/// Rows to remove from a batch, gathered over its slices.
#[derive(Debug)]
pub struct Drops {
    items: RowSet,
    /// Those of dropped spans are not in it.
    events: RowSet,
    links: RowSet,
    /// Those of dropped metrics are in it.
    points: RowSet,
}

impl Drops {
    /// None yet. Valid until rows are removed from the batch.
    pub fn new(batch: &Batch) -> Drops {
        let points = batch.index.points.as_ref().map_or(0, |points| points.extents.len());
        Drops {
            items: RowSet::empty(Level::Item, batch.items()),
            events: RowSet::empty(Level::Event, 0),
            links: RowSet::empty(Level::Link, 0),
            points: RowSet::empty(Level::Point, points as u32),
        }
    }

    /// Adds a slice's rows (any level: resource and scope rows stand for the slice's items below them).
    /// Returns how many spans, log records or data points this newly drops (events and links count 0).
    pub fn add(&mut self, batch: &Batch, slice: &Slice, rows: &RowSet) -> u64 {
        let Some(range) = batch.index.rows_of(slice, rows.level()) else { return 0 };
        let mut dropped = 0;
        // Events and links may have been made available since.
        for rows in [&mut self.events, &mut self.links] {
            rows.grow(batch.index.children(rows.level()).map_or(0, |children| children.extents.len() as u32));
        }
        for row in rows.iter().take_while(|row| *row < range.end - range.start) {
            let row = range.start + row;
            match rows.level() {
                Level::Resource | Level::Scope => {
                    if let Some(items) = batch.index.below(row..row + 1, rows.level(), Level::Item) {
                        let shown = within(&items, &slice.items);
                        dropped +=
                            self.add_items(batch, slice.items.start + shown.start..slice.items.start + shown.end);
                    }
                }
                Level::Item => dropped += self.add_items(batch, row..row + 1),
                Level::Point => dropped += u64::from(self.points.insert_range(row..row + 1)),
                Level::Event => self.events.insert(row),
                Level::Link => self.links.insert(row),
            }
        }
        dropped
    }

    /// What accounts count of what is dropped: spans, log records or data points, as rows of the batch.
    pub fn leaves(&self, batch: &Batch) -> &RowSet {
        if batch.signal == Signal::Metrics { &self.points } else { &self.items }
    }

    /// Whether nothing is dropped.
    pub fn is_empty(&self) -> bool {
        [&self.items, &self.events, &self.links, &self.points].iter().all(|rows| rows.is_empty())
    }

    fn add_items(&mut self, batch: &Batch, items: Range<u32>) -> u64 {
        let new = self.items.insert_range(items.clone());
        if batch.signal != Signal::Metrics {
            return u64::from(new);
        }
        let points = batch.index.below(items, Level::Item, Level::Point).unwrap_or_default();
        u64::from(self.points.insert_range(points))
    }

    /// A metric that loses its last data point goes.
    fn drop_metrics_without_points(&mut self, index: &Index) {
        let Some(points) = &index.points else { return };
        for (item, ends) in points.from.windows(2).enumerate() {
            if let &[first, end] = ends
                && first < end
                && self.points.all_in(first..end)
            {
                self.items.insert(item as u32);
            }
        }
    }
}

impl Batch {
    /// Removes rows; row numbers of the batch change with this call.
    pub(super) fn drop_rows(&mut self, mut drops: Drops) {
        if drops.is_empty() {
            return;
        }
        drops.drop_metrics_without_points(&self.index);
        let old = std::mem::take(&mut self.index);
        let mut kept = Compaction::new(&old, &drops);
        for (number, segment) in self.segments.iter_mut().enumerate() {
            let from = segment.cuts.len();
            let had_items = !old.items_of(number).is_empty();
            let lost_all = kept.segment(number, &mut segment.cuts);
            segment.dropped |= had_items && lost_all;
            if segment.cuts.len() > from {
                Cut::normalize(&mut segment.cuts);
            }
        }
        kept.index.close();
        self.index = kept.index;
    }
}

/// Copies what stays of an index, and notes what goes.
struct Compaction<'a> {
    old: &'a Index,
    drops: &'a Drops,
    index: Index,
}

impl<'a> Compaction<'a> {
    fn new(old: &'a Index, drops: &'a Drops) -> Compaction<'a> {
        let like = |children: &Option<Children>| children.as_ref().map(|_| Children::default());
        let index = Index {
            points: like(&old.points),
            events: like(&old.events),
            links: like(&old.links),
            items: Vec::with_capacity(old.items.len()),
            ..Index::default()
        };
        Compaction { old, drops, index }
    }

    /// Returns whether no item is left in the segment.
    fn segment(&mut self, number: usize, cuts: &mut Vec<Cut>) -> bool {
        self.index.segments.push(self.index.resources.extents.len() as u32);
        let items_before = self.index.items.len();
        let all = self.old.items_of(number);
        if !all.is_empty() && self.drops.items.all_in(all) {
            return true;
        }
        let resources = match self.old.segments.get(number..number + 2) {
            Some(&[first, end]) => first..end,
            _ => 0..0,
        };
        for row in resources {
            if !self.envelope(Level::Resource, row, cuts) {
                continue;
            }
            let scopes = self.old.below(row..row + 1, Level::Resource, Level::Scope).unwrap_or_default();
            for row in scopes {
                if self.envelope(Level::Scope, row, cuts) {
                    let items = self.old.below(row..row + 1, Level::Scope, Level::Item).unwrap_or_default();
                    items.for_each(|row| self.item(row, cuts));
                }
            }
        }
        self.index.items.len() == items_before
    }

    /// Keeps a resource or scope unless it lost its last item; one that never had any stays.
    fn envelope(&mut self, level: Level, row: u32, cuts: &mut Vec<Cut>) -> bool {
        let (from, to, next) = match level {
            Level::Resource => (&self.old.resources, &mut self.index.resources, self.index.scopes.extents.len()),
            _ => (&self.old.scopes, &mut self.index.scopes, self.index.items.len()),
        };
        let Some((extent, head)) = from.get(row) else { return false };
        let items = self.old.below(row..row + 1, level, Level::Item).unwrap_or_default();
        if !items.is_empty() && self.drops.items.all_in(items) {
            cuts.push(Cut::of(extent));
            return false;
        }
        to.extents.push(extent);
        to.from.push(next as u32);
        to.heads.push(head);
        true
    }

    fn item(&mut self, row: u32, cuts: &mut Vec<Cut>) {
        let Some(&extent) = self.old.items.get(row as usize) else { return };
        if self.drops.items.contains(row) {
            cuts.push(Cut::of(extent));
            return;
        }
        self.index.items.push(extent);
        if let Some(&metric) = self.old.metrics.get(row as usize) {
            let containers = self.old.containers_of(row);
            self.index.metrics.push(Metric { containers_from: self.index.containers.len() as u32, ..metric });
            self.index.containers.extend_from_slice(containers);
        }
        keep_children(&self.old.points, &mut self.index.points, row, &self.drops.points, cuts);
        keep_children(&self.old.events, &mut self.index.events, row, &self.drops.events, cuts);
        keep_children(&self.old.links, &mut self.index.links, row, &self.drops.links, cuts);
    }
}

fn keep_children(old: &Option<Children>, new: &mut Option<Children>, item: u32, drops: &RowSet, cuts: &mut Vec<Cut>) {
    let (Some(old), Some(new)) = (old, new) else { return };
    new.from.push(new.extents.len() as u32);
    let Some(&[first, end]) = old.from.get(item as usize..item as usize + 2) else { return };
    for row in first..end {
        match old.extents.get(row as usize) {
            Some(&extent) if drops.contains(row) => cuts.push(Cut::of(extent)),
            Some(&extent) => new.extents.push(extent),
            None => {}
        }
    }
}
