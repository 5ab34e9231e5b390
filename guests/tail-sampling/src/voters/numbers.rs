//! Policies that judge by what is told of a trace, so that no span has to be shown.

use sluicebox_guest::TraceSet;

use crate::call::Call;
use crate::config::Status;
use crate::votes::{Traits, Voter, Votes};

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A policy on numbers of the trace.
#[derive(Clone, Copy, Debug)]
pub enum Numbers {
    /// `always_sample`
    Always,
    /// `trace_flags`
    Sampled,
    /// `latency`; an upper bound of 0 is none. The lower bound is inclusive only without an upper one, as at the Collector.
    Latency { lower_ms: u64, upper_ms: u64 },
    /// `span_count`, inclusive; a maximum of 0 is none.
    SpanCount { min: u32, max: u32 },
    /// `status_code`
    Status(Status),
}

impl Voter for Numbers {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let all = TraceSet::all(call.len);
        let (matched, settled) = match *self {
            Numbers::Always => (all.clone(), all),
            Numbers::Sampled => grows(call.traces().is_sampled()),
            Numbers::Latency { lower_ms, upper_ms: 0 } => {
                let durations = call.durations_nano();
                grows(TraceSet::of(call.len, |trace| durations[trace] / NANOS_PER_MILLI >= lower_ms))
            }
            Numbers::Latency { lower_ms, upper_ms } => {
                let millis = |trace: usize| call.durations_nano()[trace] / NANOS_PER_MILLI;
                let matched = TraceSet::of(call.len, |trace| lower_ms < millis(trace) && millis(trace) <= upper_ms);
                (matched, TraceSet::of(call.len, |trace| millis(trace) > upper_ms))
            }
            Numbers::SpanCount { min, max: 0 } => {
                let counts = call.span_counts();
                grows(TraceSet::of(call.len, |trace| counts[trace] >= min))
            }
            Numbers::SpanCount { min, max } => {
                let counts = call.span_counts();
                let matched = TraceSet::of(call.len, |trace| (min..=max).contains(&counts[trace]));
                (matched, TraceSet::of(call.len, |trace| counts[trace] > max))
            }
            Numbers::Status(status) => grows(with_status(call, status)),
        };
        Votes::matched(call.len, &matched & asked, &settled & asked)
    }

    fn traits(&self) -> Traits {
        Traits::default()
    }
}

/// More spans never undo a match, and may bring one.
fn grows(matched: TraceSet) -> (TraceSet, TraceSet) {
    (matched.clone(), matched)
}

/// Traces with a span of one of these status codes.
fn with_status(call: &Call<'_>, status: Status) -> TraceSet {
    let counts = |is_wanted: bool, read: &dyn Fn() -> Vec<u32>| if is_wanted { read() } else { vec![0; call.len] };
    let errors = counts(status.error || status.unset, &|| call.traces().error_counts());
    let oks = counts(status.ok || status.unset, &|| call.traces().ok_counts());
    TraceSet::of(call.len, |trace| {
        let set = errors[trace].saturating_add(oks[trace]);
        status.error && errors[trace] > 0
            || status.ok && oks[trace] > 0
            || status.unset && call.span_counts()[trace] > set
    })
}
