//! What a stage changed, field by field. For people and guards: requests are decoded here, off the data path.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::ProtobufError;
use crate::signal::Signal;

mod read;

/// A span, a log record or a data point with all that stands above it (resource, scope, metric).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Values by path, as OTTL writes it: `span.name`, `resource.attributes["service.name"]`, `span.events[0].attributes["k"]`. Values are as
    /// OTLP/JSON has them, those of attributes without their envelopes.
    pub fields: BTreeMap<String, Value>,
}

/// A field that is different.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Where, as in [`Record::fields`].
    pub path: String,
    /// None: it was not there.
    pub before: Option<Value>,
    /// None: it is gone.
    pub after: Option<Value>,
}

/// What became of a record at a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It goes on, with these changes, if any.
    Kept(Vec<Change>),
    /// It was dropped, by the rule of this index.
    Dropped(u16),
}

/// The records of requests, in their order: as accounts count.
///
/// # Errors
/// Where a full decode would fail.
pub fn records(signal: Signal, bodies: &[Bytes]) -> Result<Vec<Record>, ProtobufError> {
    read::records(signal, bodies)
}

/// The changes from one record to the other, by path.
pub fn changes(before: &Record, after: &Record) -> Vec<Change> {
    let mut changes = Vec::new();
    for (path, value) in &before.fields {
        match after.fields.get(path) {
            Some(same) if same == value => {}
            other => changes.push(Change { path: path.clone(), before: Some(value.clone()), after: other.cloned() }),
        }
    }
    for (path, value) in after.fields.iter().filter(|(path, _)| !before.fields.contains_key(*path)) {
        changes.push(Change { path: path.clone(), before: None, after: Some(value.clone()) });
    }
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

/// What became of each record of `before`. `dropped` are rows of it, ascending, with their rules; `after` is what is left, in its order.
pub fn fates(before: &[Record], after: &[Record], dropped: &[(u32, u16)]) -> Vec<Fate> {
    let (mut dropped, mut after) = (dropped.iter().peekable(), after.iter());
    let fate = |(row, record): (u32, &Record)| match dropped.next_if(|(gone, _)| *gone == row) {
        Some((_, rule)) => Fate::Dropped(*rule),
        None => Fate::Kept(after.next().map_or_else(Vec::new, |left| changes(record, left))),
    };
    (0..).zip(before).map(fate).collect()
}

/// A path without its positions and keys of maps below attributes: what edit rates are counted by.
pub fn field_of(path: &str) -> String {
    let mut field = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(open) = rest.find('[') {
        let (head, tail) = rest.split_at(open);
        field.push_str(head);
        let is_position = tail[1..].starts_with(|c: char| c.is_ascii_digit());
        let close = if is_position { tail.find(']') } else { tail.find("\"]").map(|quote| quote + 1) };
        let Some(close) = close else { break };
        if !is_position {
            field.push_str(&tail[..=close]);
        }
        rest = &tail[close + 1..];
    }
    field.push_str(rest);
    field
}
