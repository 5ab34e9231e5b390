use std::collections::HashMap;

use crate::new_value::Column;
use crate::{Batch, Contents, Field, Level, NewValue, Rows, Rule, Tuple, Value, host};

/// Writing. Edits apply in call order once the call has returned ok: the last one of a place wins, a drop beats edits. Reads go on showing
/// the batch as it was when the call began. Values that a field cannot hold are faults.
impl Batch<'_> {
    /// Sets a field (of [`Field::open_to_write`]) in these rows, which are of its level; [`Value::Absent`] removes it.
    pub fn set(&self, field: &Field, rows: &Rows, value: Value<'_>, rule: &Rule) {
        if value != Value::Unknown {
            let to = Column::of(value).lists;
            host::set_rows(self.handle(), &field.handle, &rows.handle, &to, &rule.handle);
        }
    }

    /// Removes a field from these rows, which are of its level.
    pub fn remove(&self, field: &Field, rows: &Rows, rule: &Rule) {
        self.set(field, rows, Value::Absent, rule);
    }

    /// Sets a field to what `f` makes of `by`, which is of the field's level or one above and may be the field itself. `f` is asked once for
    /// each different tuple, and for the one that is absent throughout; None leaves the rows alone, [`NewValue::Absent`] removes the field.
    pub fn set_values(&self, field: &Field, by: &Field, rule: &Rule, mut f: impl FnMut(Tuple<'_>) -> Option<NewValue>) {
        let (which, to) = self.answers(by, |tuple| f(tuple).filter(|value| *value != NewValue::Unknown));
        if !which.is_empty() {
            host::set_values(self.handle(), &field.handle, &by.handle, &which, &to.lists, &rule.handle);
        }
    }

    /// Sets a field in the rows whose entry of [`Batch::values`] of `by` is named, to the value beside it; [`Value::Absent`] removes it.
    /// `by` is of the field's level or one above.
    pub fn set_entries<'v>(
        &self,
        field: &Field,
        by: &Field,
        entries: impl IntoIterator<Item = (u32, Value<'v>)>,
        rule: &Rule,
    ) {
        let (mut which, mut to) = (Vec::new(), Column::new());
        for (entry, value) in entries.into_iter().filter(|(_, value)| *value != Value::Unknown) {
            which.push(entry);
            to.push(value);
        }
        if !which.is_empty() {
            host::set_values(self.handle(), &field.handle, &by.handle, &which, &to.lists, &rule.handle);
        }
    }

    /// Gives a field (of [`Field::open_to_write`]) a value in those of these rows that do not have it.
    pub fn insert(&self, field: &Field, rows: &Rows, value: Value<'_>, rule: &Rule) {
        if !matches!(value, Value::Unknown | Value::Absent) {
            let to = Column::of(value).lists;
            host::insert_rows(self.handle(), &field.handle, &rows.handle, &to, &rule.handle);
        }
    }

    /// As [`Batch::set_values`], only in rows that do not have the field.
    pub fn insert_values(
        &self,
        field: &Field,
        by: &Field,
        rule: &Rule,
        mut f: impl FnMut(Tuple<'_>) -> Option<NewValue>,
    ) {
        let (which, to) =
            self.answers(by, |tuple| f(tuple).filter(|value| !matches!(value, NewValue::Unknown | NewValue::Absent)));
        if !which.is_empty() {
            host::insert_values(self.handle(), &field.handle, &by.handle, &which, &to.lists, &rule.handle);
        }
    }

    /// As [`Batch::set_entries`], only in rows that do not have the field. What is absent is left out.
    pub fn insert_entries<'v>(
        &self,
        field: &Field,
        by: &Field,
        entries: impl IntoIterator<Item = (u32, Value<'v>)>,
        rule: &Rule,
    ) {
        let (mut which, mut to) = (Vec::new(), Column::new());
        for (entry, value) in entries.into_iter().filter(|(_, value)| !matches!(value, Value::Unknown | Value::Absent))
        {
            which.push(entry);
            to.push(value);
        }
        if !which.is_empty() {
            host::insert_values(self.handle(), &field.handle, &by.handle, &which, &to.lists, &rule.handle);
        }
    }

    /// Entries of `by` that are answered, and the answers.
    fn answers(&self, by: &Field, mut f: impl FnMut(Tuple<'_>) -> Option<NewValue>) -> (Vec<u32>, Column) {
        let (mut which, mut to) = (Vec::new(), Column::new());
        for (entry, tuple) in (0..).zip(self.values(by).tuples()) {
            if let Some(value) = f(tuple) {
                which.push(entry);
                to.push(value.as_value());
            }
        }
        (which, to)
    }
}

/// Reading and changing everything that can hold text.
impl Batch<'_> {
    /// Every value and every key of the batch.
    pub fn contents(&self) -> Contents {
        Contents::new(host::read_contents(self.handle()))
    }

    /// Gives leaves, by number, a new value wherever they are. Names and other texts of the protocol take strings only; ids become zeros.
    pub fn replace_leaves(&self, edits: &[(u32, Value<'_>)], rule: &Rule) {
        let (mut which, mut to) = (Vec::with_capacity(edits.len()), Column::new());
        for (leaf, value) in edits.iter().filter(|(_, value)| *value != Value::Unknown) {
            which.push(*leaf);
            to.push(*value);
        }
        self.replace(&which, &to, rule);
    }

    /// Removes keys, by number, with their values wherever they are.
    pub fn remove_keys(&self, keys: &[u32], rule: &Rule) {
        if !keys.is_empty() {
            host::remove_keys(self.handle(), keys, &rule.handle);
        }
    }

    /// Renames keys, by number, wherever they are.
    pub fn rename_keys(&self, keys: &[(u32, &str)], rule: &Rule) {
        let (mut which, mut to) = (Vec::with_capacity(keys.len()), Column::new());
        for (key, text) in keys {
            which.push(*key);
            to.push(Value::Str(text));
        }
        if !which.is_empty() {
            host::rename_keys(self.handle(), &which, &to.lists, &rule.handle);
        }
    }

    /// Rows of a level that have any of these leaves, in themselves or below.
    pub fn where_leaves(&self, which: &[u32], level: Level) -> Rows {
        Rows { handle: host::where_leaves(self.handle(), which, level.as_str()) }
    }

    /// Rows of a level that have any of these keys, in themselves or below.
    pub fn where_keys(&self, which: &[u32], level: Level) -> Rows {
        Rows { handle: host::where_keys(self.handle(), which, level.as_str()) }
    }

    /// How often each row of a level has any of these leaves in itself, not below.
    pub fn leaf_counts(&self, which: &[u32], level: Level) -> Vec<u32> {
        host::leaf_counts(self.handle(), which, level.as_str())
    }

    /// How often each row of a level has any of these keys in itself, not below.
    pub fn key_counts(&self, which: &[u32], level: Level) -> Vec<u32> {
        host::key_counts(self.handle(), which, level.as_str())
    }

    /// Replaces texts, wherever they are, by what `f` makes of their key (`""` where there is none, or one that is not text) and the
    /// text; None leaves a text alone. `f` is asked once for each different pair. Keys, numbers and bytes are not shown: for those see
    /// [`Batch::contents`].
    pub fn replace_values(&self, rule: &Rule, mut f: impl FnMut(&str, &str) -> Option<String>) {
        let contents = self.contents();
        let (mut which, mut to) = (Vec::new(), Column::new());
        let mut asked: HashMap<(&str, &str), Option<String>> = HashMap::new();
        for leaf in contents.leaves() {
            let Value::Str(text) = leaf.value else { continue };
            let key = leaf.key.and_then(|key| contents.key(key)).and_then(|key| key.text.as_str()).unwrap_or_default();
            if let Some(new) = asked.entry((key, text)).or_insert_with(|| f(key, text)) {
                which.push(leaf.number);
                to.push(Value::Str(new));
            }
        }
        self.replace(&which, &to, rule);
    }

    fn replace(&self, which: &[u32], to: &Column, rule: &Rule) {
        if !which.is_empty() {
            host::replace_leaves(self.handle(), which, &to.lists, &rule.handle);
        }
    }
}
