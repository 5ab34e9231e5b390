//! Contents: everything in a batch that can hold text, each different (place, key, value) once.
//!
//! What that is says a table generated from OTLP's descriptors (`table.rs`). Every occurrence in the bytes counts, also those that
//! protobuf's rules hide (the first of two names, a replaced variant of a oneof, a part of a message): what is hidden from one reader
//! is shown to another. What the table does not have, and what is nested too deep, is noted to be removed.

use super::levels::Level;
use super::value::kind;

mod edit;
mod find;
mod intern;
mod locate;
mod read;
mod recent;
mod scalar;
mod schema;
mod table;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use intern::Pool;
use recent::Recent;

/// AnyValues may be within this many lists and maps.
pub(super) const NESTING_MAX: u32 = 64;

/// Texts one after the other: text `i` is of kind `kinds[i]` and has the bytes `bytes[offsets[i]..offsets[i + 1]]`; kinds as in
/// [`super::Column`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Kind of each.
    pub kinds: Vec<u8>,
    /// Where each begins in `bytes`, closed by the length of `bytes`.
    pub offsets: Vec<u32>,
    /// All of them.
    pub bytes: Vec<u8>,
}

/// The leaves and keys of a slice, as `contents.leaves` in wit/telemetry.wit says.
///
/// Leaf `i` is value `i` of `data`, has the key `key_of[i]` of `keys` (0 where it has none) and the place `places[i]`. Key `i` has the
/// place `key_places[i]`. Leaf 0 and key 0 are absent and of place 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves {
    /// Values of kinds 1 to 5 and 8.
    pub data: Texts,
    /// Keys, of kind 1, or 5 where they are not UTF-8.
    pub keys: Texts,
    /// The key of each leaf.
    pub key_of: Vec<u32>,
    /// The place of each leaf.
    pub places: Vec<u8>,
    /// The place of each key.
    pub key_places: Vec<u8>,
}

/// What [`super::Batch::read_contents`] found in a slice; its buffers are reused.
#[derive(Debug, Default)]
pub struct Contents {
    /// Leaves; their groups are their keys, with [`IN_LIST`] if they are in a list that has the key, or [`PLAIN`] and their places where
    /// they have none.
    leaves: Pool,
    /// Keys; their groups are their places.
    keys: Pool,
    key_of: Vec<u32>,
    places: Vec<u8>,
    key_places: Vec<u8>,
    /// In the order of their runs.
    entries: Vec<Entry>,
    runs: Vec<Run>,
    recent: Recent,
    unjudgeable: u64,
}

/// The group of leaves without key, with their place in the lower bits.
const PLAIN: u32 = 1 << 31;
/// In the group of leaves: the key is that of the list they are in.
const IN_LIST: u32 = 1 << 30;

/// An occurrence of a leaf or key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// A leaf's or key's number, and in the upper bits what it is of both.
    code: u32,
    /// Where its field begins. Of an attribute of a row itself that is written as usual ([`Entry::ATTRIBUTE`]), the whole attribute;
    /// of an empty AnyValue, the field that holds it; of a key or value that is not there, the KeyValue's.
    at: u32,
}

impl Entry {
    /// A leaf that is an attribute's value, and the attribute's key.
    const ATTRIBUTE: u32 = 0;
    const LEAF: u32 = 1 << 30;
    const KEY: u32 = 2 << 30;
    const UNJUDGEABLE: u32 = 3 << 30;
    const CODE_MAX: u32 = (1 << 30) - 1;

    fn what(self) -> u32 {
        self.code & !Entry::CODE_MAX
    }

    fn number(self) -> u32 {
        self.code & Entry::CODE_MAX
    }
}

/// Entries of one message, up to the next run's first.
#[derive(Clone, Copy, Debug)]
struct Run {
    segment: u32,
    /// The lowest envelope of the batch that they lie in, and its row (of a request, its segment).
    envelope: Envelope,
    envelope_row: u32,
    /// The row that they belong to, of the envelope or below; [`NO_ROW`] where the index has none.
    level: Level,
    row: u32,
    /// Where the message's field begins that has the row's attributes.
    start: u32,
    /// The first entry.
    from: u32,
}

/// A row number that no level has.
const NO_ROW: u32 = u32::MAX;

/// What the index has envelopes of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Envelope {
    Request,
    Resource,
    Scope,
    Item,
}

impl Contents {
    /// How many leaves there are, the absent one included.
    pub fn leaf_count(&self) -> u32 {
        self.leaves.len()
    }

    /// How many keys there are, the absent one included.
    pub fn key_count(&self) -> u32 {
        self.keys.len()
    }

    /// How many fields nobody can judge: [`super::Batch::remove_unjudgeable`] removes them.
    pub fn unjudgeable(&self) -> u64 {
        self.unjudgeable
    }

    /// Lends the leaves, to be shown to a guest. The numbers of leaves and keys stay valid without them.
    pub fn take_leaves(&mut self) -> Leaves {
        let take = std::mem::take::<Vec<u8>>;
        Leaves {
            data: std::mem::take(&mut self.leaves.texts),
            keys: std::mem::take(&mut self.keys.texts),
            key_of: std::mem::take(&mut self.key_of),
            places: take(&mut self.places),
            key_places: take(&mut self.key_places),
        }
    }

    /// Takes buffers back to be read into again.
    pub fn give_back(&mut self, leaves: Leaves) {
        let Leaves { data, keys, key_of, places, key_places } = leaves;
        self.leaves.texts = data;
        self.keys.texts = keys;
        self.key_of = key_of;
        self.places = places;
        self.key_places = key_places;
    }

    /// Nothing; keeps the buffers.
    fn clear(&mut self) {
        self.leaves.clear();
        self.keys.clear();
        self.key_of.clear();
        self.key_of.push(0);
        self.places.clear();
        self.places.push(0);
        self.key_places.clear();
        self.key_places.push(0);
        self.entries.clear();
        self.runs.clear();
        self.unjudgeable = 0;
    }

    /// Each run with its entries.
    fn runs(&self) -> impl Iterator<Item = (&Run, &[Entry])> {
        let ends = self.runs.iter().skip(1).map(|run| run.from).chain([self.entries.len() as u32]);
        self.runs
            .iter()
            .zip(ends)
            .map(|(run, end)| (run, self.entries.get(run.from as usize..end as usize).unwrap_or_default()))
    }

    /// The key that an entry has or is.
    fn key_of(&self, entry: Entry) -> Option<u32> {
        match entry.what() {
            Entry::KEY => Some(entry.number()),
            Entry::ATTRIBUTE => self.leaves.group(entry.number()),
            _ => None,
        }
    }
}

impl Texts {
    /// Kind and bytes of a text; absent past the last.
    pub fn get(&self, number: u32) -> (u8, &[u8]) {
        let at = number as usize;
        match (self.kinds.get(at), self.offsets.get(at..at + 2)) {
            (Some(&kind), Some(&[start, end])) => {
                (kind, self.bytes.get(start as usize..end as usize).unwrap_or_default())
            }
            _ => (kind::ABSENT, &[]),
        }
    }

    fn clear(&mut self) {
        self.kinds.clear();
        self.offsets.clear();
        self.offsets.push(0);
        self.bytes.clear();
    }

    fn push(&mut self, kind: u8, bytes: &[u8]) {
        self.kinds.push(kind);
        self.bytes.extend_from_slice(bytes);
        self.offsets.push(self.bytes.len() as u32);
    }
}
