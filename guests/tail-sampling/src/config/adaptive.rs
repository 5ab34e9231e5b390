//! The blocks of policies that know what came before: `adaptive`, `rare` and `latency_percentile`.

use ottl::path::{Path, Scope};
use sluicebox_guest::{Level, Signal};

use super::{Block, Kind, Reader};

/// Paths that a key may have: a field has 16 at most.
const PATHS_MAX: usize = 15;
/// Keys of `adaptive`: each call goes through all that are known.
const KEYS_MAX: i64 = 10_000;
/// Keys of `latency_percentile`: the cells of a tally are bounded, and its rows are long.
const HISTOGRAMS_MAX: i64 = 8_192;
/// A tally's half-life, in seconds: a week at most.
const HALF_LIFE_SECONDS: std::ops::RangeInclusive<f64> = 1.0..=604_800.0;

/// What traces are told apart by.
#[derive(Debug)]
pub struct Key {
    pub paths: Vec<Path>,
    pub of: KeyOf,
}

/// The spans whose values make the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOf {
    /// The root; where there is none, the first span.
    Root,
    /// Every span: the set of what they have.
    AnySpan,
}

/// A rate for each key so that a goal is met.
#[derive(Debug)]
pub struct Adaptive {
    pub goal: Goal,
    pub key: Key,
    pub half_life_seconds: f64,
    pub keys_max: u32,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many spans.
    SpansPerSecond(f64),
    /// This part of the spans, 0 to 1.
    Share(f64),
}

/// A few of each key.
#[derive(Debug)]
pub struct Rare {
    pub key: Key,
    /// Traces of one key.
    pub keep_per_hour: f64,
    /// Traces of one key at once.
    pub burst: f64,
    /// Traces of all keys.
    pub traces_per_second: f64,
}

/// Traces that are slower than others of their key.
#[derive(Debug)]
pub struct LatencyPercentile {
    pub key: Key,
    /// 0 to 1.
    pub quantile: f64,
    pub min_traces: f64,
    pub half_life_seconds: f64,
    pub keys_max: u32,
}

pub const ADAPTIVE: Reader = Reader {
    keys: &["goal_throughput", "goal_percentage", "key", "key_of", "half_life", "keys_max"],
    read: |mut block, _| {
        let spans = block.positive("goal_throughput", f64::MAX).map(Goal::SpansPerSecond);
        let share = block.positive("goal_percentage", 100.0).map(|percent| Goal::Share(percent / 100.0));
        if block.has("goal_throughput") == block.has("goal_percentage") {
            let place = block.place.clone();
            block.errors.add(&place, "needs either `goal_throughput` (spans each second) or `goal_percentage`");
        }
        let half_life_seconds = block.seconds("half_life", HALF_LIFE_SECONDS).unwrap_or(30.0);
        let keys_max = keys_max(&mut block, KEYS_MAX);
        let key = key(&mut block);
        Some(Kind::Adaptive(Adaptive { goal: spans.or(share)?, key: key?, half_life_seconds, keys_max }))
    },
};

pub const RARE: Reader = Reader {
    keys: &["keep_per_hour", "burst", "traces_per_second", "key", "key_of"],
    read: |mut block, _| {
        let keep_per_hour = block.positive("keep_per_hour", f64::MAX).unwrap_or(60.0);
        let burst = block.number("burst", 1.0..=f64::MAX).unwrap_or(10.0);
        let traces_per_second = block.positive("traces_per_second", f64::MAX).unwrap_or(10.0);
        Some(Kind::Rare(Rare { key: key(&mut block)?, keep_per_hour, burst, traces_per_second }))
    },
};

pub const LATENCY_PERCENTILE: Reader = Reader {
    keys: &["percentile", "min_traces", "key", "key_of", "half_life", "keys_max"],
    read: |mut block, _| {
        let percentile = block.number("percentile", 1.0..=99.999).unwrap_or(99.0);
        let min_traces = block.int("min_traces", 1..=i64::from(u32::MAX)).unwrap_or(100) as f64;
        let half_life_seconds = block.seconds("half_life", HALF_LIFE_SECONDS).unwrap_or(600.0);
        let keys_max = keys_max(&mut block, HISTOGRAMS_MAX);
        let (key, quantile) = (key(&mut block)?, percentile / 100.0);
        Some(Kind::LatencyPercentile(LatencyPercentile { key, quantile, min_traces, half_life_seconds, keys_max }))
    },
};

fn keys_max(block: &mut Block<'_>, most: i64) -> u32 {
    let keys = block.int("keys_max", 1..=most).unwrap_or(1_000);
    u32::try_from(keys).unwrap_or(u32::MAX)
}

/// `key` and `key_of`; by default the service and the name of the root.
fn key(block: &mut Block<'_>) -> Option<Key> {
    let of = if block.word("key_of", &["root", "any_span"]) == Some(1) { KeyOf::AnySpan } else { KeyOf::Root };
    let mut texts = block.texts("key");
    if !block.has("key") {
        let defaults = [r#"resource.attributes["service.name"]"#, "span.name"];
        texts = defaults.map(|path| ("key".to_owned(), path.to_owned())).to_vec();
    } else if texts.is_empty() && block.get("key").is_some_and(|list| list.is_array()) || texts.len() > PATHS_MAX {
        block.fail("key", format!("expected 1 to {PATHS_MAX} paths"));
    }
    let count = texts.len();
    let mut paths = Vec::with_capacity(count);
    for (place, text) in texts {
        match ottl::parser::path(&text, Scope::Prefixed(Signal::Traces)) {
            Ok(path) if path.level <= Level::Span => paths.push(path),
            Ok(_) => block.fail(&place, "expected a path of a resource, a scope or a span"),
            Err(error) => block.fail(&place, error.render(&text)),
        }
    }
    (paths.len() == count && count > 0).then_some(Key { paths, of })
}
