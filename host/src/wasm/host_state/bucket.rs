//! Token buckets.

use super::Nanos;
use super::recent::Recent;

/// Keys of one state (wit/telemetry.wit, `bucket`).
pub(super) const BUCKET_KEYS_MAX: u32 = 65_536;

/// How a bucket is filled. Numbers are finite and not negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::wasm) struct Rate {
    per_second: f64,
    burst: f64,
}

impl Rate {
    /// The error says what is wrong.
    pub(in crate::wasm) fn new(per_second: f64, burst: f64) -> Result<Self, String> {
        for (name, value) in [("per-second", per_second), ("burst", burst)] {
            if !value.is_finite() || value < 0.0 {
                return Err(format!("`{name}` of a bucket is a number from 0 on, not {value}"));
            }
        }
        Ok(Self { per_second, burst })
    }
}

/// Buckets by key. The rate is the caller's: a changed one counts from the last use of each bucket on.
#[derive(Clone, Debug)]
pub(super) struct Buckets(Recent<Level>);

#[derive(Clone, Debug)]
struct Level {
    tokens: f64,
    /// When it held as much.
    at: Nanos,
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self(Recent::new(BUCKET_KEYS_MAX))
    }

    /// The most that such a state takes.
    pub(super) fn bytes_max() -> u64 {
        Recent::<Level>::bytes_max(BUCKET_KEYS_MAX)
    }

    /// Takes `cost` out of a bucket if it holds as much.
    pub(super) fn take(&mut self, now: Nanos, rate: Rate, key: u64, cost: u64) -> bool {
        let level = self.0.get_or_insert_with(key, || Level { tokens: rate.burst, at: now });
        let filled = rate.per_second * now.saturating_sub(level.at) as f64 / 1e9;
        level.tokens = (level.tokens + filled).min(rate.burst);
        // Another thread's call may have begun later and come first.
        level.at = level.at.max(now);
        let cost = cost as f64;
        let holds = level.tokens >= cost;
        if holds {
            level.tokens -= cost;
        }
        holds
    }

    /// Undoes a [`take`](Self::take). A bucket that was forgotten since is full again anyway.
    pub(super) fn give_back(&mut self, rate: Rate, key: u64, cost: u64) {
        if let Some(level) = self.0.get(key) {
            level.tokens = (level.tokens + cost as f64).min(rate.burst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn rate(per_second: f64, burst: f64) -> Rate {
        Rate::new(per_second, burst).expect("is one")
    }

    #[test]
    fn a_bucket_is_full_at_first_and_fills_at_its_rate() {
        let (mut buckets, rate) = (Buckets::new(), rate(2.0, 10.0));
        assert!(!buckets.take(SECOND, rate, 7, 11));
        assert!(buckets.take(SECOND, rate, 7, 10));
        assert!(!buckets.take(SECOND, rate, 7, 1));
        assert!(buckets.take(SECOND, rate, 7, 0));
        assert!(buckets.take(SECOND, rate, 8, 10), "each key has its own");
        assert!(!buckets.take(SECOND * 2, rate, 7, 3));
        assert!(buckets.take(SECOND * 2, rate, 7, 2));
        assert!(!buckets.take(SECOND * 1000, rate, 7, 11), "never more than the burst");
        assert!(buckets.take(SECOND * 1000, rate, 7, 10));
    }

    #[test]
    fn time_does_not_go_back() {
        let (mut buckets, rate) = (Buckets::new(), rate(1.0, 2.0));
        assert!(buckets.take(SECOND * 10, rate, 7, 2));
        assert!(!buckets.take(SECOND * 5, rate, 7, 1));
        assert!(!buckets.take(SECOND * 10, rate, 7, 1), "the seconds from 5 to 10 are not given twice");
        assert!(buckets.take(SECOND * 11, rate, 7, 1));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more() {
        let (mut buckets, rate) = (Buckets::new(), rate(0.0, 10.0));
        assert!(buckets.take(SECOND, rate, 7, 6));
        buckets.give_back(rate, 7, 6);
        buckets.give_back(rate, 7, 6);
        assert!(!buckets.take(SECOND, rate, 7, 11));
        assert!(buckets.take(SECOND, rate, 7, 10));
    }

    #[test]
    fn a_changed_rate_is_taken_over() {
        let mut buckets = Buckets::new();
        assert!(buckets.take(SECOND, rate(1.0, 100.0), 7, 50));
        assert!(!buckets.take(SECOND, rate(1.0, 10.0), 7, 11), "a smaller burst spills");
        assert!(buckets.take(SECOND, rate(1.0, 10.0), 7, 10));
        assert!(buckets.take(SECOND * 2, rate(30.0, 100.0), 7, 30));
        assert!(!buckets.take(SECOND * 2, rate(30.0, 100.0), 7, 1));
    }

    #[test]
    fn a_rate_is_finite_and_not_negative() {
        for (per_second, burst) in [(f64::NAN, 1.0), (1.0, f64::NAN), (-1.0, 1.0), (1.0, -1.0), (f64::INFINITY, 1.0)] {
            assert!(Rate::new(per_second, burst).is_err(), "{per_second} {burst}");
        }
        assert!(Rate::new(0.0, 0.0).is_ok());
    }
}
