//! Replacing leaves, removing and renaming keys, and removing what nobody can judge.

use std::ops::Range;

use super::find::{Wanted, leaf_of};
use super::locate::{Cursor, Place, field_at};
use super::read::Messages;
use super::schema::What;
use super::table::MessageType;
use super::writer::Writer;
use super::{Contents, Entry, Envelope, PLAIN, Run};
use crate::batch::edits::{EditError, Edits, Floor, Nesting};
use crate::batch::new_values::NewValues;
use crate::batch::value::kind;
use crate::batch::wire::Extent;
use crate::batch::{Batch, Malformed};

/// Places of ids and of a log's body, without the bit for what is nested.
const IDS: [u8; 4] = [12, 17, 22, 29];
const BODY: u8 = 19;

impl Batch {
    /// Replaces leaves wherever they are in the slice that was read: leaf `which[i]` becomes value `i` of `to`, of kinds 1 to 5 and 8; texts of
    /// the protocol take kind 1 only; ids become zeros of the same length, whatever the value is. Returns how many places that are.
    ///
    /// What the edits take is taken from `bytes_left`, which never reaches 0.
    pub fn replace_leaves(
        &self,
        contents: &Contents,
        which: &[u32],
        to: &NewValues<'_>,
        edits: &mut Edits,
        bytes_left: &mut u64,
    ) -> Result<u64, EditError> {
        let new = Numbered::new(which, contents.leaf_count(), Some(to))?;
        for (number, &leaf) in which.iter().enumerate() {
            let (kind, _) = to.get(number);
            let fits = match contents.holder(leaf) {
                Holder::AnyValue => !matches!(kind, kind::ABSENT | kind::ARRAY | kind::MAP),
                Holder::Text => kind == kind::STRING,
                Holder::Id => true,
            };
            if !fits {
                return Err(EditError::BadValue("a value of a kind that the leaf cannot have"));
            }
        }
        let mut writer = Writer::new(edits, bytes_left, to.len());
        self.edit(
            contents,
            |entry| new.wanted.has(leaf_of(entry)),
            |entry, found| {
                let number = new.number_of(entry.number());
                writer.leaf(number, to.get(number), found)
            },
        )
    }

    /// Removes keys with their values wherever they are. Returns how many places that are.
    pub fn remove_keys(
        &self,
        contents: &Contents,
        keys: &[u32],
        edits: &mut Edits,
        bytes_left: &mut u64,
    ) -> Result<u64, EditError> {
        let gone = Numbered::new(keys, contents.key_count(), None)?;
        let mut writer = Writer::new(edits, bytes_left, 0);
        self.edit(
            contents,
            |entry| gone.wanted.has(contents.key_of(entry)),
            |_, found| {
                // The whole KeyValue: the field itself, or what encloses the key.
                match (found.place.what, found.chain.split_last()) {
                    (What::Key, Some((key_value, outside))) => {
                        writer.remove(key_value.start..key_value.end, &found.nesting(outside))
                    }
                    _ => writer.remove(found.whole(), &found.nesting(found.chain)),
                }
            },
        )
    }

    /// Renames keys wherever they are: key `keys[i]` becomes text `i` of `to`, of kind 1. Returns how many places that are.
    pub fn rename_keys(
        &self,
        contents: &Contents,
        keys: &[u32],
        to: &NewValues<'_>,
        edits: &mut Edits,
        bytes_left: &mut u64,
    ) -> Result<u64, EditError> {
        let new = Numbered::new(keys, contents.key_count(), Some(to))?;
        if (0..keys.len()).any(|number| to.get(number).0 != kind::STRING) {
            return Err(EditError::BadValue("a key that is not text"));
        }
        let mut writer = Writer::new(edits, bytes_left, to.len());
        self.edit(
            contents,
            |entry| new.wanted.has(contents.key_of(entry)),
            |entry, found| {
                let number = new.number_of(contents.key_of(entry).unwrap_or_default());
                writer.key(number, to.get(number), found)
            },
        )
    }

    /// Removes what nobody can judge. Returns how many fields that are. To be called before edits of the guest are made: what they are
    /// within may be replaced by these.
    pub fn remove_unjudgeable(
        &self,
        contents: &Contents,
        edits: &mut Edits,
        bytes_left: &mut u64,
    ) -> Result<u64, EditError> {
        if contents.unjudgeable == 0 {
            return Ok(0);
        }
        let mut writer = Writer::new(edits, bytes_left, 0);
        self.edit(
            contents,
            |entry| entry.what() == Entry::UNJUDGEABLE,
            |_, found| writer.remove(found.whole(), &found.nesting(found.chain)),
        )
    }

