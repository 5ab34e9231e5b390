//! What the host gives to the instances of a generation besides their configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::keys::Keys;
use super::logbook::LogOf;
use crate::memory::{Budget, Charge};
use crate::table::Table;

/// Keys, tables and a place in the log.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) keys: Keys,
    pub(super) tables: GivenTables,
    pub(super) log: LogOf,
}

/// The tables of a stage, by name.
#[derive(Debug, Default)]
pub(super) struct GivenTables(Vec<(String, Arc<Charged>)>);

impl GivenTables {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Table>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, charged)| &charged.table)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// A table that generations use.
#[derive(Debug)]
struct Charged {
    table: Arc<Table>,
    _charge: Charge,
}

/// The process budget does not have what a table takes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the table `{name}` takes {bytes} bytes, more than is left of the process's memory budget; use a smaller table, or allow more"
)]
pub struct TableTooLarge {
    /// Its name.
    pub name: String,
    /// Its memory.
    pub bytes: u64,
}

/// Tables that generations of this process use, each charged once, by identity.
#[derive(Debug)]
pub(super) struct Tables {
    used: Mutex<HashMap<[u8; 32], Weak<Charged>>>,
    budget: Arc<Budget>,
}

impl Tables {
    pub(super) fn new(budget: &Arc<Budget>) -> Self {
        Self { used: Mutex::default(), budget: Arc::clone(budget) }
    }

    /// Charges for those tables that no generation uses yet.
    pub(super) fn give(&self, tables: &[(String, Arc<Table>)]) -> Result<GivenTables, TableTooLarge> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, table| table.strong_count() > 0);
        let mut given = Vec::with_capacity(tables.len());
        for (name, table) in tables {
            let charged = match used.get(table.identity()).and_then(Weak::upgrade) {
                Some(charged) => charged,
                None => {
                    let bytes = table.memory_bytes();
                    let too_large = || TableTooLarge { name: name.clone(), bytes };
                    let charge = self.budget.charge(bytes).ok_or_else(too_large)?;
                    let charged = Arc::new(Charged { table: Arc::clone(table), _charge: charge });
                    used.insert(*table.identity(), Arc::downgrade(&charged));
                    charged
                }
            };
            given.push((name.clone(), charged));
        }
        Ok(GivenTables(given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Format;

    #[test]
    fn a_table_is_charged_once_and_given_back() {
        let budget = Budget::new(1 << 20);
        let tables = Tables::new(&budget);
        let table = |text: &str| Table::load(Format::Csv, "key", text.as_bytes()).expect("a table");
        let (one, other) = (table("key,x\na,1\n"), table("key,x\na,2\n"));
        let bytes = (one.memory_bytes(), other.memory_bytes());
        let first =
            tables.give(&[("t".to_owned(), Arc::clone(&one)), ("same".to_owned(), Arc::clone(&one))]).expect("fits");
        assert_eq!(budget.bytes_used(), bytes.0);
        assert_eq!(first.names().collect::<Vec<_>>(), ["t", "same"]);
        let second = tables.give(&[("t".to_owned(), one), ("other".to_owned(), other)]).expect("fits");
        assert_eq!(budget.bytes_used(), bytes.0 + bytes.1);
        assert!(first.get("other").is_none() && second.get("other").is_some());
        drop(first);
        assert_eq!(budget.bytes_used(), bytes.0 + bytes.1);
        drop(second);
        assert_eq!(budget.bytes_used(), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_of_it_stays() {
        let rows: String = (0..1000).map(|n| format!("key {n},value\n")).collect();
        let large = Table::load(Format::Csv, "key", format!("key,x\n{rows}").as_bytes()).expect("a table");
        let small = Table::load(Format::Csv, "key", b"key,x\nb,1\n").expect("a table");
        let budget = Budget::new(large.memory_bytes());
        let wanted = [("small".to_owned(), small), ("large".to_owned(), Arc::clone(&large))];
        let error = Tables::new(&budget).give(&wanted).expect_err("does not fit");
        assert_eq!(error, TableTooLarge { name: "large".to_owned(), bytes: large.memory_bytes() });
        assert_eq!(budget.bytes_used(), 0);
    }
}
