//! What a stage changed, field by field. For people and guards: requests are decoded here, off the data path.
//!
//! What is compared is what requests mean: how an encoder ordered fields or split messages does not count, what OTLP does not know does.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::json::ProtobufError;
use crate::signal::Signal;

pub mod case;
pub mod outputs;
mod path;
pub mod rates;
mod read;
#[cfg(test)]
mod tests;
mod value;

pub use path::field_of;

/// Most bytes of requests that are read together: decoded they take many times as much.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Most bytes that these may be as JSON, which is what their decoded form grows with.
const JSON_BYTES_MAX: usize = 96 << 20;

/// A span, a log record or a data point with all that stands above it (resource, scope, metric).
///
/// Its fields are values by path, as OTTL writes it: `span.name`, `resource.attributes["service.name"]`,
/// `span.events[0].attributes["k"]`. Of a key that comes more than once, the second is `attributes["k"][1]`. Values are as OTLP/JSON has
/// them, those of attributes without their envelopes where that is unambiguous. Fields that this version of OTLP does not know are one
/// value of their message: `span.unknown_fields`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// From the resource down; what stands above many records is shared by them.
    levels: Vec<Arc<Fields>>,
}

type Fields = BTreeMap<String, Value>;

/// A field that is different, as it is between two records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference<'a> {
    /// Where, as in [`Record`].
    pub path: &'a str,
    /// None: it was not there.
    pub before: Option<&'a Value>,
    /// None: it is gone.
    pub after: Option<&'a Value>,
}

/// A field that is different, to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Where, as in [`Record`].
    pub path: String,
    /// None: it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub before: Option<Value>,
    /// None: it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub after: Option<Value>,
}

/// What became of a record at a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate<'a> {
    /// It goes on, with these changes, if any.
    Kept(Vec<Difference<'a>>),
    /// It was dropped, by the rule of this index.
    Dropped(u16),
}

/// Requests could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A full decode would fail, too.
    #[error(transparent)]
    Protobuf(#[from] ProtobufError),
    /// They would take too much memory.
    #[error("the requests are too large to be compared field by field")]
    TooLarge,
}

/// The records of requests, in their order: as accounts count, so a metric is as many records as it has data points.
///
/// # Errors
/// See [`Unreadable`].
pub fn records(signal: Signal, bodies: &[Bytes]) -> Result<Vec<Record>, Unreadable> {
    read::records(signal, bodies)
}

/// The changes from one record to the other: by level from the resource down, then by path.
pub fn changes<'a>(before: &'a Record, after: &'a Record) -> Vec<Difference<'a>> {
    Alike::default().changes(before, after)
}

/// What became of each record of `before`. `dropped` are rows of it, ascending, with their rules; `after` is what is left, in its order.
pub fn fates<'a>(
    before: &'a [Record],
    after: &'a [Record],
    dropped: &'a [(u32, u16)],
) -> impl Iterator<Item = Fate<'a>> {
    let mut alike = Alike::default();
    left(before.len(), after, dropped).zip(before).map(move |(left, record)| match left {
        Left::Kept(after) => Fate::Kept(alike.changes(record, after)),
        Left::Dropped(rule) => Fate::Dropped(rule),
    })
}

/// Levels that were found to be alike last: what stands above many records is compared once.
#[derive(Default)]
struct Alike<'a> {
    levels: Vec<Option<(&'a Fields, &'a Fields)>>,
}

impl<'a> Alike<'a> {
    fn changes(&mut self, before: &'a Record, after: &'a Record) -> Vec<Difference<'a>> {
        let mut changes = Vec::new();
        let levels = before.levels.len().max(after.levels.len());
        self.levels.resize(levels, None);
        for (level, known) in self.levels.iter_mut().enumerate() {
            let fields = (before.levels.get(level).map(|f| &**f), after.levels.get(level).map(|f| &**f));
            if let ((Some(before), Some(after)), Some(known)) = (fields, *known)
                && std::ptr::eq(before, known.0)
                && std::ptr::eq(after, known.1)
            {
                continue;
            }
            let others = changes.len();
            changes_of_level(fields.0, fields.1, &mut changes);
            *known = if changes.len() == others { fields.0.zip(fields.1) } else { None };
        }
        changes
    }
}

/// What is left of a row.
#[derive(Clone, Copy)]
enum Left<'a> {
    Kept(&'a Record),
    Dropped(u16),
}

/// What is left of each of so many rows, as far as there is anything left. Rows that are named twice were dropped by the first rule.
fn left<'a>(rows: usize, after: &'a [Record], dropped: &'a [(u32, u16)]) -> impl Iterator<Item = Left<'a>> {
    let (mut dropped, mut after) = (dropped.iter().peekable(), after.iter());
    (0..rows).map_while(move |row| {
        let mut rule = None;
        while let Some((_, of_row)) = dropped.next_if(|(gone, _)| usize::try_from(*gone).is_ok_and(|gone| gone <= row))
        {
            rule = rule.or(Some(*of_row));
        }
        rule.map(Left::Dropped).or_else(|| after.next().map(Left::Kept))
    })
}

fn changes_of_level<'a>(before: Option<&'a Fields>, after: Option<&'a Fields>, changes: &mut Vec<Difference<'a>>) {
    let mut before = before.into_iter().flatten().peekable();
    let mut after = after.into_iter().flatten().peekable();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let before = if order.is_le() { before.next() } else { None };
        let after = if order.is_ge() { after.next() } else { None };
        let Some((path, _)) = before.or(after) else { return };
        let (before, after) = (before.map(|(_, value)| value), after.map(|(_, value)| value));
        if before != after {
            changes.push(Difference { path, before, after });
        }
    }
}

impl Record {
    /// Its fields, by level from the resource down, then by path.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.levels.iter().flat_map(|level| level.iter()).map(|(path, value)| (path.as_str(), value))
    }

    /// The field of this path.
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.levels.iter().find_map(|level| level.get(path))
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (path, value) in self.fields() {
            map.serialize_entry(path, value)?;
        }
        map.end()
    }
}

impl Difference<'_> {
    /// A copy of it.
    pub fn to_change(&self) -> Change {
        Change { path: self.path.to_owned(), before: self.before.cloned(), after: self.after.cloned() }
    }
}

/// An empty value is a value: only a missing one is none.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
