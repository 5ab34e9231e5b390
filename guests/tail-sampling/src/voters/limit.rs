//! `rate_limiting` and `bytes_limiting`.

use sluicebox_guest::{Bucket, Threshold, TraceSet};

use crate::call::Call;
use crate::votes::{Thresholds, Traits, Voter, Votes};

/// Traces as long as a token bucket holds what they cost.
#[derive(Debug)]
pub struct LimitPolicy {
    pub bucket: Bucket,
    pub cost: Cost,
}

/// What a trace costs.
#[derive(Clone, Copy, Debug)]
pub enum Cost {
    Spans,
    Bytes,
}

impl Voter for LimitPolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let due = call.due(asked);
        let keep = match self.cost {
            Cost::Spans => take(&self.bucket, &due, call, |trace| u64::from(call.span_counts()[trace])),
            Cost::Bytes => {
                let bytes = call.traces().byte_counts();
                take(&self.bucket, &due, call, |trace| bytes[trace])
            }
        };
        Votes {
            chance: &due & &!&keep,
            keep,
            thresholds: Thresholds::Same(Threshold::UNKNOWN),
            ..Votes::none(call.len)
        }
    }

    fn traits(&self) -> Traits {
        Traits { is_stateful: true, ..Traits::default() }
    }
}

/// Those of `asked`, in order, for which the bucket held what they cost.
pub fn take(bucket: &Bucket, asked: &TraceSet, call: &Call<'_>, cost: impl Fn(usize) -> u64) -> TraceSet {
    take_by(bucket, asked, call, |trace| (0, cost(trace)))
}

/// The same with a bucket for each key: a key and a cost.
pub fn take_by(bucket: &Bucket, asked: &TraceSet, call: &Call<'_>, cost: impl Fn(usize) -> (u64, u64)) -> TraceSet {
    let mut taken = TraceSet::empty(call.len);
    let traces: Vec<usize> = asked.iter().collect();
    if traces.is_empty() {
        return taken;
    }
    let costs: Vec<(u64, u64)> = traces.iter().map(|trace| cost(*trace)).collect();
    for (trace, is_taken) in traces.into_iter().zip(bucket.take(&costs)) {
        if is_taken {
            taken.insert(trace);
        }
    }
    taken
}
