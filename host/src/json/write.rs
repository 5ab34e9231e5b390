//! Protobuf to JSON: per message one pass that finds what it has, then one over each array.

use bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::number::push_json;
use super::table::{FIELDS_MAX, Field, Kind, Message, Presence, Wire};
use super::text::{push_hex, to_base64};
use super::{DEPTH_MAX, ProtobufError, UNKNOWN_FIELDS};

/// What becomes of fields that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    LeftOut,
    Shown,
}

pub(super) fn write(message: &'static Message, protobuf: &[u8], unknown: Unknown) -> Result<Vec<u8>, ProtobufError> {
    let out = Vec::with_capacity(protobuf.len().saturating_mul(2));
    let mut writer = Writer { out, joined_bytes_left: protobuf.len(), unknown };
    writer.message(message, protobuf, 0)?;
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
    /// Parts of split messages are joined by copying; all copies together are bounded by the input's size.
    joined_bytes_left: usize,
    unknown: Unknown,
}

/// What a message has of a field.
#[derive(Clone, Copy)]
struct Found<'a> {
    last: Payload<'a>,
    times: usize,
    /// All occurrences lie between, with others where an encoder mixed them.
    start: usize,
    end: usize,
}

/// A field's payload as it lies on the wire.
#[derive(Clone, Copy)]
enum Payload<'a> {
    Number(Wire, u64),
    Bytes(&'a [u8]),
    /// Of an unknown field.
    Group,
}

impl Payload<'_> {
    fn is_default(self) -> bool {
        matches!(self, Payload::Number(_, 0) | Payload::Bytes([]))
    }
}

