//! Each different text once: texts that belong together (to one key, to one place) are a group.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Texts;
use crate::batch::value::kind;

/// A table that is this many times larger than what a call needed is given back.
const SPARE_MAX: usize = 8;
/// Smaller tables are kept whatever they are needed for.
const SLOTS_KEPT: usize = 4_096;

/// Different texts and what finds them.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub texts: Texts,
    /// The group of each text.
    pub groups: Vec<u32>,
    slots: HashTable<Slot>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    code: u32,
}

/// Where a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Known(u32),
    New(u32),
}

impl Pool {
    /// No texts but the absent one; keeps the buffers.
    pub(super) fn clear(&mut self) {
        if self.slots.capacity() > SLOTS_KEPT && self.slots.capacity() / SPARE_MAX > self.slots.len() {
            self.slots = HashTable::new();
        }
        self.slots.clear();
        self.groups.clear();
        self.groups.push(0);
        self.texts.clear();
        self.texts.push(kind::ABSENT, &[]);
    }

    /// Finds or adds a text. One of kind string may be any bytes: what is not UTF-8 becomes kind bytes.
    #[inline]
    pub(super) fn find(&mut self, group: u32, kind: u8, bytes: &[u8]) -> Found {
        let hash = self.hash(group, kind, bytes);
        let same = |slot: &Slot| slot.hash == hash && self.is(slot.code, group, kind, bytes);
        match self.slots.find(spread(hash), same) {
            Some(slot) => Found::Known(slot.code),
            None if kind == kind::STRING && !is_utf8(bytes) => self.find(group, kind::BYTES, bytes),
            None => Found::New(self.add(hash, group, kind, bytes)),
        }
    }

    fn add(&mut self, hash: u32, group: u32, kind: u8, bytes: &[u8]) -> u32 {
        let code = self.groups.len() as u32;
        self.groups.push(group);
        self.texts.push(kind, bytes);
        self.slots.insert_unique(spread(hash), Slot { hash, code }, |slot| spread(slot.hash));
        code
    }

    #[inline(always)]
    fn is(&self, code: u32, group: u32, kind: u8, bytes: &[u8]) -> bool {
        let (known, text) = self.texts.get(code);
        self.groups.get(code as usize) == Some(&group) && known == kind && same(text, bytes)
    }

    #[inline(always)]
    fn hash(&self, group: u32, kind: u8, bytes: &[u8]) -> u32 {
        let mut state = self.hasher.build_hasher();
        state.write(bytes);
        state.write_u64(u64::from(group) << 8 | u64::from(kind));
        state.finish() as u32
    }
}

/// The table takes a group's tag from the upper bits and its place from the lower ones.
#[inline(always)]
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// Equality of what is mostly short, without a call.
#[inline(always)]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0..4 => a == b,
        4..8 => ends::<4>(a, b),
        8..=16 => ends::<8>(a, b),
        17..=32 => ends::<16>(a, b),
        _ => a == b,
    }
}

/// The first and the last `N` bytes, which together are all of them.
#[inline(always)]
fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
}
