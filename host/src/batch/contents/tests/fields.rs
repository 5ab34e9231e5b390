//! What contents are, and what editing them does, done plainly on trees of fields: by the descriptors and prost's primitives.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_varint, skip_field};
use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::Type;

use super::placement::{PLACEMENT, Role, descriptors};
use crate::batch::{Level, Range};
use crate::signal::Signal;

/// Place, key if it has one, kind and bytes.
pub type Leaf = (u8, Option<Key>, u8, Vec<u8>);
/// Place and text.
pub type Key = (u8, Vec<u8>);

/// The row that something belongs to, and those above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rows {
    pub segment: usize,
    pub resource: Option<u32>,
    pub scope: Option<u32>,
    pub item: Option<u32>,
    /// Of an event, link or point.
    pub below: Option<(Level, u32)>,
}

impl Rows {
    /// The row of its own.
    pub fn own(&self) -> Option<(Level, u32)> {
        let item = self.item.map(|row| (Level::Item, row));
        let scope = self.scope.map(|row| (Level::Scope, row));
        self.below.or(item).or(scope).or(self.resource.map(|row| (Level::Resource, row)))
    }

    /// Its row or the one above it of a level.
    pub fn at(&self, level: Level) -> Option<u32> {
        match level {
            Level::Resource => self.resource,
            Level::Scope => self.scope,
            Level::Item => self.item,
            _ => self.below.filter(|(of, _)| *of == level).map(|(_, row)| row),
        }
    }
}

/// Kind and bytes of what takes a leaf's place.
pub type NewLeaf<'a> = dyn Fn(&Leaf) -> Option<(u8, Vec<u8>)> + 'a;

/// What is to be changed; of what is shown only.
pub enum Edit<'a> {
    Nothing,
    Replace(&'a NewLeaf<'a>),
    RemoveKeys(&'a dyn Fn(&Key) -> bool),
    RenameKeys(&'a dyn Fn(&Key) -> Option<Vec<u8>>),
    RemoveUnjudgeable,
}

/// Everything that was found.
pub struct Reference<'a> {
    pub leaves: Vec<(Leaf, Rows)>,
    pub keys: Vec<(Key, Rows)>,
    pub unjudgeable: Vec<Rows>,
    /// Items of each segment, resource and scope.
    pub items_of: HashMap<(Option<Level>, u32), Range<u32>>,
    edit: Edit<'a>,
    is_shown: &'a dyn Fn(&Rows) -> bool,
    next: HashMap<Level, u32>,
}

type Fields = HashMap<u32, (String, Type, Option<String>)>;

