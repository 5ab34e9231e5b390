//! When to try again: exponential backoff with jitter, in the Collector's terms (`retry_on_failure`).

use std::time::Duration;

use rand::Rng;

use crate::config::model::Retry;

/// A peer may ask for patience, not for an end: longer delays are cut to this.
const PEER_DELAY_MAX: Duration = Duration::from_secs(300);

/// The waits between the tries of one request.
#[derive(Debug)]
pub(super) struct Backoff<'a> {
    retry: &'a Retry,
    interval: Duration,
}

impl<'a> Backoff<'a> {
    pub(super) fn new(retry: &'a Retry) -> Backoff<'a> {
        Backoff { retry, interval: retry.initial_interval.min(retry.max_interval) }
    }

    /// How long to wait after a try that failed `elapsed` after the first one began; None = give up. `peer` is the delay the peer
    /// asked for: waited for at least, and backed off from (OTLP specification, "OTLP/gRPC Throttling").
    pub(super) fn next(&mut self, elapsed: Duration, peer: Option<Duration>) -> Option<Duration> {
        self.next_with(elapsed, peer, rand::rng().random_range(-1.0..=1.0))
    }

    /// `jitter` is between -1 and 1.
    fn next_with(&mut self, elapsed: Duration, peer: Option<Duration>, jitter: f64) -> Option<Duration> {
        let left = match self.retry.max_elapsed {
            None => Duration::MAX,
            Some(max) => max.checked_sub(elapsed).filter(|left| !left.is_zero())?,
        };
        let peer = peer.unwrap_or_default().min(PEER_DELAY_MAX);
        let delay = scaled(self.interval, 1.0 + jitter * self.retry.randomization).max(peer);
        let next = scaled(self.interval.max(peer), self.retry.multiplier);
        self.interval = next.clamp(self.interval, self.retry.max_interval.max(self.interval));
        // The last try is made when time is up, not given away before.
        Some(delay.min(left))
    }
}

fn scaled(interval: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(interval.as_secs_f64() * factor).unwrap_or(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        Retry {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(30),
            max_elapsed: Some(Duration::from_secs(300)),
            multiplier: 1.5,
            randomization: 0.5,
        }
    }

    #[test]
    fn intervals_grow_to_their_maximum() {
        let retry = retry();
        let mut backoff = Backoff::new(&retry);
        let waits: Vec<f64> =
            (0..7).filter_map(|_| backoff.next_with(Duration::ZERO, None, 0.0)).map(|d| d.as_secs_f64()).collect();
        assert_eq!(waits, [5.0, 7.5, 11.25, 16.875, 25.3125, 30.0, 30.0]);
    }

    #[test]
    fn jitter_stays_within_the_factor() {
        let retry = retry();
        assert_eq!(Backoff::new(&retry).next_with(Duration::ZERO, None, -1.0), Some(Duration::from_millis(2_500)));
        assert_eq!(Backoff::new(&retry).next_with(Duration::ZERO, None, 1.0), Some(Duration::from_millis(7_500)));
    }

    #[test]
    fn a_peers_delay_is_waited_for_and_backed_off_from() {
        let retry = retry();
        let mut backoff = Backoff::new(&retry);
        let peer = Duration::from_secs(12);
        assert_eq!(backoff.next_with(Duration::ZERO, Some(peer), 0.0), Some(peer));
        assert_eq!(backoff.next_with(Duration::ZERO, None, 0.0), Some(Duration::from_secs(18)));
        let endless = Retry { max_elapsed: None, ..retry };
        let day = Some(Duration::from_secs(86_400));
        assert_eq!(Backoff::new(&endless).next_with(Duration::ZERO, day, 0.0), Some(PEER_DELAY_MAX));
    }

    #[test]
    fn it_ends_when_time_is_up() {
        let retry = retry();
        let mut backoff = Backoff::new(&retry);
        assert_eq!(backoff.next_with(Duration::from_secs(298), None, 0.0), Some(Duration::from_secs(2)));
        assert_eq!(backoff.next_with(Duration::from_secs(300), None, 0.0), None);
    }

    #[test]
    fn absurd_factors_do_not_panic() {
        for multiplier in [f64::INFINITY, f64::NAN, -1.0, 1e300] {
            let retry = Retry { multiplier, randomization: multiplier, ..retry() };
            let mut backoff = Backoff::new(&retry);
            for _ in 0..3 {
                assert!(backoff.next_with(Duration::ZERO, None, 0.7).is_some());
            }
        }
    }
}
