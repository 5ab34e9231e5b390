//! Values that are neither lists nor maps.

use super::schema::What;
use crate::batch::Malformed;
use crate::batch::value::kind;
use crate::batch::wire::{FIXED64, LEN, Reader, VARINT};

/// A value of an AnyValue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    /// Kind and bytes of a string or of bytes.
    Text(u8, &'a [u8]),
    Bool([u8; 1]),
    /// Kind and bytes of an int or double.
    Word(u8, [u8; 8]),
    Empty,
}

impl<'a> Scalar<'a> {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Scalar::Text(kind, _) | Scalar::Word(kind, _) => *kind,
            Scalar::Bool(_) => kind::BOOL,
            Scalar::Empty => kind::EMPTY,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Scalar::Text(_, bytes) => bytes,
            Scalar::Bool(byte) => byte,
            Scalar::Word(_, word) => word,
            Scalar::Empty => &[],
        }
    }

    /// Reads a variant of AnyValue; None where the field is none, or has another wire type.
    pub(super) fn read(what: What, wire: u8, fields: &mut Reader<'a>) -> Result<Option<Scalar<'a>>, Malformed> {
        Ok(Some(match (what, wire) {
            (What::StringValue, LEN) => Scalar::Text(kind::STRING, fields.bytes()?),
            (What::BoolValue, VARINT) => Scalar::Bool([u8::from(fields.varint()? != 0)]),
            (What::IntValue, VARINT) => Scalar::Word(kind::INT, fields.varint()?.to_le_bytes()),
            (What::DoubleValue, FIXED64) => Scalar::Word(kind::DOUBLE, fields.fixed64()?.to_le_bytes()),
            (What::BytesValue, LEN) => Scalar::Text(kind::BYTES, fields.bytes()?),
            (What::StringIndex, VARINT) => {
                fields.varint()?;
                Scalar::Empty
            }
            _ => return Ok(None),
        }))
    }

    /// What follows the key in a KeyValue that is written as usual: its value and nothing else, of one variant that is no list.
    #[inline(always)]
    pub(super) fn of_value(rest: &'a [u8]) -> Option<Scalar<'a>> {
        let (&[0x12, len], value) = rest.split_first_chunk()? else { return None };
        let value = of_length(len, value)?;
        let (&tag, payload) = value.split_first()?;
        match tag {
            0x0a => {
                let (&len, text) = payload.split_first()?;
                Some(Scalar::Text(kind::STRING, of_length(len, text)?))
            }
            0x21 => Some(Scalar::Word(kind::DOUBLE, payload.try_into().ok()?)),
            0x10 | 0x18 => {
                let mut fields = Reader::new(payload);
                let number = fields.varint().ok()?;
                let is_whole = fields.at() as usize == payload.len();
                is_whole.then_some(match tag {
                    0x10 => Scalar::Bool([u8::from(number != 0)]),
                    _ => Scalar::Word(kind::INT, number.to_le_bytes()),
                })
            }
            _ => None,
        }
    }
}

/// What follows a length of one or two bytes, if it is of that length.
#[inline(always)]
fn of_length(len: u8, rest: &[u8]) -> Option<&[u8]> {
    if len < 0x80 {
        return (rest.len() == usize::from(len)).then_some(rest);
    }
    let (&high, rest) = rest.split_first()?;
    let len = usize::from(len & 0x7f) | usize::from(high) << 7;
    (high < 0x80 && rest.len() == len).then_some(rest)
}
