//! Numbers of JSON and the 64 bits in which the wire carries them (protobuf, "ProtoJSON Format").

use std::io::Write;

use super::table::Kind;

/// A JSON number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// The number as a varint or fixed value of a field of type `kind`; None where it is out of the type's range or has a fraction
/// that the type has no place for.
pub(super) fn to_wire(kind: Kind, number: Number) -> Option<u64> {
    match kind {
        // Negative values take ten bytes, as protobuf asks for.
        Kind::Int32 | Kind::Enum(_) => Some(i64::from(i32::try_from(whole(number)?).ok()?) as u64),
        Kind::Sint32 => {
            let value = i32::try_from(whole(number)?).ok()?;
            Some(u64::from(((value << 1) ^ (value >> 31)) as u32))
        }
        Kind::Uint32 | Kind::Fixed32 => Some(u64::from(u32::try_from(whole(number)?).ok()?)),
        Kind::Int64 | Kind::Sfixed64 => Some(i64::try_from(whole(number)?).ok()? as u64),
        Kind::Uint64 | Kind::Fixed64 => u64::try_from(whole(number)?).ok(),
        Kind::Double => Some(float(number).to_bits()),
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Nested(_) => None,
    }
}

/// Reads a number that stands in a string: digits with sign, fraction and exponent, the three words of doubles, or the name of
/// an enum value. OTLP forbids names to senders; they are understood all the same, for they can mean only one thing.
pub(super) fn parse(kind: Kind, text: &str) -> Option<Number> {
    match (kind, text) {
        (Kind::Double, "NaN") => return Some(Number::Float(f64::NAN)),
        (Kind::Double, "Infinity") => return Some(Number::Float(f64::INFINITY)),
        (Kind::Double, "-Infinity") => return Some(Number::Float(f64::NEG_INFINITY)),
        (Kind::Enum(names), _) => {
            if let Some(value) = names.iter().position(|name| *name == text) {
                return Some(Number::Unsigned(value as u64));
            }
        }
        _ => {}
    }
    // Other words that Rust reads as floats are none in JSON.
    if !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
        return None;
    }
    if !matches!(kind, Kind::Double) {
        if let Ok(number) = text.parse() {
            return Some(Number::Unsigned(number));
        }
        if let Ok(number) = text.parse() {
            return Some(Number::Signed(number));
        }
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Number::Float)
}

/// Appends the JSON of a field's varint or fixed value: integers of 64 bits as strings, enums as integers.
pub(super) fn push_json(kind: Kind, value: u64, out: &mut Vec<u8>) {
    match kind {
        Kind::Bool => out.extend_from_slice(if value == 0 { b"false" } else { b"true" }),
        Kind::Int32 | Kind::Enum(_) => push(out, format_args!("{}", value as i32)),
        Kind::Sint32 => {
            let value = value as u32;
            push(out, format_args!("{}", (value >> 1) as i32 ^ -((value & 1) as i32)));
        }
        Kind::Uint32 | Kind::Fixed32 => push(out, format_args!("{}", value as u32)),
        Kind::Int64 | Kind::Sfixed64 => push(out, format_args!("\"{}\"", value as i64)),
        Kind::Uint64 | Kind::Fixed64 => push(out, format_args!("\"{value}\"")),
        Kind::Double => push_double(f64::from_bits(value), out),
        Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Nested(_) => {}
    }
}

fn push_double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    } else {
        // The shortest digits that mean this very number.
        push(out, format_args!("{value:?}"));
    }
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _written = out.write_fmt(text);
}

/// The integer, if it is one: 1.0 and 1e3 are integers in protobuf's JSON.
fn whole(number: Number) -> Option<i128> {
    match number {
        Number::Unsigned(number) => Some(i128::from(number)),
        Number::Signed(number) => Some(i128::from(number)),
        Number::Float(number) if number.fract() == 0.0 => Some(number as i128),
        Number::Float(_) => None,
    }
}

fn float(number: Number) -> f64 {
    match number {
        Number::Unsigned(number) => number as f64,
        Number::Signed(number) => number as f64,
        Number::Float(number) => number,
    }
}
