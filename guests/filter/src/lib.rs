//! Drops telemetry that any of the configured conditions is true of: the Collector's filter processor. See README.md.

mod config;
mod plan;

use sluicebox_guest::{Batch, Processor};

use plan::Plan;

/// The processor.
#[derive(Debug)]
pub struct Filter {
    plan: Plan,
}

impl Processor for Filter {
    fn configure(config: &str) -> Result<Self, String> {
        let plan = config::read(config).and_then(Plan::new).map_err(|errors| errors.join("\n"))?;
        Ok(Filter { plan })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        self.plan.apply(batch)
    }
}

sluicebox_guest::export!(Filter);
