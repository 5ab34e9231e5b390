//! The most that everything together could take, beside the budget that all of it is charged to.
//!
//! The sum may be larger than the budget: what does not fit is told to retry, or faults as `process_memory`. What is set aside may not:
//! guests' memory that is there already, and what queues and tail samplers were promised.

use std::collections::BTreeMap;
use std::fmt;

use crate::config::model::{Config, StageRole};
use crate::memory::limit::Limit;
use crate::memory::tail::TailBounds;

/// Generations of a stage that can be alive at the same time: one that serves, one that takes its place, two that are kept to be
/// returned to.
const GENERATIONS_MAX: u64 = 4;

/// The most that each part may take, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maxima {
    /// By stage, in the order of the file.
    pub guests: Vec<GuestMaximum>,
    /// Of all tail samplers together.
    pub tail_bytes: u64,
    /// Of all exporters' queues together.
    pub queues_bytes: u64,
    /// The budget.
    pub budget_bytes: u64,
}

/// The most that one generation of a stage may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestMaximum {
    /// The stage.
    pub stage: String,
    /// One for each thread that calls it, and a spare.
    pub instances: u64,
    /// Memory of one.
    pub instance_bytes: u64,
}

/// Maxima of what this configuration starts; `instance_bytes` by stage.
pub fn of(
    config: &Config,
    limit: &Limit,
    tail: &[TailBounds],
    workers: usize,
    instance_bytes: impl Fn(&str) -> u64,
) -> Maxima {
    let mut deciding: BTreeMap<&str, u64> = BTreeMap::new();
    for ((_, sampler), bounds) in config.samplers().zip(tail) {
        for unit in &sampler.units {
            *deciding.entry(unit).or_default() += bounds.shards as u64;
        }
    }
    let threads = |role, stage: &str| match role {
        StageRole::Processor => workers as u64,
        StageRole::Policy => deciding.get(stage).copied().unwrap_or_default(),
    };
    let guests = config.stages.iter().map(|stage| GuestMaximum {
        stage: stage.name.clone(),
        instances: threads(stage.role, &stage.name) + 1,
        instance_bytes: instance_bytes(&stage.name),
    });
    let exporters = config.exporters.len();
    Maxima {
        guests: guests.collect(),
        tail_bytes: tail.iter().fold(0, |sum, one| sum.saturating_add(one.bytes_max)),
        queues_bytes: limit.queue_bytes(exporters).saturating_mul(exporters as u64),
        budget_bytes: limit.bytes,
    }
}

impl Maxima {
    /// One generation of each stage.
    pub fn guests_bytes(&self) -> u64 {
        self.guests
            .iter()
            .fold(0, |sum, guest| sum.saturating_add(guest.instances.saturating_mul(guest.instance_bytes)))
    }

    /// All of it, every stage with as many generations as there can be.
    pub fn bytes(&self) -> u64 {
        let guests = self.guests_bytes().saturating_mul(GENERATIONS_MAX);
        guests.saturating_add(self.tail_bytes).saturating_add(self.queues_bytes)
    }

    /// What is set aside where guests hold `guests_bytes` now, if that is more than the budget; in a sentence, for people.
    pub fn overcommitted(&self, guests_bytes: u64) -> Option<String> {
        let reserved = guests_bytes.saturating_add(self.tail_bytes).saturating_add(self.queues_bytes);
        (reserved > self.budget_bytes).then(|| {
            format!(
                "{} MiB are set aside, more than the byte budget of {} MiB: {} for tail samplers, {} for queues, {} that guests hold \
                 already; lower `memory_mib` of tail samplers, or raise `memory_limiter`",
                mib(reserved),
                mib(self.budget_bytes),
                mib(self.tail_bytes),
                mib(self.queues_bytes),
                mib(guests_bytes),
            )
        })
    }
}

/// In one line, for people.
impl fmt::Display for Maxima {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} MiB: guests {} ({} instances), three more generations of them {}, tail samplers {}, queues {}; \
             what is past the budget is told to retry",
            mib(self.bytes()),
            mib(self.guests_bytes()),
            self.guests.iter().map(|guest| guest.instances).sum::<u64>(),
            mib(self.guests_bytes().saturating_mul(GENERATIONS_MAX - 1)),
            mib(self.tail_bytes),
            mib(self.queues_bytes),
        )
    }
}

/// Rounded up: a bound is not said to be less than it is.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{System, load_text};
    use crate::memory::limit::Reason;
    use crate::memory::tail;

    const FILE: &str = "\
receivers: {otlp: {protocols: {grpc: }}}
processors:
  filter/a: {traces: {span: ['name == \"x\"']}}
  tail_sampling/b: {memory_mib: 300, num_shards: 3, policies: [{name: all, type: always_sample}]}
exporters: {debug: , debug/again: }
service:
  pipelines:
    traces: {receivers: [otlp], processors: [filter/a, tail_sampling/b], exporters: [debug, debug/again]}
    traces/more: {receivers: [otlp], processors: [tail_sampling/b], exporters: [debug]}
";

    fn maxima(budget_mib: u64) -> Maxima {
        let config = load_text("test.yaml".into(), FILE.into(), Path::new(""), &System).expect("is valid").config;
        let limit = Limit { bytes: budget_mib << 20, reason: Reason::Configured };
        let tail = tail::bounds(&config, &limit, 4);
        of(&config, &limit, &tail, 4, |stage| if stage == "filter/a" { 64 << 20 } else { 10 << 20 })
    }

    #[test]
    fn every_thread_that_calls_a_stage_counts_and_a_spare() {
        let maxima = maxima(1000);
        let guest = |stage: &str, instances, mib: u64| GuestMaximum {
            stage: stage.to_owned(),
            instances,
            instance_bytes: mib << 20,
        };
        // Two pipelines with three shards each.
        assert_eq!(maxima.guests, [guest("filter/a", 5, 64), guest("tail_sampling/b", 7, 10)]);
        assert_eq!((maxima.tail_bytes >> 20, maxima.bytes() >> 20), (600, 4 * (5 * 64 + 7 * 10) + 600 + 250));
        assert_eq!(
            maxima.to_string(),
            "2410 MiB: guests 390 (12 instances), three more generations of them 1170, tail samplers 600, queues 250; \
             what is past the budget is told to retry"
        );
    }

    #[test]
    fn what_is_set_aside_has_to_fit() {
        assert_eq!(maxima(1000).overcommitted(150 << 20), None);
        assert_eq!(
            maxima(1000).overcommitted(151 << 20).as_deref(),
            Some(
                "1001 MiB are set aside, more than the byte budget of 1000 MiB: 600 for tail samplers, 250 for queues, 151 that guests \
                 hold already; lower `memory_mib` of tail samplers, or raise `memory_limiter`"
            )
        );
    }
}
