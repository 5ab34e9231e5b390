//! The Collector's configuration of the probabilistic sampler, as JSON, with `honor_sampled` besides.

use config_reader::Reader;
use serde_json::{Map, Value};

use crate::threshold::{DIGITS, PROBABILITY_MIN};

const KEYS: &[&str] = &[
    "sampling_percentage",
    "mode",
    "hash_seed",
    "fail_closed",
    "sampling_precision",
    "attribute_source",
    "from_attribute",
    "sampling_priority",
    "honor_sampled",
];

/// What is configured.
#[derive(Debug)]
pub struct Config {
    pub mode: Mode,
    /// From 0 to 100.
    pub percentage: f32,
    pub hash_seed: u32,
    pub fail_closed: bool,
    /// Hexadecimal digits of thresholds, besides leading zeros or `f`s.
    pub precision: u32,
    /// Of log records: whether the trace id is hashed, where there is one.
    pub hashes_trace_id: bool,
    /// Of log records: the attribute that is hashed else.
    pub from_attribute: Option<String>,
    /// Of log records: the attribute that holds a percentage of its own.
    pub priority: Option<String>,
    /// Whether what has the sampled flag is kept.
    pub honors_sampled: bool,
}

/// How items are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a hash of the trace id or of an attribute.
    HashSeed,
    /// By the trace's randomness, as if nothing had been dropped before.
    Proportional,
    /// By the trace's randomness, with what was dropped before counted in.
    Equalizing,
}

/// Reads the configuration. The errors are all that were found.
pub fn read(text: &str) -> Result<Config, Vec<String>> {
    let (mut reader, config) = Reader::root(text, KEYS)?;
    let modes = [("hash_seed", Mode::HashSeed), ("proportional", Mode::Proportional), ("equalizing", Mode::Equalizing)];
    let integer = |reader: &mut Reader, key, bounds| reader.integer(key, config.get(key), bounds);
    // No larger than the bounds that were asked for, so that nothing is cut off.
    let hash_seed = integer(&mut reader, "hash_seed", 0..=u64::from(u32::MAX)).unwrap_or(0) as u32;
    let precision = integer(&mut reader, "sampling_precision", 1..=u64::from(DIGITS)).unwrap_or(4) as u32;
    let name = |reader: &mut Reader, key| reader.text(key, config.get(key)).filter(|name| !name.is_empty());
    let sources = [("traceID", true), ("record", false)];
    let choices = [("keep", true), ("ignore", false)];
    let read = Config {
        mode: reader.choice("mode", set(&config, "mode"), "mode", &modes).unwrap_or(Mode::HashSeed),
        percentage: percentage(&mut reader, &config).unwrap_or(0.0),
        hash_seed,
        fail_closed: reader.bool("fail_closed", config.get("fail_closed"), true),
        precision,
        hashes_trace_id: reader
            .choice("attribute_source", set(&config, "attribute_source"), "source", &sources)
            .unwrap_or(true),
        from_attribute: name(&mut reader, "from_attribute"),
        priority: name(&mut reader, "sampling_priority"),
        honors_sampled: reader
            .choice("honor_sampled", config.get("honor_sampled"), "choice", &choices)
            .unwrap_or(false),
    };
    reader.finish(read)
}

/// The Collector takes an empty text for what is not set.
fn set<'c>(config: &'c Map<String, Value>, key: &str) -> Option<&'c Value> {
    config.get(key).filter(|value| value.as_str() != Some(""))
}

/// Everything above 100 is 100. The Collector has 32 bits of it.
fn percentage(reader: &mut Reader, config: &Map<String, Value>) -> Option<f32> {
    let key = "sampling_percentage";
    if config.get(key).is_none_or(Value::is_null) {
        reader.fail(key, "is required: the percentage of items that are kept");
    }
    let percentage = reader.number(key, config.get(key))? as f32;
    if !percentage.is_finite() || percentage < 0.0 {
        reader.fail(key, "expected a number from 0 to 100");
    } else if percentage > 0.0 && f64::from(percentage) / 100.0 < PROBABILITY_MIN {
        reader.fail(key, "is too small: the least is 2^-56, or 1.4e-15 percent");
    }
    Some(percentage.min(100.0))
}
