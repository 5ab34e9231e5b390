use go_regex::Regex;
use serde_json::{Map, Value};
use sluicebox_guest::NewValue;

use super::Errors;

/// An action as configured.
#[derive(Debug)]
pub struct Action {
    /// Where it stands, such as `actions[3]`; also the name of its rule.
    pub name: String,
    pub kind: Kind,
}

/// What an action does.
#[derive(Debug)]
pub enum Kind {
    Insert {
        key: String,
        source: Source,
    },
    Update {
        key: String,
        source: Source,
    },
    Upsert {
        key: String,
        source: Source,
    },
    /// The key, then the keys that the pattern finds; at least one of both is there.
    Delete {
        key: Option<String>,
        pattern: Option<Regex>,
    },
    Hash {
        key: Option<String>,
        pattern: Option<Regex>,
        digest: Digest,
    },
    /// Every group of the pattern is named, as the attribute that it makes.
    Extract {
        key: String,
        pattern: Regex,
    },
    Convert {
        key: String,
        to: Conversion,
    },
}

/// Where a value comes from: an attribute if there is one and it is there, else the fallback.
#[derive(Debug)]
pub struct Source {
    pub attribute: Option<String>,
    pub fallback: Option<NewValue>,
}

/// How values are hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256, as the Collector.
    Plain,
    /// HMAC-SHA-256 with the key of this name.
    Keyed(String),
}

/// What a value is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    Text,
    Int,
    Double,
}

impl Action {
    /// The pattern that finds keys.
    pub fn pattern(&self) -> Option<&Regex> {
        match &self.kind {
            Kind::Delete { pattern, .. } | Kind::Hash { pattern, .. } => pattern.as_ref(),
            _ => None,
        }
    }

    /// All attributes that it names.
    pub fn keys(&self) -> Vec<&str> {
        match &self.kind {
            Kind::Insert { key, source } | Kind::Update { key, source } | Kind::Upsert { key, source } => {
                [Some(key), source.attribute.as_ref()].into_iter().flatten().map(String::as_str).collect()
            }
            Kind::Delete { key, .. } | Kind::Hash { key, .. } => key.iter().map(String::as_str).collect(),
            Kind::Extract { key, pattern } => [key.as_str()].into_iter().chain(groups(pattern)).collect(),
            Kind::Convert { key, .. } => vec![key],
        }
    }
}

/// The names of a pattern's groups, in order.
pub fn groups(pattern: &Regex) -> impl Iterator<Item = &str> {
    pattern.capture_names().flatten()
}

/// Which fields an action takes besides `key` and `action`.
fn fields_of(action: &str) -> Option<&'static [&'static str]> {
    Some(match action {
        "insert" | "update" | "upsert" => &["value", "from_attribute", "from_context", "default_value"],
        "delete" => &["pattern"],
        "hash" => &["pattern", "hmac_key"],
        "extract" => &["pattern"],
        "convert" => &["converted_type"],
        _ => return None,
    })
}

const ACTIONS: &str = "insert, update, upsert, delete, hash, extract and convert";
const FIELDS: &[&str] = &[
    "key",
    "action",
    "value",
    "from_attribute",
    "from_context",
    "default_value",
    "pattern",
    "converted_type",
    "hmac_key",
];

pub fn read(name: String, value: &Value, errors: &mut Errors) -> Option<Action> {
    let Value::Object(map) = value else {
        errors.add(&name, "expected a map with `key` and `action`");
        return None;
    };
    errors.unknown_keys(&name, map, FIELDS);
    // The Collector takes both cases.
    let action = map.get("action").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let Some(takes) = fields_of(&action) else {
        errors.add(&format!("{name}.action"), format!("expected an action; there are {ACTIONS}"));
        return None;
    };
    for field in FIELDS.iter().skip(2).filter(|field| map.get(**field).is_some_and(|value| !value.is_null())) {
        if !takes.contains(field) {
            errors
                .add(&format!("{name}.{field}"), format!("`{action}` does not take it; it takes {}", takes.join(", ")));
        }
    }
    let kind = Reader { name: &name, map, errors }.kind(&action)?;
    Some(Action { name, kind })
}

