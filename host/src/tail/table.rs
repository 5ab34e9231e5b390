//! A hash table in parts, so that growing never moves all of it at once.

use hashbrown::HashTable;

/// How many there are at most.
const PARTS_MAX: usize = 4096;
/// Entries of a part when the table is as full as expected: nearly all that 4,096 buckets take (3,584), as a table is never fuller
/// than 7/8 and at worst half as full.
const PART_ENTRIES: usize = 3400;
/// What hashbrown allocates beside entries and their control bytes, and for the smallest tables.
const ALLOCATION_BYTES: usize = 64;

/// Entries found by hash. Bits below 48 choose the part; hashbrown uses the lowest bits and the highest seven.
#[derive(Debug)]
pub(super) struct Table<T> {
    parts: Vec<HashTable<T>>,
    len: usize,
    bytes: u64,
}

impl<T> Table<T> {
    /// An empty table with as many parts as suit `entries`.
    pub(super) fn new(entries: usize) -> Table<T> {
        let parts = entries.div_ceil(PART_ENTRIES).clamp(1, PARTS_MAX);
        Table { parts: std::iter::repeat_with(HashTable::new).take(parts).collect(), len: 0, bytes: 0 }
    }

    /// An empty one for as many.
    pub(super) fn another(&self) -> Table<T> {
        let parts = std::iter::repeat_with(HashTable::new).take(self.parts.len());
        Table { parts: parts.collect(), len: 0, bytes: 0 }
    }

    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes + (self.parts.len() * size_of::<HashTable<T>>()) as u64
    }

    fn place(&self, hash: u64) -> usize {
        ((u64::from((hash >> 16) as u32) * self.parts.len() as u64) >> 32) as usize
    }

    /// The entry with this hash that `is` it.
    pub(super) fn find(&self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&T> {
        self.parts.get(self.place(hash))?.find(hash, is)
    }

    /// As [`Self::find`].
    pub(super) fn find_mut(&mut self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let place = self.place(hash);
        self.parts.get_mut(place)?.find_mut(hash, is)
    }

    /// Adds an entry that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, entry: T, hasher: impl Fn(&T) -> u64) {
        let place = self.place(hash);
        let Some(part) = self.parts.get_mut(place) else { return };
        let before = part.allocation_size();
        part.insert_unique(hash, entry, hasher);
        self.bytes = self.bytes + part.allocation_size() as u64 - before as u64;
        self.len += 1;
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<T> {
        let place = self.place(hash);
        let (entry, _vacant) = self.parts.get_mut(place)?.find_entry(hash, is).ok()?.remove();
        self.len -= 1;
        Some(entry)
    }

    /// Gives memory back where parts are mostly empty.
    pub(super) fn shrink(&mut self, hash: u64, hasher: impl Fn(&T) -> u64) {
        let place = self.place(hash);
        let Some(part) = self.parts.get_mut(place) else { return };
        if part.capacity() > 8 * part.len().max(2) {
            let before = part.allocation_size();
            part.shrink_to(2 * part.len(), hasher);
            self.bytes = self.bytes + part.allocation_size() as u64 - before as u64;
        }
    }

    /// Removes all entries and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.parts.iter_mut().for_each(HashTable::clear);
        self.len = 0;
    }

    /// At least the bytes that are allocated, old and new together, while one more entry is added.
    pub(super) fn growth(&self, hash: u64) -> u64 {
        self.parts.get(self.place(hash)).map_or(0, |part| part_growth(part, 1))
    }

    /// At least the bytes that are allocated, old and new together, while `more` entries are added.
    pub(super) fn growth_by(&self, more: usize) -> u64 {
        if more == 0 {
            return 0;
        }
        let each: u64 = self.parts.iter().map(|part| part_growth(part, more)).sum();
        // However entries are spread, no part has more than 16/7 times the buckets that it needs.
        let entries = 16 * (self.len + more) / 7 * (size_of::<T>() + 1);
        each.min((entries + self.parts.len() * ALLOCATION_BYTES) as u64)
    }
}

fn part_growth<T>(part: &HashTable<T>, more: usize) -> u64 {
    if part.len() + more <= part.capacity() {
        return 0;
    }
    let buckets = ((part.len() + more) * 8 / 7 + 1).next_power_of_two().max(8);
    (buckets * (size_of::<T>() + 1) + ALLOCATION_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads small numbers over all bits.
    fn hash(number: &u32) -> u64 {
        u64::from(*number).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678
    }

    #[test]
    fn it_grows_no_more_than_it_says_and_shrinks_again() {
        let mut table = Table::new(1 << 20);
        for number in 0..50_000_u32 {
            let (before, growth) = (table.bytes(), table.growth(hash(&number)));
            table.insert(hash(&number), number, hash);
            assert!(table.bytes() <= before + growth, "{number}: {before} + {growth} < {}", table.bytes());
        }
        let full = table.bytes();
        for number in (0..50_000_u32).rev() {
            assert_eq!(table.find(hash(&number), |found| *found == number), Some(&number));
            assert_eq!(table.remove(hash(&number), |found| *found == number), Some(number));
            table.shrink(hash(&number), hash);
        }
        assert_eq!(table.len(), 0);
        assert!(table.bytes() < full / 8, "{} of {full} bytes are left", table.bytes());
    }

    #[test]
    fn many_at_once_stay_below_what_was_said() {
        for (there, more) in [(0, 1), (0, 7), (0, 1000), (13, 100), (3000, 600), (3583, 1), (50_000, 4096)] {
            let mut table = Table::new(16_384);
            (0..there).for_each(|number| table.insert(hash(&number), number, hash));
            let most = table.bytes() + table.growth_by(more as usize);
            (there..there + more).for_each(|number| table.insert(hash(&number), number, hash));
            assert!(table.bytes() <= most, "{there} + {more}: {} > {most}", table.bytes());
        }
    }
}
