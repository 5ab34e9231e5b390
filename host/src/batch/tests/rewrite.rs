//! Rewrites a canonical message in an odd encoding that prost accepts too: shuffled fields, unknown fields of every wire
//! type, messages split in parts, replaced variants of oneofs, scalars said twice, overlong varints, unpacked lists.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::signal::Signal;

/// What a field may be rewritten as; fields that are not listed are left as they are.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Not repeated, so it may come in parts.
    Message(&'static Schema),
    Repeated(&'static Schema),
    /// A repeated fixed64 or double.
    Packed64,
    /// Not repeated: another value may come before.
    Varint,
    Fixed64,
    Text,
}

/// A message's fields, and the variants of its oneof with a value for each.
pub struct Schema {
    fields: &'static [(u32, Kind)],
    oneof: &'static [&'static [u8]],
}

pub fn schema(signal: Signal) -> &'static Schema {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

static TRACES: Schema = Schema { fields: &[(1, Kind::Repeated(&RESOURCE_SPANS))], oneof: &[] };
static METRICS: Schema = Schema { fields: &[(1, Kind::Repeated(&RESOURCE_METRICS))], oneof: &[] };
static LOGS: Schema = Schema { fields: &[(1, Kind::Repeated(&RESOURCE_LOGS))], oneof: &[] };
static ANY_VALUE: Schema = Schema {
    fields: &[(5, Kind::Message(&LIST)), (6, Kind::Message(&MAP))],
    oneof: &[
        b"\x0a\x01z",
        b"\x10\x01",
        b"\x18\x07",
        b"\x2a\x04\x0a\x02\x18\x05",
        b"\x32\x05\x0a\x03\x0a\x01k",
        b"\x3a\x00",
        b"\x40\x01",
        b"\x0a\x00",
    ],
};
static LIST: Schema = Schema { fields: &[(1, Kind::Repeated(&ANY_VALUE))], oneof: &[] };
static MAP: Schema = Schema { fields: &[(1, Kind::Repeated(&KEY_VALUE))], oneof: &[] };
static KEY_VALUE: Schema =
    Schema { fields: &[(1, Kind::Text), (2, Kind::Message(&ANY_VALUE)), (3, Kind::Varint)], oneof: &[] };
static RESOURCE: Schema = Schema { fields: &[(1, Kind::Repeated(&KEY_VALUE)), (2, Kind::Varint)], oneof: &[] };
static SCOPE: Schema =
    Schema { fields: &[(1, Kind::Text), (3, Kind::Repeated(&KEY_VALUE)), (4, Kind::Varint)], oneof: &[] };

const fn resources(scopes: &'static Schema) -> [(u32, Kind); 2] {
    [(1, Kind::Message(&RESOURCE)), (2, Kind::Repeated(scopes))]
}
const fn scopes(items: &'static Schema) -> [(u32, Kind); 3] {
    [(1, Kind::Message(&SCOPE)), (2, Kind::Repeated(items)), (3, Kind::Text)]
}
static RESOURCE_SPANS: Schema = Schema { fields: &resources(&SCOPE_SPANS), oneof: &[] };
static SCOPE_SPANS: Schema = Schema { fields: &scopes(&SPAN), oneof: &[] };
static RESOURCE_METRICS: Schema = Schema { fields: &resources(&SCOPE_METRICS), oneof: &[] };
static SCOPE_METRICS: Schema = Schema { fields: &scopes(&METRIC), oneof: &[] };
static RESOURCE_LOGS: Schema = Schema { fields: &resources(&SCOPE_LOGS), oneof: &[] };
static SCOPE_LOGS: Schema = Schema { fields: &scopes(&LOG), oneof: &[] };

