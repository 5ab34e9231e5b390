//! Every limit with what is used of it, the most that was, and what happens when it is reached.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::View;
use crate::config::model::StageRole;
use crate::control::StageFacts;
use crate::export::QueueLevel;
use crate::memory::tail::TailBounds;
use crate::observe::rates::{Counts, WINDOW_MIN};
use crate::table;

const MEMORY_THEN: &str = "senders are told to retry; what is kept for rollbacks goes first";
const JOBS_THEN: &str = "senders are told to retry";
const QUEUE_THEN: &str = "senders are told to retry, unless block_on_overflow has them wait";
const TRACES_THEN: &str = "the oldest traces are decided early";
const TAIL_BYTES_THEN: &str = "the oldest traces are decided early; if that is not enough, senders are told to retry";
const INSTANCE_THEN: &str = "the call is a fault of kind memory; at 75 % the instance is replaced before";
const INSTANCES_THEN: &str =
    "no thread has more than one; what is past the process's memory is a fault of kind process_memory";
const DEADLINE_THEN: &str = "the call is stopped, a fault of kind deadline; each row shown allows 20 us more";
const OUTPUT_THEN: &str = "the call is a fault of kind host_call_budget";
const LOG_THEN: &str = "further lines of that second are left out, and counted";
const TABLE_THEN: &str = "the file is refused, and the table before it serves on";

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limit {
    /// `process`, `exporter "otlp"`, `sampler "tail_sampling" in "traces"`, `stage "filter"`, `table "hosts" of "lookup"`.
    pub of: String,
    /// What is limited, units last: `memory_bytes`, `queue_requests`.
    pub limit: String,
    /// How much there may be.
    pub max: u64,
    /// How much there is; None where that is not measured.
    pub used: Option<u64>,
    /// The most since the start of the process; None where that is not measured.
    pub high_water: Option<u64>,
    /// How often it was reached: items, calls or lines that met it; None where that is not counted.
    pub reached: Option<u64>,
    /// What happens then.
    pub then: String,
}

impl View {
    /// Of the process, its queues, samplers, guests and tables, in this order.
    pub fn limits(&self) -> Vec<Limit> {
        let counts = self.counts(WINDOW_MIN);
        let mut limits = self.of_process(&counts);
        limits.extend(self.of_queues(&counts));
        for bounds in self.levels.samplers().iter() {
            limits.extend(self.of_sampler(&counts, bounds));
        }
        for facts in self.control.stage_facts() {
            limits.extend(self.of_stage(&counts, &facts));
        }
        limits
    }

    fn of_process(&self, counts: &Counts) -> Vec<Limit> {
        let jobs = self.levels.jobs();
        let over_budget = counts.rate("receiver_requests", &[("outcome", "over_budget")]).total;
        let workers = [("stage", "workers"), ("reason", "queue_full")];
        let process = || "process".to_owned();
        vec![
            Limit::new(process(), "memory_bytes", self.budget.bytes_max(), MEMORY_THEN)
                .used(self.budget.bytes_used(), self.budget.bytes_high())
                .reached(over_budget),
            Limit::new(process(), "requests_waiting_for_workers", jobs.max, JOBS_THEN)
                .used(jobs.waiting, jobs.high)
                .reached(counts.rate("pipeline_dropped_items", &workers).total),
        ]
    }

    fn of_queues(&self, counts: &Counts) -> Vec<Limit> {
        let queue = |(exporter, level): (String, QueueLevel)| {
            let of = format!("exporter \"{exporter}\"");
            let full = [("stage", exporter.as_str()), ("reason", "queue_full")];
            let full = counts.rate("pipeline_dropped_items", &full).total;
            [
                Limit::new(of.clone(), "queue_requests", level.places_max, QUEUE_THEN)
                    .used(level.places, level.places_high)
                    .reached(full),
                Limit::new(of, "queue_bytes", level.bytes_max, QUEUE_THEN).used(level.bytes, level.bytes_high),
            ]
        };
        self.levels.queues().into_iter().flat_map(queue).collect()
    }

