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
    /// What else is known of each text.
    known: Vec<Known>,
    slots: HashTable<Slot>,
    hasher: RandomState,
}

/// A text, in what is read at once.
#[derive(Clone, Copy, Debug)]
struct Known {
    group: u32,
    kind: u8,
    start: u32,
    end: u32,
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
        self.known.clear();
        self.known.push(Known { group: 0, kind: kind::ABSENT, start: 0, end: 0 });
        self.texts.clear();
        self.texts.push(kind::ABSENT, &[]);
    }

    /// How many texts there are, the absent one included.
    pub(super) fn len(&self) -> u32 {
        self.known.len() as u32
    }

    /// The group of a text.
    pub(super) fn group(&self, code: u32) -> Option<u32> {
        self.known.get(code as usize).map(|known| known.group)
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
        let code = self.known.len() as u32;
        let start = self.texts.bytes.len() as u32;
        self.texts.push(kind, bytes);
        self.known.push(Known { group, kind, start, end: self.texts.bytes.len() as u32 });
        self.slots.insert_unique(spread(hash), Slot { hash, code }, |slot| spread(slot.hash));
        code
    }

    #[inline(always)]
    fn is(&self, code: u32, group: u32, kind: u8, bytes: &[u8]) -> bool {
        let Some(known) = self.known.get(code as usize) else { return false };
        let Some(text) = self.texts.bytes.get(known.start as usize..known.end as usize) else { return false };
        (known.group, known.kind) == (group, kind) && same(text, bytes)
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
        33..=64 => ends::<32>(a, b),
        _ => a == b,
    }
}

/// The first and the last `N` bytes, which together are all of them.
#[inline(always)]
fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
    a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
}