static SPAN: Schema = Schema {
    fields: &[
        (5, Kind::Text),
        (6, Kind::Varint),
        (7, Kind::Fixed64),
        (9, Kind::Repeated(&KEY_VALUE)),
        (11, Kind::Repeated(&EVENT)),
        (13, Kind::Repeated(&LINK)),
        (15, Kind::Message(&STATUS)),
    ],
    oneof: &[],
};
static STATUS: Schema = Schema { fields: &[(2, Kind::Text), (3, Kind::Varint)], oneof: &[] };
static EVENT: Schema =
    Schema { fields: &[(1, Kind::Fixed64), (2, Kind::Text), (3, Kind::Repeated(&KEY_VALUE))], oneof: &[] };
static LINK: Schema = Schema { fields: &[(1, Kind::Text), (4, Kind::Repeated(&KEY_VALUE))], oneof: &[] };
static LOG: Schema = Schema {
    fields: &[(2, Kind::Varint), (3, Kind::Text), (5, Kind::Message(&ANY_VALUE)), (6, Kind::Repeated(&KEY_VALUE))],
    oneof: &[],
};
static METRIC: Schema = Schema {
    fields: &[
        (1, Kind::Text),
        (5, Kind::Message(&NUMBERS)),
        (7, Kind::Message(&NUMBERS)),
        (9, Kind::Message(&HISTOGRAM)),
        (10, Kind::Message(&EXPONENTIAL)),
        (11, Kind::Message(&SUMMARY)),
        (12, Kind::Repeated(&KEY_VALUE)),
    ],
    oneof: &[
        b"\x2a\x02\x0a\x00",
        b"\x2a\x00",
        b"\x3a\x06\x0a\x00\x10\x02\x18\x01",
        b"\x4a\x02\x0a\x00",
        b"\x52\x02\x0a\x00",
        b"\x5a\x04\x0a\x00\x0a\x00",
    ],
};
/// Gauge and Sum.
static NUMBERS: Schema = Schema { fields: &[(1, Kind::Repeated(&NUMBER)), (2, Kind::Varint)], oneof: &[] };
static NUMBER: Schema = Schema {
    fields: &[(3, Kind::Fixed64), (7, Kind::Repeated(&KEY_VALUE))],
    oneof: &[b"\x2112345678", b"\x3112345678"],
};
static SUMMARY: Schema = Schema { fields: &[(1, Kind::Repeated(&SUMMARY_POINT))], oneof: &[] };
static SUMMARY_POINT: Schema = Schema { fields: &[(5, Kind::Fixed64), (7, Kind::Repeated(&KEY_VALUE))], oneof: &[] };
static HISTOGRAM: Schema = Schema { fields: &[(1, Kind::Repeated(&HISTOGRAM_POINT)), (2, Kind::Varint)], oneof: &[] };
static HISTOGRAM_POINT: Schema =
    Schema { fields: &[(4, Kind::Fixed64), (6, Kind::Packed64), (9, Kind::Repeated(&KEY_VALUE))], oneof: &[] };
static EXPONENTIAL: Schema =
    Schema { fields: &[(1, Kind::Repeated(&EXPONENTIAL_POINT)), (2, Kind::Varint)], oneof: &[] };
static EXPONENTIAL_POINT: Schema =
    Schema { fields: &[(1, Kind::Repeated(&KEY_VALUE)), (4, Kind::Fixed64)], oneof: &[] };

/// One field: its key and what follows it, a length prefix not included.
struct Field {
    number: u32,
    wire: u8,
    payload: Vec<u8>,
}

