//! How many matches are shown: the first at once, then as many as the rate allows.

use std::time::{Duration, Instant};

/// A token bucket that holds what comes in a second.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u32,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// Full: the first match does not wait.
    pub(super) fn new(per_second: u32, now: Instant) -> Bucket {
        Bucket { per_second, tokens: f64::from(per_second), filled: now }
    }

    /// Takes up to so many tokens; returns how many there were.
    pub(super) fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.filled).min(Duration::from_secs(1));
        let rate = f64::from(self.per_second);
        self.tokens = (self.tokens + passed.as_secs_f64() * rate).min(rate);
        self.filled = now;
        // It never holds more than the rate, which is a small number.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a small number")]
        let taken = wanted.min(self.tokens as usize);
        #[allow(clippy::cast_precision_loss, reason = "it is at most the rate")]
        let spent = taken as f64;
        self.tokens -= spent;
        taken
    }
}

/// `count` of `all` places, spread evenly, the first among them.
pub(super) fn spread(all: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(all);
    (0..count).map(move |number| number * all / count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_comes_at_once_and_the_rest_at_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert_eq!(bucket.take(1, start), 1, "the first");
        assert_eq!(bucket.take(100, start), 9);
        assert_eq!(bucket.take(1, start), 0);
        // Whatever the steps in which time passes, 10 more come in a second.
        for step in [1, 7, 50, 100] {
            let mut bucket = Bucket::new(10, start);
            let shown: usize =
                (0..10_000 / step).map(|n| bucket.take(3, start + Duration::from_millis(n * step))).sum();
            assert!((109..=110).contains(&shown), "{shown} by steps of {step} ms");
        }
        assert_eq!(
            Bucket::new(1, start).take(5, start + Duration::from_secs(60)),
            1,
            "it saves up no more than a second"
        );
    }

    #[test]
    fn samples_are_spread_and_have_the_first() {
        for all in 1..50 {
            for count in 1..=all + 3 {
                let places: Vec<_> = spread(all, count).collect();
                assert_eq!((places[0], places.len()), (0, count.min(all)));
                assert!(places.windows(2).all(|pair| pair[0] < pair[1]) && places[places.len() - 1] < all);
                let gaps: Vec<_> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
                let (least, most) = (gaps.iter().min().unwrap_or(&0), gaps.iter().max().unwrap_or(&0));
                assert!(most - least <= 1, "{all} {count}: {places:?}");
            }
        }
        assert_eq!(spread(0, 3).count(), 0);
    }
}
