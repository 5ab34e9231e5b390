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
    bytes: u64,
    bytes_max: u64,
}

impl RowSets {
    /// Forgets the last call's sets. The new call's may take `bytes_max` bytes together.
    pub(super) fn begin_call(&mut self, bytes_max: u64) {
        self.slots.clear();
        self.free.clear();
        self.call = self.call.wrapping_add(1) & (u32::MAX >> SLOT_BITS);
        self.bytes = 0;
        self.bytes_max = bytes_max;
    }

    /// Keeps a set and names it.
    pub(super) fn insert(&mut self, rows: RowSet) -> wasmtime::Result<u32> {
        let bytes = self.bytes.saturating_add(bytes_of(&rows));
        if bytes > self.bytes_max {
            return Err(over_budget("the row sets alive in one call take more than `limits.output_mib`"));
        }
        self.bytes = bytes;
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

    /// Forgets the set of this handle; one of an earlier call is gone already.
    pub(super) fn remove(&mut self, handle: u32) {
        if handle >> SLOT_BITS != self.call {
            return;
        }
        let slot = handle & SLOT_MASK;
        if let Some(rows) = self.slots.get_mut(slot as usize).and_then(Option::take) {
            self.bytes -= bytes_of(&rows);
            self.free.push(slot);
        }
    }
}

fn bytes_of(rows: &RowSet) -> u64 {
    64 + u64::from(rows.len()).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Level;

    fn sets() -> RowSets {
        let mut sets = RowSets::default();
        sets.begin_call(1 << 20);
        sets
    }

    #[test]
    fn handles_die_with_their_call() {
        let mut sets = sets();
        let a = sets.insert(RowSet::empty(Level::Item, 9)).expect("fits");
        assert_eq!(sets.get(a).expect("lives").len(), 9);
        sets.begin_call(1 << 20);
        let b = sets.insert(RowSet::empty(Level::Item, 10)).expect("fits");
        assert!(sets.get(a).is_err());
        sets.remove(a);
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
        sets.remove(first);
        sets.remove(first);
        sets.insert(RowSet::empty(Level::Item, 1)).expect("fits again");
        assert!(sets.insert(RowSet::empty(Level::Item, 1)).is_err());
    }

    #[test]
    fn bytes_are_bounded() {
        let mut sets = RowSets::default();
        sets.begin_call(1000);
        let big = sets.insert(RowSet::empty(Level::Item, 7000)).expect("939 bytes");
        assert!(sets.insert(RowSet::empty(Level::Item, 7)).is_err());
        sets.remove(big);
        sets.insert(RowSet::empty(Level::Item, 7)).expect("fits");
    }
}
