//! Values as trees, so that edits find their places in them, whatever other edits do.

use crate::any_value::{self, Fields, Payload};
use crate::{NewValue, Value};

/// As deep as the host reads.
const DEPTH_MAX: u32 = 64;

/// Kind and bytes, as in the contract.
pub type Encoded = (u8, Vec<u8>);

#[derive(Clone, Debug)]
pub enum Node {
    Plain(Encoded),
    Array(Vec<Slot>),
    Map(Vec<Slot>),
}

/// What holds a value: a field, an entry of a map, an element of a list. It keeps its position when it is removed.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Of an attribute or an entry; empty for others.
    pub key: Vec<u8>,
    pub renamed: Option<Vec<u8>>,
    pub node: Node,
    pub edited: Edited,
}

/// What the edits so far did to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    No,
    /// Something within its value was changed.
    Within,
    /// It was given another value.
    Set,
    Removed,
    /// It was not there, and was put there for something in it or for itself.
    New,
}

impl Slot {
    pub fn new(key: &[u8], node: Node) -> Slot {
        Slot { key: key.to_vec(), renamed: None, node, edited: Edited::No }
    }

    /// The key after the edits.
    pub fn key_now(&self) -> &[u8] {
        self.renamed.as_deref().unwrap_or(&self.key)
    }

    pub fn is_there(&self) -> bool {
        self.edited != Edited::Removed
    }
}

impl Node {
    pub fn of(value: Value<'_>) -> Node {
        let slot = |key: &[u8], value| Slot::new(key, Node::of(value));
        match value {
            Value::Array(_) => Node::Array(value.elements().map(|value| slot(b"", value)).collect()),
            Value::Map(_) => Node::Map(value.entries().map(|(key, value)| slot(bytes_of(key), value)).collect()),
            plain => Node::Plain(encode(plain)),
        }
    }

    pub fn encode(&self) -> Encoded {
        match self {
            Node::Plain(encoded) => encoded.clone(),
            Node::Array(slots) => {
                let elements = encode_all(slots);
                (6, any_value::write_array(elements.iter().map(|(_, (kind, bytes))| Value::decode(*kind, bytes))))
            }
            Node::Map(slots) => {
                let entries = encode_all(slots);
                let entries = entries.iter().map(|(key, (kind, bytes))| (*key, Value::decode(*kind, bytes)));
                (7, any_value::write_map(entries))
            }
        }
    }

    /// The value at the end of these steps, if they lead to one.
    pub fn at(&self, steps: &[Step]) -> Option<&Node> {
        let Some((step, rest)) = steps.split_first() else { return Some(self) };
        let slot = match (self, step) {
            (Node::Map(slots), Step::Key(key)) => {
                slots.iter().find(|slot| slot.is_there() && slot.key_now() == key.as_bytes())
            }
            (Node::Array(slots), Step::Index(index)) => slots.iter().filter(|slot| slot.is_there()).nth(*index),
            _ => None,
        };
        slot?.node.at(rest)
    }
}

/// A step into a map or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// Kind and bytes of a value.
pub fn encode(value: Value<'_>) -> Encoded {
    let column = crate::new_value::Column::of(value).lists;
    (column.kinds[0], column.bytes)
}

/// The owned value of kind and bytes.
pub fn owned(encoded: &Encoded) -> NewValue {
    Value::decode(encoded.0, &encoded.1).into()
}

/// Whether these bytes are of the kind: texts valid UTF-8, lists and maps valid `AnyValue` messages.
pub fn is_legal((kind, bytes): &Encoded) -> bool {
    match kind {
        0 | 8 => bytes.is_empty(),
        1 => std::str::from_utf8(bytes).is_ok(),
        2 => matches!(bytes.as_slice(), [0 | 1]),
        3 | 4 => bytes.len() == 8,
        5 => true,
        6 => matches!(any_value::read(bytes), Value::Array(_)) && is_any_value(bytes, 0),
        7 => matches!(any_value::read(bytes), Value::Map(_)) && is_any_value(bytes, 0),
        _ => false,
    }
}

fn is_any_value(any: &[u8], depth: u32) -> bool {
    depth < DEPTH_MAX
        && all_fields(any, |number, payload| match (number, payload) {
            (1, Payload::Bytes(text)) => std::str::from_utf8(text).is_ok(),
            (5, Payload::Bytes(list)) => all_fields(list, |number, payload| match (number, payload) {
                (1, Payload::Bytes(any)) => is_any_value(any, depth + 1),
                (number, _) => number != 1,
            }),
            (6, Payload::Bytes(list)) => all_fields(list, |number, payload| match (number, payload) {
                (1, Payload::Bytes(entry)) => is_entry(entry, depth),
                (number, _) => number != 1,
            }),
            (2 | 3, Payload::Varint(_)) | (4, Payload::Fixed64(_)) | (7, Payload::Bytes(_)) => true,
            (number, _) => number > 7,
        })
}

fn is_entry(entry: &[u8], depth: u32) -> bool {
    all_fields(entry, |number, payload| match (number, payload) {
        (1, Payload::Bytes(key)) => std::str::from_utf8(key).is_ok(),
        (2, Payload::Bytes(any)) => is_any_value(any, depth + 1),
        (number, _) => number > 2,
    })
}

fn all_fields(message: &[u8], mut is_right: impl FnMut(u32, Payload<'_>) -> bool) -> bool {
    let mut fields = Fields(message);
    fields.by_ref().all(|(number, payload)| is_right(number, payload)) && fields.0.is_empty()
}

fn encode_all(slots: &[Slot]) -> Vec<(&[u8], Encoded)> {
    slots.iter().filter(|slot| slot.is_there()).map(|slot| (slot.key_now(), slot.node.encode())).collect()
}

fn bytes_of(key: Value<'_>) -> &[u8] {
    match key {
        Value::Str(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        _ => &[],
    }
}
