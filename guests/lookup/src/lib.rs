//! Adds attributes from a table, by the value of a field. See README.md.

mod config;

use sluicebox_guest::{Batch, Counter, Field, Processor, Rule, Signal, Table};

use config::Config;

/// The processor.
#[derive(Debug)]
pub struct Lookup {
    config: Config,
    key: Field,
    table: Table,
    /// What is set, in the order of the table's columns.
    targets: Vec<Field>,
    rule: Rule,
    found: Counter,
    missed: Counter,
}

impl Processor for Lookup {
    fn configure(config: &str) -> Result<Self, String> {
        let config = config::read(config).map_err(|errors| errors.join("\n"))?;
        let columns: Vec<&str> = config.set.iter().map(|(_, column)| column.as_str()).collect();
        let labels = [("table", config.table.as_str())];
        Ok(Lookup {
            key: Field::open(&[&config.key])?,
            table: Table::open(&config.table, &columns)?,
            targets: config.set.iter().map(|(path, _)| Field::open_to_write(path)).collect::<Result<_, _>>()?,
            rule: Rule::open("lookup")?,
            found: Counter::open("lookup_keys_found", "Different keys of batches that have a row", &labels)?,
            missed: Counter::open("lookup_keys_missed", "Different keys of batches that have no row", &labels)?,
            config,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        if self.config.signal.is_some_and(|signal| signal != batch.signal()) || batch.signal() == Signal::Profiles {
            return Err(format!("the key is of another signal: {}", self.config.key));
        }
        let keys = batch.values(&self.key);
        // The first is that there is none.
        if keys.len() <= 1 {
            return Ok(());
        }
        let rows = self.table.find(&keys);
        let is_found = |position: usize| !rows.tuple(position).is_absent();
        let found = (1..keys.len()).filter(|&entry| is_found(entry)).count();
        for (position, target) in self.targets.iter().enumerate() {
            let values = (0..).zip(rows.tuples()).map(|(entry, row)| (entry, row.get(position)));
            batch.insert_entries(target, &self.key, values, &self.rule);
        }
        self.found.add(found as u64);
        self.missed.add((keys.len() - 1 - found) as u64);
        Ok(())
    }
}

sluicebox_guest::export!(Lookup);
