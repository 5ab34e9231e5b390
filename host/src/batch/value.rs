//! AnyValue and KeyValue, read from bytes.

use std::borrow::Cow;

use super::Malformed;
use super::field::Step;
use super::wire::{DEPTH_MAX, FIXED64, LEN, Reader, VARINT, gather};

/// Kinds of values, as in [`super::Column`].
pub(super) mod kind {
    pub const ABSENT: u8 = 0;
    pub const STRING: u8 = 1;
    pub const BOOL: u8 = 2;
    pub const INT: u8 = 3;
    pub const DOUBLE: u8 = 4;
    pub const BYTES: u8 = 5;
    pub const ARRAY: u8 = 6;
    pub const MAP: u8 = 7;
    pub const EMPTY: u8 = 8;
}

/// A key and the AnyValue bytes with it.
#[derive(Debug)]
pub(super) struct KeyValue<'a> {
    pub key: &'a [u8],
    /// Empty where the value is absent: both read as an empty value.
    pub value: Cow<'a, [u8]>,
}

impl<'a> KeyValue<'a> {
    /// The way almost everyone writes it: the key, then the value, once each, nothing else; None for any other way.
    #[inline(always)]
    pub(super) fn canonical(message: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (&[0x0a, key_len @ ..0x80], rest) = message.split_first_chunk()? else { return None };
        let (key, rest) = rest.split_at_checked(key_len as usize)?;
        let (&[0x12, len], value) = rest.split_first_chunk()? else { return None };
        if len < 0x80 {
            return (value.len() == len as usize).then_some((key, value));
        }
        let (&high, value) = value.split_first()?;
        let len = usize::from(len & 0x7f) | usize::from(high) << 7;
        (high < 0x80 && value.len() == len).then_some((key, value))
    }

