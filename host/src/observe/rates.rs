//! What came and went in the last seconds: the engine's own counters, sampled into a ring.
//!
//! A sample is taken once a second, and once in `RESTING_INTERVAL` while nobody has asked for `REST_AFTER`. Who asks gets the
//! difference between now and the newest sample that is at least as old as the window: the seconds that it says are those between the two,
//! so the first answer after a rest is right, of a somewhat longer window. The ring begins with the start of the process, when everything
//! was 0; so what came is never missing, and a rate is 0 only where nothing came (linkerd2 PR#459).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::metrics::Metrics;

/// The longest window.
pub const WINDOW_MAX: Duration = Duration::from_secs(300);
/// The shortest one.
pub const WINDOW_MIN: Duration = Duration::from_secs(1);
/// What is asked for where nothing is said.
pub const WINDOW_DEFAULT: Duration = Duration::from_secs(10);
/// Between two samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two samples while nobody asks.
const RESTING_INTERVAL: Duration = Duration::from_secs(10);
/// Nobody asks any more after this.
const REST_AFTER: Duration = Duration::from_secs(60);
/// Of all samples together; with more series than fit for [`WINDOW_MAX`] the oldest go before their time.
const SAMPLES_BYTES_MAX: usize = 16 << 20;

/// Samples of the counters of one process.
#[derive(Debug)]
pub struct Rates {
    metrics: Arc<Metrics>,
    started: Instant,
    ring: Mutex<Ring>,
}

/// Counters and gauges now, and how much counters grew in the window.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The length of the window: at least what was asked for, except where the process is younger.
    pub seconds: f64,
    series: Vec<Counted>,
}

#[derive(Clone, Debug)]
struct Counted {
    key: Arc<Key>,
    now: i64,
    before: i64,
}

/// A series: less `sluicebox_` and `_total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Such as `stage_calls`.
    pub name: String,
    /// In the order in which they are written.
    pub labels: Vec<(String, String)>,
}

/// How much a counter grew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Rate {
    /// In the window.
    pub count: u64,
    /// The same for each second of it.
    pub per_second: f64,
    /// Since the start of the process.
    pub total: u64,
}

#[derive(Debug, Default)]
struct Ring {
    /// Series by how `/metrics` writes them; their numbers are places in samples.
    numbers: HashMap<String, usize>,
    keys: Vec<Arc<Key>>,
    /// Ascending by time; the first may be older than any window.
    samples: VecDeque<Sample>,
    /// Since the start of the process.
    asked: Duration,
    /// Of the last one that stays.
    sampled: Duration,
}

/// Values of all series that there were then.
#[derive(Clone, Debug, Default)]
struct Sample {
    at: Duration,
    values: Vec<i64>,
}

impl Rates {
    /// Begins with everything at 0.
    pub fn new(metrics: &Arc<Metrics>) -> Arc<Rates> {
        let ring = Ring { samples: VecDeque::from([Sample::default()]), ..Ring::default() };
        Arc::new(Rates { metrics: Arc::clone(metrics), started: Instant::now(), ring: Mutex::new(ring) })
    }

    /// Samples from now on, until nobody has these rates any more.
    pub fn keep(self: &Arc<Self>) -> JoinHandle<()> {
        let rates = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(rates) = Weak::upgrade(&rates) else { return };
                rates.tick(rates.started.elapsed());
            }
        })
    }

    /// What came and went in the last `window`, this moment included.
    pub fn over(&self, window: Duration) -> Counts {
        self.over_at(window, self.started.elapsed())
    }

    /// How long the process has counted.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn tick(&self, now: Duration) {
        let is_due = {
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let rests = now.saturating_sub(ring.asked) >= REST_AFTER;
            let interval = if rests { RESTING_INTERVAL } else { INTERVAL / 2 };
            now.saturating_sub(ring.sampled) >= interval
        };
        if is_due {
            let text = self.metrics.text();
            let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let sample = ring.read(&text, now);
            ring.keep(sample);
        }
    }

    fn over_at(&self, window: Duration, now: Duration) -> Counts {
        let window = window.clamp(WINDOW_MIN, WINDOW_MAX);
        let text = self.metrics.text();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.asked = now;
        let sample = ring.read(&text, now);
        ring.since(&sample, window)
    }
}

impl Ring {
    fn read(&mut self, text: &str, at: Duration) -> Sample {
        let mut values = vec![0; self.keys.len()];
        for (written, value) in text.lines().filter_map(line) {
            let number = match self.numbers.get(written) {
                Some(&number) => number,
                None => {
                    let Some(key) = Key::read(written) else { continue };
                    self.numbers.insert(written.to_owned(), self.keys.len());
                    self.keys.push(Arc::new(key));
                    values.push(0);
                    self.keys.len() - 1
                }
            };
            if let Some(place) = values.get_mut(number) {
                *place = value;
            }
        }
        Sample { at, values }
    }

