//! Edits: what a stage writes into a batch, as ranges of the bytes it was shown and what takes their place.
//!
//! They are gathered while guests run and take effect together. Positions are those of the bytes at entry, so an edit needs no
//! knowledge of the others; what they are of each other is settled when they are sorted ([`Edits::into_changes`]).

use std::cmp::Reverse;
use std::ops::Range;

use super::wire::{Extent, put_varint};

/// Edits of one batch by one stage, in call order.
#[derive(Debug, Default)]
pub struct Edits {
    list: Vec<Edit>,
    /// What edits write, shared by those that write the same.
    bytes: Vec<u8>,
    chains: Vec<Extent>,
    /// Guest calls that are in it.
    calls: u32,
}

/// An edit that cannot be made.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EditError {
    /// A value that the place cannot hold.
    #[error("{0}")]
    BadValue(&'static str),
    /// Edits that contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// They would add more bytes than they may.
    #[error("the edits write more bytes than they may")]
    TooLarge,
    /// Not the guest's fault: the row cannot be read where something was to be written.
    #[error("{0}")]
    Malformed(super::Malformed),
}

/// The lowest envelope of the index that encloses an edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Floor {
    /// The request itself.
    Request,
    Resource,
    Scope,
    Item,
    /// The message of a metric that holds its data points.
    Container,
}

/// Where an edit is: its segment, and what encloses it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nesting<'a> {
    pub segment: usize,
    pub floor: Floor,
    /// Length-delimited fields between the floor's envelope and the edit, outermost first.
    pub chain: &'a [Extent],
}

/// Bytes that were put into [`Edits`] to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    from: u32,
    to: u32,
    /// Of a field that is inserted: where its name is in what is written, so that inserting it twice is recognised.
    name: (u32, u32),
}

#[derive(Clone, Copy, Debug)]
struct Edit {
    segment: u32,
    start: u32,
    end: u32,
    with: Written,
    floor: Floor,
    chain_from: u32,
    chain_len: u8,
    /// Which guest call of the stage it is from.
    call: u32,
    order: u32,
}

/// An edit that takes effect, of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub start: u32,
    /// Equal to `start` for an insertion.
    pub end: u32,
    /// None for rows that leave: they may be anywhere.
    pub floor: Option<Floor>,
    with: (u32, u32),
    chain: (u32, u8),
}

/// Edits in order and without contradictions.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// By segment; sorted, disjoint; an insertion stands before what begins at its place.
    pub segments: Vec<Vec<Change>>,
    bytes: Vec<u8>,
    chains: Vec<Extent>,
}

impl Edits {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds those of a later guest call.
    pub fn append(&mut self, later: Edits) {
        self.calls += 1;
        if self.list.is_empty() {
            let calls = self.calls;
            *self = later;
            self.list.iter_mut().for_each(|edit| edit.call = calls);
            self.calls = calls;
            return;
        }
        let (bytes, chains, order) = (self.bytes.len() as u32, self.chains.len() as u32, self.list.len() as u32);
        self.bytes.extend_from_slice(&later.bytes);
        self.chains.extend_from_slice(&later.chains);
        self.list.extend(later.list.into_iter().map(|edit| Edit {
            with: edit.with.moved(bytes),
            chain_from: edit.chain_from + chains,
            call: self.calls,
            order: edit.order + order,
            ..edit
        }));
    }

