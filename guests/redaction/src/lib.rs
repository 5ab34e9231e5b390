//! Hides what must not leave, in everything that can hold text: the Collector's redaction processor, and more. See README.md.

mod body;
mod config;
mod db;
mod detect;
mod edits;
mod keys;
mod mask;
mod plan;
mod rules;
mod scan;
mod span_names;
mod summary;
mod url;

use sluicebox_guest::{Batch, Processor};

use plan::Plan;

/// The processor.
#[derive(Debug)]
pub struct Redaction {
    plan: Plan,
}

impl Processor for Redaction {
    fn configure(config: &str) -> Result<Self, String> {
        let plan = config::read(config).and_then(Plan::new).map_err(|errors| errors.join("\n"))?;
        Ok(Redaction { plan })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        self.plan.apply(batch);
        Ok(())
    }
}

sluicebox_guest::export!(Redaction);