    fn keep(&mut self, sample: Sample) {
        self.sampled = sample.at;
        // The newest one that is old enough for every window stays.
        let is_old = |sample: &Sample| self.sampled.saturating_sub(sample.at) >= WINDOW_MAX;
        while self.samples.get(1).is_some_and(is_old) {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        let bytes =
            |ring: &Ring| ring.samples.iter().map(|sample| sample.values.len() * size_of::<i64>()).sum::<usize>();
        while self.samples.len() > 1 && bytes(self) > SAMPLES_BYTES_MAX {
            self.samples.pop_front();
        }
    }

    fn since(&self, now: &Sample, window: Duration) -> Counts {
        let is_old = |sample: &&Sample| now.at.saturating_sub(sample.at) >= window;
        let before = self.samples.iter().rev().find(is_old).or(self.samples.front());
        let value_before = |number: usize| before.and_then(|before| before.values.get(number)).copied().unwrap_or(0);
        let counted = |(number, (key, &now)): (usize, (&Arc<Key>, &i64))| Counted {
            key: Arc::clone(key),
            now,
            before: value_before(number),
        };
        let seconds = now.at.saturating_sub(before.map_or(Duration::ZERO, |before| before.at)).as_secs_f64();
        Counts { seconds, series: self.keys.iter().zip(&now.values).enumerate().map(counted).collect() }
    }
}

impl Counts {
    /// All series of a counter that have these labels, together.
    pub fn rate(&self, name: &str, labels: &[(&str, &str)]) -> Rate {
        self.each(name, labels).fold(Rate::default(), |sum, (_, rate)| sum.and(rate))
    }

    /// Each series of a counter that has these labels.
    pub fn each<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a Key, Rate)> {
        self.matching(name, labels).map(|counted| (counted.key.as_ref(), self.rate_of(counted)))
    }

    /// A gauge, or all that have these labels together.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        self.matching(name, labels).fold(0, |sum, counted| sum.saturating_add(counted.now))
    }

    /// What a gauge was at the beginning of the window.
    pub fn gauge_before(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        self.matching(name, labels).fold(0, |sum, counted| sum.saturating_add(counted.before))
    }

    /// So much of something in the window.
    pub fn per_second(&self, count: u64) -> f64 {
        // A window is never empty: a process that was asked at once has counted for as long as that took.
        if self.seconds > 0.0 { count as f64 / self.seconds } else { count as f64 }
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Counted> {
        self.series.iter().filter(move |counted| counted.key.is(name, labels))
    }

    fn rate_of(&self, counted: &Counted) -> Rate {
        let count = u64::try_from(counted.now.saturating_sub(counted.before)).unwrap_or(0);
        Rate { count, per_second: self.per_second(count), total: u64::try_from(counted.now).unwrap_or(0) }
    }
}

impl Rate {
    /// Both together, of the same window.
    #[must_use]
    pub fn and(self, other: Rate) -> Rate {
        Rate {
            count: self.count.saturating_add(other.count),
            per_second: self.per_second + other.per_second,
            total: self.total.saturating_add(other.total),
        }
    }

    /// What is left of this without `other`, of the same window.
    #[must_use]
    pub fn less(self, other: Rate) -> Rate {
        let count = self.count.saturating_sub(other.count);
        // Not the difference of two quotients: it would be nearly 0 where it has to be 0.
        let per_second = if self.count == 0 { 0.0 } else { self.per_second * (count as f64 / self.count as f64) };
        Rate { count, per_second, total: self.total.saturating_sub(other.total) }
    }
}

impl Key {
    /// As `/metrics` writes it: `sluicebox_stage_calls_total{stage="filter"}`.
    fn read(written: &str) -> Option<Key> {
        let (name, labels) = written.split_once('{').map_or((written, ""), |(name, rest)| (name, rest));
        let name = name.strip_prefix("sluicebox_")?;
        let labels = labels.strip_suffix('}').unwrap_or(labels);
        Some(Key { name: name.strip_suffix("_total").unwrap_or(name).to_owned(), labels: read_labels(labels)? })
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }

    fn is(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.name == name && labels.iter().all(|(label, value)| self.label(label) == *value)
    }
}

/// A series and its value. What is no whole number is a part of a histogram, or a component's own, and not of interest here.
fn line(line: &str) -> Option<(&str, i64)> {
    if line.starts_with('#') || line.starts_with("sluicebox_guest_") {
        return None;
    }
    let (written, value) = line.rsplit_once(' ')?;
    Some((written, value.parse().ok()?))
}

