//! What was done, in attributes of the rows it was done to: the Collector's `redaction.*`.

use std::collections::{BTreeMap, HashMap};

use sluicebox_guest::{Batch, Contents, Field, Level, Place, Rule, Value};

use crate::config;

const PREFIX: &str = "redaction.";
const BODY_PREFIX: &str = "redaction.body.";
/// Between keys.
const SEPARATOR: char = ',';

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Redacted,
    Masked,
    Allowed,
    Ignored,
}

impl What {
    const ALL: [What; 4] = [What::Redacted, What::Masked, What::Allowed, What::Ignored];

    const fn name(self) -> &'static str {
        match self {
            What::Redacted => "redacted",
            What::Masked => "masked",
            What::Allowed => "allowed",
            What::Ignored => "ignored",
        }
    }
}

/// The places whose work is summed up, and the levels of the rows that say so. Bodies are summed up in their record's attributes.
const CONTAINERS: [(Place, Level, &str); 8] = [
    (Place::ResourceAttributes, Level::Resource, PREFIX),
    (Place::ScopeAttributes, Level::Scope, PREFIX),
    (Place::SpanAttributes, Level::Span, PREFIX),
    (Place::SpanEventAttributes, Level::SpanEvent, PREFIX),
    (Place::SpanLinkAttributes, Level::SpanLink, PREFIX),
    (Place::LogAttributes, Level::Log, PREFIX),
    (Place::LogBody, Level::Log, BODY_PREFIX),
    (Place::DatapointAttributes, Level::DataPoint, PREFIX),
];

/// All attributes that a summary can consist of.
pub fn names() -> impl Iterator<Item = String> {
    [PREFIX, BODY_PREFIX].into_iter().flat_map(|prefix| {
        What::ALL
            .into_iter()
            .flat_map(move |what| ["keys", "count"].map(|last| format!("{prefix}{}.{last}", what.name())))
    })
}

/// Writes summaries.
#[derive(Debug)]
pub struct Summary {
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    place: Place,
    level: Level,
    what: What,
    count: Field,
    /// None if keys are not named.
    keys: Option<Field>,
}

/// What was done in a batch, by numbers of keys and leaves.
#[derive(Debug, Default)]
pub struct Done {
    pub removed: Vec<u32>,
    pub ignored: Vec<u32>,
    pub masked: Vec<u32>,
    pub allowed: Vec<u32>,
}

/// Things of one key to be counted.
#[derive(Debug, Default)]
struct Counted {
    keys: Vec<u32>,
    leaves: Vec<u32>,
}

