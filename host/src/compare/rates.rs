//! How much a stage drops and edits, over many batches: what guards compare of two generations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Fate, Record, fates, field_of};

/// Names that are counted one by one; beyond them, the first in the order of the alphabet are.
pub const NAMES_MAX: usize = 256;
/// Bytes of a name that is counted by itself.
pub const NAME_BYTES_MAX: usize = 256;

/// What was made of records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditRates {
    /// Batches that were judged.
    pub batches: u64,
    /// Records that were judged.
    pub items: u64,
    /// Those that were dropped.
    pub dropped: u64,
    /// The same by rule.
    pub dropped_by_rule: Counts,
    /// Those that went on changed.
    pub edited: u64,
    /// Records in which a field was changed, by field ([`field_of`]): written, added or gone.
    pub edited_by_field: Counts,
    /// Places that were edited, by rule, as the component counts them.
    pub edited_by_rule: Counts,
    /// Batches that were not judged, by kind of fault.
    pub faults: Counts,
}

/// Counts by name, of which there may be too many: which are told one by one does not depend on the order in which they came, so that two
/// of these can be compared and merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// The first [`NAMES_MAX`] names in the order of the alphabet.
    by_name: BTreeMap<String, u64>,
    /// Of all other names together.
    other: u64,
}

impl EditRates {
    /// A batch that was judged. `dropped` as in [`fates`]; `edited` is places by rule; rules are indices into `rules`.
    pub fn judged(
        &mut self,
        before: &[Record],
        after: &[Record],
        dropped: &[(u32, u16)],
        edited: &[(u16, u64)],
        rules: &[String],
    ) {
        let name = |rule: u16| rules.get(usize::from(rule)).map_or("", String::as_str);
        self.batches += 1;
        for fate in fates(before, after, dropped) {
            self.items += 1;
            match fate {
                Fate::Dropped(rule) => {
                    self.dropped += 1;
                    self.dropped_by_rule.add(name(rule), 1);
                }
                Fate::Kept(changes) => {
                    self.edited += u64::from(!changes.is_empty());
                    let mut fields: Vec<_> = changes.iter().map(|change| field_of(change.path)).collect();
                    // Two events of a span are one record.
                    fields.sort_unstable();
                    fields.dedup();
                    fields.iter().for_each(|field| self.edited_by_field.add(field, 1));
                }
            }
        }
        for &(rule, places) in edited {
            self.edited_by_rule.add(name(rule), places);
        }
    }

    /// A batch that was not judged.
    pub fn faulted(&mut self, kind: &str) {
        self.faults.add(kind, 1);
    }

    /// What another one has counted, too.
    pub fn merge(&mut self, other: &EditRates) {
        self.batches = self.batches.saturating_add(other.batches);
        self.items = self.items.saturating_add(other.items);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.edited = self.edited.saturating_add(other.edited);
        self.dropped_by_rule.merge(&other.dropped_by_rule);
        self.edited_by_field.merge(&other.edited_by_field);
        self.edited_by_rule.merge(&other.edited_by_rule);
        self.faults.merge(&other.faults);
    }
}

impl Counts {
    /// Counts so many more of a name.
    pub fn add(&mut self, name: &str, count: u64) {
        if count == 0 {
            return;
        }
        if let Some(known) = self.by_name.get_mut(name) {
            *known = known.saturating_add(count);
            return;
        }
        let is_full = self.by_name.len() >= NAMES_MAX;
        let is_last = || self.by_name.last_key_value().is_some_and(|(last, _)| last.as_str() < name);
        if name.len() > NAME_BYTES_MAX || is_full && is_last() {
            self.other = self.other.saturating_add(count);
            return;
        }
        if is_full && let Some((_, count)) = self.by_name.pop_last() {
            self.other = self.other.saturating_add(count);
        }
        self.by_name.insert(name.to_owned(), count);
    }

    /// What another one has counted, too.
    pub fn merge(&mut self, other: &Counts) {
        other.by_name.iter().for_each(|(name, &count)| self.add(name, count));
        self.other = self.other.saturating_add(other.other);
    }

    /// How many of a name.
    pub fn get(&self, name: &str) -> u64 {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    /// Names and counts, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_name.iter().map(|(name, &count)| (name.as_str(), count))
    }

    /// Of names that are not told one by one.
    pub fn other(&self) -> u64 {
        self.other
    }

    /// Of all names.
    pub fn total(&self) -> u64 {
        self.by_name.values().fold(self.other, |sum, &count| sum.saturating_add(count))
    }
}
