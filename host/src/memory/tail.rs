//! What each tail sampler may hold: what the file says, and a share of the budget where it says nothing.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::config::model::Config;
use crate::memory::limit::Limit;

/// Bounds of a tail sampler in one of its pipelines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TailBounds {
    /// The pipeline.
    pub pipeline: String,
    /// The processor's name in the file.
    pub sampler: String,
    /// From a trace's first span to its decision.
    #[serde(rename = "decision_wait_ms", serialize_with = "milliseconds")]
    #[schema(value_type = u64)]
    pub decision_wait: Duration,
    /// Waiting traces.
    pub traces_max: usize,
    /// Spans, tables and remembered decisions.
    #[serde(rename = "memory_bytes_max")]
    pub bytes_max: u64,
    /// Threads that hold traces.
    pub shards: usize,
}

/// The bounds of each tail sampler in each of its pipelines, with as many shards as there are `workers` unless the file says how many.
pub fn bounds(config: &Config, limit: &Limit, workers: usize) -> Vec<TailBounds> {
    let share_bytes = limit.tail_bytes(config.samplers().count());
    let bounds = config.samplers().map(|(pipeline, sampler)| TailBounds {
        pipeline: pipeline.name.clone(),
        sampler: sampler.name.clone(),
        decision_wait: sampler.decision_wait,
        traces_max: sampler.traces_max,
        bytes_max: sampler.memory_bytes_max.unwrap_or(share_bytes),
        shards: sampler.shards.unwrap_or(workers).max(1),
    });
    bounds.collect()
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// In one line, for people; without the names.
impl fmt::Display for TailBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards = if self.shards == 1 { "shard" } else { "shards" };
        write!(
            f,
            "decides after {:?}; holds up to {} traces and {} MiB in {} {shards}, past which the oldest are decided early",
            self.decision_wait,
            self.traces_max,
            self.bytes_max >> 20,
            self.shards,
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{System, load_text};
    use crate::memory::limit::Reason;

    const FILE: &str = "\
receivers: {otlp: {protocols: {grpc: }}}
processors:
  tail_sampling/a: {policies: [{name: all, type: always_sample}]}
  tail_sampling/b: {decision_wait: 500ms, num_traces: 7, memory_mib: 3, num_shards: 1, policies: [{name: all, type: always_sample}]}
exporters: {debug: }
service:
  pipelines:
    traces: {receivers: [otlp], processors: [tail_sampling/a], exporters: [debug]}
    traces/again: {receivers: [otlp], processors: [tail_sampling/a], exporters: [debug]}
    traces/b: {receivers: [otlp], processors: [tail_sampling/b], exporters: [debug]}
";

    #[test]
    fn each_pipeline_has_its_share_unless_the_file_says_how_much() {
        let config = load_text("test.yaml".into(), FILE.into(), Path::new(""), &System).expect("is valid").config;
        let limit = Limit { bytes: 750 << 20, reason: Reason::Configured };
        let bounds = bounds(&config, &limit, 4);
        let shown: Vec<_> = bounds.iter().map(|one| format!("{} {}: {one}", one.sampler, one.pipeline)).collect();
        let share = "decides after 30s; holds up to 50000 traces and 100 MiB in 4 shards, past which the oldest are decided early";
        let own =
            "decides after 500ms; holds up to 7 traces and 3 MiB in 1 shard, past which the oldest are decided early";
        let expected = [
            format!("tail_sampling/a traces: {share}"),
            format!("tail_sampling/a traces/again: {share}"),
            format!("tail_sampling/b traces/b: {own}"),
        ];
        assert_eq!(shown, expected);
        let expected = serde_json::json!({
            "pipeline": "traces/b",
            "sampler": "tail_sampling/b",
            "decision_wait_ms": 500,
            "traces_max": 7,
            "memory_bytes_max": 3 << 20,
            "shards": 1,
        });
        assert_eq!(serde_json::to_value(&bounds[2]).expect("has a JSON form"), expected);
    }
}
