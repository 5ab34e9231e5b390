//! The messages of OTLP as both directions of transcoding need them: names, numbers and types of their fields, as published by
//! opentelemetry-proto 1.10 (trace, metrics, logs, common, resource and collector services, v1). A test compares the table with
//! the descriptors that the `opentelemetry-proto` package carries.

use super::messages;
use crate::signal::Signal;

/// Most fields of one message: what is known of a message while it is read is kept in arrays and bit sets of this size.
pub(super) const FIELDS_MAX: usize = 16;

/// A whole body of OTLP/HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `Export{Trace,Metrics,Logs}ServiceRequest`.
    Request(Signal),
    /// `Export{Trace,Metrics,Logs}ServiceResponse`.
    Response(Signal),
    /// `google.rpc.Status`, without its details.
    Status,
}

impl From<Signal> for Root {
    fn from(signal: Signal) -> Root {
        Root::Request(signal)
    }
}

impl Root {
    pub(super) fn message(self) -> &'static Message {
        match self {
            Root::Request(Signal::Traces) => &messages::TRACES_REQUEST,
            Root::Request(Signal::Metrics) => &messages::METRICS_REQUEST,
            Root::Request(Signal::Logs) => &messages::LOGS_REQUEST,
            Root::Response(Signal::Traces) => &messages::TRACES_RESPONSE,
            Root::Response(Signal::Metrics) => &messages::METRICS_RESPONSE,
            Root::Response(Signal::Logs) => &messages::LOGS_RESPONSE,
            Root::Status => &messages::RPC_STATUS,
        }
    }
}

/// A message type. At most one of its oneofs is known, which holds for all of OTLP.
#[derive(Debug)]
pub(super) struct Message {
    /// As in the descriptors, with the package.
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares the table with the descriptors by it"))]
    pub(super) name: &'static str,
    /// At most [`FIELDS_MAX`], in the order in which JSON is written.
    pub(super) fields: &'static [Field],
}

impl Message {
    /// The field of this JSON name, lowerCamelCase or as in the descriptors, and its index. Senders mostly write fields in order,
    /// so that the search begins at `hint`.
    #[inline]
    pub(super) fn named(&self, name: &[u8], hint: usize) -> Option<(usize, &'static Field)> {
        let is_it = |field: &Field| field.json.as_bytes() == name || field.name.as_bytes() == name;
        let from_hint = (hint..self.fields.len()).chain(0..hint.min(self.fields.len()));
        from_hint.filter_map(|index| Some((index, self.fields.get(index)?))).find(|(_, field)| is_it(field))
    }

    /// The field of this number, and its index.
    #[inline]
    pub(super) fn numbered(&self, number: u32) -> Option<(usize, &'static Field)> {
        self.fields.iter().enumerate().find(|(_, field)| field.number == number)
    }
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// As in the descriptors.
    pub(super) name: &'static str,
    /// The same in lowerCamelCase.
    pub(super) json: &'static str,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
}

/// How often a field may be there, and whether its default value says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// The default value and absence are the same.
    Implicit,
    /// `optional`, or a message.
    Explicit,
    /// The member of a oneof.
    OneOf,
    /// An array; numbers are packed.
    Repeated,
}

/// The type of a field or of its elements.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Bool,
    Int32,
    Sint32,
    Uint32,
    Fixed32,
    Int64,
    Uint64,
    Fixed64,
    Sfixed64,
    Double,
    String,
    Bytes,
    /// Bytes that JSON shows as hexadecimal digits: so many, or none (OTLP specification, "JSON Protobuf Encoding").
    Id(usize),
    /// The names of the numbers 0, 1, 2 and so on.
    Enum(&'static [&'static str]),
    Nested(&'static Message),
}

/// How a value lies on the wire (protobuf, "Message Structure").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Len = 2,
    Fixed32 = 5,
}

impl Kind {
    pub(super) fn wire(self) -> Wire {
        match self {
            Kind::Bool | Kind::Int32 | Kind::Sint32 | Kind::Uint32 | Kind::Int64 | Kind::Uint64 | Kind::Enum(_) => {
                Wire::Varint
            }
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Wire::Fixed64,
            Kind::Fixed32 => Wire::Fixed32,
            Kind::String | Kind::Bytes | Kind::Id(_) | Kind::Nested(_) => Wire::Len,
        }
    }

    /// What a JSON value of this type has to be, for a person.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Kind::Bool => "true or false",
            Kind::Int32 | Kind::Sint32 => "a 32-bit integer",
            Kind::Uint32 | Kind::Fixed32 => "an unsigned 32-bit integer",
            Kind::Int64 | Kind::Sfixed64 => "a 64-bit integer, as a string or a number",
            Kind::Uint64 | Kind::Fixed64 => "an unsigned 64-bit integer, as a string or a number",
            Kind::Double => "a number, or \"NaN\", \"Infinity\" or \"-Infinity\"",
            Kind::String => "a string in UTF-8",
            Kind::Bytes => "a string in base64",
            Kind::Id(16) => "a string of 32 hexadecimal digits, or an empty one",
            Kind::Id(_) => "a string of 16 hexadecimal digits, or an empty one",
            Kind::Enum(_) => "the integer of an enum value",
            Kind::Nested(_) => "an object",
        }
    }
}

/// A field whose default value is absence.
pub(super) const fn plain(number: u32, name: &'static str, json: &'static str, kind: Kind) -> Field {
    Field { number, name, json, kind, presence: Presence::Implicit }
}

/// A field that may be absent.
pub(super) const fn optional(number: u32, name: &'static str, json: &'static str, kind: Kind) -> Field {
    Field { number, name, json, kind, presence: Presence::Explicit }
}

/// The member of the message's oneof.
pub(super) const fn one_of(number: u32, name: &'static str, json: &'static str, kind: Kind) -> Field {
    Field { number, name, json, kind, presence: Presence::OneOf }
}

/// An array.
pub(super) const fn repeated(number: u32, name: &'static str, json: &'static str, kind: Kind) -> Field {
    Field { number, name, json, kind, presence: Presence::Repeated }
}
