//! Decides which traces are kept: the policies of the Collector's tail_sampling processor, and more. See README.md.

mod call;
mod config;
mod decide;
mod fnv;
mod open;
mod voters;
mod votes;

use ottl::Source;
use sluicebox_guest::{Policy, Traces, Verdicts};

use call::Call;
use decide::Policies;

/// All policies of a `tail_sampling` block.
#[derive(Debug)]
pub struct TailSampling {
    policies: Policies,
    sources: Vec<Source>,
}

impl Policy for TailSampling {
    fn configure(config: &str) -> Result<Self, String> {
        let (policies, sources) = config::read(config).and_then(open::open).map_err(|errors| errors.join("\n"))?;
        Ok(TailSampling { policies, sources })
    }

    fn decide(&mut self, traces: &Traces, verdicts: &mut Verdicts) -> Result<(), String> {
        self.policies.decide(&Call::new(traces, &self.sources), verdicts);
        Ok(())
    }
}

sluicebox_guest::export_policy!(TailSampling);