    /// Puts bytes in to be written, any number of times; None where they are more than edits can hold (4 GiB).
    pub(super) fn write(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Option<Written> {
        let from = self.bytes.len();
        put(&mut self.bytes);
        let (from, to) = (u32::try_from(from).ok()?, u32::try_from(self.bytes.len()).ok()?);
        Some(Written { from, to, name: (from, from) })
    }

    /// The same bytes as the payload of a field with this tag.
    pub(super) fn write_around(&mut self, tag: u8, inner: Written) -> Option<Written> {
        let (start, end) = (inner.from as usize, inner.to as usize);
        let mut name = 0;
        let with = self.write(|to| {
            let from = to.len();
            to.push(tag);
            put_varint(inner.len(), to);
            name = (to.len() - from) as u32;
            to.extend_from_within(start..end);
        })?;
        let moved = name + with.from - inner.from.min(name + with.from);
        Some(Written { name: (inner.name.0 + moved, inner.name.1 + moved), ..with })
    }

    /// What is written in place of `bytes`, which may be empty: an insertion, at the end of its envelope or before a field of it.
    pub(super) fn push(&mut self, bytes: Range<u32>, nesting: &Nesting<'_>, with: Written) {
        let chain_from = self.chains.len() as u32;
        // Neighbouring edits mostly share their chain.
        let last = self.list.last().map(|last| (last.chain_from, last.chain_len));
        let shared = last.filter(|&(from, len)| {
            let range = from as usize..from as usize + usize::from(len);
            self.chains.get(range) == Some(nesting.chain)
        });
        let (chain_from, chain_len) = shared.unwrap_or((chain_from, nesting.chain.len() as u8));
        if shared.is_none() {
            self.chains.extend_from_slice(nesting.chain);
        }
        self.list.push(Edit {
            segment: nesting.segment as u32,
            start: bytes.start,
            end: bytes.end,
            with,
            floor: nesting.floor,
            chain_from,
            chain_len,
            call: 0,
            order: self.list.len() as u32,
        });
    }

    /// Sorts them and decides between those of one place: the last wins; what lies within something removed goes with it.
    pub(super) fn into_changes(mut self, segments: usize) -> Result<Changes, EditError> {
        self.list.sort_by_key(Edit::position);
        let mut changes = Changes {
            segments: vec![Vec::new(); segments],
            bytes: std::mem::take(&mut self.bytes),
            chains: self.chains,
        };
        let mut kept: Vec<Edit> = Vec::with_capacity(self.list.len());
        for edit in self.list {
            if edit.is_insertion() {
                // Of the few insertions at one place, one of the same field is replaced.
                let there = kept.iter().rposition(|before| !edit.is_same_place(before)).map_or(0, |before| before + 1);
                let same = kept
                    .get(there..)
                    .unwrap_or_default()
                    .iter()
                    .position(|before| before.inserts_same(&edit, &changes.bytes));
                if let Some(before) = same.and_then(|same| kept.get_mut(there + same)) {
                    edit.check_calls(before, &changes.bytes)?;
                    *before = edit;
                    continue;
                }
            }
            match kept.last_mut() {
                Some(before) => match edit.after(before, &changes)? {
                    Next::Beside => kept.push(edit),
                    Next::Instead => *before = edit,
                    Next::Within => {}
                },
                None => kept.push(edit),
            }
        }
        kept.iter().for_each(|edit| changes.keep(edit));
        Ok(changes)
    }
}

/// What an edit is of the one sorted before it.
enum Next {
    Beside,
    /// It takes its place.
    Instead,
    /// It changes something that is gone.
    Within,
}

impl Edit {
    /// Insertions come before what begins at their place, inner ones first; outer edits before those within them.
    fn position(&self) -> (u32, u32, bool, Reverse<u32>, u32) {
        let is_insertion = self.start == self.end;
        let depth = (self.floor as u32) << 8 | u32::from(self.chain_len);
        (self.segment, self.start, !is_insertion, Reverse(if is_insertion { depth } else { self.end }), self.order)
    }

