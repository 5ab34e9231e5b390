//! Where an entry is in the bytes, and what encloses it: found again for those that are edited.

use super::schema::What;
use super::table::MessageType;
use crate::batch::wire::{DEPTH_MAX, Extent, LEN, Reader, Tag};

/// A field that was found again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub tag: Tag,
    pub what: What,
    /// Of a field that is not length-delimited, the body is its value.
    pub extent: Extent,
}

/// Goes through an envelope once, from one entry to the next.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// What encloses the field at hand, the envelope first.
    open: Vec<Frame>,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    extent: Extent,
    message: MessageType,
    /// Where the next field begins.
    at: u32,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], envelope: Extent, message: MessageType) -> Cursor<'a> {
        Cursor { bytes, open: vec![Frame { extent: envelope, message, at: envelope.body }], last: 0 }
    }

    /// The field that begins at `target`; fastest where targets ascend.
    pub(super) fn seek(&mut self, target: u32) -> Option<Place> {
        if target < self.last {
            self.open.truncate(1);
            self.open.iter_mut().for_each(|envelope| envelope.at = envelope.extent.body);
        }
        self.last = target;
        loop {
            let is_within = self.open.len() > 1;
            let frame = self.open.last_mut()?;
            if is_within && target >= frame.extent.end {
                self.open.pop();
                continue;
            }
            let place = field_at(self.bytes, frame.extent, frame.at, frame.message)?;
            if place.extent.start == target {
                return Some(place);
            }
            if target >= place.extent.end {
                frame.at = place.extent.end;
                continue;
            }
            let message = place.what.message().filter(|_| place.tag.wire == LEN)?;
            self.open.push(Frame { extent: place.extent, message, at: place.extent.body });
        }
    }

    /// What encloses the field that was found, from below the envelope on.
    pub(super) fn enclosing(&self) -> impl Iterator<Item = Extent> + '_ {
        self.open.iter().skip(1).map(|frame| frame.extent)
    }
}

/// The field of a message that begins at `at`.
#[inline]
pub(super) fn field_at(bytes: &[u8], message: Extent, at: u32, of: MessageType) -> Option<Place> {
    let mut fields = Reader::within(bytes, Extent { body: at, ..message });
    let tag = fields.tag().ok()??;
    let body = fields.at();
    let extent = if tag.wire == LEN {
        fields.extent(at).ok()?
    } else {
        fields.skip(tag, DEPTH_MAX).ok()?;
        Extent { start: at, body, end: fields.at() }
    };
    Some(Place { tag, what: of.field(tag.number), extent })
}
