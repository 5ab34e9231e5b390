//! Random messages of every field that the published descriptors have, as protobuf and as JSON, made side by side. It knows
//! descriptors and the rules of the two encodings, and nothing of the engine's table.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use prost::Message;
use prost::encoding::encode_varint;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};
use sluicebox::signal::Signal;

/// In every text and unknown name.
pub const SECRET: &str = "s3cret";
/// Messages in each other: enough for every field of every message.
const DEPTH: usize = 12;

pub struct Published {
    messages: BTreeMap<String, DescriptorProto>,
    enums: BTreeMap<String, EnumDescriptorProto>,
    /// Fields that were made so far.
    pub made: BTreeSet<(String, i32)>,
}

/// One message three times.
pub struct Made {
    pub protobuf: Vec<u8>,
    /// As the specification wants senders to write it.
    pub strict: Value,
    /// With all that readers should put up with.
    pub loose: Value,
}

impl Published {
    pub fn load() -> Published {
        let files = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("decodes");
        let mut published = Published { messages: BTreeMap::new(), enums: BTreeMap::new(), made: BTreeSet::new() };
        for file in files.file {
            published.add(&format!(".{}", file.package.unwrap_or_default()), file.message_type, file.enum_type);
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

    /// All fields of all messages that a request can hold.
    pub fn fields(&self, signal: Signal) -> BTreeSet<(String, i32)> {
        let mut fields = BTreeSet::new();
        let mut waiting = vec![root(signal)];
        while let Some(name) = waiting.pop() {
            for field in &self.messages[&name].field {
                if fields.insert((name.clone(), field.number())) && field.r#type() == Type::Message {
                    waiting.push(field.type_name().to_owned());
                }
            }
        }
        fields
    }

    pub fn request(&mut self, rng: &mut StdRng, signal: Signal) -> Made {
        self.message(rng, &root(signal), DEPTH)
    }

    fn message(&mut self, rng: &mut StdRng, name: &str, depth: usize) -> Made {
        let descriptor = self.messages[name].clone();
        let (mut protobuf, mut strict, mut loose) = (Vec::new(), Map::new(), Map::new());
        let members: Vec<i32> =
            descriptor.field.iter().filter(|field| is_one_of(field)).map(|field| field.number()).collect();
        let chosen =
            (!members.is_empty() && rng.random_ratio(9, 10)).then(|| members[rng.random_range(0..members.len())]);
        for field in &descriptor.field {
            let wanted = if is_one_of(field) { chosen == Some(field.number()) } else { rng.random_ratio(3, 5) };
            let name_in_loose = if rng.random_ratio(1, 5) { field.name() } else { field.json_name() };
            if !wanted || (field.r#type() == Type::Message && depth == 0) {
                if rng.random_ratio(1, 5) {
                    loose.insert(name_in_loose.to_owned(), Value::Null);
                }
                continue;
            }
            let (here, is_default) = self.field(rng, field, depth);
            let implicit =
                field.label() != Label::Repeated && field.oneof_index.is_none() && field.r#type() != Type::Message;
            loose.insert(name_in_loose.to_owned(), here.loose);
            if is_default && implicit {
                continue;
            }
            self.made.insert((name.to_owned(), field.number()));
            protobuf.extend(here.protobuf);
            strict.insert(field.json_name().to_owned(), here.strict);
        }
        if rng.random_ratio(1, 5) {
            let unknown = json!({SECRET: [null, {"traceId": SECRET}, 1e300], "value": {"kind": SECRET}});
            loose.insert(format!("{SECRET}{}", rng.random_range(0..3)), unknown);
        }
        Made { protobuf, strict: Value::Object(strict), loose: Value::Object(loose) }
    }

    /// A field with its key, and whether it holds its type's default.
    fn field(&mut self, rng: &mut StdRng, field: &FieldDescriptorProto, depth: usize) -> (Made, bool) {
        let number = field.number() as u64;
        if field.label() != Label::Repeated {
            let (made, wire) = self.value(rng, field, depth);
            let is_default = made.protobuf.iter().all(|byte| *byte == 0);
            return (Made { protobuf: keyed(number, wire, &made.protobuf), ..made }, is_default);
        }
        let elements: Vec<_> = (0..rng.random_range(1..=2)).map(|_| self.value(rng, field, depth)).collect();
        let is_any = field.type_name() == ".opentelemetry.proto.common.v1.AnyValue";
        let (mut protobuf, mut packed, mut strict, mut loose) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (made, wire) in elements {
            match wire {
                2 => protobuf.extend(keyed(number, 2, &made.protobuf)),
                _ => packed.extend(made.protobuf),
            }
            loose.push(if is_any && made.strict == json!({}) { Value::Null } else { made.loose });
            strict.push(made.strict);
        }
        if !packed.is_empty() {
            protobuf = keyed(number, 2, &packed);
        }
        (Made { protobuf, strict: strict.into(), loose: loose.into() }, false)
    }

    /// A value without its key, and its wire type.
    fn value(&mut self, rng: &mut StdRng, field: &FieldDescriptorProto, depth: usize) -> (Made, u64) {
        let wide = whole(rng);
        match field.r#type() {
            Type::Message => (self.message(rng, field.type_name(), depth - 1), 2),
            Type::Enum => (self.enum_value(rng, field), 0),
            Type::Double => (double(rng), 1),
            Type::Fixed64 => (number(rng, wide.to_le_bytes().to_vec(), json!(wide), true), 1),
            Type::Sfixed64 => (number(rng, wide.to_le_bytes().to_vec(), json!(wide as i64), true), 1),
            Type::Fixed32 => (number(rng, (wide as u32).to_le_bytes().to_vec(), json!(wide as u32), false), 5),
            Type::Uint64 => (number(rng, varint(wide), json!(wide), true), 0),
            Type::Int64 => (number(rng, varint(wide), json!(wide as i64), true), 0),
            Type::Uint32 => (number(rng, varint(u64::from(wide as u32)), json!(wide as u32), false), 0),
            Type::Int32 => (number(rng, varint(i64::from(wide as i32) as u64), json!(wide as i32), false), 0),
            Type::Sint32 => {
                let value = wide as i32;
                let zigzag = if value < 0 { (-(i64::from(value)) * 2 - 1) as u64 } else { value as u64 * 2 };
                (number(rng, varint(zigzag), json!(value), false), 0)
            }
            Type::Bool => {
                let value: bool = rng.random();
                (same(vec![u8::from(value)], json!(value)), 0)
            }
            Type::String => {
                let text = ["", SECRET, "s3cret \"\\\u{0}\u{7f}\u{2028}\n é 😀"][rng.random_range(0..3)];
                (same(text.as_bytes().to_vec(), json!(text)), 2)
            }
            Type::Bytes => (bytes(rng, field.name()), 2),
            other => panic!("{other:?} is new in OTLP"),
        }
    }

