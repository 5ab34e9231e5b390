//! Entries by number, in chunks that are never moved and are given back when they are empty.

use std::collections::BTreeSet;

/// Entries of a chunk.
const CHUNK: usize = 128;

/// Entries by number. New ones go to the lowest chunk with room, so that the highest become empty.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Option<Chunk<T>>>,
    /// Chunks with room.
    open: BTreeSet<u32>,
    /// Numbers without a chunk, below the last chunk.
    vacant: BTreeSet<u32>,
    len: usize,
    /// Chunks that there are.
    allocated: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    entries: Vec<Option<T>>,
    /// A bit for each entry that is there.
    used: u128,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { chunks: Vec::new(), open: BTreeSet::new(), vacant: BTreeSet::new(), len: 0, allocated: 0 }
    }

    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> u64 {
        self.allocated as u64 * Self::chunk_bytes() + (self.chunks.capacity() * size_of::<Option<Chunk<T>>>()) as u64
    }

    /// At least the bytes that `more` entries would take in addition.
    pub(super) fn growth_by(&self, more: usize) -> u64 {
        let room = self.allocated * CHUNK - self.len;
        let chunks = more.saturating_sub(room).div_ceil(CHUNK);
        let list = if self.chunks.len() + chunks > self.chunks.capacity() { self.chunks.len() + chunks + 4 } else { 0 };
        chunks as u64 * Self::chunk_bytes() + (2 * list * size_of::<Option<Chunk<T>>>()) as u64
    }

    /// A chunk and its place in the set of open ones.
    const fn chunk_bytes() -> u64 {
        (CHUNK * size_of::<Option<T>>() + 16) as u64
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let (chunk, place) = split(number);
        self.chunks.get(chunk)?.as_ref()?.entries.get(place)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (chunk, place) = split(number);
        self.chunks.get_mut(chunk)?.as_mut()?.entries.get_mut(place)?.as_mut()
    }

    /// Adds an entry. None where all numbers are taken.
    pub(super) fn insert(&mut self, entry: T) -> Option<u32> {
        let number = self.open_chunk()?;
        let chunk = self.chunks.get_mut(number as usize)?.as_mut()?;
        let place = chunk.used.trailing_ones();
        *chunk.entries.get_mut(place as usize)? = Some(entry);
        chunk.used |= 1 << place;
        if chunk.used == u128::MAX {
            self.open.remove(&number);
        }
        self.len += 1;
        Some(number * CHUNK as u32 + place)
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let (at, place) = split(number);
        let chunk = self.chunks.get_mut(at)?.as_mut()?;
        let entry = chunk.entries.get_mut(place)?.take()?;
        chunk.used &= !(1 << place);
        self.len -= 1;
        let is_empty = chunk.used == 0;
        self.open.insert(at as u32);
        // One empty chunk stays, for the next entry.
        if is_empty && self.open.len() > 1 {
            *self.chunks.get_mut(at)? = None;
            self.open.remove(&(at as u32));
            self.allocated -= 1;
            self.vacant.insert(at as u32);
            while self.chunks.last().is_some_and(Option::is_none) {
                self.chunks.pop();
                self.vacant.remove(&(self.chunks.len() as u32));
            }
        }
        Some(entry)
    }

    /// A chunk with room.
    fn open_chunk(&mut self) -> Option<u32> {
        if let Some(&first) = self.open.first() {
            return Some(first);
        }
        let number = self.vacant.first().copied().unwrap_or(self.chunks.len() as u32);
        if number as usize >= u32::MAX as usize / CHUNK {
            return None;
        }
        let mut entries = Vec::new();
        entries.resize_with(CHUNK, || None);
        let chunk = Some(Chunk { entries, used: 0 });
        match self.chunks.get_mut(number as usize) {
            Some(place) => *place = chunk,
            None => self.chunks.push(chunk),
        }
        self.vacant.remove(&number);
        self.open.insert(number);
        self.allocated += 1;
        Some(number)
    }
}

fn split(number: u32) -> (usize, usize) {
    (number as usize / CHUNK, number as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn entries_are_found_by_their_numbers_and_memory_comes_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut slab, mut model) = (Slab::new(), BTreeMap::new());
        for round in 0..20_000_u64 {
            // Fills at first, empties at last.
            if rng.random_range(0..20_000) > round {
                let most = slab.bytes() + slab.growth_by(1);
                let number = slab.insert(round).expect("numbers are left");
                assert!(slab.bytes() <= most);
                assert_eq!(model.insert(number, round), None, "number {number} was taken");
            } else if let Some(&number) = model.keys().nth(rng.random_range(0..model.len().max(1))) {
                assert_eq!(slab.remove(number), model.remove(&number));
                assert_eq!(slab.get(number), None);
            }
            assert_eq!(slab.len(), model.len());
        }
        let full = slab.bytes();
        for (number, entry) in model {
            assert_eq!(slab.get(number), Some(&entry));
            assert_eq!(slab.remove(number), Some(entry));
        }
        assert!(slab.bytes() < full / 4, "{} of {full} bytes are left", slab.bytes());
        assert_eq!(slab.remove(0), None);
        assert_eq!(slab.get(u32::MAX), None);
    }
}
