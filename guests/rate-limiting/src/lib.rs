//! Limits how many spans, log records and data points pass in a second, for each key. See README.md.

mod config;
mod key;

use std::collections::HashMap;

use sluicebox_guest::{Batch, Bucket, Level, Processor, Rule, Signal};

use key::Keys;

/// The processor.
#[derive(Debug)]
pub struct RateLimiting {
    bucket: Bucket,
    keys: Keys,
    rule: Rule,
}

impl Processor for RateLimiting {
    fn configure(config: &str) -> Result<Self, String> {
        let config = config::read(config).map_err(|errors| errors.join("\n"))?;
        Ok(RateLimiting {
            bucket: Bucket::open("items", config.items_per_second, config.burst)?,
            keys: Keys::open(&config)?,
            rule: Rule::open("rate")?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        let level = match batch.signal() {
            Signal::Traces => Level::Span,
            Signal::Logs => Level::Log,
            Signal::Metrics => Level::DataPoint,
            Signal::Profiles => return Err("profiles cannot be limited".to_owned()),
        };
        let keys = self.keys.of_rows(batch, level)?;
        let mut wanted: HashMap<u64, u64> = HashMap::new();
        keys.iter().for_each(|key| *wanted.entry(*key).or_default() += 1);
        let mut granted = self.grant(&wanted);
        if granted != wanted {
            // The first rows of a key are those that pass.
            batch.drop_rows(level, &self.rule, |row| {
                let left = keys.get(row as usize).and_then(|key| granted.get_mut(key));
                left.is_none_or(|left| {
                    let is_spent = *left == 0;
                    *left = left.saturating_sub(1);
                    is_spent
                })
            });
        }
        Ok(())
    }
}

impl RateLimiting {
    /// How many of the tokens that are wanted of each key there are.
    ///
    /// A bucket gives a whole cost or nothing. Where it does not give all that is wanted it is asked for the greater half, then for the greater
    /// half of the other, and so on: that takes as much as there is, whatever that is.
    fn grant(&self, wanted: &HashMap<u64, u64>) -> HashMap<u64, u64> {
        let costs: Vec<(u64, u64)> = wanted.iter().map(|(key, count)| (*key, *count)).collect();
        let taken = self.bucket.take(&costs);
        let mut granted = HashMap::with_capacity(wanted.len());
        let mut parts = Vec::new();
        for ((key, count), is_taken) in costs.into_iter().zip(taken) {
            granted.insert(key, if is_taken { count } else { 0 });
            let mut left = if is_taken { 0 } else { count };
            while left > 0 {
                let part = left.div_ceil(2);
                parts.push((key, part));
                left -= part;
            }
        }
        if !parts.is_empty() {
            for ((key, part), _) in parts.iter().zip(self.bucket.take(&parts)).filter(|(_, is_taken)| *is_taken) {
                *granted.entry(*key).or_default() += part;
            }
        }
        granted
    }
}

sluicebox_guest::export!(RateLimiting);
