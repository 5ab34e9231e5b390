//! From leaves and keys back to rows.

use super::{Contents, Entry, Envelope, Run};
use crate::batch::levels::{Level, Slice};
use crate::batch::rows::RowSet;
use crate::batch::{Batch, index::Index};

impl Contents {
    /// Rows of `level` that have any of these leaves, in themselves or below. Batch and slice are those that were read.
    pub fn where_leaves(&self, batch: &Batch, slice: &Slice, which: &[u32], level: Level) -> RowSet {
        let wanted = Wanted::new(which, self.leaf_count());
        self.rows_with(batch, slice, level, |entry| wanted.has(leaf_of(entry)))
    }

    /// Rows of `level` that have any of these keys, in themselves or below.
    pub fn where_keys(&self, batch: &Batch, slice: &Slice, which: &[u32], level: Level) -> RowSet {
        let wanted = Wanted::new(which, self.key_count());
        self.rows_with(batch, slice, level, |entry| wanted.has(self.key_of(entry)))
    }

    /// How often each row of `level` has any of these leaves in itself (not below).
    pub fn leaf_counts(&self, batch: &Batch, slice: &Slice, which: &[u32], level: Level) -> Vec<u32> {
        let wanted = Wanted::new(which, self.leaf_count());
        self.counts(batch, slice, level, |entry| wanted.has(leaf_of(entry)))
    }

    /// How often each row of `level` has any of these keys in itself (not below).
    pub fn key_counts(&self, batch: &Batch, slice: &Slice, which: &[u32], level: Level) -> Vec<u32> {
        let wanted = Wanted::new(which, self.key_count());
        self.counts(batch, slice, level, |entry| wanted.has(self.key_of(entry)))
    }

    fn rows_with(&self, batch: &Batch, slice: &Slice, level: Level, is_wanted: impl Fn(Entry) -> bool) -> RowSet {
        let Some(rows) = batch.index.rows_of(slice, level) else { return RowSet::empty(level, 0) };
        let mut found = RowSet::empty(level, rows.end - rows.start);
        for (run, entries) in self.runs() {
            if let Some(row) = batch.index.lift(run, level).and_then(|row| row.checked_sub(rows.start))
                && entries.iter().any(|entry| is_wanted(*entry))
            {
                found.insert(row);
            }
        }
        found
    }

    fn counts(&self, batch: &Batch, slice: &Slice, level: Level, is_wanted: impl Fn(Entry) -> bool) -> Vec<u32> {
        let rows = batch.index.rows_of(slice, level).unwrap_or_default();
        let mut counts = vec![0_u32; (rows.end - rows.start) as usize];
        for (run, entries) in self.runs().filter(|(run, _)| run.level == level) {
            let place = run.row.checked_sub(rows.start).and_then(|row| counts.get_mut(row as usize));
            if let Some(count) = place {
                *count += entries.iter().filter(|entry| is_wanted(**entry)).count() as u32;
            }
        }
        counts
    }
}

/// The leaf that an entry is.
pub(super) fn leaf_of(entry: Entry) -> Option<u32> {
    matches!(entry.what(), Entry::ATTRIBUTE | Entry::LEAF).then(|| entry.number())
}

/// Numbers that are looked for; 0 stands for what is absent and is never found.
pub(super) struct Wanted(Vec<u64>);

impl Wanted {
    pub(super) fn new(which: &[u32], count: u32) -> Wanted {
        let mut words = vec![0_u64; count.div_ceil(64) as usize];
        for &number in which.iter().filter(|&&number| number > 0 && number < count) {
            if let Some(word) = words.get_mut(number as usize / 64) {
                *word |= 1 << (number % 64);
            }
        }
        Wanted(words)
    }

    #[inline]
    pub(super) fn has(&self, number: Option<u32>) -> bool {
        number.is_some_and(|number| self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1))
    }
}

impl Index {
    /// The row of `level` that is the run's or is above it.
    fn lift(&self, run: &Run, level: Level) -> Option<u32> {
        if run.level == level {
            return Some(run.row);
        }
        if level.depth() >= run.level.depth() {
            return None;
        }
        let scope = |item: u32| above(&self.scopes.from, item);
        let resource = |scope: u32| above(&self.resources.from, scope);
        match (run.envelope, level) {
            (Envelope::Item, Level::Item) => Some(run.envelope_row),
            (Envelope::Item, Level::Scope) => scope(run.envelope_row),
            (Envelope::Item, Level::Resource) => resource(scope(run.envelope_row)?),
            (Envelope::Scope, Level::Resource) => resource(run.envelope_row),
            _ => None,
        }
    }
}

/// The row whose children (beginning at `from`) include this one.
pub(super) fn above(from: &[u32], child: u32) -> Option<u32> {
    (from.partition_point(|&first| first <= child) as u32).checked_sub(1)
}
