//! Which bucket an item takes its token of.

use std::hash::{DefaultHasher, Hash, Hasher};

use sluicebox_guest::{Batch, Field, Level, Signal, Tuple, Value};

use crate::config::Config;

/// The key of all items where none is configured.
const ONE_FOR_ALL: u64 = 0;

/// The fields of a key, for each signal.
#[derive(Debug)]
pub struct Keys {
    /// None where there is one key for all.
    by_level: Option<Vec<(Level, Field)>>,
    paths: String,
}

impl Keys {
    pub fn open(config: &Config) -> Result<Keys, String> {
        let paths = config.key.join(", ");
        if config.key.is_empty() {
            return Ok(Keys { by_level: None, paths });
        }
        // Keys may be of resources. What they are read beside has few values and is of the items, so that there is a row for each.
        let items = [
            (Signal::Traces, Level::Span, "span.kind"),
            (Signal::Logs, Level::Log, "log.flags"),
            (Signal::Metrics, Level::DataPoint, "datapoint.flags"),
        ];
        let of_signal = items.into_iter().filter(|(signal, ..)| config.signal.is_none_or(|only| only == *signal));
        let open = |(_, level, path)| {
            let paths: Vec<&str> = config.key.iter().map(String::as_str).chain([path]).collect();
            Ok((level, Field::open(&paths)?))
        };
        Ok(Keys { by_level: Some(of_signal.map(open).collect::<Result<_, String>>()?), paths })
    }

    /// The key of each row of the items' level.
    pub fn of_rows(&self, batch: &Batch, level: Level) -> Result<Vec<u64>, String> {
        let Some(by_level) = &self.by_level else { return Ok(vec![ONE_FOR_ALL; batch.len(level) as usize]) };
        let Some((_, field)) = by_level.iter().find(|(of, _)| *of == level) else {
            return Err(format!("the key is of another signal: {}", self.paths));
        };
        let rows = batch.rows(field);
        let keys: Vec<u64> = rows.values().tuples().map(hash).collect();
        Ok(rows.entries().iter().map(|entry| keys.get(*entry as usize).copied().unwrap_or(ONE_FOR_ALL)).collect())
    }
}

/// Of all positions but the last, which is of the item.
fn hash(tuple: Tuple<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for position in 0..tuple.len() - 1 {
        match tuple.get(position) {
            Value::Absent | Value::Unknown => 0u8.hash(&mut hasher),
            Value::Str(text) => (1u8, text).hash(&mut hasher),
            Value::Bool(bool) => (2u8, bool).hash(&mut hasher),
            Value::Int(int) => (3u8, int).hash(&mut hasher),
            Value::Double(double) => (4u8, double.to_bits()).hash(&mut hasher),
            Value::Bytes(bytes) => (5u8, bytes).hash(&mut hasher),
            Value::Array(any) => (6u8, any).hash(&mut hasher),
            Value::Map(any) => (7u8, any).hash(&mut hasher),
            Value::Empty => 8u8.hash(&mut hasher),
        }
    }
    hasher.finish()
}
