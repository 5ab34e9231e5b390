//! Own metrics: every name once, here. Handles are cloned out once per part and cost one relaxed add on the data path.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter as PromCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge as PromGauge;
use prometheus_client::registry::Registry;

use super::guests::GuestMetrics;
use super::health::{HealthFamilies, HealthMetrics, InstanceMetrics};
use super::marks::{CallTimes, HighWater, Mark, Marks};
use super::sampling::{SamplerFamilies, SamplerMetrics};
use crate::signal::Signal;

/// Counts up.
pub type Counter = PromCounter<u64, AtomicU64>;
/// Goes up and down.
pub type Gauge = PromGauge<i64, AtomicI64>;

/// All metric families of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    receiver_received: Family<ReceiverLabels, Counter>,
    receiver_accepted: Family<ReceiverLabels, Counter>,
    receiver_refused: Family<ReceiverLabels, Counter>,
    receiver_requests: Family<RequestLabels, Counter>,
    pipeline_accepted: Family<PipelineLabels, Counter>,
    pipeline_dropped: Family<DropLabels, Counter>,
    pipeline_edited: Family<EditLabels, Counter>,
    pipeline_unjudgeable: Family<PipelineStageLabels, Counter>,
    pipeline_held: Family<PipelineLabels, Gauge>,
    pipeline_handed_over: Family<PipelineLabels, Counter>,
    exporter_handed_over: Family<ExporterLabels, Counter>,
    exporter_sent: Family<ExporterLabels, Counter>,
    exporter_rejected: Family<ExporterLabels, Counter>,
    exporter_dropped: Family<ExporterDropLabels, Counter>,
    exporter_queued: Family<ExporterLabels, Gauge>,
    exporter_requests: Family<ExporterDropLabels, Counter>,
    stage_calls: Family<StageLabels, Counter>,
    stage_call_nanoseconds: Family<StageLabels, Counter>,
    stage_faults: Family<FaultLabels, Counter>,
    stage_passed_unjudged: Family<StageLabels, Counter>,
    stage_generation: Family<StageLabels, Gauge>,
    stage_generations_live: Family<StageLabels, Gauge>,
    stage_memory_bytes: Family<StageLabels, Gauge>,
    stage_swaps: Family<SwapLabels, Counter>,
    health: HealthFamilies,
    marks: Marks,
    stage_drifted: Family<StageLabels, Gauge>,
    stage_generations_kept: Family<StageLabels, Gauge>,
    /// Entries of the history that are not in its file.
    pub history_lost: Counter,
    samplers: SamplerFamilies,
    dead_letter_left_out: Family<ReasonLabels, Counter>,
    /// Entries of the dead letter that were written.
    pub dead_letter_entries: Counter,
    /// Bytes charged to the process budget.
    pub memory_used_bytes: Gauge,
    /// The process budget.
    pub memory_limit_bytes: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReceiverLabels {
    receiver: String,
    signal: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    receiver: String,
    signal: &'static str,
    transport: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PipelineLabels {
    pipeline: String,
    signal: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DropLabels {
    pipeline: String,
    signal: &'static str,
    stage: String,
    rule: String,
    reason: &'static str,
    intended: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EditLabels {
    pipeline: String,
    signal: &'static str,
    stage: String,
    rule: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PipelineStageLabels {
    pipeline: String,
    signal: &'static str,
    stage: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExporterLabels {
    exporter: String,
    signal: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExporterDropLabels {
    exporter: String,
    signal: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StageLabels {
    stage: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FaultLabels {
    stage: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SwapLabels {
    stage: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// A receiver's side of the account: received = accepted + refused, in items of the signal.
#[derive(Clone, Debug)]
pub struct ReceiverMetrics {
    /// Items of requests that were read and understood.
    pub received: Counter,
    /// Items the sender was told are taken over.
    pub accepted: Counter,
    /// Items the sender was told are not.
    pub refused: Counter,
}

/// A pipeline's side of the account: accepted = dropped + held + handed over.
#[derive(Clone, Debug)]
pub struct PipelineMetrics {
    /// Items that entered.
    pub accepted: Counter,
    /// Items inside: in a worker's queue, in a call, waiting to be merged.
    pub held: Gauge,
    /// Items given to exporters, once however many exporters there are.
    pub handed_over: Counter,
}

/// An exporter's side of the account: handed over = sent + rejected + dropped + queued.
#[derive(Clone, Debug)]
pub struct ExporterMetrics {
    /// Items put into the queue.
    pub handed_over: Counter,
    /// Items the peer took.
    pub sent: Counter,
    /// Items the peer refused for good, whole requests or `partial_success`.
    pub rejected: Counter,
    /// Items in the queue or in flight.
    pub queued: Gauge,
}

/// A stage's own numbers.
#[derive(Clone, Debug)]
pub struct StageMetrics {
    /// Guest calls.
    pub calls: Counter,
    /// Time spent in them.
    pub call_nanoseconds: Counter,
    /// Items that went on although the stage faulted.
    pub passed_unjudged: Counter,
    /// The serving generation.
    pub generation: Gauge,
    /// Generations that still have instances.
    pub generations_live: Gauge,
    /// Guest memory of all instances.
    pub memory_bytes: Gauge,
    /// 1 where the file says something else than what serves.
    pub drifted: Gauge,
    /// Generations that are kept for a rollback.
    pub generations_kept: Gauge,
    /// How long its calls took.
    pub times: Arc<CallTimes>,
    /// The most that all its instances together had of memory.
    pub memory_high: Arc<HighWater>,
    /// The most that one of them had.
    pub instance_high: Arc<HighWater>,
    stage: String,
    faults: Family<FaultLabels, Counter>,
}

impl StageMetrics {
    /// Counts a call that took so long.
    pub fn called(&self, elapsed: Duration) {
        self.calls.inc();
        self.call_nanoseconds.inc_by(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        self.times.note(elapsed);
    }

    /// Counts a failed call.
    pub fn fault(&self, kind: &'static str) {
        self.faults.get_or_create(&FaultLabels { stage: self.stage.clone(), kind }).inc();
    }
}

/// What one owner adds to a gauge that several share; taken back when it is dropped.
#[derive(Debug)]
pub struct GaugeShare {
    gauge: Gauge,
    value: i64,
    /// Of the whole gauge.
    high: Option<Arc<HighWater>>,
}

impl GaugeShare {
    /// Nothing yet.
    pub fn of(gauge: &Gauge) -> Self {
        Self { gauge: gauge.clone(), value: 0, high: None }
    }

    /// The same, which also marks how high the gauge was with all shares in it.
    pub fn marking(gauge: &Gauge, high: &Arc<HighWater>) -> Self {
        Self { gauge: gauge.clone(), value: 0, high: Some(Arc::clone(high)) }
    }

    /// Makes the share as large as this.
    pub fn set(&mut self, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        let more = value - self.value;
        if more == 0 {
            return;
        }
        let before = self.gauge.inc_by(more);
        self.value = value;
        if let Some(high) = &self.high {
            high.note(u64::try_from(before.saturating_add(more)).unwrap_or_default());
        }
    }
}

impl Drop for GaugeShare {
    fn drop(&mut self) {
        self.gauge.dec_by(self.value);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every family.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sluicebox");
        let r = &mut registry;
        Self {
            receiver_received: family(r, "receiver_received_items", "Items of requests that were read and understood"),
            receiver_accepted: family(r, "receiver_accepted_items", "Items whose sender was told they are taken over"),
            receiver_refused: family(
                r,
                "receiver_refused_items",
                "Items whose sender was told they are not taken over",
            ),
            receiver_requests: family(r, "receiver_requests", "Requests, by what the sender was told"),
            pipeline_accepted: family(r, "pipeline_accepted_items", "Items that entered the pipeline"),
            pipeline_dropped: family(
                r,
                "pipeline_dropped_items",
                "Items that left the pipeline otherwise than to exporters, by reason",
            ),
            pipeline_edited: family(r, "pipeline_edited_places", "Places of items that a rule wrote"),
            pipeline_unjudgeable: family(
                r,
                "pipeline_removed_unjudgeable_fields",
                "Fields removed because the stage could not be shown them: unknown to OTLP, or nested too deep",
            ),
            pipeline_held: family(r, "pipeline_held_items", "Items inside the pipeline now"),
            pipeline_handed_over: family(r, "pipeline_handed_over_items", "Items given to the exporters"),
            exporter_handed_over: family(r, "exporter_handed_over_items", "Items put into the exporter's queue"),
            exporter_sent: family(r, "exporter_sent_items", "Items the peer took"),
            exporter_rejected: family(r, "exporter_rejected_items", "Items the peer refused for good"),
            exporter_dropped: family(r, "exporter_dropped_items", "Items the exporter gave up, by reason"),
            exporter_queued: family(r, "exporter_queued_items", "Items in the exporter's queue or in flight"),
            exporter_requests: family(r, "exporter_requests", "Tries to send, by result"),
            stage_calls: family(r, "stage_calls", "Guest calls"),
            stage_call_nanoseconds: family(r, "stage_call_nanoseconds", "Time spent in guest calls"),
            stage_faults: family(r, "stage_faults", "Failed guest calls, by kind"),
            stage_passed_unjudged: family(
                r,
                "stage_passed_unjudged_items",
                "Items that went on although the stage faulted",
            ),
            stage_generation: family(r, "stage_generation", "The serving generation"),
            stage_generations_live: family(r, "stage_generations_live", "Generations that still have instances"),
            stage_memory_bytes: family(r, "stage_memory_bytes", "Guest memory of all instances"),
            stage_swaps: family(r, "stage_swaps", "Swaps, by result"),
            health: HealthFamilies::new(r),
            marks: Marks::default(),
            stage_drifted: family(r, "stage_drifted", "1 where the file says something else than what serves"),
            stage_generations_kept: family(
                r,
                "stage_generations_kept",
                "Generations that no longer serve, with instances for a rollback",
            ),
            history_lost: single(r, "history_lost_entries", "Entries of the history that could not be written"),
            samplers: SamplerFamilies::new(r),
            dead_letter_left_out: family(r, "dead_letter_left_out_entries", "Entries that were not written, by reason"),
            dead_letter_entries: {
                let counter = Counter::default();
                r.register("dead_letter_entries", "Entries of the dead letter that were written", counter.clone());
                counter
            },
            memory_used_bytes: single(r, "memory_used_bytes", "Bytes charged to the process budget"),
            memory_limit_bytes: single(r, "memory_limit_bytes", "The process budget"),
            registry: Mutex::new(registry),
        }
    }

    /// The text of `/metrics` (OpenMetrics).
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        let _infallible = encode(&mut text, &registry);
        text
    }

    /// Shows what components count beside the engine's own numbers. Once for each runtime.
    pub fn show_guests(&self, guests: &Arc<GuestMetrics>) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(Arc::clone(guests)));
    }

    /// Counters of a receiver.
    pub fn receiver(&self, receiver: &str, signal: Signal) -> ReceiverMetrics {
        let labels = ReceiverLabels { receiver: receiver.to_owned(), signal: signal.as_str() };
        ReceiverMetrics {
            received: self.receiver_received.get_or_create_owned(&labels),
            accepted: self.receiver_accepted.get_or_create_owned(&labels),
            refused: self.receiver_refused.get_or_create_owned(&labels),
        }
    }

    /// Requests of a receiver that ended with `outcome`: `ok`, `partial`, `retry`, `refused`, `too_large`, `unreadable`, `over_budget`.
    pub fn receiver_requests(
        &self,
        receiver: &str,
        signal: Signal,
        transport: &'static str,
        outcome: &'static str,
    ) -> Counter {
        let labels = RequestLabels { receiver: receiver.to_owned(), signal: signal.as_str(), transport, outcome };
        self.receiver_requests.get_or_create_owned(&labels)
    }

    /// Counters of a pipeline.
    pub fn pipeline(&self, pipeline: &str, signal: Signal) -> PipelineMetrics {
        let labels = PipelineLabels { pipeline: pipeline.to_owned(), signal: signal.as_str() };
        PipelineMetrics {
            accepted: self.pipeline_accepted.get_or_create_owned(&labels),
            held: self.pipeline_held.get_or_create_owned(&labels),
            handed_over: self.pipeline_handed_over.get_or_create_owned(&labels),
        }
    }

    /// Items that left a pipeline at `stage` otherwise than to exporters. `rule` is empty where no rule is involved.
    pub fn dropped(
        &self,
        pipeline: &str,
        signal: Signal,
        stage: &str,
        rule: &str,
        reason: &'static str,
        intended: bool,
    ) -> Counter {
        self.pipeline_dropped.get_or_create_owned(&DropLabels {
            pipeline: pipeline.to_owned(),
            signal: signal.as_str(),
            stage: stage.to_owned(),
            rule: rule.to_owned(),
            reason,
            intended: if intended { "true" } else { "false" },
        })
    }

    /// Places that a rule of `stage` wrote: values of fields, counted for each row that has them.
    pub fn edited(&self, pipeline: &str, signal: Signal, stage: &str, rule: &str) -> Counter {
        self.pipeline_edited.get_or_create_owned(&EditLabels {
            pipeline: pipeline.to_owned(),
            signal: signal.as_str(),
            stage: stage.to_owned(),
            rule: rule.to_owned(),
        })
    }

    /// Fields that were removed for `stage`, since it reads everything and could not be shown them.
    pub fn unjudgeable(&self, pipeline: &str, signal: Signal, stage: &str) -> Counter {
        self.pipeline_unjudgeable.get_or_create_owned(&PipelineStageLabels {
            pipeline: pipeline.to_owned(),
            signal: signal.as_str(),
            stage: stage.to_owned(),
        })
    }

    /// Counters of an exporter.
    pub fn exporter(&self, exporter: &str, signal: Signal) -> ExporterMetrics {
        let labels = ExporterLabels { exporter: exporter.to_owned(), signal: signal.as_str() };
        ExporterMetrics {
            handed_over: self.exporter_handed_over.get_or_create_owned(&labels),
            sent: self.exporter_sent.get_or_create_owned(&labels),
            rejected: self.exporter_rejected.get_or_create_owned(&labels),
            queued: self.exporter_queued.get_or_create_owned(&labels),
        }
    }

    /// Items an exporter gave up, by reason: `retry_timeout`, `retry_disabled`, `shutdown`.
    pub fn exporter_dropped(&self, exporter: &str, signal: Signal, reason: &'static str) -> Counter {
        let labels = ExporterDropLabels { exporter: exporter.to_owned(), signal: signal.as_str(), reason };
        self.exporter_dropped.get_or_create_owned(&labels)
    }

    /// Tries to send, by result: `accepted`, `partial`, `retry`, `refused`.
    pub fn exporter_requests(&self, exporter: &str, signal: Signal, reason: &'static str) -> Counter {
        let labels = ExporterDropLabels { exporter: exporter.to_owned(), signal: signal.as_str(), reason };
        self.exporter_requests.get_or_create_owned(&labels)
    }

    /// Numbers of a stage.
    pub fn stage(&self, stage: &str) -> StageMetrics {
        let labels = StageLabels { stage: stage.to_owned() };
        StageMetrics {
            calls: self.stage_calls.get_or_create_owned(&labels),
            call_nanoseconds: self.stage_call_nanoseconds.get_or_create_owned(&labels),
            passed_unjudged: self.stage_passed_unjudged.get_or_create_owned(&labels),
            generation: self.stage_generation.get_or_create_owned(&labels),
            generations_live: self.stage_generations_live.get_or_create_owned(&labels),
            memory_bytes: self.stage_memory_bytes.get_or_create_owned(&labels),
            drifted: self.stage_drifted.get_or_create_owned(&labels),
            generations_kept: self.stage_generations_kept.get_or_create_owned(&labels),
            times: self.marks.times(stage),
            memory_high: self.high_water(Mark::StageMemory, stage),
            instance_high: self.high_water(Mark::InstanceMemory, stage),
            stage: stage.to_owned(),
            faults: self.stage_faults.clone(),
        }
    }

    /// How high something was.
    pub fn high_water(&self, mark: Mark, of: &str) -> Arc<HighWater> {
        self.marks.high(mark, of)
    }

    /// Entries of the dead letter that were not written: `queue_full`, `unwritable`, `too_large`.
    pub fn dead_letter_left_out(&self, reason: &'static str) -> Counter {
        self.dead_letter_left_out.get_or_create_owned(&ReasonLabels { reason })
    }

    /// Health of a stage.
    pub fn health(&self, stage: &str) -> HealthMetrics {
        self.health.of(stage)
    }

    /// Instances of a stage.
    pub fn instances(&self, stage: &str) -> InstanceMetrics {
        self.health.instances_of(stage)
    }

    /// Numbers of a tail sampler in one of its pipelines.
    pub fn sampler(&self, pipeline: &str, sampler: &str) -> SamplerMetrics {
        self.samplers.of(pipeline, sampler, &self.marks)
    }

    /// Swaps of a stage that ended with `result`: `committed` or the step that failed.
    pub fn swaps(&self, stage: &str, result: &'static str) -> Counter {
        self.stage_swaps.get_or_create_owned(&SwapLabels { stage: stage.to_owned(), result })
    }
}

pub(super) fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: EncodeLabelSet + Clone + std::hash::Hash + Eq + Send + Sync + std::fmt::Debug + 'static,
    M: prometheus_client::encoding::EncodeMetric
        + prometheus_client::metrics::TypedMetric
        + Default
        + Send
        + Sync
        + std::fmt::Debug
        + 'static,
{
    let family = Family::<L, M>::default();
    registry.register(name, help, family.clone());
    family
}

fn single<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Default + Clone,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}