/// `a="b",c="d"`, with `\\`, `\"` and `\n` in values (OpenMetrics 1.0, "ABNF").
fn read_labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let end = loop {
            match chars.next()? {
                (end, '"') => break end,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        let rest = rest.get(end + 1..)?;
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_came_in_a_window_is_what_was_counted_in_it() {
        let metrics = Arc::new(Metrics::new());
        let rates = Rates::new(&metrics);
        let calls = metrics.stage("wasm/a").calls;
        rates.over_at(seconds(10), seconds(0));
        for second in 1..=100 {
            calls.inc_by(second);
            rates.over_at(seconds(10), seconds(second));
            rates.tick(seconds(second));
        }
        for window in [1, 7, 10, 60] {
            let counts = rates.over_at(seconds(window), seconds(100));
            // 100 + 99 + ...: what was counted at the seconds behind the window's beginning.
            let expected: u64 = (101 - window..=100).sum();
            let rate = counts.rate("stage_calls", &[("stage", "wasm/a")]);
            assert_eq!((counts.seconds, rate.count, rate.total), (window as f64, expected, 5_050), "{window}");
            assert!((rate.per_second - expected as f64 / window as f64).abs() < 1e-9);
        }
    }

    #[test]
    fn a_young_process_tells_of_all_its_life_and_one_item_is_never_a_rate_of_0() {
        let metrics = Arc::new(Metrics::new());
        let rates = Rates::new(&metrics);
        metrics.stage("wasm/a").calls.inc();
        let counts = rates.over_at(seconds(300), Duration::from_millis(20));
        let rate = counts.rate("stage_calls", &[]);
        assert_eq!((rate.count, rate.per_second), (1, 50.0));
        let late = rates.over_at(seconds(300), seconds(299)).rate("stage_calls", &[]);
        assert!(late.count == 1 && late.per_second > 0.0);
    }

    /// Nobody asks for an hour; the first answer then is of what came in the window that it names.
    #[test]
    fn the_first_answer_after_a_rest_is_right() {
        let metrics = Arc::new(Metrics::new());
        let rates = Rates::new(&metrics);
        let calls = metrics.stage("wasm/a").calls;
        let mut counted = vec![0_u64];
        for second in 1..=3_600 {
            calls.inc_by(second % 7);
            counted.push(calls.get());
            rates.tick(seconds(second));
        }
        assert!(rates.ring.lock().unwrap().samples.len() <= 1 + 300 / 10 + 1);
        let counts = rates.over_at(seconds(10), seconds(3_600));
        assert!((10.0..20.0).contains(&counts.seconds), "{}", counts.seconds);
        let began = 3_600 - counts.seconds as usize;
        assert_eq!(counts.rate("stage_calls", &[]).count, counted[3_600] - counted[began]);
    }

    #[test]
    fn the_ring_is_bounded() {
        let metrics = Arc::new(Metrics::new());
        let rates = Rates::new(&metrics);
        (0..20_000).for_each(|number| drop(metrics.dropped("p", Signal::Traces, &format!("s{number}"), "", "r", true)));
        for second in 1..=400 {
            rates.ring.lock().unwrap().asked = seconds(second);
            if second % 20 == 0 {
                rates.tick(seconds(second));
            }
        }
        let ring = rates.ring.lock().unwrap();
        let values: usize = ring.samples.iter().map(|sample| sample.values.len()).sum();
        assert!(values * 8 <= SAMPLES_BYTES_MAX && ring.samples.len() <= 18, "{values} in {}", ring.samples.len());
    }

    #[test]
    fn labels_are_read_as_they_were_before_they_were_written() {
        let metrics = Arc::new(Metrics::new());
        let rule = "a \"b\", \\c=\"d\"\n{e} f";
        metrics.edited("traces/x", Signal::Traces, "redaction", rule).inc_by(3);
        metrics.pipeline("traces/x", Signal::Traces).held.set(-4);
        let counts = Rates::new(&metrics).over_at(seconds(1), seconds(1));
        let all: Vec<_> = counts.each("pipeline_edited_places", &[("pipeline", "traces/x")]).collect();
        assert_eq!((all.len(), all[0].0.label("rule"), all[0].1.count), (1, rule, 3));
        assert_eq!(counts.gauge("pipeline_held_items", &[("signal", "traces")]), -4);
    }

    #[test]
    fn what_is_left_of_a_rate_is_not_nearly_nothing() {
        let rate = |count: u64| Rate { count, per_second: count as f64 / 3.0, total: count };
        assert_eq!(rate(7).less(rate(7)), Rate::default());
        assert_eq!(rate(7).less(rate(9)).count, 0);
        assert!((rate(7).less(rate(4)).per_second - 1.0).abs() < 1e-9);
    }
}
