//! Requests that have every field that OTLP has, written by hand along the descriptors.

use anyhow::Result;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};
use sluicebox::signal::Signal;

use super::{Schema, field, number_field};

const KEY_VALUE: &str = "opentelemetry.proto.common.v1.KeyValue";
const ANY_VALUE: &str = "opentelemetry.proto.common.v1.AnyValue";
/// Elements down to here, of requests, resources, scopes, come once more without what is below them.
const HOLLOW_DEPTH_MAX: usize = 3;
const TIME: u64 = 1_767_225_600_000_000_000;

/// Where text can be in a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Fields from the request down, with the variant of what is one of several: `resource_metrics.scope_metrics.metrics[sum].name`.
    pub path: String,
    /// What holds it.
    pub holder: Holder,
}

/// What holds text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// A string of the protocol.
    Text,
    /// Bytes of the protocol: ids of 16 or 8 bytes.
    Id,
    /// The key of a KeyValue.
    Key,
    /// An AnyValue.
    Value,
    /// The end of a message, where fields of another version of OTLP may be.
    Unknown,
}

/// Writes a place's fields, of which there may be none or several: gets the place and its field number; false = a harmless one.
pub type Fill<'a> = dyn FnMut(&Place, u32, &mut Vec<u8>) -> bool + 'a;

/// A request of one element of each kind of everything, all of them different.
pub fn build(schema: &Schema, signal: Signal, fill: &mut Fill<'_>) -> Result<Vec<u8>> {
    let mut builder = Builder { fill, harmless: 0 };
    Ok(builder.message(&schema.request(signal)?, "", Element::default(), 0))
}

/// All places of a signal's requests, in the order of the bytes.
pub fn places(schema: &Schema, signal: Signal) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    build(schema, signal, &mut |place, _, _| {
        found.push(place.clone());
        false
    })?;
    Ok(found)
}

struct Builder<'a, 'f> {
    fill: &'a mut Fill<'f>,
    /// How many harmless values were written.
    harmless: u64,
}

/// Which form of its message an element has.
#[derive(Clone, Copy, Default)]
struct Element {
    /// Of its oneof.
    variant: usize,
    /// Without rows below it.
    is_hollow: bool,
}

impl Builder<'_, '_> {
    fn message(&mut self, message: &MessageDescriptor, path: &str, element: Element, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut fields: Vec<_> = message.fields().filter(|field| element.has(field)).collect();
        fields.sort_unstable_by_key(FieldDescriptor::number);
        for field in fields {
            let path = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
            self.field(message, &field, path, depth, &mut out);
        }
        let place = Place { path: format!("{path}.*"), holder: Holder::Unknown };
        (self.fill)(&place, 0, &mut out);
        out
    }

    fn field(
        &mut self,
        of: &MessageDescriptor,
        field: &FieldDescriptor,
        path: String,
        depth: usize,
        out: &mut Vec<u8>,
    ) {
        let holder = match field.kind() {
            Kind::String if of.full_name() == KEY_VALUE => Holder::Key,
            Kind::String => Holder::Text,
            Kind::Bytes => Holder::Id,
            Kind::Message(message) if message.full_name() == ANY_VALUE => Holder::Value,
            Kind::Message(message) => {
                for element in elements(field, &message, depth) {
                    let path = format!("{path}{}", element.name(&message));
                    let content = self.message(&message, &path, element, depth + 1);
                    super::field(out, field.number(), &content);
                }
                return;
            }
            // Indices into the string table of profiles, which no other signal has.
            _ if of.full_name() == KEY_VALUE => return,
            kind => return self.number(field, &kind, out),
        };
        let place = Place { path, holder };
        if !(self.fill)(&place, field.number(), out) {
            self.harmless(&place, field, out);
        }
    }

    /// A value that no detector can take for a secret, different each time.
    fn harmless(&mut self, place: &Place, descriptor: &FieldDescriptor, out: &mut Vec<u8>) {
        self.harmless += 1;
        let (number, text) = (descriptor.number(), format!("harmless {}", self.harmless));
        match place.holder {
            Holder::Text | Holder::Key => field(out, number, text.as_bytes()),
            Holder::Id => {
                let length = if descriptor.name().ends_with("trace_id") { 16 } else { 8 };
                field(out, number, &vec![0x80 | self.harmless as u8; length]);
            }
            Holder::Value => {
                let mut value = Vec::new();
                field(&mut value, 1, text.as_bytes());
                field(out, number, &value);
            }
            Holder::Unknown => {}
        }
    }

    fn number(&mut self, field: &FieldDescriptor, kind: &Kind, out: &mut Vec<u8>) {
        self.harmless += 1;
        let small = self.harmless % 60 + 1;
        let (wire, value) = match kind {
            Kind::Bool | Kind::Enum(_) => (WireType::Varint, 1),
            Kind::Double => (WireType::SixtyFourBit, (small as f64 + 0.5).to_bits()),
            Kind::Fixed64 | Kind::Sfixed64 => (WireType::SixtyFourBit, TIME + self.harmless),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => (WireType::ThirtyTwoBit, small),
            _ => (WireType::Varint, small),
        };
        let mut content = Vec::new();
        match wire {
            WireType::Varint => encode_varint(value, &mut content),
            WireType::ThirtyTwoBit => content.extend_from_slice(&(value as u32).to_le_bytes()),
            _ => content.extend_from_slice(&value.to_le_bytes()),
        }
        match (field.is_list(), wire) {
            (true, _) => super::field(out, field.number(), &content.repeat(2)),
            (false, WireType::Varint) => number_field(out, field.number(), value),
            (false, wire) => {
                encode_key(field.number(), wire, out);
                out.extend_from_slice(&content);
            }
        }
    }
}

impl Element {
    fn has(self, field: &FieldDescriptor) -> bool {
        match field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            Some(_) if self.is_hollow => false,
            Some(oneof) => oneof.fields().nth(self.variant).as_ref() == Some(field),
            None => !(self.is_hollow && is_row(field)),
        }
    }

    fn name(self, message: &MessageDescriptor) -> String {
        match choice(message).and_then(|oneof| oneof.fields().nth(self.variant)) {
            _ if self.is_hollow => "[hollow]".to_owned(),
            Some(variant) => format!("[{}]", variant.name()),
            None => String::new(),
        }
    }
}

/// One element for each variant of a repeated message; the upper ones once more without what is below.
fn elements(field: &FieldDescriptor, message: &MessageDescriptor, depth: usize) -> Vec<Element> {
    let variants = if field.is_list() { choice(message).map_or(1, |oneof| oneof.fields().len()) } else { 1 };
    let mut elements: Vec<_> = (0..variants).map(|variant| Element { variant, is_hollow: false }).collect();
    let has_rows = variants > 1 || message.fields().any(|field| is_row(&field));
    if field.is_list() && depth < HOLLOW_DEPTH_MAX && has_rows {
        elements.push(Element { variant: 0, is_hollow: true });
    }
    elements
}

fn choice(message: &MessageDescriptor) -> Option<OneofDescriptor> {
    message.oneofs().find(|oneof| !oneof.is_synthetic())
}

fn is_row(field: &FieldDescriptor) -> bool {
    field.is_list() && matches!(field.kind(), Kind::Message(message) if message.full_name() != KEY_VALUE)
}