    fn of_sampler(&self, counts: &Counts, bounds: &TailBounds) -> [Limit; 2] {
        let TailBounds { pipeline, sampler, traces_max, bytes_max, .. } = bounds;
        let of = || format!("sampler \"{sampler}\" in \"{pipeline}\"");
        let labels = [("pipeline", pipeline.as_str()), ("sampler", sampler.as_str())];
        let gauge = |name| u64::try_from(counts.gauge(name, &labels)).unwrap_or_default();
        let early: Vec<_> = labels.iter().copied().chain([("trigger", "memory")]).collect();
        let metrics = self.metrics.sampler(pipeline, sampler);
        let early = counts.rate("tail_decided_traces", &early).total;
        let full = [("pipeline", pipeline.as_str()), ("stage", sampler.as_str()), ("reason", "tail_full")];
        let full = counts.rate("pipeline_dropped_items", &full).total;
        [
            Limit::new(of(), "waiting_traces", *traces_max as u64, TRACES_THEN)
                .used(gauge("tail_waiting_traces"), metrics.waiting_traces_high.get())
                .reached(early),
            Limit::new(of(), "memory_bytes", *bytes_max, TAIL_BYTES_THEN)
                .used(gauge("tail_bytes"), metrics.bytes_high.get())
                .reached(full),
        ]
    }

    fn of_stage(&self, counts: &Counts, facts: &StageFacts) -> Vec<Limit> {
        let name = facts.stage.name.as_str();
        let of = || format!("stage \"{name}\"");
        let metrics = self.metrics.stage(name);
        let faults = |kind| counts.rate("stage_faults", &[("stage", name), ("kind", kind)]).total;
        let instance_bytes = facts.generation.instance_bytes_max();
        let memory = u64::try_from(counts.gauge("stage_memory_bytes", &[("stage", name)])).unwrap_or_default();
        let deadline = u64::try_from(facts.stage.limits.deadline.as_micros()).unwrap_or(u64::MAX);
        let mut deadline = Limit::new(of(), "call_microseconds", deadline, DEADLINE_THEN).reached(faults("deadline"));
        deadline.high_water = Some(metrics.times.timings().max_microseconds);
        let mut instance =
            Limit::new(of(), "instance_memory_bytes", instance_bytes, INSTANCE_THEN).reached(faults("memory"));
        instance.high_water = Some(metrics.instance_high.get());
        let mut limits = vec![
            instance,
            Limit::new(
                of(),
                "all_instances_memory_bytes",
                instance_bytes.saturating_mul(self.instances(facts)),
                INSTANCES_THEN,
            )
            .used(memory, metrics.memory_high.get())
            .reached(faults("process_memory")),
            deadline,
            Limit::new(of(), "output_bytes", facts.stage.limits.output_bytes_max, OUTPUT_THEN)
                .reached(faults("host_call_budget")),
            Limit::new(of(), "log_lines_per_second", u64::from(facts.stage.limits.log_lines_per_second), LOG_THEN)
                .reached(counts.rate("stage_log_lines_left_out", &[("stage", name)]).total),
        ];
        for (table, content) in &facts.stage.tables {
            let of = || format!("table \"{table}\" of \"{name}\"");
            let (rows, bytes) = (content.rows() as u64, content.memory_bytes());
            limits.push(Limit::new(of(), "rows", table::ROWS_MAX as u64, TABLE_THEN).used(rows, rows));
            limits.push(Limit::new(of(), "memory_bytes", self.budget.bytes_max(), TABLE_THEN).used(bytes, bytes));
        }
        limits
    }

    /// Threads that call a stage: each has an instance.
    fn instances(&self, facts: &StageFacts) -> u64 {
        match facts.stage.role {
            StageRole::Processor => self.levels.workers() as u64,
            StageRole::Policy => {
                let pipelines = self.control.pipelines_of(&facts.stage.name);
                let samplers = self.levels.samplers();
                let its = samplers.iter().filter(|bounds| pipelines.contains(&bounds.pipeline));
                its.map(|bounds| bounds.shards as u64).sum()
            }
        }
    }
}

impl Limit {
    fn new(of: String, limit: &str, max: u64, then: &str) -> Limit {
        Limit { of, limit: limit.to_owned(), max, used: None, high_water: None, reached: None, then: then.to_owned() }
    }

    fn used(self, used: u64, high_water: u64) -> Limit {
        // What was read a moment later may be higher than the mark that was read before.
        Limit { used: Some(used), high_water: Some(high_water.max(used)), ..self }
    }

    fn reached(self, reached: u64) -> Limit {
        Limit { reached: Some(reached), ..self }
    }
}
