//! JSON to protobuf in one pass: `serde_json` reads, the table says what is meant, nothing is held but the output.
//!
//! Errors of `serde_json` quote values, so that only their place is used; what was expected and where in the message is noted as
//! an error passes outwards.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::number::{Number, parse, to_wire};
use super::output::Output;
use super::table::{Field, Kind, Message, Presence, Wire};
use super::text::{ID_BYTES_MAX, base64, hex, utf8};
use super::{DEPTH_MAX, JsonError, messages};

/// What `serde_json` is told; nobody sees it.
const REFUSED: &str = "refused";

/// The first guess of the output's size: this part of the JSON's, which is enough for nearly all telemetry.
const OUTPUT_SHARE: usize = 2;

pub(super) fn read(
    message: &'static Message,
    json: &[u8],
    grow: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<u8>, JsonError> {
    let mut run = Run { out: Output::new(grow), failure: None, depth: 0 };
    run.out.reserve(json.len() / OUTPUT_SHARE).map_err(|_| JsonError::NoRoom)?;
    let mut reader = serde_json::Deserializer::from_slice(json);
    // Depth is counted in messages, see `MessageSeed`; unknown names are skipped without recursion.
    reader.disable_recursion_limit();
    let done = MessageSeed { message, run: &mut run }.deserialize(&mut reader).and_then(|()| reader.end());
    match done {
        Ok(()) => Ok(run.out.into_bytes()),
        Err(error) => Err(run.explain(&error)),
    }
}

/// What all levels share.
struct Run<'g> {
    out: Output<'g>,
    failure: Option<Failure>,
    depth: usize,
}

struct Failure {
    expected: &'static str,
    /// Innermost first.
    path: Vec<Segment>,
}

enum Segment {
    Name(&'static str),
    Index(usize),
}

impl Run<'_> {
    /// Says what was expected where an error comes from; what is further out knows less.
    #[cold]
    fn note(&mut self, expected: &'static str) {
        self.failure.get_or_insert_with(|| Failure { expected, path: Vec::new() });
    }

    /// An error leaves this part of the message.
    #[cold]
    fn leave(&mut self, segment: Segment) {
        if let Some(failure) = &mut self.failure {
            failure.path.push(segment);
        }
    }

    #[cold]
    fn explain(self, error: &serde_json::Error) -> JsonError {
        let (line, column) = (error.line(), error.column());
        match self.failure {
            _ if self.out.refused() => JsonError::NoRoom,
            Some(Failure { expected, path }) if error.is_data() => {
                JsonError::Unexpected { path: path_text(&path), expected, line, column }
            }
            _ => JsonError::Syntax { line, column },
        }
    }
}

fn path_text(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path.iter().rev() {
        match segment {
            Segment::Name(name) if text.is_empty() => text.push_str(name),
            Segment::Name(name) => text.extend([".", name]),
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    if text.is_empty() { "the body".to_owned() } else { text }
}

/// An object; its fields are written without a frame.
struct MessageSeed<'r, 'g> {
    message: &'static Message,
    run: &'r mut Run<'g>,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let MessageSeed { message, run } = self;
        if run.depth == DEPTH_MAX {
            run.note("nested less deep: at most 100 messages in each other");
            return Err(D::Error::custom(REFUSED));
        }
        run.depth += 1;
        let done = deserializer.deserialize_map(MessageSeed { message, run: &mut *run });
        run.depth -= 1;
        done.inspect_err(|_| run.note("an object"))
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let MessageSeed { message, run } = self;
        let (mut given, mut one_of_given, mut hint) = (0u32, false, 0);
        while let Some(named) = map.next_key_seed(KeySeed { message, hint })? {
            let Some((index, field)) = named else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            hint = index + 1;
            if !map.next_value_seed(FieldSeed { field, run: &mut *run })? {
                continue;
            }
            let one_of = field.presence == Presence::OneOf;
            if given & (1 << index) != 0 || (one_of && one_of_given) {
                run.note(if one_of { "the only one of its kind" } else { "given once" });
                run.leave(Segment::Name(field.json));
                return Err(A::Error::custom(REFUSED));
            }
            given |= 1 << index;
            one_of_given |= one_of;
        }
        Ok(())
    }
}

/// A name: the field, if it is known.
struct KeySeed {
    message: &'static Message,
    hint: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<(usize, &'static Field)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // As bytes, for a name that is no text is unknown and not an error.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<(usize, &'static Field)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(self.message.named(name, self.hint))
    }
}

