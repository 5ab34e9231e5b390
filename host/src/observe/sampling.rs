//! Metrics of tail samplers.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::marks::{HighWater, Mark, Marks};
use super::metrics::{Counter, Gauge, family};

/// Families of all tail samplers.
#[derive(Debug)]
pub(super) struct SamplerFamilies {
    decisions: Family<DecisionLabels, Counter>,
    decided_spans: Family<DecisionLabels, Counter>,
    late_spans: Family<LateLabels, Counter>,
    fallback_traces: Family<FallbackLabels, Counter>,
    waiting_traces: Family<SamplerLabels, Gauge>,
    waiting_spans: Family<SamplerLabels, Gauge>,
    bytes: Family<SamplerLabels, Gauge>,
    bytes_limit: Family<SamplerLabels, Gauge>,
    outgoing_bytes: Family<SamplerLabels, Gauge>,
    waited_seconds: Family<SamplerLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SamplerLabels {
    pipeline: String,
    sampler: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DecisionLabels {
    pipeline: String,
    sampler: String,
    policy: String,
    decision: &'static str,
    trigger: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LateLabels {
    pipeline: String,
    sampler: String,
    decision: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FallbackLabels {
    pipeline: String,
    sampler: String,
    reason: &'static str,
}

/// Numbers of one tail sampler in one pipeline.
#[derive(Clone, Debug)]
pub struct SamplerMetrics {
    /// Spans of traces that had been kept.
    pub late_kept: Counter,
    /// Spans of traces that had been dropped.
    pub late_dropped: Counter,
    /// Traces that the fallback judged since a policy failed.
    pub fallback_fault: Counter,
    /// Traces that were kept or dropped by the fallback's rate, as what is kept is not taken fast enough.
    pub fallback_pressure: Counter,
    /// Traces that wait.
    pub waiting_traces: Gauge,
    /// Their spans.
    pub waiting_spans: Gauge,
    /// Bytes held for them, and for decisions that are remembered.
    pub bytes: Gauge,
    /// What these bytes may be.
    pub bytes_limit: Gauge,
    /// Bytes that were kept and that the next step has not taken yet.
    pub outgoing_bytes: Gauge,
    /// The most that waiting traces were.
    pub waiting_traces_high: Arc<HighWater>,
    /// The most that bytes were.
    pub bytes_high: Arc<HighWater>,
    /// From the first span of a trace to its decision.
    pub waited_seconds: Histogram,
    decisions: Family<DecisionLabels, Counter>,
    decided_spans: Family<DecisionLabels, Counter>,
    of: SamplerLabels,
}

/// Traces and spans by who decided them and why then.
#[derive(Clone, Debug)]
pub struct DecisionCounters {
    /// Traces.
    pub traces: Counter,
    /// Their spans.
    pub spans: Counter,
}

impl SamplerFamilies {
    pub(super) fn new(r: &mut Registry) -> Self {
        let waited_seconds = Family::new_with_constructor(waits as fn() -> Histogram);
        r.register(
            "tail_waited_seconds",
            "Time from the first span of a trace to its decision",
            waited_seconds.clone(),
        );
        Self {
            decisions: family(r, "tail_decided_traces", "Traces decided, by policy, decision and trigger"),
            decided_spans: family(r, "tail_decided_spans", "Spans of decided traces, by policy, decision and trigger"),
            late_spans: family(r, "tail_late_spans", "Spans that came after their trace's decision, and followed it"),
            fallback_traces: family(r, "tail_fallback_traces", "Traces that the fallback judged, by reason"),
            waiting_traces: family(r, "tail_waiting_traces", "Traces that wait for their decision"),
            waiting_spans: family(r, "tail_waiting_spans", "Spans of traces that wait for their decision"),
            bytes: family(r, "tail_bytes", "Bytes held for waiting traces and remembered decisions"),
            bytes_limit: family(r, "tail_bytes_limit", "What tail_bytes may be"),
            outgoing_bytes: family(
                r,
                "tail_outgoing_bytes",
                "Bytes of kept spans that the next step has not taken yet",
            ),
            waited_seconds,
        }
    }

    pub(super) fn of(&self, pipeline: &str, sampler: &str, marks: &Marks) -> SamplerMetrics {
        let of = SamplerLabels { pipeline: pipeline.to_owned(), sampler: sampler.to_owned() };
        let late = |decision| {
            let labels = LateLabels { pipeline: of.pipeline.clone(), sampler: of.sampler.clone(), decision };
            self.late_spans.get_or_create_owned(&labels)
        };
        let fallback = |reason| {
            let labels = FallbackLabels { pipeline: of.pipeline.clone(), sampler: of.sampler.clone(), reason };
            self.fallback_traces.get_or_create_owned(&labels)
        };
        let high = |mark| marks.high(mark, &sampler_key(pipeline, sampler));
        SamplerMetrics {
            waiting_traces_high: high(Mark::WaitingTraces),
            bytes_high: high(Mark::SamplerBytes),
            late_kept: late("kept"),
            late_dropped: late("dropped"),
            fallback_fault: fallback("fault"),
            fallback_pressure: fallback("memory_pressure"),
            waiting_traces: self.waiting_traces.get_or_create_owned(&of),
            waiting_spans: self.waiting_spans.get_or_create_owned(&of),
            bytes: self.bytes.get_or_create_owned(&of),
            bytes_limit: self.bytes_limit.get_or_create_owned(&of),
            outgoing_bytes: self.outgoing_bytes.get_or_create_owned(&of),
            waited_seconds: self.waited_seconds.get_or_create_owned(&of),
            decisions: self.decisions.clone(),
            decided_spans: self.decided_spans.clone(),
            of,
        }
    }
}

impl SamplerMetrics {
    /// Counters of decisions by `policy` (empty: none said anything), of `decision` `kept` or `dropped`, at `trigger`.
    pub fn decisions(&self, policy: &str, decision: &'static str, trigger: &'static str) -> DecisionCounters {
        let labels = DecisionLabels {
            pipeline: self.of.pipeline.clone(),
            sampler: self.of.sampler.clone(),
            policy: policy.to_owned(),
            decision,
            trigger,
        };
        DecisionCounters {
            traces: self.decisions.get_or_create_owned(&labels),
            spans: self.decided_spans.get_or_create_owned(&labels),
        }
    }
}

/// A sampler has marks of its own in each of its pipelines. No name holds a line break.
fn sampler_key(pipeline: &str, sampler: &str) -> String {
    format!("{pipeline}\n{sampler}")
}

/// From 10 ms to 3 minutes.
fn waits() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 15))
}
