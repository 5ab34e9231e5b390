//! `latency_percentile`.

use std::collections::BTreeMap;

use sluicebox_guest::{Tally, TraceSet};

use super::key::KeySource;
use crate::call::Call;
use crate::votes::{Traits, Voter, Votes};

/// Buckets of durations: four to each power of two, so that neighbours differ by at most a quarter, from 1 us to 73 minutes.
const OCTAVE_FIRST: u32 = 10;
const OCTAVES: u32 = 32;
const BUCKETS_PER_OCTAVE: u32 = 4;
/// The width of the tally.
pub const BUCKETS: u32 = OCTAVES * BUCKETS_PER_OCTAVE;

/// Traces that are slower than most of their key have been of late.
#[derive(Debug)]
pub struct PercentilePolicy {
    pub key: KeySource,
    /// Durations of each key, in [`BUCKETS`], fading.
    pub tally: Tally,
    /// 0 to 1.
    pub quantile: f64,
    /// A key that has seen fewer, faded, knows nothing yet.
    pub min_traces: f64,
}

impl Voter for PercentilePolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        let due = call.due(asked);
        if due.is_empty() {
            return Votes::none(call.len);
        }
        let keys = self.key.of_traces(call);
        let mut known: Vec<u64> = due.iter().map(|trace| keys[trace]).collect();
        known.sort_unstable();
        known.dedup();
        // As it was before these traces, so that none of them is compared with itself.
        let rows = self.tally.read(&known);
        let limits: BTreeMap<u64, Option<f64>> =
            known.into_iter().zip(rows.iter().map(|row| self.limit_nano(row))).collect();
        let durations = call.durations_nano();
        let mut keep = TraceSet::empty(call.len);
        let mut added: BTreeMap<(u64, u32), f64> = BTreeMap::new();
        for trace in due.iter() {
            if let Some(Some(limit)) = limits.get(&keys[trace])
                && durations[trace] as f64 > *limit
            {
                keep.insert(trace);
            }
            *added.entry((keys[trace], bucket(durations[trace]))).or_default() += 1.0;
        }
        self.tally.add(&added.into_iter().map(|((key, bucket), count)| (key, bucket, count)).collect::<Vec<_>>());
        Votes { keep, ..Votes::none(call.len) }
    }

    fn traits(&self) -> Traits {
        Traits { is_stateful: true, ..Traits::default() }
    }
}

impl PercentilePolicy {
    /// The duration that the quantile of a row lies at, if it holds enough traces.
    fn limit_nano(&self, row: &[f64]) -> Option<f64> {
        let total: f64 = row.iter().sum();
        if total < self.min_traces {
            return None;
        }
        let mut left = total * self.quantile;
        for (bucket, count) in (0..).zip(row) {
            if left <= *count {
                // Within a bucket durations are taken to be spread evenly.
                let (from, to) = (start_nano(bucket), start_nano(bucket + 1));
                return Some(from + (to - from) * left / count);
            }
            left -= count;
        }
        None
    }
}

fn bucket(nano: u64) -> u32 {
    let octave = nano.checked_ilog2().unwrap_or(0);
    if octave < OCTAVE_FIRST {
        return 0;
    }
    let within = ((nano >> (octave - 2)) & 3) as u32;
    ((octave - OCTAVE_FIRST) * BUCKETS_PER_OCTAVE + within).min(BUCKETS - 1)
}

/// Where a bucket begins. The first holds everything below it, too.
fn start_nano(bucket: u32) -> f64 {
    let within = f64::from(bucket % BUCKETS_PER_OCTAVE) / f64::from(BUCKETS_PER_OCTAVE);
    f64::from(OCTAVE_FIRST + bucket / BUCKETS_PER_OCTAVE).exp2() * (1.0 + within)
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, bucket, start_nano};

    #[test]
    fn every_duration_lies_in_its_bucket() {
        assert_eq!((bucket(0), bucket(1_023), bucket(1_024), bucket(u64::MAX)), (0, 0, 0, BUCKETS - 1));
        for number in 1..BUCKETS {
            let start = start_nano(number) as u64;
            assert_eq!((bucket(start - 1), bucket(start)), (number - 1, number), "{start} ns");
        }
    }
}
