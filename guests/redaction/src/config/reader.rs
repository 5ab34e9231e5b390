//! Reads values of a configuration and keeps what is wrong with them, each with its place.

use serde_json::{Map, Value};

/// How alike a name has to be for it to be meant.
const LIKENESS_MIN: f64 = 0.75;

#[derive(Debug, Default)]
pub struct Reader {
    pub errors: Vec<String>,
}

impl Reader {
    pub fn fail(&mut self, key: &str, message: impl AsRef<str>) {
        self.errors.push(format!("{key}: {}", message.as_ref()));
    }

    /// Complains about a key that there is not.
    pub fn known(&mut self, within: &str, key: &str, keys: &[&str]) {
        if !keys.contains(&key) {
            self.fail(&format!("{within}{key}"), unknown("key", key, keys));
        }
    }

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
