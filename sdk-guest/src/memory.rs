//! The host's side of the API for targets other than `wasm32`: batches in memory that follow the contract in `wit/telemetry.wit`.
//! Where the host would end the call with a fault, this panics, so that a test fails where the mistake is.

mod data;
mod edits;
mod leaves;
mod opening;
mod path;
mod states;
mod tables;
mod told;
mod traces;
mod tree;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

pub(crate) use data::{Data, Field as RowField, Row, above};
pub(crate) use edits::{Edit, apply};
pub use edits::{insert_rows, insert_values, remove_keys, rename_keys, replace_leaves, set_rows, set_values};
pub use leaves::{Leaves, key_counts, leaf_counts, read_contents, where_keys, where_leaves};
pub use opening::{Field, Key, Rule, open_field, open_rule};
pub(crate) use opening::{Given, Opened, configuring};
pub(crate) use path::Path;
pub(crate) use states::States;
pub use states::{Bucket, Tally};
pub use tables::{Table, TestTable};
pub(crate) use told::Told;
pub use told::{Counter, Gauge, Histogram, Line, Measured, Severity, now_unix_nano, write_log};
pub(crate) use traces::Facts;
pub use traces::{TraceBatch, Verdicts};
pub(crate) use tree::{Node, Slot, encode, is_legal, owned};

use crate::Level;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
    #[allow(dead_code, reason = "of the contract; there is no batch of profiles yet")]
    Profiles,
}

/// As in the contract.
#[derive(Clone, Debug, Default)]
pub struct Values {
    pub kinds: Vec<u8>,
    pub offsets: Vec<u32>,
    pub bytes: Vec<u8>,
}

impl Values {
    fn push(&mut self, (kind, bytes): &tree::Encoded) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.kinds.push(*kind);
        self.bytes.extend(bytes);
        self.offsets.push(self.bytes.len() as u32);
    }

    fn encoded(&self) -> Vec<tree::Encoded> {
        let bytes = self.offsets.windows(2).map(|bounds| self.bytes[bounds[0] as usize..bounds[1] as usize].to_vec());
        self.kinds.iter().copied().zip(bytes).collect()
    }
}

/// Rows of a level that are dropped, and the number of the rule.
pub(crate) type Drop = (Level, Vec<bool>, usize);

/// The batch of a call.
#[derive(Debug)]
pub struct Batch {
    data: Rc<Data>,
    drops: RefCell<Vec<(Rows, usize)>>,
    edits: RefCell<Vec<Edit>>,
    /// Whether contents were read: their numbers are those of the call.
    is_read: Cell<bool>,
}

impl Batch {
    pub(crate) fn new(data: Rc<Data>) -> Batch {
        Batch { data, drops: RefCell::default(), edits: RefCell::default(), is_read: Cell::new(false) }
    }

    /// What was asked for, in call order: drops and edits.
    pub(crate) fn into_effects(self) -> (Vec<Drop>, Vec<Edit>) {
        let drops = self.drops.into_inner().into_iter().map(|(rows, rule)| (rows.level, rows.set, rule)).collect();
        (drops, self.edits.into_inner())
    }

    fn edit(&self, edit: Edit) {
        self.edits.borrow_mut().push(edit);
    }

    pub fn signal(&self) -> Signal {
        self.data.signal
    }

    pub fn len(&self, level: &str) -> u32 {
        self.data.rows(self.level(level)).len() as u32
    }

    pub fn values(&self, field: &Field) -> Values {
        self.column(field).0
    }

    pub fn codes(&self, field: &Field) -> Vec<u32> {
        self.column(field).1
    }

    pub fn where_values(&self, field: &Field, which: &[u8]) -> Rows {
        let set = self.codes(field).iter().map(|code| bit(which, *code as usize)).collect();
        Rows { data: self.data.clone(), level: field.level, set }
    }

    pub fn where_rows(&self, level: &str, which: &[u8]) -> Rows {
        let level = self.level(level);
        let set = (0..self.data.rows(level).len()).map(|row| bit(which, row)).collect();
        Rows { data: self.data.clone(), level, set }
    }

    fn level(&self, name: &str) -> Level {
        level_of(name, &self.data)
    }

    /// The different tuples of the field, the absent one first, and which of them each row has.
    fn column(&self, field: &Field) -> (Values, Vec<u32>) {
        let (level, signal) = (field.level, self.data.signal);
        assert!(self.data.has(level), "fault: a field of level `{}` was read in a batch of {signal:?}", level.as_str());
        let absent = vec![(0, Vec::new()); field.paths.len()];
        let mut entries = vec![absent.clone()];
        let mut codes_by_entry = HashMap::from([(absent, 0)]);
        let mut codes = Vec::new();
        for row in 0..self.data.rows(field.level).len() {
            let entry: Vec<_> = field.paths.iter().map(|path| self.data.read(field.level, row, path)).collect();
            let code = *codes_by_entry.entry(entry).or_insert_with_key(|entry| {
                entries.push(entry.clone());
                entries.len() as u32 - 1
            });
            codes.push(code);
        }
        let mut values = Values::default();
        for value in entries.iter().flatten() {
            values.push(value);
        }
        (values, codes)
    }
}

pub fn drop_rows(batch: &Batch, rows: &Rows, rule: &Rule) {
    batch.drops.borrow_mut().push((rows.clone(), rule.number));
}

/// A set of rows of one level.
#[derive(Clone, Debug)]
pub struct Rows {
    data: Rc<Data>,
    level: Level,
    set: Vec<bool>,
}

impl Rows {
    pub fn and(&self, other: &Rows) -> Rows {
        self.zip(other, |a, b| a && b)
    }

    pub fn or(&self, other: &Rows) -> Rows {
        self.zip(other, |a, b| a || b)
    }

    pub fn not(&self) -> Rows {
        Rows { set: self.set.iter().map(|set| !set).collect(), ..self.clone() }
    }

    pub fn at(&self, level: &str) -> Rows {
        let level = level_of(level, &self.data);
        let mut set = vec![false; self.data.rows(level).len()];
        if self.data.is_above(self.level, level) {
            for (row, below) in set.iter_mut().enumerate() {
                *below = self.set[self.data.ancestor(level, row, self.level)];
            }
        } else if self.data.is_above(level, self.level) {
            for (row, _) in self.set.iter().enumerate().filter(|(_, set)| **set) {
                set[self.data.ancestor(self.level, row, level)] = true;
            }
        } else {
            panic!("fault: `{}` is not above or below `{}`", level.as_str(), self.level.as_str());
        }
        Rows { data: self.data.clone(), level, set }
    }

    pub fn count(&self) -> u32 {
        self.set.iter().filter(|set| **set).count() as u32
    }

    fn zip(&self, other: &Rows, combine: impl Fn(bool, bool) -> bool) -> Rows {
        let (one, two) = (self.level.as_str(), other.level.as_str());
        assert!(
            one == two,
            "fault: rows of level `{one}` combined with rows of level `{two}`; move one with `at` first"
        );
        let set = self.set.iter().zip(&other.set).map(|(a, b)| combine(*a, *b)).collect();
        Rows { set, ..self.clone() }
    }
}

fn level_of(name: &str, data: &Data) -> Level {
    match Level::parse(name) {
        Some(level) if data.has(level) => level,
        _ => panic!("fault: a batch of {:?} has no level `{name}`", data.signal),
    }
}

/// Least significant bit of byte 0 first; missing bytes are zeros.
fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
}
