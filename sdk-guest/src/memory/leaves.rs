//! Reading everything that can hold text.

use std::collections::{HashMap, HashSet};

use super::path::{is_id, is_keyed};
use super::tree::{Encoded, Node, Slot};
use super::{Batch, Data, Rows, Values};
use crate::{Level, Place};

/// Added to a place within a list or a map.
const NESTED: u8 = 128;

/// As in the contract.
#[derive(Debug)]
pub struct Leaves {
    pub data: Values,
    pub keys: Values,
    pub key_of: Vec<u32>,
    pub places: Vec<u8>,
    pub key_places: Vec<u8>,
}

/// Where a leaf or a key is: a row, the number of the field in it, and the numbers of the slots within its value.
#[derive(Clone, Debug)]
pub struct At {
    pub level: Level,
    pub row: usize,
    pub slots: Vec<usize>,
}

/// All leaves and keys of a batch, and where they are.
#[derive(Debug, Default)]
pub struct Found {
    leaves: Numbers<(u8, u32, Encoded)>,
    keys: Numbers<(u8, Vec<u8>)>,
}

/// Different things, numbered from 1, with every place where each of them is.
#[derive(Debug)]
struct Numbers<T> {
    numbers: HashMap<T, u32>,
    things: Vec<T>,
    at: Vec<(u32, At)>,
}

impl Found {
    pub fn of(data: &Data) -> Found {
        let mut found = Found::default();
        for level in data.levels() {
            for (row, fields) in data.rows(level).iter().enumerate() {
                for (number, field) in fields.fields.iter().enumerate() {
                    let at = At { level, row, slots: vec![number] };
                    if let Some(place) = place_of(level, field.name)
                        && is_shown(field.name, &field.slot)
                    {
                        found.slot(place.number(), 0, &field.slot, at, is_keyed(field.name));
                    }
                }
            }
        }
        found
    }

    pub fn into_lists(self) -> Leaves {
        let mut lists = Leaves {
            data: Values::default(),
            keys: Values::default(),
            key_of: vec![0],
            places: vec![0],
            key_places: vec![0],
        };
        lists.data.push(&(0, Vec::new()));
        lists.keys.push(&(0, Vec::new()));
        for (place, key, value) in self.leaves.things {
            lists.places.push(place);
            lists.key_of.push(key);
            lists.data.push(&value);
        }
        for (place, text) in self.keys.things {
            lists.key_places.push(place);
            let kind = if std::str::from_utf8(&text).is_ok() { 1 } else { 5 };
            lists.keys.push(&(kind, text));
        }
        lists
    }

    /// Those of a batch whose contents were read before.
    pub fn read_before(batch: &Batch) -> Found {
        assert!(batch.is_read.get(), "fault: leaves or keys were named that were not read in this call");
        Found::of(&batch.data)
    }

    /// Where each of these leaves is.
    pub fn each_leaf(&self, which: &[u32]) -> Vec<Vec<At>> {
        self.leaves.each(which)
    }

    /// Where each of these keys is.
    pub fn each_key(&self, which: &[u32]) -> Vec<Vec<At>> {
        self.keys.each(which)
    }

