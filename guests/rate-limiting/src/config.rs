//! The configuration, as JSON.

use config_reader::Reader;
use serde_json::Value;
use sluicebox_guest::{Level, Signal};

const KEYS: &[&str] = &["items_per_second", "burst", "key"];
/// A field has 16 paths, one of which is of the items.
const PATHS_MAX: usize = 15;

/// What is configured.
#[derive(Debug)]
pub struct Config {
    pub items_per_second: f64,
    pub burst: f64,
    /// Paths of fields that make a key together.
    pub key: Vec<String>,
    /// The signal that they are of; None if they are of all.
    pub signal: Option<Signal>,
}

/// Reads the configuration. The errors are all that were found.
pub fn read(text: &str) -> Result<Config, Vec<String>> {
    let (mut reader, config) = Reader::root(text, KEYS)?;
    let rate = config.get("items_per_second");
    if rate.is_none_or(Value::is_null) {
        reader.fail("items_per_second", "is required: how many items of a key pass in a second");
    }
    let items_per_second = reader.number("items_per_second", rate);
    if items_per_second.is_some_and(|rate| rate <= 0.0) {
        reader.fail("items_per_second", "expected a number above 0");
    }
    let items_per_second = items_per_second.unwrap_or_default();
    let burst = reader.number("burst", config.get("burst"));
    if burst.is_some_and(|burst| burst < 1.0) {
        reader.fail("burst", "expected a number from 1");
    }
    let key = reader.texts("key", config.get("key"));
    if key.len() > PATHS_MAX {
        reader.fail("key", format!("{} paths, there can be {PATHS_MAX}", key.len()));
    }
    let signal = signal(&mut reader, &key);
    let burst = burst.unwrap_or_else(|| (2.0 * items_per_second).max(1.0));
    reader.finish(Config { items_per_second, burst, key, signal })
}

/// The signal of which all paths are that are of one signal only. Whether there are such fields at all is for the host to say.
fn signal(reader: &mut Reader, key: &[String]) -> Option<Signal> {
    let mut first: Option<(Signal, &str)> = None;
    for (number, path) in key.iter().enumerate() {
        let place = format!("key[{number}]");
        let context = path.split('.').next().unwrap_or_default();
        let signal = match Level::parse(context) {
            Some(Level::Span) => Signal::Traces,
            Some(Level::Log) => Signal::Logs,
            Some(Level::Metric | Level::DataPoint) => Signal::Metrics,
            Some(Level::SpanEvent | Level::SpanLink) => {
                reader.fail(&place, format!("`{path}` is of something within a span; spans are limited"));
                continue;
            }
            Some(Level::Resource | Level::Scope) | None => continue,
        };
        match first {
            Some((of, other)) if of != signal => {
                reader.fail(&place, format!("`{path}` and `{other}` are of different signals; use two processors"));
            }
            _ => first = Some((signal, path)),
        }
    }
    first.map(|(signal, _)| signal)
}
