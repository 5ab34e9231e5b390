//! The table against the descriptors that opentelemetry-proto publishes: a field that it gains fails here.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::json::Root;
use crate::json::table::{FIELDS_MAX, Kind, Message, Presence};
use crate::signal::Signal;

/// Every message and enum of the published descriptors, by its full name with a leading dot.
#[derive(Default)]
struct Published {
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, EnumDescriptorProto>,
}

impl Published {
    fn load() -> Published {
        let files = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("decodes");
        let mut published = Published::default();
        for file in files.file {
            let package = format!(".{}", file.package());
            published.add(&package, file.message_type, file.enum_type);
        }
        published
    }

    fn add(&mut self, scope: &str, messages: Vec<DescriptorProto>, enums: Vec<EnumDescriptorProto>) {
        for one in enums {
            self.enums.insert(format!("{scope}.{}", one.name()), one);
        }
        for message in messages {
            let name = format!("{scope}.{}", message.name());
            self.add(&name, message.nested_type.clone(), message.enum_type.clone());
            self.messages.insert(name, message);
        }
    }

    /// A field as one line.
    fn line(&self, field: &FieldDescriptorProto) -> String {
        let kind = match field.r#type() {
            Type::Bytes if field.name().ends_with("trace_id") => "Id(16)".to_owned(),
            Type::Bytes if field.name().ends_with("span_id") => "Id(8)".to_owned(),
            Type::Message => format!("Nested({})", &field.type_name()[1..]),
            Type::Enum => {
                let values = &self.enums[field.type_name()].value;
                let numbers: Vec<_> = values.iter().map(|value| value.number()).collect();
                assert_eq!(numbers, (0..values.len() as i32).collect::<Vec<_>>(), "{}", field.type_name());
                format!("Enum({:?})", values.iter().map(|value| value.name()).collect::<Vec<_>>())
            }
            scalar => format!("{scalar:?}"),
        };
        let presence = match field {
            _ if field.label() == Label::Repeated => Presence::Repeated,
            _ if field.proto3_optional() => Presence::Explicit,
            _ if field.oneof_index.is_some() => Presence::OneOf,
            _ if field.r#type() == Type::Message => Presence::Explicit,
            _ => Presence::Implicit,
        };
        format!("{} {} {} {kind} {presence:?}", field.number(), field.name(), field.json_name())
    }
}

fn own_lines(message: &Message) -> BTreeSet<String> {
    let kind = |kind: Kind| match kind {
        Kind::Nested(message) => format!("Nested({})", message.name),
        Kind::Enum(names) => format!("Enum({names:?})"),
        other => format!("{other:?}"),
    };
    let line = |field: &crate::json::table::Field| {
        format!("{} {} {} {} {:?}", field.number, field.name, field.json, kind(field.kind), field.presence)
    };
    message.fields.iter().map(line).collect()
}

#[test]
fn the_table_is_what_is_published() {
    let published = Published::load();
    let roots = Signal::ALL.into_iter().flat_map(|signal| [Root::Request(signal), Root::Response(signal)]);
    let mut waiting: Vec<&Message> = roots.map(Root::message).collect();
    let mut done = BTreeSet::new();
    while let Some(message) = waiting.pop() {
        if !done.insert(message.name) {
            continue;
        }
        let descriptor = &published.messages[&format!(".{}", message.name)];
        let theirs: BTreeSet<String> = descriptor.field.iter().map(|field| published.line(field)).collect();
        assert_eq!(own_lines(message), theirs, "{}", message.name);
        assert_eq!(message.fields.len(), theirs.len(), "{} has a row twice", message.name);
        assert!(theirs.len() <= FIELDS_MAX, "{}", message.name);
        // Optional fields are oneofs of their own, after the real ones.
        let real =
            descriptor.field.iter().filter(|field| !field.proto3_optional()).filter_map(|field| field.oneof_index);
        assert!(real.collect::<BTreeSet<_>>().len() <= 1, "{} has a second oneof", message.name);
        waiting.extend(message.fields.iter().filter_map(|field| match field.kind {
            Kind::Nested(message) => Some(message),
            _ => None,
        }));
    }
    assert!(done.contains("opentelemetry.proto.common.v1.AnyValue") && done.len() >= 30, "{done:?}");
}
