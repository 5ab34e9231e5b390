//! What the engine remembers of itself beside counters: how high something was, and how long calls took. Nobody who works waits for
//! it: a mark costs a load unless it is passed, a time one relaxed add.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most that something was since the start of the process.
#[derive(Debug, Default)]
pub struct HighWater(AtomicU64);

impl HighWater {
    /// It is this much now.
    pub fn note(&self, value: u64) {
        if value > self.0.load(Ordering::Relaxed) {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// The most so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Buckets for each doubling of the time.
const STEPS: usize = 4;
/// Doublings from 1 us on; the last bucket holds everything from 16 s on.
const DOUBLINGS: usize = 24;
const BUCKETS: usize = STEPS * DOUBLINGS;

/// How long calls took, in buckets of 1 us to 16 s that are a quarter of a doubling wide at the most.
pub struct CallTimes([AtomicU64; BUCKETS]);

/// What is told of [`CallTimes`]. Each is the end of the bucket that it is in: at most 25 % more than it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Timings {
    /// How many.
    pub calls: u64,
    /// Half of them took at most this long.
    pub p50_microseconds: u64,
    /// All but one in a hundred did.
    pub p99_microseconds: u64,
    /// All of them did.
    pub max_microseconds: u64,
}

impl Default for CallTimes {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl CallTimes {
    /// One more call took so long.
    pub fn note(&self, elapsed: Duration) {
        if let Some(bucket) = self.0.get(bucket(elapsed)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All so far, in short.
    pub fn timings(&self) -> Timings {
        let counts: Vec<u64> = self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let calls: u64 = counts.iter().sum();
        let quantile = |percent: u64| {
            let wanted = (calls * percent).div_ceil(100);
            let mut seen = 0;
            let place = counts.iter().position(|count| {
                seen += count;
                seen >= wanted
            });
            if calls == 0 { 0 } else { place.map_or(0, end_microseconds) }
        };
        Timings {
            calls,
            p50_microseconds: quantile(50),
            p99_microseconds: quantile(99),
            max_microseconds: quantile(100),
        }
    }
}

fn bucket(elapsed: Duration) -> usize {
    let microseconds = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = microseconds.ilog2() as usize;
    // The two bits behind the highest one.
    let step = if doubling >= 2 { (microseconds >> (doubling - 2)) & 3 } else { (microseconds << (2 - doubling)) & 3 };
    (doubling * STEPS + step as usize).min(BUCKETS - 1)
}

/// What no call of this bucket took longer than.
fn end_microseconds(bucket: usize) -> u64 {
    let (doubling, step) = (bucket / STEPS, (bucket % STEPS) as u64);
    ((STEPS as u64 + step + 1) << doubling).div_ceil(STEPS as u64)
}

/// What is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// Guest memory of a stage, all instances together, in bytes.
    StageMemory,
    /// Guest memory of the largest instance of a stage, in bytes.
    InstanceMemory,
    /// Traces that wait in a sampler.
    WaitingTraces,
    /// Bytes that a sampler holds.
    SamplerBytes,
    /// Requests that wait for a worker.
    Jobs,
}

/// All marks and times of the process, by what they are of.
#[derive(Default)]
pub(super) struct Marks {
    high: Mutex<BTreeMap<(Mark, String), Arc<HighWater>>>,
    times: Mutex<BTreeMap<String, Arc<CallTimes>>>,
}

impl Marks {
    pub(super) fn high(&self, mark: Mark, of: &str) -> Arc<HighWater> {
        let mut high = self.high.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(high.entry((mark, of.to_owned())).or_default())
    }

    pub(super) fn times(&self, stage: &str) -> Arc<CallTimes> {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(times.entry(stage.to_owned()).or_default())
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marks").finish_non_exhaustive()
    }
}

impl fmt::Debug for CallTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timings().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_never_falls() {
        let high = HighWater::default();
        [3, 9, 4].into_iter().for_each(|value| high.note(value));
        assert_eq!(high.get(), 9);
    }

    /// Against a sorted list.
    #[test]
    fn quantiles_are_at_most_a_quarter_too_long() {
        let times = CallTimes::default();
        assert_eq!(times.timings(), Timings::default());
        let mut all: Vec<u64> = (0..5_000_u64).map(|number| 1 + (number * number * 7919) % 3_000_000).collect();
        all.iter().for_each(|&microseconds| times.note(Duration::from_micros(microseconds)));
        all.sort_unstable();
        let timings = times.timings();
        assert_eq!(timings.calls, 5_000);
        for (told, place) in
            [(timings.p50_microseconds, 2_499), (timings.p99_microseconds, 4_949), (timings.max_microseconds, 4_999)]
        {
            assert!(all[place] <= told && told <= all[place] + all[place] / 4 + 1, "{told} for {}", all[place]);
        }
    }

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        let mut last = 0;
        for microseconds in 1..100_000_u64 {
            let bucket = bucket(Duration::from_micros(microseconds));
            assert!(bucket >= last && microseconds <= end_microseconds(bucket), "{microseconds} us: {bucket}");
            last = bucket;
        }
        assert_eq!(bucket(Duration::from_secs(3_600)), BUCKETS - 1);
        assert_eq!(bucket(Duration::ZERO), 0);
    }
}
