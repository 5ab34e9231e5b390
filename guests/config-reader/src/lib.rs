//! Reads values of a configuration and keeps what is wrong with them, each with its place.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// How alike a name has to be for it to be meant.
const LIKENESS_MIN: f64 = 0.75;

/// What was wrong so far.
#[derive(Debug, Default)]
pub struct Reader {
    /// Each begins with its place.
    pub errors: Vec<String>,
}

impl Reader {
    /// Notes what is wrong with the value of a key.
    pub fn fail(&mut self, key: &str, message: impl AsRef<str>) {
        self.errors.push(format!("{key}: {}", message.as_ref()));
    }

    /// Complains about a key that there is not.
    pub fn known(&mut self, within: &str, key: &str, keys: &[&str]) {
        if !keys.contains(&key) {
            self.fail(&format!("{within}{key}"), unknown("key", key, keys));
        }
    }

    /// What was read, if nothing was wrong.
    pub fn finish<T>(self, read: T) -> Result<T, Vec<String>> {
        if self.errors.is_empty() { Ok(read) } else { Err(self.errors) }
    }

    /// A reader, and the map that a configuration is. Keys that there are not are noted; where it is no map, nothing else can be wrong.
    pub fn root(text: &str, keys: &[&str]) -> Result<(Reader, Map<String, Value>), Vec<String>> {
        let config: Value = serde_json::from_str(text).map_err(|error| vec![format!("not JSON: {error}")])?;
        let Value::Object(config) = config else { return Err(vec!["the configuration is not a map".to_owned()]) };
        let mut reader = Reader::default();
        config.keys().for_each(|key| reader.known("", key, keys));
        Ok((reader, config))
    }

    /// True or false.
    pub fn bool(&mut self, key: &str, value: Option<&Value>, default: bool) -> bool {
        match value {
            None | Some(Value::Null) => default,
            Some(Value::Bool(bool)) => *bool,
            Some(_) => {
                self.fail(key, "expected true or false");
                default
            }
        }
    }

    /// A number; what it has to be is for who asks.
    pub fn number(&mut self, key: &str, value: Option<&Value>) -> Option<f64> {
        match value {
            None | Some(Value::Null) => None,
            Some(Value::Number(number)) => number.as_f64(),
            Some(_) => {
                self.fail(key, "expected a number");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn integer(&mut self, key: &str, value: Option<&Value>, bounds: RangeInclusive<u64>) -> Option<u64> {
        match value {
            None | Some(Value::Null) => None,
            Some(value) => {
                let found = value.as_u64().filter(|number| bounds.contains(number));
                if found.is_none() {
                    self.fail(key, format!("expected a whole number from {} to {}", bounds.start(), bounds.end()));
                }
                found
            }
        }
    }

    /// One of these names; `what` says of what.
    pub fn choice<T: Copy>(
        &mut self,
        key: &str,
        value: Option<&Value>,
        what: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let text = self.text(key, value)?;
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.fail(key, unknown(what, &text, &names));
        }
        found.map(|(_, choice)| *choice)
    }

    /// A text.
    pub fn text(&mut self, key: &str, value: Option<&Value>) -> Option<String> {
        match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.fail(key, "expected a text");
                None
            }
        }
    }

    /// A list of texts; numbers and booleans are taken as they are written.
    pub fn texts(&mut self, key: &str, value: Option<&Value>) -> Vec<String> {
        let list = match value {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.fail(key, "expected a list of texts");
                return Vec::new();
            }
        };
        let mut texts = Vec::with_capacity(list.len());
        for (number, value) in list.iter().enumerate() {
            match value {
                Value::String(text) => texts.push(text.clone()),
                Value::Number(_) | Value::Bool(_) => texts.push(value.to_string()),
                _ => self.fail(&format!("{key}[{number}]"), "expected a text"),
            }
        }
        texts
    }

    /// A map.
    pub fn map<'v>(&mut self, key: &str, value: Option<&'v Value>) -> Option<&'v Map<String, Value>> {
        match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(map)) => Some(map),
            Some(_) => {
                self.fail(key, "expected a map");
                None
            }
        }
    }
}

/// What to say of a name that there is not: the nearest one, or else all.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let likeness = |known: &str| strsim::jaro_winkler(known, name);
    let nearest = known.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match nearest.filter(|nearest| likeness(nearest) >= LIKENESS_MIN) {
        Some(nearest) => format!("unknown {what}; did you mean `{nearest}`?"),
        None => format!("unknown {what}; there are {}", known.join(", ")),
    }
}