impl Summary {
    /// None if nothing is to be said.
    pub fn open(detail: config::Summary) -> Result<Option<Summary>, String> {
        if detail == config::Summary::Silent {
            return Ok(None);
        }
        let mut slots = Vec::new();
        for (place, level, prefix) in CONTAINERS {
            for what in What::ALL {
                let path = |last: &str| format!(r#"{}.attributes["{prefix}{}.{last}"]"#, level.as_str(), what.name());
                let has_keys = detail == config::Summary::CountsAndKeys && what != What::Ignored;
                let keys = if has_keys { Some(Field::open_to_write(&path("keys"))?) } else { None };
                slots.push(Slot { place, level, what, count: Field::open_to_write(&path("count"))?, keys });
            }
        }
        Ok(Some(Summary { slots }))
    }

    /// Whether keys are named.
    pub fn has_keys(&self) -> bool {
        self.slots.iter().any(|slot| slot.keys.is_some())
    }

    /// Adds what was done to what is there from an earlier redactor. `shown` holds new names of keys.
    pub fn write(&self, batch: &Batch, contents: &Contents, done: &Done, shown: &HashMap<u32, String>, rule: &Rule) {
        let by_leaf: HashMap<u32, (Option<u32>, Place)> = if done.masked.is_empty() && done.allowed.is_empty() {
            HashMap::new()
        } else {
            contents.leaves().map(|leaf| (leaf.number, (leaf.key, leaf.place))).collect()
        };
        for slot in &self.slots {
            let mut counted: BTreeMap<String, Counted> = BTreeMap::new();
            let name_of =
                |key: Option<u32>| key.map_or_else(|| "body".to_owned(), |key| shown_key(contents, shown, key));
            let (keys, leaves): (&[u32], &[u32]) = match slot.what {
                What::Redacted => (&done.removed, &[]),
                What::Ignored => (&done.ignored, &[]),
                What::Masked => (&[], &done.masked),
                What::Allowed => (&[], &done.allowed),
            };
            for key in keys.iter().filter(|key| contents.key(**key).is_some_and(|key| key.place == slot.place)) {
                counted.entry(name_of(Some(*key))).or_default().keys.push(*key);
            }
            for leaf in leaves {
                if let Some((key, _)) = by_leaf.get(leaf).filter(|(_, place)| *place == slot.place) {
                    counted.entry(name_of(*key)).or_default().leaves.push(*leaf);
                }
            }
            if !counted.is_empty() {
                slot.write(batch, &counted, rule);
            }
        }
    }
}

/// The key as it leaves: with what had to be hidden in it hidden.
fn shown_key(contents: &Contents, shown: &HashMap<u32, String>, key: u32) -> String {
    shown.get(&key).cloned().unwrap_or_else(|| match contents.key(key).map(|key| key.text) {
        Some(Value::Str(text)) => text.to_owned(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    })
}

impl Slot {
    fn write(&self, batch: &Batch, counted: &BTreeMap<String, Counted>, rule: &Rule) {
        let mut counts: BTreeMap<u32, i64> = BTreeMap::new();
        let mut names: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
        for (name, of) in counted {
            let by_row = if of.leaves.is_empty() {
                batch.key_counts(&of.keys, self.level)
            } else {
                batch.leaf_counts(&of.leaves, self.level)
            };
            for (row, count) in (0..).zip(by_row).filter(|(_, count)| *count > 0) {
                *counts.entry(row).or_default() += i64::from(count);
                names.entry(row).or_default().push(name);
            }
        }
        self.write_counts(batch, &counts, rule);
        if let Some(field) = &self.keys {
            self.write_keys(batch, field, &names, rule);
        }
    }

    fn write_counts(&self, batch: &Batch, counts: &BTreeMap<u32, i64>, rule: &Rule) {
        let there = batch.rows(&self.count);
        let mut rows_by_count: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for (row, before) in (0..).zip(there.iter()) {
            if let Some(count) = counts.get(&row) {
                let before = if let Value::Int(before) = before { before } else { 0 };
                rows_by_count.entry(count.saturating_add(before)).or_default().push(row);
            }
        }
        for (count, rows) in rows_by_count {
            let rows = batch.where_rows(self.level, |row| rows.binary_search(&row).is_ok());
            batch.set(&self.count, &rows, Value::Int(count), rule);
        }
    }

    fn write_keys(&self, batch: &Batch, field: &Field, names: &BTreeMap<u32, Vec<&str>>, rule: &Rule) {
        let there = batch.rows(field);
        let mut rows_by_keys: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for (row, before) in (0..).zip(there.iter()) {
            let Some(names) = names.get(&row) else { continue };
            let before = before.as_str().filter(|keys| !keys.is_empty());
            let mut all: Vec<&str> = before.into_iter().flat_map(|keys| keys.split(SEPARATOR)).collect();
            all.extend(names);
            all.sort_unstable();
            rows_by_keys.entry(all.join(",")).or_default().push(row);
        }
        for (keys, rows) in rows_by_keys {
            let rows = batch.where_rows(self.level, |row| rows.binary_search(&row).is_ok());
            batch.set(field, &rows, Value::Str(&keys), rule);
        }
    }
}
