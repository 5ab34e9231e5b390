//! Non-repeated fields: the last occurrence wins, so the whole message is walked before they are read.

use std::fmt::Write;

use super::Malformed;
use super::catalog::{Message, Scalar};
use super::column::Interner;
use super::value::kind;
use super::wire::{DEPTH_MAX, FIXED32, FIXED64, LEN, Reader, Tag, VARINT, gather};

/// Field numbers are below this.
const FIELDS: usize = 32;
/// Span.status.
const STATUS: u32 = 15;
/// NumberDataPoint.as_double and as_int, a oneof.
const AS_DOUBLE: u32 = 4;
const AS_INT: u32 = 6;

/// The scalars wanted of one message type.
#[derive(Debug)]
pub(super) struct Scalars {
    message: Message,
    /// The scalars and which interner each goes to.
    wanted: Vec<(Scalar, usize)>,
    /// A bit for each field number that is needed.
    fields: u32,
    wires: [u8; FIELDS],
}

/// What one message has of them; reused for the next, so only what was `seen` counts.
#[derive(Debug)]
pub(super) struct Values {
    /// A bit for each field number that occurred.
    seen: u32,
    /// Numbers; of texts, where they begin (upper half) and end in the message.
    words: [u64; FIELDS],
    /// Occurrences of `status`.
    statuses: u32,
}

