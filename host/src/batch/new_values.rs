//! Values that a guest wants to be written, checked before anything of them is.

use super::edits::EditError;
use super::value::{is_any_value, kind};
use super::wire::put_varint64;

/// Values as they come from a guest: kinds and bytes as in [`super::Column`], all of them legal.
#[derive(Clone, Copy, Debug)]
pub struct NewValues<'a> {
    kinds: &'a [u8],
    offsets: &'a [u32],
    bytes: &'a [u8],
}

impl<'a> NewValues<'a> {
    /// Checks everything that a guest can get wrong: offsets, UTF-8, lengths, and lists and maps, which must be valid `AnyValue` messages
    /// nested at most 64 deep. There is one offset more than kinds; none at all is fine for no values.
    pub fn new(kinds: &'a [u8], offsets: &'a [u32], bytes: &'a [u8]) -> Result<NewValues<'a>, EditError> {
        let values = NewValues { kinds, offsets, bytes };
        if kinds.is_empty() && offsets.is_empty() {
            return Ok(values);
        }
        let ascending = offsets.is_sorted() && offsets.len() == kinds.len() + 1;
        if !ascending || offsets.last().is_none_or(|&last| last as usize > bytes.len()) {
            return Err(EditError::BadValue("values whose offsets do not fit their kinds and bytes"));
        }
        for number in 0..kinds.len() {
            let (kind, bytes) = values.get(number);
            if !is_legal(kind, bytes) {
                return Err(EditError::BadValue("a value whose bytes are not of its kind"));
            }
        }
        Ok(values)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Kind and bytes of a value; absent past the last.
    pub(super) fn get(&self, number: usize) -> (u8, &'a [u8]) {
        match (self.kinds.get(number), self.offsets.get(number..number + 2)) {
            (Some(&kind), Some(&[start, end])) => {
                (kind, self.bytes.get(start as usize..end as usize).unwrap_or_default())
            }
            _ => (kind::ABSENT, &[]),
        }
    }
}

fn is_legal(kind: u8, bytes: &[u8]) -> bool {
    match kind {
        kind::ABSENT | kind::EMPTY => bytes.is_empty(),
        kind::STRING => std::str::from_utf8(bytes).is_ok(),
        kind::BOOL => matches!(bytes, [0 | 1]),
        kind::INT | kind::DOUBLE => bytes.len() == 8,
        kind::BYTES => true,
        kind::ARRAY | kind::MAP => is_any_value(kind, bytes),
        _ => false,
    }
}

/// Appends the payload of an AnyValue that holds a legal value. What is absent or empty is an AnyValue without a field.
pub(super) fn put_any_value(kind: u8, bytes: &[u8], to: &mut Vec<u8>) {
    match kind {
        kind::STRING => put_bytes(0x0a, bytes, to),
        kind::BOOL => {
            to.push(0x10);
            to.extend_from_slice(bytes);
        }
        kind::INT => {
            to.push(0x18);
            put_varint64(word(bytes), to);
        }
        kind::DOUBLE => {
            to.push(0x21);
            to.extend_from_slice(bytes);
        }
        kind::BYTES => put_bytes(0x3a, bytes, to),
        kind::ARRAY | kind::MAP => to.extend_from_slice(bytes),
        _ => {}
    }
}

/// Appends a length-delimited field with a tag of one byte.
pub(super) fn put_bytes(tag: u8, bytes: &[u8], to: &mut Vec<u8>) {
    to.push(tag);
    put_varint64(bytes.len() as u64, to);
    to.extend_from_slice(bytes);
}

/// The eight bytes of an int or a double.
pub(super) fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_le_bytes)
}