    /// Finds again where the wanted entries are, in the order of the bytes of each envelope; returns how many there are.
    fn edit(
        &self,
        contents: &Contents,
        is_wanted: impl Fn(Entry) -> bool,
        mut edit: impl FnMut(Entry, &Occurrence<'_>) -> Result<(), EditError>,
    ) -> Result<u64, EditError> {
        let mut count = 0;
        let mut chain = Vec::new();
        let mut cursor: Option<((Envelope, u32), Cursor<'_>)> = None;
        for (run, entries) in contents.runs() {
            let envelope = (run.envelope, run.envelope_row);
            for &entry in entries.iter().filter(|entry| is_wanted(**entry)) {
                let Some((extent, message)) = self.envelope_of(run) else { continue };
                let bytes = self.segments.get(run.segment as usize).map_or(&[][..], |segment| &segment.bytes);
                if cursor.as_ref().is_none_or(|(of, _)| *of != envelope) {
                    cursor = Some((envelope, Cursor::new(bytes, extent, message)));
                }
                let Some((_, cursor)) = &mut cursor else { continue };
                chain.clear();
                // An attribute of the item itself needs no search.
                let place = if entry.what() == Entry::ATTRIBUTE && run.start == extent.start {
                    field_at(bytes, extent, entry.at, message)
                } else {
                    let place = cursor.seek(entry.at);
                    chain.extend(cursor.enclosing());
                    place
                };
                let place = place.ok_or(EditError::Malformed(Malformed {
                    offset: entry.at,
                    what: "field that is not where it was read",
                }))?;
                let (floor, above) = self.floor_of(run, &chain);
                let chain = chain.get(above..).unwrap_or_default();
                let occurrence = Occurrence { bytes, segment: run.segment as usize, floor, chain, place, entry };
                edit(entry, &occurrence)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn envelope_of(&self, run: &Run) -> Option<(Extent, MessageType)> {
        let messages = Messages::of(self.signal);
        let row = run.envelope_row;
        Some(match run.envelope {
            Envelope::Request => {
                let end = self.segments.get(row as usize)?.bytes.len() as u32;
                (Extent { start: 0, body: 0, end }, messages.request)
            }
            Envelope::Resource => (self.index.resources.get(row)?.0, messages.resource),
            Envelope::Scope => (self.index.scopes.get(row)?.0, messages.scope),
            Envelope::Item => (*self.index.items.get(row as usize)?, messages.item),
        })
    }

    /// The lowest envelope that the index has, and how many of the chain are down to it.
    fn floor_of(&self, run: &Run, chain: &[Extent]) -> (Floor, usize) {
        match run.envelope {
            Envelope::Request => (Floor::Request, 0),
            Envelope::Resource => (Floor::Resource, 0),
            Envelope::Scope => (Floor::Scope, 0),
            Envelope::Item => match chain.first() {
                Some(first) if self.index.containers_of(run.envelope_row).contains(first) => (Floor::Container, 1),
                _ => (Floor::Item, 0),
            },
        }
    }
}

/// What has a leaf.
enum Holder {
    AnyValue,
    Text,
    Id,
}

impl Contents {
    fn holder(&self, leaf: u32) -> Holder {
        let group = self.leaves.group(leaf).unwrap_or_default();
        let place = (group & 0x7f) as u8;
        match group & PLAIN {
            0 => Holder::AnyValue,
            _ if place == BODY => Holder::AnyValue,
            _ if IDS.contains(&place) => Holder::Id,
            _ => Holder::Text,
        }
    }
}

/// An entry that was found again.
pub(super) struct Occurrence<'a> {
    pub bytes: &'a [u8],
    segment: usize,
    floor: Floor,
    /// What encloses it below the floor.
    pub chain: &'a [Extent],
    pub place: Place,
    pub entry: Entry,
}

impl Occurrence<'_> {
    pub(super) fn nesting<'b>(&self, chain: &'b [Extent]) -> Nesting<'b> {
        Nesting { segment: self.segment, floor: self.floor, chain }
    }

    pub(super) fn whole(&self) -> Range<u32> {
        self.place.extent.start..self.place.extent.end
    }
}

/// Which leaves or keys an edit is of, and which of its values each gets.
struct Numbered {
    wanted: Wanted,
    numbers: Vec<u32>,
}

impl Numbered {
    fn new(which: &[u32], count: u32, to: Option<&NewValues<'_>>) -> Result<Numbered, EditError> {
        if to.is_some_and(|to| to.len() != which.len()) {
            return Err(EditError::BadValue("not as many values as leaves or keys are named"));
        }
        if which.iter().any(|&number| number == 0 || number >= count) {
            return Err(EditError::BadValue("a leaf or key that there is not"));
        }
        let mut numbers = vec![0; if to.is_some() { count as usize } else { 0 }];
        for (value, &number) in (0..).zip(which) {
            if let Some(place) = numbers.get_mut(number as usize) {
                *place = value;
            }
        }
        Ok(Numbered { wanted: Wanted::new(which, count), numbers })
    }

    fn number_of(&self, of: u32) -> usize {
        self.numbers.get(of as usize).copied().unwrap_or_default() as usize
    }
}