impl Scalars {
    pub(super) fn new(message: Message) -> Scalars {
        Scalars { message, wanted: Vec::new(), fields: 0, wires: [0; FIELDS] }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn want(&mut self, scalar: Scalar, number: usize) {
        self.wanted.push((scalar, number));
        for &(field, wire) in self.fields_of(scalar).iter().flatten() {
            if let Some(to) = self.wires.get_mut(field as usize) {
                *to = wire;
                self.fields |= 1 << field;
            }
        }
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.wanted.iter().map(|(_, number)| *number)
    }

    /// Reads the field if it is wanted; false leaves it to the caller.
    #[inline(always)]
    pub(super) fn field(&self, tag: Tag, fields: &mut Reader<'_>, values: &mut Values) -> Result<bool, Malformed> {
        let number = tag.number as usize;
        if number >= FIELDS || self.fields >> number & 1 == 0 {
            return Ok(false);
        }
        let (Some(word), Some(&wire)) = (values.words.get_mut(number), self.wires.get(number)) else {
            return Ok(false);
        };
        if tag.wire != wire {
            return fields.wrong_wire();
        }
        match wire {
            VARINT => *word = fields.varint()?,
            FIXED64 => *word = fields.fixed64()?,
            FIXED32 => *word = u64::from(fields.fixed32()?),
            _ => {
                let extent = fields.extent(0)?;
                *word = u64::from(extent.body) << 32 | u64::from(extent.end);
            }
        }
        if self.message == Message::NumberPoint && (tag.number == AS_DOUBLE || tag.number == AS_INT) {
            values.seen &= !(1 << AS_DOUBLE | 1 << AS_INT);
        }
        values.seen |= 1 << number;
        values.statuses += u32::from(tag.number == STATUS);
        Ok(true)
    }

    /// Hands the values over once the message was walked.
    #[inline(always)]
    pub(super) fn end(
        &self,
        message: &[u8],
        values: &Values,
        row: u32,
        interners: &mut [Interner<'_>],
    ) -> Result<(), Malformed> {
        for &(scalar, number) in &self.wanted {
            if let Some(interner) = interners.get_mut(number) {
                self.read(scalar, message, values, &mut |kind, bytes| interner.set(row, kind, bytes))?;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn read(
        &self,
        scalar: Scalar,
        message: &[u8],
        values: &Values,
        set: &mut impl FnMut(u8, &[u8]),
    ) -> Result<(), Malformed> {
        let int = |value: i64| value.to_le_bytes();
        match scalar {
            Scalar::Text(field) => set(kind::STRING, values.text(message, field)),
            Scalar::Bytes(field) => set(kind::BYTES, values.text(message, field)),
            Scalar::Hex(field) => set(kind::STRING, hex(values.text(message, field)).as_bytes()),
            Scalar::Int32(field) => set(kind::INT, &int(i64::from(values.word(field) as i32))),
            Scalar::Uint32(field) | Scalar::Fixed32(field) => {
                set(kind::INT, &int(i64::from(values.word(field) as u32)));
            }
            Scalar::Fixed64(field) => set(kind::INT, &values.word(field).to_le_bytes()),
            Scalar::Duration => {
                let nanos = i128::from(values.word(8)) - i128::from(values.word(7));
                let nanos = nanos.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
                set(kind::INT, &int(nanos));
            }
            Scalar::StatusCode | Scalar::StatusMessage => {
                // Several are merged.
                let merged = if values.statuses > 1 { Some(gather(message, STATUS)?) } else { None };
                let (code, text) = read_status(merged.as_deref().unwrap_or(values.text(message, STATUS)))?;
                match scalar {
                    Scalar::StatusCode => set(kind::INT, &int(i64::from(code))),
                    _ => set(kind::STRING, text),
                }
            }
            Scalar::PointFlags => {
                set(kind::INT, &int(i64::from(values.word(self.message.point_flags()) as u32)));
            }
            Scalar::PointDouble if values.has(AS_DOUBLE) && self.message == Message::NumberPoint => {
                set(kind::DOUBLE, &values.word(AS_DOUBLE).to_le_bytes());
            }
            Scalar::PointInt if values.has(AS_INT) && self.message == Message::NumberPoint => {
                set(kind::INT, &values.word(AS_INT).to_le_bytes());
            }
            Scalar::PointCount if self.message != Message::NumberPoint => {
                set(kind::INT, &values.word(4).to_le_bytes());
            }
            // Of summaries it is a plain double, of histograms one with presence.
            Scalar::PointSum if values.has(5) || self.message == Message::SummaryPoint => {
                set(kind::DOUBLE, &values.word(5).to_le_bytes());
            }
            Scalar::PointDouble | Scalar::PointInt | Scalar::PointCount | Scalar::PointSum => {}
        }
        Ok(())
    }

    /// The fields that a scalar is made of, and their wire types.
    fn fields_of(&self, scalar: Scalar) -> [Option<(u32, u8)>; 2] {
        let number_point = self.message == Message::NumberPoint;
        match scalar {
            Scalar::Text(field) | Scalar::Bytes(field) | Scalar::Hex(field) => [Some((field, LEN)), None],
            Scalar::Int32(field) | Scalar::Uint32(field) => [Some((field, VARINT)), None],
            Scalar::Fixed32(field) => [Some((field, FIXED32)), None],
            Scalar::Fixed64(field) => [Some((field, FIXED64)), None],
            Scalar::Duration => [Some((7, FIXED64)), Some((8, FIXED64))],
            Scalar::StatusCode | Scalar::StatusMessage => [Some((STATUS, LEN)), None],
            Scalar::PointFlags => [Some((self.message.point_flags(), VARINT)), None],
            Scalar::PointDouble | Scalar::PointInt if number_point => {
                [Some((AS_DOUBLE, FIXED64)), Some((AS_INT, FIXED64))]
            }
            Scalar::PointCount if !number_point => [Some((4, FIXED64)), None],
            Scalar::PointSum if !number_point => [Some((5, FIXED64)), None],
            Scalar::PointDouble | Scalar::PointInt | Scalar::PointCount | Scalar::PointSum => [None, None],
        }
    }
}

impl Values {
    pub(super) fn new() -> Values {
        Values { seen: 0, words: [0; FIELDS], statuses: 0 }
    }

    /// Forgets the message before.
    pub(super) fn clear(&mut self) {
        self.seen = 0;
        self.statuses = 0;
    }

    fn has(&self, field: u32) -> bool {
        self.seen >> field & 1 == 1
    }

    /// 0 where the field did not occur.
    fn word(&self, field: u32) -> u64 {
        if self.has(field) { self.words.get(field as usize).copied().unwrap_or_default() } else { 0 }
    }

    fn text<'a>(&self, message: &'a [u8], field: u32) -> &'a [u8] {
        let at = self.word(field);
        message.get((at >> 32) as usize..at as u32 as usize).unwrap_or_default()
    }
}

/// Code and message of a Status.
fn read_status(message: &[u8]) -> Result<(i32, &[u8]), Malformed> {
    let mut status: (i32, &[u8]) = (0, &[]);
    let mut fields = Reader::new(message);
    while let Some(tag) = fields.tag()? {
        match (tag.number, tag.wire) {
            (2, LEN) => status.1 = fields.bytes()?,
            (3, VARINT) => status.0 = fields.varint()? as i32,
            (2 | 3, _) => return fields.wrong_wire(),
            _ => fields.skip(tag, DEPTH_MAX - 4)?,
        }
    }
    Ok(status)
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
