use crate::memory::{self, Data, Edit, Path, Slot};
use crate::{Level, NewValue};

/// What a call left of a batch.
#[derive(Clone, Debug)]
pub struct Outcome {
    left: Vec<(Level, Vec<bool>)>,
    drops: Vec<(String, Level, u32)>,
    edits: Vec<(String, Level, u32)>,
    data: Data,
}

impl Outcome {
    /// The numbers of the rows of a level that are left.
    pub fn left(&self, level: Level) -> Vec<u32> {
        let rows = self.left.iter().find(|(has, _)| *has == level).map_or(&[][..], |(_, rows)| rows);
        (0..).zip(rows).filter(|(_, left)| **left).map(|(row, _)| row).collect()
    }

    /// The rows that were dropped by a rule, those below them not included. A row is accounted to the first rule that drops it.
    pub fn dropped_by(&self, rule: &str) -> Vec<(Level, u32)> {
        self.drops.iter().filter(|(by, ..)| by == rule).map(|(_, level, row)| (*level, *row)).collect()
    }

    /// The rows in which a rule edited something, once for each place that it edited, also where a later edit won. Rows that were
    /// dropped are not among them.
    pub fn edited_by(&self, rule: &str) -> Vec<(Level, u32)> {
        self.edits.iter().filter(|(by, ..)| by == rule).map(|(_, level, row)| (*level, *row)).collect()
    }

    /// True if nothing was dropped or edited.
    pub fn is_unchanged(&self) -> bool {
        self.drops.is_empty() && self.edits.is_empty()
    }

    /// What a field of a row holds after the call, by its name in paths (see [`TestBatch::set`](super::TestBatch::set)), such as `attributes["http"]["route"]`.
    ///
    /// # Panics
    /// If the level has no such field, or there is no such row.
    pub fn value(&self, level: Level, row: u32, name: &str) -> NewValue {
        let Some(path) = Path::of_batch(level, name) else { panic!("a {} has no field `{name}`", level.as_str()) };
        memory::owned(&self.data.rows(level)[row as usize].read(&path))
    }

    /// The attributes of a row after the call, in order.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn attributes(&self, level: Level, row: u32) -> Vec<(String, NewValue)> {
        let fields = self.data.rows(level)[row as usize].fields.iter();
        let attributes = fields.filter(|field| field.name == "attributes" && field.slot.is_there());
        let pair =
            |slot: &Slot| (String::from_utf8_lossy(slot.key_now()).into_owned(), memory::owned(&slot.node.encode()));
        attributes.map(|field| pair(&field.slot)).collect()
    }

    pub(super) fn untouched(data: &Data) -> Outcome {
        let left = data.levels().map(|level| (level, vec![true; data.rows(level).len()])).collect();
        Outcome { left, drops: Vec::new(), edits: Vec::new(), data: data.clone() }
    }

    pub(super) fn edit(&mut self, edits: &[Edit], rules: &[String]) {
        let changed = memory::apply(&mut self.data, edits);
        for (edit, _) in edits.iter().zip(changed).filter(|(_, changed)| *changed) {
            if self.is_left(edit.level, edit.row) {
                self.edits.push((rules[edit.rule].clone(), edit.level, edit.row as u32));
            }
        }
    }

    pub(super) fn drop(&mut self, data: &Data, level: Level, row: usize, rule: &str) {
        if !self.is_left(level, row) {
            return;
        }
        self.drops.push((rule.to_owned(), level, row as u32));
        for (lower, rows) in self.left.iter_mut().filter(|(lower, _)| data.is_above(level, *lower)) {
            for (below, left) in rows.iter_mut().enumerate() {
                *left &= data.ancestor(*lower, below, level) != row;
            }
        }
    }

    /// A metric that lost its points goes, then a scope and a resource that lost all below them.
    pub(super) fn sweep(&mut self, data: &Data) {
        let pairs = [(Level::Metric, Level::DataPoint)].into_iter();
        let items = [Level::Span, Level::Log, Level::Metric].map(|item| (Level::Scope, item));
        for (upper, lower) in pairs.chain(items).chain([(Level::Resource, Level::Scope)]) {
            for row in 0..data.rows(upper).len() {
                let mut below =
                    (0..data.rows(lower).len()).filter(|below| data.ancestor(lower, *below, upper) == row).peekable();
                if below.peek().is_some() && below.all(|below| !self.is_left(lower, below)) {
                    self.clear(upper, row);
                }
            }
        }
    }

    fn is_left(&self, level: Level, row: usize) -> bool {
        self.left.iter().any(|(has, rows)| *has == level && rows.get(row) == Some(&true))
    }

    fn clear(&mut self, level: Level, row: usize) {
        if let Some((_, rows)) = self.left.iter_mut().find(|(has, _)| *has == level) {
            rows[row] = false;
        }
    }
}
