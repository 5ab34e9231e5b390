//! OTLP/JSON and protobuf, each from the other, without a decoded message in between: one table of fields drives both directions
//! (OTLP specification, "JSON Protobuf Encoding"; protobuf, "ProtoJSON Format").
//!
//! What is read beyond what senders should write: snake_case names (else a sender's data would vanish without a word, as unknown
//! names are skipped), names of enum values, numbers in strings and the other way round, either alphabet of base64 with or without
//! padding, unpaired surrogates (which JavaScript writes after cutting a text; they become U+FFFD). `null` is absence; among
//! attribute values it is the empty value. What is refused: a name given twice, two members of a oneof, ids of a wrong length.

mod messages;
mod number;
mod output;
mod read;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use table::Root;

/// How deep messages nest, as every protobuf decoder bounds it by default. What is deeper is refused in both directions.
pub const DEPTH_MAX: usize = 100;

/// The member of [`to_json_with_unknown`]. No message of OTLP has a field of this name.
pub const UNKNOWN_FIELDS: &str = "unknownFields";

/// Why JSON was not taken. The texts hold names of OTLP's own fields, never anything of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text breaks off or is malformed.
    #[error("the body is not JSON: line {line}, column {column}")]
    Syntax {
        /// From 1.
        line: usize,
        /// In bytes, from 1; 0 for a line's very begin.
        column: usize,
    },
    /// It is JSON but not OTLP.
    #[error("{path} must be {expected} (line {line}, column {column})")]
    Unexpected {
        /// Such as `resourceSpans[0].scopeSpans[2].spans[17].traceId`.
        path: String,
        /// What belongs there.
        expected: &'static str,
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
    },
    /// The caller allowed no more bytes, or they would be more than 4 GiB.
    #[error("there is no room for the request's protobuf encoding")]
    NoRoom,
}

/// Why protobuf could not be written as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// A full decode would refuse it, too.
    #[error("the protobuf encoding is malformed")]
    Malformed,
    /// More than [`DEPTH_MAX`] messages in each other.
    #[error("messages are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// Split messages within split messages: no encoder writes that.
    #[error("single fields are split into too many parts")]
    TooManyParts,
}

/// The protobuf encoding of `json`: fields in the order of the JSON, default values left out. It is at most four times as large
/// (`[1,1]` becomes two numbers of eight bytes), mostly a third.
pub fn to_protobuf(root: impl Into<Root>, json: &[u8]) -> Result<Vec<u8>, JsonError> {
    to_protobuf_within(root, json, &mut |_| true)
}

/// As [`to_protobuf`]; `grow` is asked before the result's buffer becomes as large as it is told, in bytes, and a second time for
/// less where it refuses.
pub fn to_protobuf_within(
    root: impl Into<Root>,
    json: &[u8],
    grow: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<u8>, JsonError> {
    read::read(root.into().message(), json, grow)
}

/// The JSON of a protobuf encoding, without spaces; concatenated messages are one. Fields that opentelemetry-proto does not
/// know have no JSON and are left out; texts that are not UTF-8 get U+FFFD. It is at most 16 times as large (short fields with long
/// names), mostly two to three times.
pub fn to_json(root: impl Into<Root>, protobuf: &[u8]) -> Result<Vec<u8>, ProtobufError> {
    write::write(root.into().message(), protobuf, write::Unknown::LeftOut)
}

/// As [`to_json`], for whoever compares requests: a message with fields that opentelemetry-proto does not know has a member
/// [`UNKNOWN_FIELDS`] besides, a list of pairs of their numbers and what they hold. OTLP/JSON has no such member.
pub fn to_json_with_unknown(root: impl Into<Root>, protobuf: &[u8]) -> Result<Vec<u8>, ProtobufError> {
    write::write(root.into().message(), protobuf, write::Unknown::Shown)
}