    fn enum_value(&self, rng: &mut StdRng, field: &FieldDescriptorProto) -> Made {
        let values = &self.enums[field.type_name()].value;
        let known = &values[rng.random_range(0..values.len())];
        match rng.random_range(0..4) {
            0 => same(varint(99), json!(99)),
            1 => Made { loose: json!(known.name()), ..same(varint(known.number() as u64), json!(known.number())) },
            _ => number(rng, varint(known.number() as u64), json!(known.number()), false),
        }
    }
}

fn root(signal: Signal) -> String {
    let (package, service) = match signal {
        Signal::Traces => ("trace", "Trace"),
        Signal::Metrics => ("metrics", "Metrics"),
        Signal::Logs => ("logs", "Logs"),
    };
    format!(".opentelemetry.proto.collector.{package}.v1.Export{service}ServiceRequest")
}

fn is_one_of(field: &FieldDescriptorProto) -> bool {
    field.oneof_index.is_some() && !field.proto3_optional()
}

fn whole(rng: &mut StdRng) -> u64 {
    match rng.random_range(0..4) {
        0 => 0,
        1 => u64::MAX,
        2 => rng.random_range(0..300),
        _ => rng.random(),
    }
}

/// A number whose strict form is a string where it has 64 bits; readers take either.
fn number(rng: &mut StdRng, protobuf: Vec<u8>, value: Value, wide: bool) -> Made {
    let text = Value::String(value.to_string());
    let loose = if rng.random() { value.clone() } else { text.clone() };
    Made { protobuf, strict: if wide { text } else { value }, loose }
}

fn double(rng: &mut StdRng) -> Made {
    let random = f64::from_bits(rng.random());
    let random = if random.is_finite() { random } else { 0.1 };
    let pool = [0.0, 1.0, -2.5, random, random, 5e-324, f64::MAX, 1e21, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    let value = pool[rng.random_range(0..pool.len())];
    let strict = match value {
        _ if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => json!(value),
    };
    let loose = match &strict {
        Value::Number(_) if rng.random() => json!(format!("{value:e}")),
        Value::Number(_) if value == 1.0 => json!(1),
        other => other.clone(),
    };
    Made { protobuf: value.to_le_bytes().to_vec(), strict, loose }
}

fn bytes(rng: &mut StdRng, name: &str) -> Made {
    let id_len = match name {
        "trace_id" => 16,
        "span_id" | "parent_span_id" => 8,
        _ => {
            let value: Vec<u8> = (0..rng.random_range(0..6)).map(|_| rng.random()).collect();
            let (strict, loose) = (json!(STANDARD.encode(&value)), json!(URL_SAFE_NO_PAD.encode(&value)));
            return Made { protobuf: value, strict, loose };
        }
    };
    let len = if rng.random_ratio(1, 5) { 0 } else { id_len };
    // Never zero alone: that would look like a default.
    let value: Vec<u8> = (0..len).map(|_| rng.random_range(1..=255)).collect();
    let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    Made { protobuf: value, strict: json!(digits), loose: json!(digits.to_uppercase()) }
}

fn same(protobuf: Vec<u8>, value: Value) -> Made {
    Made { protobuf, strict: value.clone(), loose: value }
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(value, &mut bytes);
    bytes
}

fn keyed(number: u64, wire: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = varint(number << 3 | wire);
    if wire == 2 {
        bytes.extend(varint(payload.len() as u64));
    }
    bytes.extend_from_slice(payload);
    bytes
}
