//! What a field of an OTLP message is to a reader of contents.

use super::table::MessageType;

/// What a field is, beside its number. Places are those of `contents` in wit/telemetry.wit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// No field of this version of OTLP.
    Unknown,
    /// Numbers hold no text.
    Varint,
    Fixed32,
    Fixed64,
    /// Repeated numbers, packed or one by one.
    Varints,
    Fixed64s,
    /// A text of the protocol, at this place.
    Text(u8),
    /// An id, at this place.
    TraceId(u8),
    SpanId(u8),
    /// KeyValues, whose place this is.
    Attributes(u8),
    /// An AnyValue, at this place.
    AnyValue(u8),
    /// A message of the same row.
    Message(MessageType),
    /// The `resource` or `scope` message of an envelope.
    Head(MessageType),
    /// Rows that the index has on a level of their own: they are walked by themselves.
    Rows(MessageType),
    Events(MessageType),
    Links(MessageType),
    /// The message that holds a metric's data points.
    Container(MessageType),
    Points(MessageType),
    /// Of KeyValue: its key, and an AnyValue at the place of what encloses it.
    Key,
    Value,
    /// Of KeyValueList and ArrayValue.
    Entries,
    Elements,
    /// Of AnyValue: the variants of its oneof.
    StringValue,
    BoolValue,
    IntValue,
    DoubleValue,
    BytesValue,
    List(MessageType),
    /// An index into the string table of profiles, which no other signal has: an empty value.
    StringIndex,
}

impl What {
    /// The message in a length-delimited field, if it is one.
    pub(super) fn message(self) -> Option<MessageType> {
        Some(match self {
            What::Attributes(_) | What::Entries => MessageType::KeyValue,
            What::AnyValue(_) | What::Value | What::Elements => MessageType::AnyValue,
            What::Message(message)
            | What::Head(message)
            | What::Rows(message)
            | What::Events(message)
            | What::Links(message)
            | What::Container(message)
            | What::Points(message)
            | What::List(message) => message,
            _ => return None,
        })
    }

    /// Whether it is a variant of AnyValue's oneof.
    pub(super) fn is_variant(self) -> bool {
        matches!(
            self,
            What::StringValue
                | What::BoolValue
                | What::IntValue
                | What::DoubleValue
                | What::BytesValue
                | What::List(_)
                | What::StringIndex
        )
    }
}

impl MessageType {
    /// What the field of this number is.
    #[inline(always)]
    pub(super) fn field(self, number: u32) -> What {
        self.fields().get(number as usize).copied().unwrap_or(What::Unknown)
    }
}