/// A field with its key; false where it is null.
struct FieldSeed<'r, 'g> {
    field: &'static Field,
    run: &'r mut Run<'g>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let FieldSeed { field, run } = self;
        let done = deserializer.deserialize_option(FieldSeed { field, run: &mut *run });
        done.inspect_err(|_| {
            let array = field.presence == Presence::Repeated;
            run.note(if array { "an array" } else { field.kind.expected() });
            run.leave(Segment::Name(field.json));
        })
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_none<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let FieldSeed { field, run } = self;
        match field.presence {
            Presence::Repeated => deserializer.deserialize_seq(ArrayVisitor { field, run })?,
            _ => ValueSeed { field, run }.deserialize(deserializer)?,
        }
        Ok(true)
    }
}

/// An array: numbers packed, anything else one field per element.
struct ArrayVisitor<'r, 'g> {
    field: &'static Field,
    run: &'r mut Run<'g>,
}

impl<'de> Visitor<'de> for ArrayVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let ArrayVisitor { field, run } = self;
        let packed = match field.kind.wire() {
            Wire::Len => None,
            _ => Some(run.out.open(field.number).map_err(A::Error::custom)?),
        };
        for index in 0.. {
            let element = array.next_element_seed(ValueSeed { field, run: &mut *run });
            let element = element.inspect_err(|_| {
                run.note(field.kind.expected());
                run.leave(Segment::Index(index));
            })?;
            if element.is_none() {
                break;
            }
        }
        packed.map_or(Ok(()), |open| run.out.close_unless_empty(open)).map_err(A::Error::custom)
    }
}

/// One value with its key, or a packed element without.
struct ValueSeed<'r, 'g> {
    field: &'static Field,
    run: &'r mut Run<'g>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let ValueSeed { field, run } = self;
        match field.kind {
            Kind::Nested(message) => {
                let open = run.out.open(field.number).map_err(D::Error::custom)?;
                let null_is_empty = field.presence == Presence::Repeated && std::ptr::eq(message, &messages::ANY_VALUE);
                if null_is_empty {
                    deserializer.deserialize_option(NullableSeed { message, run: &mut *run })?;
                } else {
                    MessageSeed { message, run: &mut *run }.deserialize(deserializer)?;
                }
                run.out.close(open).map_err(D::Error::custom)
            }
            Kind::String | Kind::Bytes | Kind::Id(_) => deserializer.deserialize_bytes(TextVisitor { field, run }),
            kind => {
                let value = deserializer.deserialize_any(NumberVisitor { kind })?;
                if field.presence == Presence::Repeated {
                    return run.out.number(kind.wire(), value).map_err(D::Error::custom);
                }
                if value == 0 && field.presence == Presence::Implicit {
                    return Ok(());
                }
                run.out
                    .key(field.number, kind.wire())
                    .and_then(|()| run.out.number(kind.wire(), value))
                    .map_err(D::Error::custom)
            }
        }
    }
}

/// An element that may be null.
struct NullableSeed<'r, 'g> {
    message: &'static Message,
    run: &'r mut Run<'g>,
}

impl<'de> Visitor<'de> for NullableSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        MessageSeed { message: self.message, run: self.run }.deserialize(deserializer)
    }
}

/// A string of any meaning, with its key.
struct TextVisitor<'r, 'g> {
    field: &'static Field,
    run: &'r mut Run<'g>,
}

impl Visitor<'_> for TextVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<(), E> {
        let TextVisitor { field, run } = self;
        let mut put = |payload: &[u8]| {
            if payload.is_empty() && field.presence == Presence::Implicit {
                return Ok(());
            }
            run.out.field(field.number, payload).map_err(E::custom)
        };
        let refused = || E::custom(REFUSED);
        match field.kind {
            Kind::Id(len) => put(hex(text, len, &mut [0; ID_BYTES_MAX]).ok_or_else(refused)?),
            Kind::Bytes => put(&base64(text).ok_or_else(refused)?),
            _ => put(utf8(text).ok_or_else(refused)?.as_bytes()),
        }
    }
}

/// A number, also in a string, or a truth value: its payload.
struct NumberVisitor {
    kind: Kind,
}

impl NumberVisitor {
    fn wire<E: Error>(self, number: Number) -> Result<u64, E> {
        to_wire(self.kind, number).ok_or_else(|| E::custom(REFUSED))
    }
}

impl Visitor<'_> for NumberVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<u64, E> {
        if matches!(self.kind, Kind::Bool) { Ok(u64::from(value)) } else { Err(E::custom(REFUSED)) }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        self.wire(Number::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        self.wire(Number::Signed(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<u64, E> {
        self.wire(Number::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let number = parse(self.kind, text).ok_or_else(|| E::custom(REFUSED))?;
        self.wire(number)
    }
}
