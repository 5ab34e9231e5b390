//! Lists and maps as they cross the boundary: OTLP's `AnyValue` message (opentelemetry/proto/common/v1).

use crate::Value;

const STRING: u32 = 1;
const BOOL: u32 = 2;
const INT: u32 = 3;
const DOUBLE: u32 = 4;
const ARRAY: u32 = 5;
const MAP: u32 = 6;
const BYTES: u32 = 7;

impl<'a> Value<'a> {
    /// The elements of an array, in order; none of any other kind. What follows something malformed is not seen.
    pub fn elements(self) -> impl Iterator<Item = Value<'a>> {
        let any = if let Value::Array(any) = self { any } else { &[] };
        listed(any, ARRAY).map(read)
    }

    /// The entries of a map, keys first, in the order in which they were sent; none of any other kind. Keys are strings, or bytes that
    /// are not valid UTF-8; one may be there twice.
    pub fn entries(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let any = if let Value::Map(any) = self { any } else { &[] };
        listed(any, MAP).map(|entry| {
            let (mut key, mut value) = (Value::Str(""), Value::Empty);
            for field in Fields(entry) {
                match field {
                    (1, Payload::Bytes(text)) => key = Value::text(text),
                    (2, Payload::Bytes(any)) => value = read(any),
                    _ => {}
                }
            }
            (key, value)
        })
    }
}

/// Appends the payload of an `AnyValue` that holds the value. What is absent, empty or of an unknown kind becomes an empty value.
pub(crate) fn write(value: Value<'_>, to: &mut Vec<u8>) {
    match value {
        Value::Str(text) => write_bytes(STRING, text.as_bytes(), to),
        Value::Bool(bool) => to.extend([tag(BOOL, 0), u8::from(bool)]),
        Value::Int(int) => {
            to.push(tag(INT, 0));
            write_varint(int.cast_unsigned(), to);
        }
        Value::Double(double) => {
            to.push(tag(DOUBLE, 1));
            to.extend(double.to_le_bytes());
        }
        Value::Bytes(bytes) => write_bytes(BYTES, bytes, to),
        Value::Array(any) | Value::Map(any) => to.extend(any),
        Value::Absent | Value::Empty | Value::Unknown => {}
    }
}

/// The `AnyValue` of an array.
pub(crate) fn write_array<'v>(elements: impl IntoIterator<Item = Value<'v>>) -> Vec<u8> {
    let mut list = Vec::new();
    let mut any = Vec::new();
    for element in elements {
        any.clear();
        write(element, &mut any);
        write_bytes(1, &any, &mut list);
    }
    wrap(ARRAY, &list)
}

/// The `AnyValue` of a map.
pub(crate) fn write_map<'v>(entries: impl IntoIterator<Item = (&'v [u8], Value<'v>)>) -> Vec<u8> {
    let mut list = Vec::new();
    let (mut any, mut entry) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        any.clear();
        entry.clear();
        write(value, &mut any);
        write_bytes(1, key, &mut entry);
        write_bytes(2, &any, &mut entry);
        write_bytes(1, &entry, &mut list);
    }
    wrap(MAP, &list)
}

/// The value of an `AnyValue`. Of several fields the last counts, as protobuf says of a oneof.
pub(crate) fn read(any: &[u8]) -> Value<'_> {
    Fields(any).fold(Value::Empty, |before, field| match field {
        (STRING, Payload::Bytes(text)) => Value::text(text),
        (BOOL, Payload::Varint(bool)) => Value::Bool(bool != 0),
        (INT, Payload::Varint(int)) => Value::Int(int.cast_signed()),
        (DOUBLE, Payload::Fixed64(double)) => Value::Double(f64::from_le_bytes(double)),
        (ARRAY, Payload::Bytes(_)) => Value::Array(any),
        (MAP, Payload::Bytes(_)) => Value::Map(any),
        (BYTES, Payload::Bytes(bytes)) => Value::Bytes(bytes),
        _ => before,
    })
}

/// The repeated field 1 of the messages in field `number`: what a list or a map holds.
fn listed(any: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    messages(any, number).flat_map(|list| messages(list, 1))
}

fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields(message).filter_map(move |field| match field {
        (of, Payload::Bytes(bytes)) if of == number => Some(bytes),
        _ => None,
    })
}

/// The fields of a message, up to where it is malformed.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Payload<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        // On a failure the rest stays as it is: whoever asks for validity finds that something is left.
        let mut rest = self.0;
        let key = read_varint(&mut rest)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| (1..1 << 29).contains(number))?;
        let payload = match key & 7 {
            0 => Payload::Varint(read_varint(&mut rest)?),
            1 => Payload::Fixed64(*take(&mut rest, 8)?.first_chunk()?),
            2 => {
                let len = usize::try_from(read_varint(&mut rest)?).ok()?;
                Payload::Bytes(take(&mut rest, len)?)
            }
            5 => take(&mut rest, 4).map(|_| Payload::Fixed32)?,
            _ => return None,
        };
        self.0 = rest;
        Some((number, payload))
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn wrap(number: u32, list: &[u8]) -> Vec<u8> {
    let mut any = Vec::with_capacity(list.len() + 6);
    write_bytes(number, list, &mut any);
    any
}

fn write_bytes(number: u32, bytes: &[u8], to: &mut Vec<u8>) {
    to.push(tag(number, 2));
    write_varint(bytes.len() as u64, to);
    to.extend(bytes);
}

fn write_varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn tag(number: u32, wire: u8) -> u8 {
    (number as u8) << 3 | wire
}