impl Writer {
    fn message(&mut self, message: &'static Message, bytes: &[u8], depth: usize) -> Result<(), ProtobufError> {
        if depth == DEPTH_MAX {
            return Err(ProtobufError::TooDeep);
        }
        let found = find(message, bytes)?;
        self.out.push(b'{');
        let mut first = true;
        for (field, found) in message.fields.iter().zip(&found) {
            let Some(found) = found else { continue };
            if field.presence == Presence::Implicit && found.last.is_default() {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.out.extend_from_slice(field.json.as_bytes());
            self.out.extend_from_slice(b"\":");
            let within = bytes.get(found.start..found.end).unwrap_or_default();
            match field.kind {
                _ if field.presence == Presence::Repeated => self.array(field, within, depth)?,
                Kind::Nested(_) if found.times > 1 => {
                    let joined = self.join(field, within)?;
                    self.value(field.kind, Payload::Bytes(&joined), depth)?;
                }
                kind => self.value(kind, found.last, depth)?,
            }
        }
        if self.unknown == Unknown::Shown {
            self.unknown_fields(message, bytes, first)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// A last member with pairs of numbers and contents: digits, base64, or null for groups, which OTLP never had.
    fn unknown_fields(&mut self, message: &Message, mut bytes: &[u8], is_first: bool) -> Result<(), ProtobufError> {
        let mut first = true;
        while let Some((number, payload)) = next(&mut bytes)? {
            if message.numbered(number).is_some() {
                continue;
            }
            if first {
                self.out.extend_from_slice(if is_first { b"\"" } else { b",\"" });
                self.out.extend_from_slice(UNKNOWN_FIELDS.as_bytes());
                self.out.extend_from_slice(b"\":[");
            }
            self.comma(&mut first);
            self.out.extend_from_slice(format!("[{number},").as_bytes());
            match payload {
                Payload::Number(_, value) => self.out.extend_from_slice(format!("\"{value}\"").as_bytes()),
                bytes @ Payload::Bytes(_) => self.value(Kind::Bytes, bytes, DEPTH_MAX)?,
                Payload::Group => self.out.extend_from_slice(b"null"),
            }
            self.out.push(b']');
        }
        if !first {
            self.out.push(b']');
        }
        Ok(())
    }

    /// The elements of `field` among `bytes`.
    fn array(&mut self, field: &Field, mut bytes: &[u8], depth: usize) -> Result<(), ProtobufError> {
        self.out.push(b'[');
        let mut first = true;
        while let Some((number, payload)) = next(&mut bytes)? {
            if number != field.number {
                continue;
            }
            match payload {
                Payload::Bytes(mut packed) if field.kind.wire() != Wire::Len => {
                    while packed.has_remaining() {
                        self.comma(&mut first);
                        let value = number_of(field.kind.wire(), &mut packed)?;
                        push_json(field.kind, value, &mut self.out);
                    }
                }
                one => {
                    self.comma(&mut first);
                    self.value(field.kind, one, depth)?;
                }
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }

    fn value(&mut self, kind: Kind, payload: Payload<'_>, depth: usize) -> Result<(), ProtobufError> {
        match (kind, payload) {
            (Kind::Nested(message), Payload::Bytes(bytes)) => self.message(message, bytes, depth + 1)?,
            (Kind::Id(_), Payload::Bytes(bytes)) => {
                self.out.push(b'"');
                push_hex(bytes, &mut self.out);
                self.out.push(b'"');
            }
            (Kind::Bytes, Payload::Bytes(bytes)) => {
                self.out.push(b'"');
                self.out.extend_from_slice(to_base64(bytes).as_bytes());
                self.out.push(b'"');
            }
            (Kind::String, Payload::Bytes(bytes)) => {
                // Writing into memory does not fail.
                let _written = serde_json::to_writer(&mut self.out, &String::from_utf8_lossy(bytes));
            }
            (kind, Payload::Number(_, value)) => push_json(kind, value, &mut self.out),
            // `find` has compared wire types.
            (_, Payload::Bytes(_) | Payload::Group) => return Err(ProtobufError::Malformed),
        }
        Ok(())
    }

    /// The parts of a single message as one: their concatenation is the merged message.
    fn join(&mut self, field: &Field, mut bytes: &[u8]) -> Result<Vec<u8>, ProtobufError> {
        let mut joined = Vec::new();
        while let Some((number, payload)) = next(&mut bytes)? {
            if let Payload::Bytes(part) = payload
                && number == field.number
            {
                self.joined_bytes_left =
                    self.joined_bytes_left.checked_sub(part.len()).ok_or(ProtobufError::TooManyParts)?;
                joined.extend_from_slice(part);
            }
        }
        Ok(joined)
    }
}

/// What `bytes` has of each field of `message`: of single fields the last wins, of a oneof's members too.
fn find<'a>(message: &Message, bytes: &'a [u8]) -> Result<[Option<Found<'a>>; FIELDS_MAX], ProtobufError> {
    let mut found = [None; FIELDS_MAX];
    let mut one_of: Option<usize> = None;
    let mut rest = bytes;
    loop {
        let start = bytes.len() - rest.len();
        let Some((number, payload)) = next(&mut rest)? else { return Ok(found) };
        let Some((index, field)) = message.numbered(number) else { continue };
        check_wire(field, payload)?;
        if field.presence == Presence::OneOf
            && let Some(before) = one_of.replace(index).filter(|before| *before != index)
            && let Some(before) = found.get_mut(before)
        {
            *before = None;
        }
        let end = bytes.len() - rest.len();
        if let Some(found) = found.get_mut(index) {
            let before: Option<Found<'_>> = *found;
            let (times, start) = before.map_or((0, start), |before| (before.times, before.start));
            *found = Some(Found { last: payload, times: times + 1, start, end });
        }
    }
}

/// A known field of a wrong wire type is an error, as in a full decode; arrays of numbers come packed or not.
fn check_wire(field: &Field, payload: Payload<'_>) -> Result<(), ProtobufError> {
    let wire = field.kind.wire();
    let fits = match payload {
        Payload::Number(found, _) => found == wire,
        Payload::Bytes(_) => wire == Wire::Len || field.presence == Presence::Repeated,
        Payload::Group => false,
    };
    if fits { Ok(()) } else { Err(ProtobufError::Malformed) }
}

/// The next field's number and payload; None at the end.
fn next<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u32, Payload<'a>)>, ProtobufError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (number, wire) = decode_key(bytes).map_err(|_| ProtobufError::Malformed)?;
    let payload = match wire {
        WireType::Varint => Payload::Number(Wire::Varint, number_of(Wire::Varint, bytes)?),
        WireType::SixtyFourBit => Payload::Number(Wire::Fixed64, number_of(Wire::Fixed64, bytes)?),
        WireType::ThirtyTwoBit => Payload::Number(Wire::Fixed32, number_of(Wire::Fixed32, bytes)?),
        WireType::LengthDelimited => {
            let length = usize::try_from(number_of(Wire::Varint, bytes)?).map_err(|_| ProtobufError::Malformed)?;
            let (payload, rest) = bytes.split_at_checked(length).ok_or(ProtobufError::Malformed)?;
            *bytes = rest;
            Payload::Bytes(payload)
        }
        WireType::StartGroup | WireType::EndGroup => {
            skip_field(wire, number, bytes, DecodeContext::default()).map_err(|_| ProtobufError::Malformed)?;
            Payload::Group
        }
    };
    Ok(Some((number, payload)))
}

fn number_of(wire: Wire, bytes: &mut &[u8]) -> Result<u64, ProtobufError> {
    let read = match wire {
        Wire::Varint | Wire::Len => decode_varint(bytes).ok(),
        Wire::Fixed64 => bytes.try_get_u64_le().ok(),
        Wire::Fixed32 => bytes.try_get_u32_le().ok().map(u64::from),
    };
    read.ok_or(ProtobufError::Malformed)
}