    fn slot(&mut self, place: u8, key: u32, slot: &Slot, at: At, is_entry: bool) {
        let key = if is_entry { self.keys.add((place, slot.key.clone()), at.clone()) } else { key };
        let (slots, is_map) = match &slot.node {
            Node::Plain(value) => {
                self.leaves.add((place, key, value.clone()), at);
                return;
            }
            Node::Array(slots) => (slots, false),
            Node::Map(slots) => (slots, true),
        };
        for (number, slot) in slots.iter().enumerate() {
            let mut at = at.clone();
            at.slots.push(number);
            self.slot(place | NESTED, key, slot, at, is_map);
        }
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Numbers { numbers: HashMap::new(), things: Vec::new(), at: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbers<T> {
    fn add(&mut self, thing: T, at: At) -> u32 {
        let things = &mut self.things;
        let number = *self.numbers.entry(thing).or_insert_with_key(|thing| {
            things.push(thing.clone());
            things.len() as u32
        });
        self.at.push((number, at));
        number
    }

    fn each(&self, which: &[u32]) -> Vec<Vec<At>> {
        let different: HashSet<&u32> = which.iter().collect();
        assert!(different.len() == which.len(), "fault: a leaf or key was named twice");
        which.iter().map(|number| self.places_of(&[*number])).collect()
    }

    fn places_of(&self, which: &[u32]) -> Vec<At> {
        for number in which {
            assert!(*number as usize <= self.things.len(), "fault: there is no leaf or key {number}");
        }
        self.at.iter().filter(|(number, _)| which.contains(number)).map(|(_, at)| at.clone()).collect()
    }
}

pub fn read_contents(batch: &Batch) -> Leaves {
    batch.is_read.set(true);
    Found::of(&batch.data).into_lists()
}

pub fn where_leaves(batch: &Batch, which: &[u32], level: &str) -> Rows {
    rows_with(batch, &Found::read_before(batch).leaves.places_of(which), level)
}

pub fn where_keys(batch: &Batch, which: &[u32], level: &str) -> Rows {
    rows_with(batch, &Found::read_before(batch).keys.places_of(which), level)
}

pub fn leaf_counts(batch: &Batch, which: &[u32], level: &str) -> Vec<u32> {
    counts(batch, &Found::read_before(batch).leaves.places_of(which), level)
}

pub fn key_counts(batch: &Batch, which: &[u32], level: &str) -> Vec<u32> {
    counts(batch, &Found::read_before(batch).keys.places_of(which), level)
}

fn rows_with(batch: &Batch, places: &[At], level: &str) -> Rows {
    let data = &batch.data;
    let mut rows = batch.where_rows(level, &[]);
    for at in places.iter().filter(|at| data.is_above(rows.level, at.level)) {
        let row = data.ancestor(at.level, at.row, rows.level);
        rows.set[row] = true;
    }
    rows
}

fn counts(batch: &Batch, places: &[At], level: &str) -> Vec<u32> {
    let level = batch.level(level);
    let mut counts = vec![0; batch.data.rows(level).len()];
    for at in places.iter().filter(|at| at.level == level) {
        counts[at.row] += 1;
    }
    counts
}

/// Texts that were not sent are no leaves, and ids only where they are not ids but text: of another length, or readable throughout.
fn is_shown(name: &str, slot: &Slot) -> bool {
    let Node::Plain((_, bytes)) = &slot.node else { return true };
    if is_id(name) {
        let is_text = bytes.iter().all(|byte| matches!(byte, b' '..=b'~'));
        return !bytes.is_empty() && !name.ends_with(".string") && (bytes.len() != id_len(name) || is_text);
    }
    is_keyed(name) || name == "body" || !bytes.is_empty()
}

/// Bytes of an id, by the name of its field.
pub fn id_len(name: &str) -> usize {
    if name.ends_with("trace_id") { 16 } else { 8 }
}

/// None of fields that hold no text.
pub fn place_of(level: Level, name: &str) -> Option<Place> {
    use Place::*;
    Some(match (level, name) {
        (Level::Resource, "attributes") => ResourceAttributes,
        (Level::Resource, "schema_url") => ResourceSchemaUrl,
        (Level::Resource, "entity") => ResourceEntity,
        (Level::Scope, "name") => ScopeName,
        (Level::Scope, "version") => ScopeVersion,
        (Level::Scope, "attributes") => ScopeAttributes,
        (Level::Scope, "schema_url") => ScopeSchemaUrl,
        (Level::Span, "name") => SpanName,
        (Level::Span, "trace_state") => SpanTraceState,
        (Level::Span, "attributes") => SpanAttributes,
        (Level::Span, "status.message") => SpanStatusMessage,
        (Level::Span, name) if is_id(name) => SpanIds,
        (Level::SpanEvent, "name") => SpanEventName,
        (Level::SpanEvent, "attributes") => SpanEventAttributes,
        (Level::SpanLink, "trace_state") => SpanLinkTraceState,
        (Level::SpanLink, "attributes") => SpanLinkAttributes,
        (Level::SpanLink, name) if is_id(name) => SpanLinkIds,
        (Level::Log, "severity_text") => LogSeverityText,
        (Level::Log, "body") => LogBody,
        (Level::Log, "attributes") => LogAttributes,
        (Level::Log, "event_name") => LogEventName,
        (Level::Log, name) if is_id(name) => LogIds,
        (Level::Metric, "name") => MetricName,
        (Level::Metric, "description") => MetricDescription,
        (Level::Metric, "unit") => MetricUnit,
        (Level::Metric, "metadata") => MetricMetadata,
        (Level::DataPoint, "attributes") => DatapointAttributes,
        (Level::DataPoint, "exemplar.attributes") => ExemplarAttributes,
        (Level::DataPoint, name) if is_id(name) => ExemplarIds,
        _ => return None,
    })
}
