//! Writing: what is asked for is checked and kept while the call runs, and takes effect in call order afterwards.

use super::data::Field as RowField;
use super::leaves::{At, Found, id_len};
use super::path::{Path, is_id, is_keyed};
use super::tree::{Edited, Encoded, Node, Slot, Step, is_legal};
use super::{Batch, Data, Field, Row, Rows, Rule, Values};
use crate::{Level, Value};

/// One edit of one place.
#[derive(Clone, Debug)]
pub struct Edit {
    pub level: Level,
    pub row: usize,
    /// The number of the rule.
    pub rule: usize,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Set { path: Path, value: Encoded, is_insert: bool },
    Leaf { slots: Vec<usize>, value: Encoded },
    RemoveKey { slots: Vec<usize> },
    RenameKey { slots: Vec<usize>, text: Vec<u8> },
}

pub fn set_rows(batch: &Batch, field: &Field, rows: &Rows, to: &Values, rule: &Rule) {
    write_rows(batch, field, rows, to, rule, false);
}

pub fn insert_rows(batch: &Batch, field: &Field, rows: &Rows, to: &Values, rule: &Rule) {
    write_rows(batch, field, rows, to, rule, true);
}

pub fn set_values(batch: &Batch, field: &Field, by: &Field, which: &[u32], to: &Values, rule: &Rule) {
    write_values(batch, field, by, which, to, rule, false);
}

pub fn insert_values(batch: &Batch, field: &Field, by: &Field, which: &[u32], to: &Values, rule: &Rule) {
    write_values(batch, field, by, which, to, rule, true);
}

pub fn replace_leaves(batch: &Batch, which: &[u32], to: &Values, rule: &Rule) {
    let found = Found::read_before(batch).each_leaf(which);
    for (places, value) in found.into_iter().zip(legal(to, which.len(), |kind| matches!(kind, 1..=5 | 8))) {
        for At { level, row, slots } in places {
            let name = batch.data.rows(level)[row].fields[slots[0]].name;
            let is_any_value = is_keyed(name) || name == "body";
            assert!(is_any_value || value.0 == 1 || is_id(name), "fault: `{name}` takes text only");
            batch.edit(Edit { level, row, rule: rule.number, change: Change::Leaf { slots, value: value.clone() } });
        }
    }
}

pub fn remove_keys(batch: &Batch, keys: &[u32], rule: &Rule) {
    for At { level, row, slots } in Found::read_before(batch).each_key(keys).into_iter().flatten() {
        batch.edit(Edit { level, row, rule: rule.number, change: Change::RemoveKey { slots } });
    }
}

pub fn rename_keys(batch: &Batch, keys: &[u32], to: &Values, rule: &Rule) {
    let found = Found::read_before(batch).each_key(keys);
    for (places, (_, text)) in found.into_iter().zip(legal(to, keys.len(), |kind| kind == 1)) {
        for At { level, row, slots } in places {
            batch.edit(Edit { level, row, rule: rule.number, change: Change::RenameKey { slots, text: text.clone() } });
        }
    }
}

fn write_rows(batch: &Batch, field: &Field, rows: &Rows, to: &Values, rule: &Rule, is_insert: bool) {
    let (of, level) = (rows.level.as_str(), field.level.as_str());
    assert!(of == level, "fault: rows of level `{of}` for a field of level `{level}`");
    let value = &legal_for(field, to, 1, is_insert)[0];
    for (row, _) in rows.set.iter().enumerate().filter(|(_, set)| **set) {
        write(batch, field, row, value, rule, is_insert);
    }
}

fn write_values(batch: &Batch, field: &Field, by: &Field, which: &[u32], to: &Values, rule: &Rule, is_insert: bool) {
    let (of, level) = (by.level.as_str(), field.level.as_str());
    assert!(batch.data.is_above(by.level, field.level), "fault: `by` is of level `{of}`, below `{level}` or beside it");
    let values = legal_for(field, to, which.len(), is_insert);
    let (different, codes) = batch.column(by);
    let count = different.kinds.len() / by.paths.len();
    let mut chosen = vec![None; count];
    for (at, entry) in which.iter().enumerate() {
        assert!((*entry as usize) < count, "fault: an entry that the field does not have");
        let before = chosen[*entry as usize].replace(at);
        assert!(before.is_none(), "fault: an entry of a field was named twice");
    }
    for row in 0..batch.data.rows(field.level).len() {
        let code = codes[batch.data.ancestor(field.level, row, by.level)];
        if let Some(at) = chosen[code as usize] {
            write(batch, field, row, &values[at], rule, is_insert);
        }
    }
}

fn write(batch: &Batch, field: &Field, row: usize, value: &Encoded, rule: &Rule, is_insert: bool) {
    let change = Change::Set { path: field.paths[0].clone(), value: value.clone(), is_insert };
    batch.edit(Edit { level: field.level, row, rule: rule.number, change });
}

fn legal_for(field: &Field, to: &Values, count: usize, is_insert: bool) -> Vec<Encoded> {
    assert!(field.is_writable, "fault: the field was not opened to be written");
    let values = legal(to, count, |kind| kind != 0 || !is_insert);
    let path = &field.paths[0];
    assert!(values.iter().all(|value| path.takes(value)), "fault: `{}` cannot hold such a value", path.name);
    values
}

