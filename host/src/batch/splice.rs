//! Splicing: writing a segment anew with what was cut from it and what was written into it, and the enclosing length prefixes
//! put right.

use std::ops::Range;

use bytes::Bytes;

use super::edits::{Change, Changes, Floor};
use super::index::Index;
use super::levels::Level;
use super::wire::{Extent, put_varint, varint_len};

/// Bytes that leave a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cut {
    pub start: u32,
    pub end: u32,
}

impl Cut {
    /// A field with its tag and length.
    pub(super) fn of(extent: Extent) -> Cut {
        Cut { start: extent.start, end: extent.end }
    }

    /// Sorts by offset and removes what lies in another cut. Neighbours are not joined: they may lie in different envelopes.
    pub(super) fn normalize(cuts: &mut Vec<Cut>) {
        cuts.sort_unstable_by_key(|cut| (cut.start, std::cmp::Reverse(cut.end)));
        let mut end = 0;
        cuts.retain(|cut| {
            let outside = cut.end > end;
            end = end.max(cut.end);
            outside
        });
    }
}

/// The segment `number` of the index without `cuts`, which are sorted and disjoint, and with its changes: one allocation of the exact
/// size. None where it would have 4 GiB or more.
pub(super) fn splice(bytes: &[u8], index: &Index, number: usize, cuts: &[Cut], changes: &Changes) -> Option<Bytes> {
    let edits = changes.segments.get(number).map_or(&[][..], Vec::as_slice);
    let list = together(cuts, edits, changes);
    let resources = match index.segments.get(number..number + 2) {
        Some(&[first, end]) => first..end,
        _ => 0..0,
    };
    let splicer = Splicer { bytes, index, changes, resources, open: Vec::new(), prefixes: Vec::new(), grown: 0 };
    splicer.run(list)
}

/// Cuts and changes in one order; a change within a cut goes with it.
fn together(cuts: &[Cut], edits: &[Change], changes: &Changes) -> Vec<Change> {
    let mut list = Vec::with_capacity(cuts.len() + edits.len());
    let mut edits = edits.iter().peekable();
    for cut in cuts {
        while let Some(edit) = edits.next_if(|edit| edit.end <= cut.start) {
            list.push(*edit);
        }
        let within = |edit: &&Change| {
            // An insertion at the cut's end may belong to what is cut, or to what encloses both.
            let chain = changes.chain(edit);
            edit.start < cut.end || (edit.start == cut.end && chain.iter().any(|extent| extent.start >= cut.start))
        };
        while edits.next_if(within).is_some() {}
        list.push(Change::removal(cut.start, cut.end));
    }
    list.extend(edits);
    list
}

/// A length prefix to be written anew.
struct Prefix {
    /// Where the old one is.
    at: Range<u32>,
    length: u32,
}

/// An envelope that encloses the change at hand.
struct Open {
    extent: Extent,
    /// Its level, where it is of the index.
    floor: Option<Floor>,
    /// Rows below it that may enclose a change more closely.
    below: Range<u32>,
    /// Its place among the prefixes.
    slot: usize,
    /// Bytes that its payload gains.
    grown: i64,
}

struct Splicer<'a> {
    bytes: &'a [u8],
    index: &'a Index,
    changes: &'a Changes,
    resources: Range<u32>,
    /// Outermost first.
    open: Vec<Open>,
    /// In the order of their offsets.
    prefixes: Vec<Prefix>,
    /// Bytes that the segment gains.
    grown: i64,
}