pub fn rewrite(message: &[u8], schema: &Schema, rng: &mut StdRng) -> Vec<u8> {
    let mut out = Vec::new();
    let mut fields = Vec::new();
    for mut field in parse(message) {
        let kind = schema.fields.iter().find(|(number, _)| *number == field.number).map(|(_, kind)| *kind);
        match kind {
            Some(Kind::Repeated(inner)) => field.payload = rewrite(&field.payload, inner, rng),
            Some(Kind::Message(inner)) => {
                let parts =
                    if rng.random_ratio(1, 3) { split(&field.payload, rng) } else { vec![field.payload.clone()] };
                for part in parts {
                    fields.push(Field { number: field.number, wire: 2, payload: rewrite(&part, inner, rng) });
                }
                continue;
            }
            Some(Kind::Packed64) if rng.random() => {
                for value in field.payload.chunks(8) {
                    fields.push(Field { number: field.number, wire: 1, payload: value.to_vec() });
                }
                continue;
            }
            Some(Kind::Varint | Kind::Fixed64 | Kind::Text) if rng.random_ratio(1, 6) => {
                let payload = match field.wire {
                    1 => vec![9; 8],
                    _ => b"\x03".to_vec(),
                };
                fields.push(Field { number: field.number, wire: field.wire, payload });
            }
            _ => {}
        }
        fields.push(field);
    }
    if !schema.oneof.is_empty() && rng.random_ratio(1, 4) {
        let variant = schema.oneof[rng.random_range(0..schema.oneof.len())];
        let at = rng.random_range(0..=fields.len());
        fields.splice(at..at, parse(variant));
    }
    while rng.random_ratio(1, 4) {
        let at = rng.random_range(0..=fields.len());
        fields.insert(at, unknown(rng));
    }
    if rng.random_ratio(1, 3) {
        fields.shuffle(rng);
    }
    for field in fields {
        put(u64::from(field.number << 3 | u32::from(field.wire)), rng, &mut out);
        match field.wire {
            0 => put(read(&field.payload).0, rng, &mut out),
            2 => {
                put(field.payload.len() as u64, rng, &mut out);
                out.extend(field.payload);
            }
            _ => out.extend(field.payload),
        }
    }
    out
}

/// The fields of a message in two messages.
fn split(message: &[u8], rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new(), Vec::new()];
    for field in parse(message) {
        let part = &mut parts[rng.random_range(0..2)];
        put_shortest(u64::from(field.number << 3 | u32::from(field.wire)), part);
        if field.wire == 2 {
            put_shortest(field.payload.len() as u64, part);
        }
        part.extend(field.payload);
    }
    parts
}

fn unknown(rng: &mut StdRng) -> Field {
    let (wire, payload): (u8, &[u8]) = match rng.random_range(0..6) {
        0 => (0, b"\x05"),
        1 => (1, b"12345678"),
        2 => (2, b"unknown"),
        3 => (2, b""),
        // A group of number 2047 with a field, a group and a text in it.
        4 => (3, b"\x08\x01\x13\x14\x1a\x01x\xfc\x7f"),
        _ => (5, b"1234"),
    };
    let number = if wire == 3 { 2047 } else { [100, 1000, 536_870_911][rng.random_range(0..3)] };
    Field { number, wire, payload: payload.to_vec() }
}

fn parse(mut message: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let (key, len) = read(message);
        message = &message[len..];
        let (prefix, len) = match key & 7 {
            0 => (0, read(message).1),
            1 => (0, 8),
            2 => {
                let (length, prefix) = read(message);
                (prefix, length as usize)
            }
            _ => (0, 4),
        };
        let payload = message[prefix..prefix + len].to_vec();
        fields.push(Field { number: (key >> 3) as u32, wire: (key & 7) as u8, payload });
        message = &message[prefix + len..];
    }
    fields
}

fn read(mut bytes: &[u8]) -> (u64, usize) {
    let before = bytes.len();
    let value = prost::encoding::decode_varint(&mut bytes).expect("canonical input");
    (value, before - bytes.len())
}

fn put_shortest(value: u64, out: &mut Vec<u8>) {
    prost::encoding::encode_varint(value, out);
}

/// Sometimes in more bytes than needed, at most ten.
fn put(value: u64, rng: &mut StdRng, out: &mut Vec<u8>) {
    let from = out.len();
    put_shortest(value, out);
    let used = out.len() - from;
    if rng.random_ratio(1, 10) && used < 10 {
        let len = rng.random_range(used + 1..=10);
        *out.last_mut().expect("at least one byte") |= 0x80;
        out.resize(from + len - 1, 0x80);
        out.push(0);
    }
}
