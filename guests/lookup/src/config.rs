//! The configuration, as JSON.

use config_reader::Reader;
use serde_json::Value;
use sluicebox_guest::{Level, Signal};

const KEYS: &[&str] = &["table", "key", "set"];
/// As many columns can be opened.
const SET_MAX: usize = 16;

/// What is configured.
#[derive(Debug)]
pub struct Config {
    pub table: String,
    /// Path of the field whose value is looked up.
    pub key: String,
    /// The signal that it is of; None if it is of all.
    pub signal: Option<Signal>,
    /// Path of what is set, and the column that it is set to.
    pub set: Vec<(String, String)>,
}

/// Reads the configuration. The errors are all that were found.
pub fn read(text: &str) -> Result<Config, Vec<String>> {
    let (mut reader, config) = Reader::root(text, KEYS)?;
    let mut required = |key: &str, what: &str| {
        if config.get(key).is_none_or(Value::is_null) {
            reader.fail(key, what);
        }
        reader.text(key, config.get(key)).unwrap_or_default()
    };
    let table = required("table", "is required: a name from `tables` of the processor");
    let key = required("key", "is required: the path of a field, such as `resource.attributes[\"service.name\"]`");
    let context = key.split('.').next().unwrap_or_default();
    let mut set = Vec::new();
    match reader.map("set", config.get("set")) {
        None => reader.fail("set", "is required: attributes and the columns that they are set to"),
        Some(map) if map.is_empty() || map.len() > SET_MAX => {
            reader.fail("set", format!("{} attributes, there can be 1 to {SET_MAX}", map.len()));
        }
        Some(map) => {
            for (name, column) in map {
                let column = reader.text(&format!("set.{name}"), Some(column));
                if column.is_none() && map.get(name).is_some_and(Value::is_null) {
                    reader.fail(&format!("set.{name}"), "expected the name of a column");
                }
                set.extend(column.map(|column| (path(context, name), column)));
            }
        }
    }
    let signal = match Level::parse(context) {
        Some(Level::Span | Level::SpanEvent | Level::SpanLink) => Some(Signal::Traces),
        Some(Level::Log) => Some(Signal::Logs),
        Some(Level::Metric | Level::DataPoint) => Some(Signal::Metrics),
        Some(Level::Resource | Level::Scope) | None => None,
    };
    reader.finish(Config { table, key, signal, set })
}

/// A path as it is; else the attribute of this name beside the key.
fn path(context: &str, name: &str) -> String {
    if name.contains('[') {
        return name.to_owned();
    }
    format!("{context}.attributes[\"{}\"]", name.replace('\\', "\\\\").replace('"', "\\\""))
}
