//! Splicing: writing a segment without what was cut from it, with the enclosing length prefixes put right.

use std::ops::Range;

use bytes::Bytes;

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

/// The segment `number` of the index without `cuts`, which are sorted and disjoint: one allocation of the exact size.
pub(super) fn splice(bytes: &[u8], index: &Index, number: usize, cuts: &[Cut]) -> Bytes {
    let mut splicer = Splicer { bytes, index, cuts, next: 0, prefixes: Vec::new() };
    let resources = match index.segments.get(number..number + 2) {
        Some(&[first, end]) => first..end,
        _ => 0..0,
    };
    let gone = splicer.inside(bytes.len() as u32, &Rows::Resources(resources));
    splicer.write(bytes.len().saturating_sub(gone as usize))
}

/// A length prefix to be written anew.
struct Prefix {
    /// Where the old one is.
    at: Range<u32>,
    length: u32,
}

/// Live rows that may enclose a cut.
enum Rows {
    Resources(Range<u32>),
    Scopes(Range<u32>),
    Items(Range<u32>),
    Containers(Range<u32>),
    None,
}

struct Splicer<'a> {
    bytes: &'a [u8],
    index: &'a Index,
    cuts: &'a [Cut],
    /// The first cut that was not reached yet.
    next: usize,
    /// In the order of their offsets.
    prefixes: Vec<Prefix>,
}

impl Splicer<'_> {
    /// Goes through the cuts up to `end`; returns how many bytes leave, shorter length prefixes included.
    fn inside(&mut self, end: u32, rows: &Rows) -> u32 {
        let mut gone = 0;
        while let Some(&cut) = self.cuts.get(self.next)
            && cut.start < end
        {
            match self.enclosing(rows, cut) {
                Some((extent, below)) => gone += self.envelope(extent, &below),
                None => {
                    gone += cut.end - cut.start;
                    self.next += 1;
                }
            }
        }
        gone
    }

    fn envelope(&mut self, extent: Extent, below: &Rows) -> u32 {
        let tag = self.bytes.get(extent.start as usize..).unwrap_or_default();
        let tag_len = tag.iter().take_while(|&&byte| byte >= 0x80).count() as u32 + 1;
        let at = extent.start + tag_len..extent.body;
        let slot = self.prefixes.len();
        self.prefixes.push(Prefix { at: at.clone(), length: 0 });
        let gone = self.inside(extent.end, below);
        let length = extent.end - extent.body - gone;
        if let Some(prefix) = self.prefixes.get_mut(slot) {
            prefix.length = length;
        }
        // Never negative: what shrinks needs no longer a prefix than before.
        gone + (at.end - at.start) - varint_len(length)
    }

    /// The row that has the cut in its payload, and the rows below it.
    fn enclosing(&self, rows: &Rows, cut: Cut) -> Option<(Extent, Rows)> {
        let index = self.index;
        let (extents, range): (&[Extent], _) = match rows {
            Rows::Resources(range) => (&index.resources.extents, range),
            Rows::Scopes(range) => (&index.scopes.extents, range),
            Rows::Items(range) => (&index.items, range),
            Rows::Containers(range) => (&index.containers, range),
            Rows::None => return None,
        };
        let among = extents.get(range.start as usize..range.end as usize)?;
        let before = among.partition_point(|extent| extent.start <= cut.start);
        let extent = *among.get(before.checked_sub(1)?)?;
        if cut.start < extent.body || cut.end > extent.end {
            return None;
        }
        let row = range.start + before as u32 - 1;
        let below = |from, to| index.below(row..row + 1, from, to).unwrap_or_default();
        Some((
            extent,
            match rows {
                Rows::Resources(_) => Rows::Scopes(below(Level::Resource, Level::Scope)),
                Rows::Scopes(_) => Rows::Items(below(Level::Scope, Level::Item)),
                Rows::Items(_) => Rows::Containers(index.containers_range(row)),
                Rows::Containers(_) | Rows::None => Rows::None,
            },
        ))
    }

    fn write(self, length: usize) -> Bytes {
        let mut out = Vec::with_capacity(length);
        let mut at = 0;
        let mut prefixes = self.prefixes.iter().peekable();
        let mut cuts = self.cuts.iter().peekable();
        loop {
            let next_prefix = prefixes.peek().map_or(u32::MAX, |prefix| prefix.at.start);
            let next_cut = cuts.peek().map_or(u32::MAX, |cut| cut.start);
            if next_prefix < next_cut
                && let Some(prefix) = prefixes.next()
            {
                out.extend_from_slice(self.bytes.get(at..prefix.at.start as usize).unwrap_or_default());
                put_varint(prefix.length, &mut out);
                at = prefix.at.end as usize;
            } else if let Some(cut) = cuts.next() {
                out.extend_from_slice(self.bytes.get(at..cut.start as usize).unwrap_or_default());
                at = cut.end as usize;
            } else {
                break;
            }
        }
        out.extend_from_slice(self.bytes.get(at..).unwrap_or_default());
        Bytes::from(out)
    }
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
