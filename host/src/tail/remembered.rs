//! Decided traces that are remembered, so that late spans follow the decision.

use std::sync::Arc;

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use super::table::Table;
use super::traces::Trigger;
use super::verdict::Decider;

/// A trace that was kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub id: [u8; 16],
    /// The rejection threshold of the verdict.
    pub threshold: u64,
    /// Its 56 random bits.
    pub randomness: u64,
    pub decider: Option<Arc<Decider>>,
    pub trigger: Trigger,
    pub late_spans: u32,
    pub decided_unix_nano: u64,
}

/// A trace that was dropped: 24 bytes, as there are many.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    pub id: [u8; 16],
    pub decided_unix_seconds: u32,
    pub late_spans: u16,
    pub trigger: Trigger,
}

impl Dropped {
    pub(super) fn new(id: [u8; 16], trigger: Trigger, decided_unix_nano: u64) -> Dropped {
        let seconds = u32::try_from(decided_unix_nano / 1_000_000_000).unwrap_or(u32::MAX);
        Dropped { id, decided_unix_seconds: seconds, late_spans: 0, trigger }
    }
}

/// A trace that can be remembered.
pub(super) trait Decided {
    fn id(&self) -> [u8; 16];
}

impl Decided for Kept {
    fn id(&self) -> [u8; 16] {
        self.id
    }
}

impl Decided for Dropped {
    fn id(&self) -> [u8; 16] {
        self.id
    }
}

/// Two generations of traces: when the newer has as many as are to be remembered, or no room for more, the older is forgotten.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    newer: Table<T>,
    older: Table<T>,
    max: usize,
    /// Of each generation.
    bytes_max: u64,
    hasher: FixedState,
}

impl<T: Decided> Remembered<T> {
    /// Remembers at least the last `max`, at most twice as many, as far as each generation takes no more than `bytes_max`.
    pub(super) fn new(max: usize, bytes_max: u64, seed: u64) -> Remembered<T> {
        let fitting = usize::try_from(bytes_max / size_of::<T>() as u64).unwrap_or(usize::MAX);
        let (newer, older) = (Table::new(max.min(fitting)), Table::new(max.min(fitting)));
        Remembered { newer, older, max, bytes_max, hasher: FixedState::with_seed(seed) }
    }