impl Splicer<'_> {
    fn run(mut self, mut list: Vec<Change>) -> Option<Bytes> {
        list.retain(|change| {
            // What was to be written into a row that is dropped goes with it.
            let stays = self.enter(change);
            if stays {
                let written = self.changes.with(change).len() as i64;
                self.grow(written - i64::from(change.end - change.start));
            }
            stays
        });
        while self.close() {}
        let length = usize::try_from(self.bytes.len() as i64 + self.grown).ok()?;
        u32::try_from(length).ok()?;
        Some(self.write(length, &list))
    }

    /// Closes what does not enclose the change, and opens what does. False if its envelope is not there any more.
    fn enter(&mut self, change: &Change) -> bool {
        let chain = self.changes.chain(change);
        let mut enclosing = 0;
        let mut links = 0;
        for open in &self.open {
            let encloses = match open.floor {
                Some(floor) => change.floor.is_none_or(|lowest| floor <= lowest) && has(open.extent, change),
                None => chain.get(links) == Some(&open.extent),
            };
            if !encloses {
                break;
            }
            links += usize::from(open.floor.is_none());
            enclosing += 1;
        }
        while self.open.len() > enclosing {
            self.close();
        }
        if links == 0 {
            while let Some((floor, extent, below)) = self.closer(change) {
                self.push(extent, Some(floor), below);
            }
            let reached = self.open.last().map_or(Some(Floor::Request), |open| open.floor);
            if change.floor.is_some() && change.floor != reached {
                return false;
            }
        }
        for &extent in chain.get(links..).unwrap_or_default() {
            self.push(extent, None, 0..0);
        }
        true
    }

    /// The row below the innermost open one that encloses the change, if any does.
    fn closer(&self, change: &Change) -> Option<(Floor, Extent, Range<u32>)> {
        let index = self.index;
        let (floor, range) = match self.open.last() {
            None => (Floor::Resource, &self.resources),
            Some(open) => (open.floor?.below()?, &open.below),
        };
        if change.floor.is_some_and(|lowest| floor > lowest) {
            return None;
        }
        let extents: &[Extent] = match floor {
            Floor::Resource => &index.resources.extents,
            Floor::Scope => &index.scopes.extents,
            Floor::Item => &index.items,
            Floor::Container => &index.containers,
            Floor::Request => return None,
        };
        let among = extents.get(range.start as usize..range.end as usize)?;
        let before = among.partition_point(|extent| extent.body <= change.start);
        let extent = *among.get(before.checked_sub(1)?)?;
        if !has(extent, change) {
            return None;
        }
        let row = range.start + before as u32 - 1;
        let below = match floor {
            Floor::Resource => index.below(row..row + 1, Level::Resource, Level::Scope),
            Floor::Scope => index.below(row..row + 1, Level::Scope, Level::Item),
            Floor::Item => Some(index.containers_range(row)),
            Floor::Request | Floor::Container => None,
        };
        Some((floor, extent, below.unwrap_or_default()))
    }

    fn push(&mut self, extent: Extent, floor: Option<Floor>, below: Range<u32>) {
        let tag = self.bytes.get(extent.start as usize..).unwrap_or_default();
        let tag_len = tag.iter().take_while(|&&byte| byte >= 0x80).count() as u32 + 1;
        self.open.push(Open { extent, floor, below, slot: self.prefixes.len(), grown: 0 });
        self.prefixes.push(Prefix { at: extent.start + tag_len..extent.body, length: 0 });
    }

    /// Closes the innermost envelope: its length is known now.
    fn close(&mut self) -> bool {
        let Some(open) = self.open.pop() else { return false };
        let length = (i64::from(open.extent.end - open.extent.body) + open.grown).clamp(0, i64::from(u32::MAX)) as u32;
        let Some(prefix) = self.prefixes.get_mut(open.slot) else { return false };
        prefix.length = length;
        let old = i64::from(prefix.at.end - prefix.at.start);
        self.grow(open.grown + i64::from(varint_len(length)) - old);
        true
    }

    fn grow(&mut self, bytes: i64) {
        match self.open.last_mut() {
            Some(open) => open.grown += bytes,
            None => self.grown += bytes,
        }
    }

    fn write(&self, length: usize, list: &[Change]) -> Bytes {
        let mut out = Vec::with_capacity(length);
        let mut at = 0;
        let mut prefixes = self.prefixes.iter().peekable();
        for change in list {
            // A prefix at the place of an insertion belongs to what follows it.
            while let Some(prefix) = prefixes.next_if(|prefix| prefix.at.start < change.start) {
                out.extend_from_slice(self.bytes.get(at..prefix.at.start as usize).unwrap_or_default());
                put_varint(prefix.length, &mut out);
                at = prefix.at.end as usize;
            }
            out.extend_from_slice(self.bytes.get(at..change.start as usize).unwrap_or_default());
            out.extend_from_slice(self.changes.with(change));
            at = change.end as usize;
        }
        out.extend_from_slice(self.bytes.get(at..).unwrap_or_default());
        Bytes::from(out)
    }
}

impl Floor {
    /// The envelope's level below.
    fn below(self) -> Option<Floor> {
        match self {
            Floor::Request => Some(Floor::Resource),
            Floor::Resource => Some(Floor::Scope),
            Floor::Scope => Some(Floor::Item),
            Floor::Item => Some(Floor::Container),
            Floor::Container => None,
        }
    }
}

/// Whether the change lies in the payload. An insertion at its end does.
fn has(extent: Extent, change: &Change) -> bool {
    extent.body <= change.start && change.end <= extent.end
}

impl Index {
    pub(super) fn containers_range(&self, item: u32) -> Range<u32> {
        let from = |row: usize| self.metrics.get(row).map(|metric| metric.containers_from);
        let Some(first) = from(item as usize) else { return 0..0 };
        first..from(item as usize + 1).unwrap_or(self.containers.len() as u32)
    }

    pub(super) fn containers_of(&self, item: u32) -> &[Extent] {
        let range = self.containers_range(item);
        self.containers.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}