fn legal(to: &Values, count: usize, is_allowed: impl Fn(u8) -> bool) -> Vec<Encoded> {
    let values = to.encoded();
    assert!(values.len() == count, "fault: {} values for {count} places", values.len());
    for value in &values {
        assert!(is_allowed(value.0), "fault: a value of kind {} cannot be written there", value.0);
        assert!(is_legal(value), "fault: the bytes of a value are not of its kind");
    }
    values
}

/// Applies edits in order to a batch. Returns, for each, whether it changed its place.
pub fn apply(data: &mut Data, edits: &[Edit]) -> Vec<bool> {
    let apply_one = |edit: &Edit| {
        let row = data.rows_mut(edit.level).and_then(|rows| rows.get_mut(edit.row));
        row.is_some_and(|row| edit.change.apply(row))
    };
    edits.iter().map(apply_one).collect()
}

impl Change {
    fn apply(&self, row: &mut Row) -> bool {
        match self {
            Change::Set { path, value, is_insert } => set_field(row, path, value, *is_insert),
            Change::Leaf { slots, value } => {
                let name = row.fields[slots[0]].name;
                let value = if is_id(name) { (5, vec![0; id_len(name)]) } else { value.clone() };
                inner(row, slots, |slot| slot.put(Node::Plain(value)))
            }
            Change::RemoveKey { slots } => inner(row, slots, Slot::remove),
            Change::RenameKey { slots, text } => inner(row, slots, |slot| slot.renamed = Some(text.clone())),
        }
    }
}

/// Changes a slot that was there when the call began; false if it is gone.
fn inner(row: &mut Row, slots: &[usize], change: impl FnOnce(&mut Slot)) -> bool {
    let Some((first, rest)) = slots.split_first() else { return false };
    let mut slot = &mut row.fields[*first].slot;
    for number in rest {
        if !slot.enter() {
            return false;
        }
        slot = match &mut slot.node {
            Node::Array(slots) | Node::Map(slots) => &mut slots[*number],
            Node::Plain(_) => return false,
        };
    }
    let is_there = slot.is_there();
    if is_there {
        change(slot);
    }
    is_there
}

fn set_field(row: &mut Row, path: &Path, value: &Encoded, is_insert: bool) -> bool {
    let key = path.key().unwrap_or_default().as_bytes();
    // A data point has one value: of the one kind or of the other.
    let other = match path.name {
        "value_int" => "value_double",
        "value_double" => "value_int",
        _ => "",
    };
    if let Some(other) = row.fields.iter_mut().find(|field| field.name == other && field.slot.is_there()) {
        if is_insert {
            return false;
        }
        other.slot.remove();
    }
    let found = row.fields.iter_mut().find(|field| field.name == path.name && field.slot.key == key);
    if let Some(field) = found {
        return field.slot.set(path.inner_steps(), value, is_insert);
    }
    let Some(node) = nested(path.inner_steps(), value) else { return false };
    row.fields.push(RowField { name: path.name, slot: Slot { edited: Edited::New, ..Slot::new(key, node) } });
    true
}

impl Slot {
    fn put(&mut self, node: Node) {
        self.node = node;
        self.edited = if self.edited == Edited::New { Edited::New } else { Edited::Set };
    }

    fn remove(&mut self) {
        self.edited = Edited::Removed;
    }

    /// Notes that something within is changed; false if there is nothing any more.
    fn enter(&mut self) -> bool {
        match self.edited {
            Edited::Removed => return false,
            Edited::Set => panic!("fault: a value was changed within one that had been set before"),
            Edited::New => {}
            Edited::No | Edited::Within => self.edited = Edited::Within,
        }
        true
    }

    fn set(&mut self, steps: &[Step], value: &Encoded, is_insert: bool) -> bool {
        let Some((step, rest)) = steps.split_first() else {
            return self.set_here(value, is_insert);
        };
        let slots = match (&mut self.node, step) {
            (Node::Map(slots), Step::Key(_)) | (Node::Array(slots), Step::Index(_)) => slots,
            _ => return false,
        };
        let place = match step {
            Step::Key(key) => slots.iter().position(|slot| slot.key == key.as_bytes()),
            Step::Index(index) => Some(*index).filter(|index| *index < slots.len()),
        };
        let node = nested(rest, value);
        let changes = match (place, step) {
            (Some(at), _) => slots[at].set(rest, value, is_insert),
            (None, Step::Key(key)) => node.is_some_and(|node| {
                slots.push(Slot { edited: Edited::New, ..Slot::new(key.as_bytes(), node) });
                true
            }),
            (None, Step::Index(_)) => false,
        };
        changes && self.enter()
    }

    fn set_here(&mut self, value: &Encoded, is_insert: bool) -> bool {
        if is_insert && !matches!(self.edited, Edited::New | Edited::Removed) {
            return false;
        }
        if value.0 == 0 {
            let was_there = self.is_there();
            self.remove();
            return was_there;
        }
        assert!(self.edited != Edited::Within, "fault: a field is set in whose value an edit before changed something");
        self.put(Node::of(Value::decode(value.0, &value.1)));
        true
    }
}

/// The value in the maps that lead to it; None of what is absent, and of an element of a list that is not there.
fn nested(steps: &[Step], value: &Encoded) -> Option<Node> {
    match steps.split_first() {
        _ if value.0 == 0 => None,
        None => Some(Node::of(Value::decode(value.0, &value.1))),
        Some((Step::Key(key), rest)) => Some(Node::Map(vec![Slot::new(key.as_bytes(), nested(rest, value)?)])),
        Some((Step::Index(_), _)) => None,
    }
}
