//! Row sets: bitmaps over the rows of one level of one slice.

use std::ops::Range;

use super::levels::Level;

/// A set of rows of one level of one slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSet {
    level: Level,
    len: u32,
    /// Bits from `len` on are zero.
    words: Vec<u64>,
}

impl RowSet {
    /// No rows of `len`.
    pub fn empty(level: Level, len: u32) -> RowSet {
        RowSet { level, len, words: vec![0; len.div_ceil(64) as usize] }
    }

    /// From a bitmap, least significant bit of byte 0 first; missing bytes are zeros, bits past `len` are ignored.
    pub fn from_bitmap(level: Level, len: u32, bitmap: &[u8]) -> RowSet {
        let mut rows = RowSet::empty(level, len);
        for (word, bytes) in rows.words.iter_mut().zip(bitmap.chunks(8)) {
            let mut padded = [0; 8];
            for (to, from) in padded.iter_mut().zip(bytes) {
                *to = *from;
            }
            *word = u64::from_le_bytes(padded);
        }
        rows.clear_tail();
        rows
    }

    /// The rows whose code's bit is set in `bitmap` (least significant bit of byte 0 first; missing bytes are zeros).
    pub fn from_codes(level: Level, codes: &[u32], bitmap: &[u8]) -> RowSet {
        let words = codes
            .chunks(64)
            .map(|codes| {
                codes.iter().enumerate().fold(0, |word, (bit, &code)| {
                    let byte = bitmap.get(code as usize / 8).copied().unwrap_or_default();
                    word | u64::from(byte >> (code % 8) & 1) << bit
                })
            })
            .collect();
        RowSet { level, len: codes.len() as u32, words }
    }

    /// The level that the rows are of.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Rows that the level has, set or not.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no row is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Rows in the set.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether `row` is in the set.
    pub fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Adds a row; one past the level's rows is not added.
    pub fn insert(&mut self, row: u32) {
        if let Some(word) = self.words.get_mut(row as usize / 64)
            && row < self.len
        {
            *word |= 1 << (row % 64);
        }
    }

    /// Adds these rows; those past the level's rows are not added. Returns how many are new.
    pub fn insert_range(&mut self, rows: Range<u32>) -> u32 {
        let rows = rows.start..rows.end.min(self.len);
        let mut new = 0;
        for (index, mask) in masks(rows) {
            if let Some(word) = self.words.get_mut(index) {
                new += (mask & !*word).count_ones();
                *word |= mask;
            }
        }
        new
    }

    /// Whether any of `rows` is in the set.
    pub fn any_in(&self, rows: Range<u32>) -> bool {
        masks(rows).any(|(index, mask)| self.words.get(index).is_some_and(|word| word & mask != 0))
    }

    /// How many of `rows` are in the set.
    pub fn count_in(&self, rows: Range<u32>) -> u32 {
        masks(rows).filter_map(|(index, mask)| self.words.get(index).map(|word| (word & mask).count_ones())).sum()
    }

    /// Whether all of `rows` are in the set.
    pub fn all_in(&self, rows: Range<u32>) -> bool {
        masks(rows).all(|(index, mask)| self.words.get(index).is_some_and(|word| word & mask == mask))
    }

    /// Rows in both. None where level or length differ.
    pub fn and(&self, other: &RowSet) -> Option<RowSet> {
        self.zip(other, |a, b| a & b)
    }

    /// Rows in either. None where level or length differ.
    pub fn or(&self, other: &RowSet) -> Option<RowSet> {
        self.zip(other, |a, b| a | b)
    }

    /// Rows that are not in the set.
    #[allow(clippy::should_implement_trait, reason = "the name in the contract; it borrows")]
    pub fn not(&self) -> RowSet {
        let mut rows =
            RowSet { level: self.level, len: self.len, words: self.words.iter().map(|word| !word).collect() };
        rows.clear_tail();
        rows
    }

    /// The rows in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(index as u32 * 64 + bit)
            })
        })
    }

    /// Makes room for `len` rows, never for fewer than before.
    pub(super) fn grow(&mut self, len: u32) {
        self.len = self.len.max(len);
        self.words.resize(self.len.div_ceil(64) as usize, 0);
    }

    fn zip(&self, other: &RowSet, of: impl Fn(u64, u64) -> u64) -> Option<RowSet> {
        if self.level != other.level || self.len != other.len {
            return None;
        }
        let words = self.words.iter().zip(&other.words).map(|(&a, &b)| of(a, b)).collect();
        Some(RowSet { level: self.level, len: self.len, words })
    }

    fn clear_tail(&mut self) {
        if let Some(last) = self.words.last_mut()
            && !self.len.is_multiple_of(64)
        {
            *last &= (1 << (self.len % 64)) - 1;
        }
    }
}

/// The words that `rows` touch, with the bits in each.
fn masks(rows: Range<u32>) -> impl Iterator<Item = (usize, u64)> {
    let words = if rows.is_empty() { 0..0 } else { rows.start / 64..rows.end.div_ceil(64) };
    words.map(move |index| {
        let from = u64::MAX << rows.start.saturating_sub(index * 64).min(63);
        let past = rows.end - index * 64;
        let to = if past >= 64 { u64::MAX } else { (1 << past) - 1 };
        (index as usize, from & to)
    })
}
