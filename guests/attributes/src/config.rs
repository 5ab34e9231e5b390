//! The Collector's configuration of the attributes and resource processors, as JSON.

mod action;
mod block;

use serde_json::{Map, Value};
use sluicebox_guest::NewValue;

pub use action::{Action, Conversion, Digest, Kind, Source};
pub use block::{Block, Library, SIGNALS, Subject, Test};

/// At most this many rules can be opened; each action is one.
const ACTIONS_MAX: usize = 64;
/// As deep as values are read and written.
const DEPTH_MAX: u32 = 64;

/// A configuration.
#[derive(Debug)]
pub struct Config {
    pub root: Root,
    pub actions: Vec<Action>,
    pub include: Option<Block>,
    pub exclude: Option<Block>,
}

/// Whose attributes are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Those of spans, data points and log records: the attributes processor.
    Items,
    /// Those of resources: the resource processor.
    Resource,
}

/// Reads the configuration. The errors are all that were found.
pub fn read(text: &str) -> Result<Config, Vec<String>> {
    let config: Value = serde_json::from_str(text).map_err(|error| vec![format!("not JSON: {error}")])?;
    let Value::Object(config) = config else { return Err(vec!["the configuration is not a map".to_owned()]) };
    let mut errors = Errors::default();
    let root = match (config.get("actions"), config.get("attributes")) {
        (Some(_), None) => Root::Items,
        (None, Some(_)) => Root::Resource,
        (None, None) => {
            return Err(vec![
                "expected `actions` (attributes processor) or `attributes` (resource processor)".to_owned(),
            ]);
        }
        (Some(_), Some(_)) => {
            return Err(vec![
                "attributes: cannot stand beside `actions`; the one is of the resource processor, the other of the attributes processor"
                    .to_owned(),
            ]);
        }
    };
    let list = if root == Root::Items { "actions" } else { "attributes" };
    let known: &[&str] = if root == Root::Items { &["actions", "include", "exclude"] } else { &["attributes"] };
    errors.unknown_keys("", &config, known);
    let actions = actions(list, &config[list], &mut errors);
    let mut block = |key: &str| match config.get(key) {
        Some(value) if root == Root::Items && !value.is_null() => block::read(key, value, &mut errors),
        _ => None,
    };
    let (include, exclude) = (block("include"), block("exclude"));
    if (include.is_some() || exclude.is_some())
        && let Some(action) = actions.iter().find(|action| action.pattern().is_some())
    {
        errors.add(
            &format!("{}.pattern", action.name),
            "cannot be combined with include or exclude: keys are found for all of a batch, not for some of its rows",
        );
    }
    errors.or(Config { root, actions, include, exclude })
}

fn actions(key: &str, value: &Value, errors: &mut Errors) -> Vec<Action> {
    let Value::Array(list) = value else {
        errors.add(key, "expected a list of actions");
        return Vec::new();
    };
    if list.is_empty() {
        errors.add(key, "expected at least one action");
    }
    if list.len() > ACTIONS_MAX {
        let count = list.len();
        errors.add(key, format!("{count} actions, at most {ACTIONS_MAX} can be told apart; use two processors"));
    }
    let entries = list.iter().enumerate();
    entries.filter_map(|(index, value)| action::read(format!("{key}[{index}]"), value, errors)).collect()
}

/// A value from the configuration; None where it is null.
fn new_value(value: &Value, depth: u32) -> Result<Option<NewValue>, &'static str> {
    if depth == DEPTH_MAX {
        return Err("nested too deep");
    }
    let nested = |value| new_value(value, depth + 1).map(|value| value.unwrap_or(NewValue::Empty));
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(bool) => NewValue::Bool(*bool),
        Value::String(text) => NewValue::Str(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(int), _) => NewValue::Int(int),
            (None, Some(double)) if !number.is_u64() => NewValue::Double(double),
            _ => return Err("not a 64-bit signed integer"),
        },
        Value::Array(elements) => NewValue::array(elements.iter().map(nested).collect::<Result<Vec<_>, _>>()?),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key, nested(value)?)));
            NewValue::map(entries.collect::<Result<Vec<_>, &'static str>>()?)
        }
    }))
}

/// What is wrong, with the place of each.
#[derive(Debug, Default)]
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, key: &str, message: impl AsRef<str>) {
        self.0.push(format!("{key}: {}", message.as_ref()));
    }

    fn unknown_keys(&mut self, at: &str, map: &Map<String, Value>, known: &[&str]) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let key = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            self.add(&key, format!("unknown key; there are {}", known.join(", ")));
        }
    }

    /// A text; None where there is none, or something else, which is an error.
    fn text(&mut self, at: &str, map: &Map<String, Value>, key: &str) -> Option<String> {
        match map.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Null => None,
            Value::String(_) => None,
            _ => {
                self.add(&format!("{at}.{key}"), "expected a text");
                None
            }
        }
    }

    fn value(&mut self, at: &str, map: &Map<String, Value>, key: &str) -> Option<NewValue> {
        match new_value(map.get(key)?, 0) {
            Ok(value) => value,
            Err(why) => {
                self.add(&format!("{at}.{key}"), why);
                None
            }
        }
    }

    fn or<T>(self, value: T) -> Result<T, Vec<String>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}
