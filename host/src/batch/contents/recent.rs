//! Values of attributes that came again lately: found by comparing bytes, without a hash of them.

use super::intern::same;

/// Ways in all: a power of two, small enough to stay in the first-level cache.
const WAYS: usize = 512;
const SHIFT: u32 = 64 - WAYS.trailing_zeros();

/// A small table with one way for each place, which the last value that came again has.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ways: Vec<Way>,
    /// Ways of other epochs are empty.
    epoch: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Way {
    epoch: u16,
    /// Where the value was last, with what frames it.
    length: u16,
    start: u32,
    key: u32,
    leaf: u32,
}

impl Recent {
    /// Forgets everything: what follows is in other bytes.
    pub(super) fn begin(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.ways.is_empty() || self.epoch == 0 {
            self.ways.clear();
            self.ways.resize(WAYS, Way::default());
            self.epoch = 1;
        }
    }

    /// The leaf of this key that is written as `value`: the end of the KeyValue `whole`, which ends at `end` of `bytes`.
    #[inline(always)]
    pub(super) fn find(&mut self, bytes: &[u8], key: u32, whole: &[u8], value: &[u8], end: u32) -> Option<u32> {
        let way = self.ways.get_mut(place(key, whole)?)?;
        if way.epoch != self.epoch || way.key != key || usize::from(way.length) != value.len() {
            return None;
        }
        let start = way.start as usize;
        if !same(bytes.get(start..start + usize::from(way.length))?, value) {
            return None;
        }
        // The bytes that were seen last are the nearest.
        way.start = end - value.len() as u32;
        Some(way.leaf)
    }

    /// Remembers a value that came again.
    pub(super) fn keep(&mut self, key: u32, whole: &[u8], value: &[u8], end: u32, leaf: u32) {
        let Ok(length) = u16::try_from(value.len()) else { return };
        if let Some(way) = place(key, whole).and_then(|place| self.ways.get_mut(place)) {
            *way = Way { epoch: self.epoch, length, start: end - u32::from(length), key, leaf };
        }
    }
}

/// By the key, the last bytes and the length; what is too short is not remembered.
#[inline(always)]
fn place(key: u32, whole: &[u8]) -> Option<usize> {
    let tail = u64::from_le_bytes(*whole.last_chunk()?);
    let mixed = tail ^ u64::from(key) << 32 ^ whole.len() as u64;
    Some((mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> SHIFT) as usize)
}