/// Messages with their fields by number: full name, type, and message type.
static SCHEMA: LazyLock<HashMap<String, Fields>> = LazyLock::new(|| {
    fn add(prefix: &str, message: &DescriptorProto, to: &mut HashMap<String, Fields>) {
        let name = format!("{prefix}.{}", message.name());
        message.nested_type.iter().for_each(|inner| add(&name, inner, to));
        let fields = message.field.iter().map(|field| {
            let of = (field.r#type() == Type::Message).then(|| field.type_name().to_owned());
            (field.number() as u32, (format!("{name}.{}", field.name()), field.r#type(), of))
        });
        let fields = fields.collect();
        to.insert(name, fields);
    }
    let mut found = HashMap::new();
    for file in &descriptors().file {
        file.message_type.iter().for_each(|message| add(&format!(".{}", file.package()), message, &mut found));
    }
    found
});

static ROLES: LazyLock<HashMap<String, Role>> =
    LazyLock::new(|| PLACEMENT.iter().map(|(name, role)| (format!(".opentelemetry.proto.{name}"), *role)).collect());

#[derive(Clone, Default)]
struct Within {
    rows: Rows,
    place: u8,
    key: Option<Key>,
    nesting: u32,
    /// A metric's data that another variant replaced later.
    is_replaced: bool,
}

/// Number, whole bytes, wire type and payload of each field.
fn parse(message: &[u8]) -> Vec<(u32, &[u8], WireType, &[u8])> {
    let mut fields = Vec::new();
    let mut rest = message;
    while rest.has_remaining() {
        let start = rest;
        let (number, wire) = decode_key(&mut rest).expect("well-formed");
        let mut payload = rest;
        skip_field(wire, number, &mut rest, DecodeContext::default()).expect("well-formed");
        if wire == WireType::LengthDelimited {
            decode_varint(&mut payload).expect("well-formed");
        }
        fields.push((number, &start[..start.len() - rest.len()], wire, &payload[..payload.len() - rest.len()]));
    }
    fields
}

fn number(mut payload: &[u8]) -> u64 {
    decode_varint(&mut payload).expect("well-formed")
}

/// A length-delimited field.
fn put(number: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_varint(u64::from(number << 3 | 2), &mut out);
    encode_varint(payload.len() as u64, &mut out);
    out.extend_from_slice(payload);
    out
}

/// The field of an AnyValue.
fn variant((kind, bytes): &(u8, Vec<u8>)) -> Vec<u8> {
    match kind {
        1 => put(1, bytes),
        2 => vec![0x10, bytes[0]],
        3 => {
            let mut out = vec![0x18];
            encode_varint(u64::from_le_bytes(bytes.as_slice().try_into().expect("8 bytes")), &mut out);
            out
        }
        4 => [&[0x21][..], bytes].concat(),
        5 => put(7, bytes),
        _ => Vec::new(),
    }
}

fn text_kind(bytes: &[u8]) -> u8 {
    if std::str::from_utf8(bytes).is_ok() { 1 } else { 5 }
}

impl<'a> Reference<'a> {
    pub fn new(edit: Edit<'a>, is_shown: &'a dyn Fn(&Rows) -> bool) -> Reference<'a> {
        Reference {
            leaves: Vec::new(),
            keys: Vec::new(),
            unjudgeable: Vec::new(),
            items_of: HashMap::new(),
            edit,
            is_shown,
            next: HashMap::new(),
        }
    }

    /// Walks a request; returns it with the edit made.
    pub fn request(&mut self, signal: Signal, segment: usize, bytes: &[u8]) -> Vec<u8> {
        let name = match signal {
            Signal::Traces => "trace.v1.ExportTraceServiceRequest",
            Signal::Metrics => "metrics.v1.ExportMetricsServiceRequest",
            Signal::Logs => "logs.v1.ExportLogsServiceRequest",
        };
        let first = self.count(Level::Item);
        let within = Within { rows: Rows { segment, ..Rows::default() }, ..Within::default() };
        let out = self.message(&format!(".opentelemetry.proto.collector.{name}"), bytes, &within);
        self.items_of.insert((None, segment as u32), first..self.count(Level::Item));
        out.unwrap_or_else(|| bytes.to_vec())
    }

    fn count(&self, level: Level) -> u32 {
        self.next.get(&level).copied().unwrap_or_default()
    }

    fn row(&mut self, level: Level) -> u32 {
        let next = self.next.entry(level).or_default();
        *next += 1;
        *next - 1
    }

    /// The message anew; None where nothing changed.
    fn message(&mut self, name: &str, bytes: &[u8], within: &Within) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut changed = false;
        let fields = parse(bytes);
        let is_data = |number: &u32| [5, 7, 9, 10, 11].contains(number);
        let data: Vec<u32> = fields.iter().map(|field| field.0).filter(is_data).collect();
        let mut data_left = data.len();
        let last_run = data.iter().rev().take_while(|number| Some(*number) == data.last()).count();
        for (field, whole, wire, payload) in fields {
            let mut within = within.clone();
            if name.ends_with(".Metric") && is_data(&field) {
                within.is_replaced = data_left > last_run;
                data_left -= 1;
            }
            match self.field(name, field, wire, whole, payload, &within) {
                None => out.extend_from_slice(whole),
                Some(new) => {
                    changed = true;
                    out.extend(new);
                }
            }
        }
        changed.then_some(out)
    }

    /// The field anew; None where nothing changed.
    fn field(
        &mut self,
        message: &str,
        number: u32,
        wire: WireType,
        whole: &[u8],
        payload: &[u8],
        within: &Within,
    ) -> Option<Vec<u8>> {
        let Some((name, kind, of)) = SCHEMA[message].get(&number) else { return self.unjudgeable(within) };
        let around = |inner: Option<Vec<u8>>| inner.map(|inner| self::around(whole, &inner));
        match (ROLES.get(name), of) {
            (Some(Role::Text(place)), _) => {
                let leaf = (*place, None, text_kind(payload), payload.to_vec());
                self.leaf(leaf, within).map(|(_, new)| put(number, &new))
            }
            (Some(Role::TraceId(place) | Role::SpanId(place)), _) => {
                let length = if matches!(ROLES[name], Role::TraceId(_)) { 16 } else { 8 };
                let is_text = payload.iter().all(|byte| (0x20..0x7f).contains(byte));
                if payload.is_empty() || (payload.len() == length && !is_text) {
                    return None;
                }
                let leaf = (*place, None, 5, payload.to_vec());
                self.leaf(leaf, within).map(|_| put(number, &vec![0; payload.len()]))
            }
            (Some(Role::Attributes(place)), _) => {
                self.key_value(number, whole, payload, &Within { place: *place, ..within.clone() })
            }
            (Some(Role::AnyValue(place)), _) => {
                self.any_value(number, whole, payload, &Within { place: *place, ..within.clone() })
            }
            (Some(Role::Rows("List")), Some(of)) => {
                if within.nesting == 64 {
                    return self.unjudgeable(within);
                }
                let nesting = within.nesting + 1;
                around(self.message(of, payload, &Within { place: within.place | 128, nesting, ..within.clone() }))
            }
            (Some(Role::Rows("Rows")), Some(of)) => around(self.rows(of, payload, within)),
            (Some(Role::Rows(role @ ("Events" | "Links" | "Points"))), Some(of)) => {
                let level = match *role {
                    "Events" => Level::Event,
                    "Links" => Level::Link,
                    _ => Level::Point,
                };
                let mut within = within.clone();
                if !within.is_replaced {
                    within.rows.below = Some((level, self.row(level)));
                }
                around(self.message(of, payload, &within))
            }
            (Some(Role::Own("Key")), _) => self.key((within.place, payload.to_vec()), within).map(|new| put(1, &new)),
            (Some(Role::Own("Value" | "Elements")), _) => self.any_value(number, whole, payload, within),
            (Some(Role::Own("Entries")), _) => self.key_value(number, whole, payload, within),
            (Some(Role::Own("Varint")), _) => None,
            (Some(Role::Own(_)), _) => {
                let (kind, bytes) = match number {
                    1 => (text_kind(payload), payload.to_vec()),
                    2 => (2, vec![u8::from(self::number(payload) != 0)]),
                    3 => (3, self::number(payload).to_le_bytes().to_vec()),
                    4 => (4, payload.to_vec()),
                    7 => (5, payload.to_vec()),
                    _ => (8, Vec::new()),
                };
                self.leaf((within.place, within.key.clone(), kind, bytes), within).map(|new| variant(&new))
            }
            (_, Some(of)) => around(self.message(of, payload, within)),
            (None, None) => {
                assert!(!matches!(kind, Type::String | Type::Bytes), "{name} is placed");
                assert!(wire != WireType::StartGroup);
                None
            }
            (Some(Role::Rows(_)), None) => unreachable!("rows are messages"),
        }
    }

    /// A resource, scope or item.
    fn rows(&mut self, of: &str, payload: &[u8], within: &Within) -> Option<Vec<u8>> {
        let mut within = within.clone();
        let (place, level) = match (within.rows.resource, within.rows.scope) {
            (None, _) => (&mut within.rows.resource, Level::Resource),
            (_, None) => (&mut within.rows.scope, Level::Scope),
            _ => (&mut within.rows.item, Level::Item),
        };
        let row = self.row(level);
        *place = Some(row);
        let first = self.count(Level::Item);
        let out = self.message(of, payload, &within);
        self.items_of.insert((Some(level), row), first..self.count(Level::Item));
        out
    }

    fn key_value(&mut self, number: u32, whole: &[u8], payload: &[u8], within: &Within) -> Option<Vec<u8>> {
        let fields = parse(payload);
        let keys: Vec<&[u8]> = fields.iter().filter(|field| field.0 == 1).map(|field| field.3).collect();
        let key = keys.last().copied().unwrap_or_default().to_vec();
        if let Edit::RemoveKeys(is_removed) = &self.edit
            && (self.is_shown)(&within.rows)
            && (keys.iter().any(|key| is_removed(&(within.place, key.to_vec())))
                || is_removed(&(within.place, key.clone())))
        {
            // Everything in it is still counted.
            self.key_value_fields(payload, &keys, &key, within);
            return Some(Vec::new());
        }
        let (inserted, inner) = self.key_value_fields(payload, &keys, &key, within);
        if inserted.is_empty() && inner.is_none() {
            return None;
        }
        let inner = [inserted, inner.unwrap_or_else(|| payload.to_vec())].concat();
        let _ = number;
        Some(around(whole, &inner))
    }

    /// What is put in front of a KeyValue's fields, and these anew.
    fn key_value_fields(
        &mut self,
        payload: &[u8],
        keys: &[&[u8]],
        key: &[u8],
        within: &Within,
    ) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut inserted = Vec::new();
        if keys.is_empty()
            && let Some(new) = self.key((within.place, Vec::new()), within)
        {
            inserted.extend(put(1, &new));
        }
        let within = Within { key: Some((within.place, key.to_vec())), ..within.clone() };
        if !parse(payload).iter().any(|field| field.0 == 2)
            && let Some(new) = self.leaf((within.place, within.key.clone(), 8, Vec::new()), &within)
        {
            inserted.extend(put(2, &variant(&new)));
        }
        (inserted, self.message(".opentelemetry.proto.common.v1.KeyValue", payload, &within))
    }

    fn any_value(&mut self, number: u32, whole: &[u8], payload: &[u8], within: &Within) -> Option<Vec<u8>> {
        let is_empty = !parse(payload).iter().any(|field| (1..=8).contains(&field.0));
        let mut inserted = None;
        if is_empty {
            let new = self.leaf((within.place, within.key.clone(), 8, Vec::new()), within);
            inserted = new.map(|new| variant(&new));
        }
        let inner = self.message(".opentelemetry.proto.common.v1.AnyValue", payload, within);
        match inserted {
            Some(new) if payload.is_empty() => Some(put(number, &new)),
            Some(new) if !new.is_empty() => Some(around(whole, &[new.as_slice(), payload].concat())),
            _ => inner.map(|inner| around(whole, &inner)),
        }
    }

    fn leaf(&mut self, leaf: Leaf, within: &Within) -> Option<(u8, Vec<u8>)> {
        let new = match &self.edit {
            Edit::Replace(new) if (self.is_shown)(&within.rows) => new(&leaf),
            _ => None,
        };
        self.leaves.push((leaf, within.rows));
        new
    }

    fn key(&mut self, key: Key, within: &Within) -> Option<Vec<u8>> {
        let new = match &self.edit {
            Edit::RenameKeys(new) if (self.is_shown)(&within.rows) => new(&key),
            _ => None,
        };
        self.keys.push((key, within.rows));
        new
    }

    fn unjudgeable(&mut self, within: &Within) -> Option<Vec<u8>> {
        self.unjudgeable.push(within.rows);
        (matches!(self.edit, Edit::RemoveUnjudgeable) && (self.is_shown)(&within.rows)).then(Vec::new)
    }
}

/// A length-delimited field with another payload: its tag stays as it was.
fn around(whole: &[u8], payload: &[u8]) -> Vec<u8> {
    let tag = whole.iter().position(|&byte| byte < 0x80).expect("a tag ends") + 1;
    let mut out = whole[..tag].to_vec();
    encode_varint(payload.len() as u64, &mut out);
    out.extend_from_slice(payload);
    out
}