struct Reader<'a> {
    name: &'a str,
    map: &'a Map<String, Value>,
    errors: &'a mut Errors,
}

impl Reader<'_> {
    fn kind(mut self, action: &str) -> Option<Kind> {
        let key = self.errors.text(self.name, self.map, "key");
        if matches!(action, "delete" | "hash") {
            let has_pattern = self.map.get("pattern").is_some_and(|pattern| !pattern.is_null());
            let pattern = self.pattern();
            if key.is_none() && !has_pattern {
                self.errors.add(self.name, format!("`{action}` needs `key`, `pattern`, or both"));
                return None;
            }
            if action == "delete" {
                return Some(Kind::Delete { key, pattern });
            }
            let digest = self.errors.text(self.name, self.map, "hmac_key").map_or(Digest::Plain, Digest::Keyed);
            return Some(Kind::Hash { key, pattern, digest });
        }
        let Some(key) = key else {
            self.errors.add(self.name, format!("`{action}` needs `key`"));
            return None;
        };
        Some(match action {
            "insert" => Kind::Insert { key, source: self.source()? },
            "update" => Kind::Update { key, source: self.source()? },
            "upsert" => Kind::Upsert { key, source: self.source()? },
            "extract" => Kind::Extract { key, pattern: self.extraction()? },
            _ => Kind::Convert { key, to: self.conversion()? },
        })
    }

    fn source(&mut self) -> Option<Source> {
        let errors_before = self.errors.0.len();
        if self.map.get("from_context").is_some_and(|context| !context.is_null()) {
            let why = "is not supported: requests are merged and split here, so their metadata is not kept";
            self.errors.add(&format!("{}.from_context", self.name), why);
            return None;
        }
        let attribute = self.errors.text(self.name, self.map, "from_attribute");
        let value = self.errors.value(self.name, self.map, "value");
        let default = self.errors.value(self.name, self.map, "default_value");
        match (&attribute, &value, &default) {
            (Some(_), Some(_), _) => {
                self.errors.add(self.name, "takes one of `value` and `from_attribute`, not both");
                None
            }
            (None, None, None) if self.errors.0.len() > errors_before => None,
            (None, None, None) => {
                self.errors.add(self.name, "needs one of `value`, `from_attribute` and `default_value`");
                None
            }
            _ => Some(Source { attribute, fallback: value.or(default) }),
        }
    }

    fn pattern(&mut self) -> Option<Regex> {
        let pattern = self.errors.text(self.name, self.map, "pattern")?;
        match go_regex::compile(&pattern) {
            Ok(regex) => Some(regex),
            Err(why) => {
                self.errors.add(&format!("{}.pattern", self.name), format!("not a regular expression: {why}"));
                None
            }
        }
    }

    fn extraction(&mut self) -> Option<Regex> {
        if self.map.get("pattern").is_none_or(Value::is_null) {
            self.errors.add(self.name, "`extract` needs `pattern`");
        }
        let pattern = self.pattern()?;
        let named = groups(&pattern).count();
        if named == 0 || named + 1 != pattern.captures_len() {
            let why = "every group has to be named, as the attribute that it makes: (?P<name>...)";
            self.errors.add(&format!("{}.pattern", self.name), why);
            return None;
        }
        Some(pattern)
    }

    fn conversion(&mut self) -> Option<Conversion> {
        match self.map.get("converted_type").and_then(Value::as_str) {
            Some("string") => Some(Conversion::Text),
            Some("int") => Some(Conversion::Int),
            Some("double") => Some(Conversion::Double),
            _ => {
                self.errors.add(&format!("{}.converted_type", self.name), "expected one of string, int and double");
                None
            }
        }
    }
}
