//! The row sets that a guest holds handles of. They die when the call returns; a handle that outlives its call is recognised.

use super::fault::{bad_output, over_budget};
use crate::batch::RowSet;

/// Row sets alive at the same time (wit/telemetry.wit, `rows`).
pub(super) const ROW_SETS_MAX: usize = 4096;
const SLOT_BITS: u32 = 12;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

/// Row sets of one call, by handle: the slot in the low 12 bits, above it the call's number.
#[derive(Debug, Default)]
pub(super) struct RowSets {
    slots: Vec<Option<RowSet>>,
    free: Vec<u32>,
    call: u32,
}

impl RowSets {
    /// Forgets the last call's sets.
    pub(super) fn begin_call(&mut self) {
        self.slots.clear();
        self.free.clear();
        self.call = self.call.wrapping_add(1) & (u32::MAX >> SLOT_BITS);
    }

    /// Keeps a set and names it.
    pub(super) fn insert(&mut self, rows: RowSet) -> wasmtime::Result<u32> {
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.slots.get_mut(slot as usize) {
                    *place = Some(rows);
                }
                slot
            }
            None if self.slots.len() < ROW_SETS_MAX => {
                self.slots.push(Some(rows));
                self.slots.len() as u32 - 1
            }
            None => return Err(over_budget(format!("more than {ROW_SETS_MAX} row sets alive in one call"))),
        };
        Ok(self.call << SLOT_BITS | slot)
    }

    /// The set of this handle.
    pub(super) fn get(&self, handle: u32) -> wasmtime::Result<&RowSet> {
        let slot = (handle & SLOT_MASK) as usize;
        match self.slots.get(slot) {
            Some(Some(rows)) if handle >> SLOT_BITS == self.call => Ok(rows),
            _ => Err(bad_output("a row set of an earlier call was used")),
        }
    }

    /// Gives up the set of this handle; one of an earlier call is gone already.
    pub(super) fn remove(&mut self, handle: u32) -> Option<RowSet> {
        if handle >> SLOT_BITS != self.call {
            return None;
        }
        let slot = handle & SLOT_MASK;
        let rows = self.slots.get_mut(slot as usize).and_then(Option::take)?;
        self.free.push(slot);
        Some(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Level;

    fn sets() -> RowSets {
        let mut sets = RowSets::default();
        sets.begin_call();
        sets
    }

    #[test]
    fn handles_die_with_their_call() {
        let mut sets = sets();
        let a = sets.insert(RowSet::empty(Level::Item, 9)).expect("fits");
        assert_eq!(sets.get(a).expect("lives").len(), 9);
        sets.begin_call();
        let b = sets.insert(RowSet::empty(Level::Item, 10)).expect("fits");
        assert!(sets.get(a).is_err());
        assert_eq!(sets.remove(a), None);
        assert_eq!(sets.get(b).expect("lives").len(), 10);
    }

    #[test]
    fn places_are_used_again_and_bounded() {
        let mut sets = sets();
        let first = sets.insert(RowSet::empty(Level::Item, 1)).expect("fits");
        for _ in 1..ROW_SETS_MAX {
            sets.insert(RowSet::empty(Level::Item, 1)).expect("fits");
        }
        assert!(sets.insert(RowSet::empty(Level::Item, 1)).is_err());
        assert!(sets.remove(first).is_some());
        assert!(sets.remove(first).is_none());
        sets.insert(RowSet::empty(Level::Item, 1)).expect("fits again");
        assert!(sets.insert(RowSet::empty(Level::Item, 1)).is_err());
    }
}