    /// However it is written.
    pub(super) fn read(message: &'a [u8]) -> Result<KeyValue<'a>, Malformed> {
        let mut key_value = KeyValue { key: &[], value: Cow::Borrowed(&[]) };
        let mut values = 0;
        let mut fields = Reader::new(message);
        while let Some(tag) = fields.tag()? {
            match (tag.number, tag.wire) {
                (1, LEN) => key_value.key = fields.bytes()?,
                (2, LEN) => {
                    key_value.value = Cow::Borrowed(fields.bytes()?);
                    values += 1;
                }
                (3, VARINT) => drop(fields.varint()?),
                (1..=3, _) => return fields.wrong_wire(),
                _ => fields.skip(tag, DEPTH_MAX)?,
            }
        }
        if values > 1 {
            key_value.value = Cow::Owned(gather(message, 2)?);
        }
        Ok(key_value)
    }
}

/// Calls `found` with kind and bytes of what the steps lead to in this AnyValue; does not call it where they lead nowhere.
pub(super) fn resolve(message: &[u8], steps: &[Step], found: &mut impl FnMut(u8, &[u8])) -> Result<(), Malformed> {
    let Some((step, rest)) = steps.split_first() else {
        match any_value(message)? {
            Any::Bytes(kind, bytes) => found(kind, bytes),
            Any::Word(kind, word) => found(kind, &word.to_le_bytes()),
            Any::Bool(value) => found(kind::BOOL, &[u8::from(value)]),
            Any::List(kind, _) => found(kind, message),
            Any::Empty => found(kind::EMPTY, &[]),
        }
        return Ok(());
    };
    match (step, any_value(message)?) {
        (Step::Key(key), Any::List(kind::MAP, run)) => {
            let map = gather(message.get(run..).unwrap_or_default(), 6)?;
            let mut fields = Reader::new(&map);
            while let Some(tag) = fields.tag()? {
                if tag.number != 1 {
                    fields.skip(tag, DEPTH_MAX)?;
                    continue;
                }
                if tag.wire != LEN {
                    return fields.wrong_wire();
                }
                let entry = KeyValue::read(fields.bytes()?)?;
                if entry.key == key.as_bytes() {
                    return resolve_boxed(&entry.value, rest, found);
                }
            }
            Ok(())
        }
        (Step::Index(index), Any::List(kind::ARRAY, run)) => {
            let list = gather(message.get(run..).unwrap_or_default(), 5)?;
            let mut left = *index;
            let mut fields = Reader::new(&list);
            while let Some(tag) = fields.tag()? {
                if tag.number != 1 {
                    fields.skip(tag, DEPTH_MAX)?;
                    continue;
                }
                if tag.wire != LEN {
                    return fields.wrong_wire();
                }
                let element = fields.bytes()?;
                if left == 0 {
                    return resolve_boxed(element, rest, found);
                }
                left -= 1;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn resolve_boxed(message: &[u8], steps: &[Step], found: &mut impl FnMut(u8, &[u8])) -> Result<(), Malformed> {
    resolve(message, steps, found)
}

/// What an AnyValue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Any<'a> {
    Empty,
    Bytes(u8, &'a [u8]),
    Bool(bool),
    Word(u8, u64),
    /// An array or map. From this offset on, every part of it belongs to it (what is before was replaced).
    List(u8, usize),
}

/// Reads an AnyValue: of its oneof the last variant stays, and lists in several parts are merged unless another variant lies between.
#[inline]
fn any_value(message: &[u8]) -> Result<Any<'_>, Malformed> {
    if let Some((&[0x0a, len], text)) = message.split_first_chunk()
        && len < 0x80
        && text.len() == len as usize
    {
        return Ok(Any::Bytes(kind::STRING, text));
    }
    let mut any = Any::Empty;
    let mut fields = Reader::new(message);
    loop {
        let at = fields.at() as usize;
        let Some(tag) = fields.tag()? else { return Ok(any) };
        any = match (tag.number, tag.wire) {
            (1, LEN) => Any::Bytes(kind::STRING, fields.bytes()?),
            (2, VARINT) => Any::Bool(fields.varint()? != 0),
            (3, VARINT) => Any::Word(kind::INT, fields.varint()?),
            (4, FIXED64) => Any::Word(kind::DOUBLE, fields.fixed64()?),
            (5 | 6, LEN) => {
                fields.bytes()?;
                let list = if tag.number == 5 { kind::ARRAY } else { kind::MAP };
                match any {
                    Any::List(kind, from) if kind == list => Any::List(kind, from),
                    _ => Any::List(list, at),
                }
            }
            (7, LEN) => Any::Bytes(kind::BYTES, fields.bytes()?),
            // An index into the string table of profiles, which no other signal has.
            (8, VARINT) => {
                fields.varint()?;
                Any::Empty
            }
            (1..=8, _) => return fields.wrong_wire(),
            _ => {
                fields.skip(tag, DEPTH_MAX)?;
                any
            }
        };
    }
}

/// How deep lists and maps may nest in what a guest writes; the same as is shown of what came in.
const NESTING_MAX: u32 = 64;

/// Whether these are the bytes of an AnyValue that holds a list or map, as `kind` says, in one part and with texts in UTF-8.
pub(super) fn is_any_value(kind: u8, message: &[u8]) -> bool {
    any_value(message) == Ok(Any::List(kind, 0)) && is_valid(message, NESTING_MAX).is_ok_and(|valid| valid)
}

/// Checks an AnyValue, each of its fields.
fn is_valid(message: &[u8], depth: u32) -> Result<bool, Malformed> {
    let mut fields = Reader::new(message);
    let mut count = 0;
    while let Some(tag) = fields.tag()? {
        count += 1;
        let valid = match (tag.number, tag.wire) {
            (1, LEN) => std::str::from_utf8(fields.bytes()?).is_ok(),
            (2 | 3, VARINT) => fields.varint().map(|_| true)?,
            (4, FIXED64) => fields.fixed64().map(|_| true)?,
            (7, LEN) => fields.bytes().map(|_| true)?,
            (5 | 6, LEN) if depth > 0 => is_valid_list(tag.number == 6, fields.bytes()?, depth - 1)?,
            _ => false,
        };
        if !valid || count > 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Checks an ArrayValue or a KeyValueList.
fn is_valid_list(is_map: bool, message: &[u8], depth: u32) -> Result<bool, Malformed> {
    let mut fields = Reader::new(message);
    while let Some(tag) = fields.tag()? {
        if (tag.number, tag.wire) != (1, LEN) {
            return Ok(false);
        }
        let element = fields.bytes()?;
        let valid = match is_map {
            true => {
                let entry = KeyValue::read(element)?;
                std::str::from_utf8(entry.key).is_ok() && is_valid(&entry.value, depth)?
            }
            false => is_valid(element, depth)?,
        };
        if !valid {
            return Ok(false);
        }
    }
    Ok(true)
}
