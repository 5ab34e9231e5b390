//! Inserts, changes, removes, hashes, extracts and converts attributes: the Collector's attributes and resource processors. See README.md.

mod config;
mod hash;
mod matching;
mod operation;
mod patterns;
mod plan;

use sluicebox_guest::{Batch, Processor};

use plan::Plan;

/// The processor.
#[derive(Debug)]
pub struct Attributes {
    plan: Plan,
}

impl Processor for Attributes {
    fn configure(config: &str) -> Result<Self, String> {
        let plan = config::read(config).and_then(Plan::new).map_err(|errors| errors.join("\n"))?;
        Ok(Attributes { plan })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        self.plan.apply(batch)
    }
}

sluicebox_guest::export!(Attributes);
