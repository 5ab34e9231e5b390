//! Keeps a share of spans and log records, the same of each trace: the Collector's probabilistic sampler. See README.md.

mod config;
mod hash;
mod logs;
mod sampler;
mod spans;
mod threshold;
mod tracestate;

use sluicebox_guest::{Batch, Field, Processor, Rule, Signal};

use logs::Logs;
use sampler::{Reason, Sampler};
use spans::Spans;

/// The processor.
#[derive(Debug)]
pub struct ProbabilisticSampler {
    sampler: Sampler,
    spans: Spans,
    logs: Logs,
    rules: Rules,
}

impl Processor for ProbabilisticSampler {
    fn configure(config: &str) -> Result<Self, String> {
        let config = config::read(config).map_err(|errors| errors.join("\n"))?;
        Ok(ProbabilisticSampler {
            sampler: Sampler::new(&config),
            spans: Spans::open(&config)?,
            logs: Logs::open(&config)?,
            rules: Rules::open()?,
        })
    }

    fn process(&mut self, batch: &Batch) -> Result<(), String> {
        match batch.signal() {
            Signal::Traces => self.spans.sample(batch, &self.sampler, &self.rules),
            Signal::Logs => self.logs.sample(batch, &self.sampler, &self.rules),
            Signal::Metrics | Signal::Profiles => return Err("only traces and logs can be sampled".to_owned()),
        }
        Ok(())
    }
}

/// To which drops and edits are accounted.
#[derive(Debug)]
struct Rules {
    by_reason: [(Reason, Rule); 3],
    threshold: Rule,
}

impl Rules {
    fn open() -> Result<Rules, String> {
        let by_reason = [
            (Reason::Chance, Rule::open("probability")?),
            (Reason::Priority, Rule::open("priority")?),
            (Reason::Unusable, Rule::open("fail_closed")?),
        ];
        Ok(Rules { by_reason, threshold: Rule::open("threshold")? })
    }

    /// Drops the rows of these entries of a field, each with its reason.
    fn drop(&self, batch: &Batch, field: &Field, entries: &[(u32, Reason)]) {
        for (reason, rule) in &self.by_reason {
            let of_reason = || entries.iter().filter(|(_, why)| why == reason).map(|(entry, _)| *entry as usize);
            let mut bitmap = vec![0; of_reason().max().map_or(0, |last| last / 8 + 1)];
            of_reason().for_each(|entry| bitmap[entry / 8] |= 1 << (entry % 8));
            if !bitmap.is_empty() {
                batch.drop(&batch.where_entries(field, &bitmap), rule);
            }
        }
    }
}

sluicebox_guest::export!(ProbabilisticSampler);