    /// Remembers as many from now on, as [`Self::new`] says. Where it holds too much for that it forgets more than it has to.
    pub(super) fn resize(&mut self, max: usize, bytes_max: u64) {
        (self.max, self.bytes_max) = (max, bytes_max);
        // Called three times, `forget` forgets everything.
        for _ in 0..3 {
            let is_too_much = max == 0 || self.bytes() > bytes_max.saturating_mul(2);
            if !is_too_much && self.newer.len() + self.older.len() <= max.saturating_mul(2) {
                break;
            }
            self.forget();
        }
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> u64 {
        self.newer.bytes() + self.older.bytes()
    }

    /// At least the bytes that one more would take in addition.
    pub(super) fn growth(&self, id: [u8; 16]) -> u64 {
        self.newer.growth(self.hash(id))
    }

    /// The trace, if it is remembered.
    pub(super) fn get(&self, id: [u8; 16]) -> Option<&T> {
        let hash = self.hash(id);
        let is_it = |entry: &T| entry.id() == id;
        self.newer.find(hash, is_it).or_else(|| self.older.find(hash, is_it))
    }

    /// Remembers a trace, as the newest.
    pub(super) fn insert(&mut self, entry: T) {
        let (id, hash) = (entry.id(), self.hash(entry.id()));
        if self.max == 0 {
            return;
        }
        if let Some(known) = self.newer.find_mut(hash, |known| known.id() == id) {
            *known = entry;
            return;
        }
        self.older.remove(hash, |known| known.id() == id);
        if self.newer.len() >= self.max {
            // The memory stays: as many will come again.
            self.older.clear();
            std::mem::swap(&mut self.newer, &mut self.older);
        } else if self.newer.bytes() + self.newer.growth(hash) > self.bytes_max {
            let none = self.newer.another();
            self.older = std::mem::replace(&mut self.newer, none);
        }
        let hasher = &self.hasher;
        self.newer.insert(hash, entry, |entry| hasher.hash_one(u128::from_le_bytes(entry.id())));
    }

    /// Gives memory back by forgetting: the older generation, or, where there is none, the newer grows older. Called
    /// three times it forgets everything.
    pub(super) fn forget(&mut self) {
        let none = self.newer.another();
        self.older = if self.older.len() == 0 { std::mem::replace(&mut self.newer, none) } else { none };
    }

    fn hash(&self, id: [u8; 16]) -> u64 {
        self.hasher.hash_one(u128::from_le_bytes(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(number: u32) -> Dropped {
        let id = u128::from(number).to_le_bytes();
        Dropped { id, decided_unix_seconds: 0, late_spans: 0, trigger: Trigger::Wait }
    }

    #[test]
    fn the_last_ones_are_remembered_and_the_oldest_forgotten() {
        let mut remembered = Remembered::new(100, 1 << 20, 7);
        for number in 0..1000 {
            remembered.insert(dropped(number));
            let is = |number: u32| remembered.get(dropped(number).id).is_some();
            assert!((number.saturating_sub(99)..=number).all(is), "after {number}");
            assert!(!(0..(number + 1).saturating_sub(200)).any(is), "after {number}");
        }
    }

    #[test]
    fn one_that_is_inserted_again_is_the_newest() {
        let mut remembered = Remembered::new(10, 1 << 20, 7);
        for number in 0..200 {
            remembered.insert(dropped(number));
            remembered.insert(dropped(0));
        }
        assert!(remembered.get(dropped(0).id).is_some());
        let mut none = Remembered::new(0, 1 << 20, 7);
        none.insert(dropped(1));
        assert!(none.get(dropped(1).id).is_none());
    }

    #[test]
    fn another_size_holds_from_then_on() {
        let mut remembered = Remembered::new(100, 1 << 20, 7);
        let is = |remembered: &Remembered<Dropped>, number| remembered.get(dropped(number).id).is_some();
        (0..150).for_each(|number| remembered.insert(dropped(number)));
        remembered.resize(1000, 1 << 20);
        (150..900).for_each(|number| remembered.insert(dropped(number)));
        assert!((50..900).all(|number| is(&remembered, number)), "more are remembered, and none is forgotten for that");
        remembered.resize(10, 1 << 20);
        (900..950).for_each(|number| remembered.insert(dropped(number)));
        assert!((940..950).all(|number| is(&remembered, number)) && !(0..930).any(|number| is(&remembered, number)));
        remembered.resize(0, 1 << 20);
        assert!(!(0..950).any(|number| is(&remembered, number)), "none are remembered");
    }

    #[test]
    fn with_little_room_fewer_are_remembered_but_always_the_last() {
        let mut remembered = Remembered::new(1 << 20, 64 << 10, 7);
        for number in 0..20_000 {
            remembered.insert(dropped(number));
            assert!(remembered.bytes() <= 2 * (64 << 10), "{} bytes", remembered.bytes());
            let last = number.saturating_sub(600)..=number;
            assert!(last.step_by(50).all(|number| remembered.get(dropped(number).id).is_some()), "after {number}");
        }
    }

    #[test]
    fn a_dropped_one_takes_24_bytes_and_forgetting_gives_memory_back() {
        assert_eq!(size_of::<Dropped>(), 24);
        let mut remembered = Remembered::new(100_000, 1 << 30, 7);
        let empty = remembered.bytes();
        (0..200_000).for_each(|number| remembered.insert(dropped(number)));
        assert!(remembered.bytes() < 200_000 * 40, "{}", remembered.bytes());
        remembered.forget();
        assert!(remembered.get(dropped(199_999).id).is_some() && remembered.get(dropped(99_999).id).is_none());
        remembered.forget();
        assert!(remembered.get(dropped(199_999).id).is_some());
        remembered.forget();
        assert!(remembered.get(dropped(199_999).id).is_none());
        assert_eq!(remembered.bytes(), empty);
    }
}
