//! A bounded table that forgets the keys used least recently.
//!
//! Own code and not a library's cache: what it takes has to be known beforehand, as it is charged to the process budget, and its bound
//! changes while it is in use.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// No entry.
const NONE: u32 = u32::MAX;
/// A place of the index: a slot's number and a control byte.
const PLACE_BYTES: u64 = 5;
/// What the index has beside its places.
const INDEX_BYTES: u64 = 64;

/// Values by key. Entries form a list from the newest to the oldest use.
#[derive(Clone, Debug)]
pub(super) struct Recent<V> {
    entries: Vec<Entry<V>>,
    /// Slots of `entries`.
    index: HashTable<u32>,
    hasher: RandomState,
    newest: u32,
    oldest: u32,
    keys_max: u32,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    key: u64,
    newer: u32,
    older: u32,
    value: V,
}

impl<V> Recent<V> {
    /// Room for `keys_max` keys, and at least for one.
    pub(super) fn new(keys_max: u32) -> Self {
        Self {
            entries: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            newest: NONE,
            oldest: NONE,
            keys_max: keys_max.clamp(1, NONE),
        }
    }

    /// The most that a table of so many keys takes, in bytes, without what its values point at: vectors grow by doubling, and an index
    /// is at most 7/8 full.
    pub(super) fn bytes_max(keys_max: u32) -> u64 {
        let keys_max = u64::from(keys_max).max(4);
        let entries = keys_max.next_power_of_two() * size_of::<Entry<V>>() as u64;
        entries + (keys_max * 8 / 7 + 1).next_power_of_two() * PLACE_BYTES + INDEX_BYTES
    }

    /// How many keys are in it.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of a key, which is thereby used.
    pub(super) fn get(&mut self, key: u64) -> Option<&mut V> {
        let slot = self.find(key)?;
        self.touch(slot);
        Some(&mut self.entries[slot as usize].value)
    }

    /// The value of a key, which is thereby used; a new one where it has none, in place of the one used least recently if all are taken.
    pub(super) fn get_or_insert_with(&mut self, key: u64, new: impl FnOnce() -> V) -> &mut V {
        let slot = match self.find(key) {
            Some(slot) => {
                self.touch(slot);
                slot
            }
            None => self.insert(key, new()),
        };
        &mut self.entries[slot as usize].value
    }

    /// Keys, in no particular order.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().map(|entry| entry.key)
    }

    /// Whether a key is there; that is no use of it.
    pub(super) fn contains(&self, key: u64) -> bool {
        self.find(key).is_some()
    }

    /// Changes the bound, and forgets what is too much.
    pub(super) fn set_keys_max(&mut self, keys_max: u32) {
        self.keys_max = keys_max.clamp(1, NONE);
        if self.entries.len() <= self.keys_max as usize {
            return;
        }
        let mut order = Vec::with_capacity(self.keys_max as usize);
        let mut slot = self.newest;
        while let Some(entry) = self.entries.get(slot as usize)
            && order.len() < self.keys_max as usize
        {
            order.push(slot);
            slot = entry.older;
        }
        let mut values: Vec<Option<(u64, V)>> =
            std::mem::take(&mut self.entries).into_iter().map(|entry| Some((entry.key, entry.value))).collect();
        let mut kept = Self::new(self.keys_max);
        for slot in order.into_iter().rev() {
            if let Some((key, value)) = values.get_mut(slot as usize).and_then(Option::take) {
                kept.insert(key, value);
            }
        }
        *self = kept;
    }

    fn find(&self, key: u64) -> Option<u32> {
        self.index.find(self.hasher.hash_one(key), |&slot| self.entries[slot as usize].key == key).copied()
    }

    fn insert(&mut self, key: u64, value: V) -> u32 {
        let entry = Entry { key, newer: NONE, older: NONE, value };
        let slot = if self.entries.len() < self.keys_max as usize {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        } else {
            let slot = self.oldest;
            self.unlink(slot);
            let forgotten = std::mem::replace(&mut self.entries[slot as usize], entry).key;
            if let Ok(found) = self.index.find_entry(self.hasher.hash_one(forgotten), |&other| other == slot) {
                found.remove();
            }
            slot
        };
        let Self { entries, index, hasher, .. } = self;
        index.insert_unique(hasher.hash_one(key), slot, |&slot| hasher.hash_one(entries[slot as usize].key));
        self.link_as_newest(slot);
        slot
    }

    fn touch(&mut self, slot: u32) {
        if self.newest != slot {
            self.unlink(slot);
            self.link_as_newest(slot);
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Entry { newer, older, .. } = self.entries[slot as usize];
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_as_newest(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.newest, slot);
        match self.entries.get_mut(before as usize) {
            Some(entry) => entry.newer = slot,
            None => self.oldest = slot,
        }
        let entry = &mut self.entries[slot as usize];
        (entry.newer, entry.older) = (NONE, before);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// Against a list in order of use, for random uses and changes of the bound.
    #[test]
    fn the_keys_used_least_recently_are_forgotten() {
        let mut random = StdRng::seed_from_u64(1);
        let mut recent = Recent::new(8);
        let mut model: VecDeque<(u64, u64)> = VecDeque::new();
        let mut max = 8;
        for step in 0..20_000 {
            let key = random.random_range(0..24);
            if random.random_range(0..100) == 0 {
                max = random.random_range(1..16);
                recent.set_keys_max(max as u32);
                model.drain(..model.len().saturating_sub(max));
            }
            let known = model.iter().position(|&(known, _)| known == key).and_then(|at| model.remove(at));
            match random.random_range(0..100) {
                0..40 => {
                    assert_eq!(recent.get(key).copied(), known.map(|(_, value)| value));
                    model.extend(known);
                }
                _ => {
                    let value = *recent.get_or_insert_with(key, || step);
                    assert_eq!(value, known.map_or(step, |(_, value)| value));
                    model.push_back((key, value));
                }
            }
            while model.len() > max {
                model.pop_front();
            }
            let mut keys: Vec<u64> = recent.keys().collect();
            let mut expected: Vec<u64> = model.iter().map(|&(key, _)| key).collect();
            keys.sort_unstable();
            expected.sort_unstable();
            assert_eq!(keys, expected, "at step {step}");
            assert_eq!(recent.len(), expected.len());
            assert!((0..24).all(|key| recent.contains(key) == expected.contains(&key)));
        }
    }

    #[test]
    fn what_it_takes_is_known_beforehand() {
        for keys_max in [1, 3, 7, 1000, 65_536, 70_000] {
            let mut recent = Recent::new(keys_max);
            for key in 0..u64::from(keys_max) * 2 {
                *recent.get_or_insert_with(key, || key) += 1;
            }
            let entries = recent.entries.capacity() * size_of::<Entry<u64>>();
            let bytes = (entries + recent.index.allocation_size()) as u64;
            assert!(bytes <= Recent::<u64>::bytes_max(keys_max), "{bytes} bytes for {keys_max} keys");
        }
    }
}