    fn after(&self, before: &Edit, changes: &Changes) -> Result<Next, EditError> {
        if self.segment != before.segment || self.start >= before.end {
            // An insertion where another edit ends may be into an empty message at the end of what is gone.
            let is_within = self.is_insertion()
                && (self.segment, self.start) == (before.segment, before.end)
                && !before.is_insertion()
                && self.chain(changes).iter().any(|extent| extent.start >= before.start);
            return Ok(if is_within { Next::Within } else { Next::Beside });
        }
        if self.start == before.start && self.end == before.end {
            self.check_calls(before, &changes.bytes)?;
            return Ok(Next::Instead);
        }
        if self.end > before.end {
            return Err(EditError::Conflict("two edits overlap"));
        }
        let before_removes = before.with.len() == 0;
        if self.order > before.order && !before_removes {
            return Err(EditError::Conflict("a value was changed within one that had been set before"));
        }
        Ok(Next::Within)
    }

    fn chain<'a>(&self, changes: &'a Changes) -> &'a [Extent] {
        let from = self.chain_from as usize;
        changes.chains.get(from..from + usize::from(self.chain_len)).unwrap_or_default()
    }

    fn is_insertion(&self) -> bool {
        self.start == self.end
    }

    /// Whether another insertion is at the place of this one.
    fn is_same_place(&self, before: &Edit) -> bool {
        before.is_insertion() && (self.segment, self.start) == (before.segment, before.start)
    }

    /// Whether two insertions at one place are of the same field.
    fn inserts_same(&self, other: &Edit, bytes: &[u8]) -> bool {
        let same_envelope = (self.floor, self.chain_len) == (other.floor, other.chain_len);
        let (name, tag) = (self.with.name_of(bytes), self.with.of(bytes).first());
        same_envelope && name == other.with.name_of(bytes) && tag == other.with.of(bytes).first()
    }

    /// Calls see a resource or scope that they share, and may not write different things.
    fn check_calls(&self, before: &Edit, bytes: &[u8]) -> Result<(), EditError> {
        let differs = self.with.of(bytes) != before.with.of(bytes);
        if differs && self.call != before.call && self.floor <= Floor::Scope {
            return Err(EditError::Conflict("a resource's or scope's field was set differently for two of its rows"));
        }
        Ok(())
    }
}

impl Written {
    /// Nothing: what was there is removed.
    pub(super) const NOTHING: Written = Written { from: 0, to: 0, name: (0, 0) };

    /// Names the field that is inserted: `name` is a range of what is written.
    pub(super) fn named(self, name: Range<u32>) -> Written {
        Written { name: (self.from + name.start, self.from + name.end), ..self }
    }

    pub(super) fn len(self) -> u32 {
        self.to - self.from
    }

    fn moved(self, by: u32) -> Written {
        if self.from == self.to {
            return Written::NOTHING;
        }
        Written { from: self.from + by, to: self.to + by, name: (self.name.0 + by, self.name.1 + by) }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.from as usize..self.to as usize).unwrap_or_default()
    }

    fn name_of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.name.0 as usize..self.name.1 as usize).unwrap_or_default()
    }
}

impl Changes {
    fn keep(&mut self, edit: &Edit) {
        if let Some(segment) = self.segments.get_mut(edit.segment as usize) {
            segment.push(Change {
                start: edit.start,
                end: edit.end,
                floor: Some(edit.floor),
                with: (edit.with.from, edit.with.to),
                chain: (edit.chain_from, edit.chain_len),
            });
        }
    }

    pub(super) fn are_none_of(&self, segment: usize) -> bool {
        self.segments.get(segment).is_none_or(Vec::is_empty)
    }

    /// What a change writes.
    pub(super) fn with(&self, change: &Change) -> &[u8] {
        self.bytes.get(change.with.0 as usize..change.with.1 as usize).unwrap_or_default()
    }

    pub(super) fn chain(&self, change: &Change) -> &[Extent] {
        let from = change.chain.0 as usize;
        self.chains.get(from..from + usize::from(change.chain.1)).unwrap_or_default()
    }
}

impl Change {
    /// Rows that leave.
    pub(super) fn removal(start: u32, end: u32) -> Change {
        Change { start, end, floor: None, with: (0, 0), chain: (0, 0) }
    }
}
