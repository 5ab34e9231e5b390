//! YAML values that know where they stand.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::source::Place;

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands; for a value with a `${...}` in it, the place of the first one.
    pub place: Place,
    /// Set if a `${...}` was replaced in it.
    pub substituted: Option<Box<Substituted>>,
}

/// Where a value came from that does not stand in the file as it is.
#[derive(Clone, Debug)]
pub struct Substituted {
    /// Where the whole scalar stands, not only its first reference.
    pub place: Place,
    /// The text as the file has it: shown in messages, as the value may be a secret.
    pub written: String,
    /// The text after substitution, before it was typed.
    pub text: String,
    /// The first variable of it that is not set and has no default.
    pub unset: Option<String>,
    /// True if some of it comes from a file.
    pub from_file: bool,
}

/// A value as YAML 1.2's core schema types it.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`, `~` or nothing.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Anything else, and whatever stands in quotes.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in file order; no key twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_place: Place,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// A value that stands in the file.
    pub fn new(value: Value, place: Place) -> Self {
        Self { value, place, substituted: None }
    }

    /// Where all of it stands.
    pub fn whole_place(&self) -> Place {
        self.substituted.as_ref().map_or(self.place, |substituted| substituted.place)
    }

    /// A text, or whatever a `${...}` became: the Collector takes that as text where text is wanted.
    pub fn as_text(&self) -> Option<&str> {
        match (&self.value, &self.substituted) {
            (Value::Text(text), _) => Some(text),
            (_, substituted) => substituted.as_ref().map(|substituted| substituted.text.as_str()),
        }
    }

    /// True for `null`, `~` and nothing.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// The variable whose absence left this value empty, if that is why it is.
    pub fn unset_variable(&self) -> Option<&str> {
        self.substituted.as_ref()?.unset.as_deref()
    }

    /// For messages: what was found, never the value of an environment variable or a file.
    pub fn found(&self) -> String {
        if let Some(substituted) = &self.substituted {
            return format!("\"{}\"", shortened(&substituted.written));
        }
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => format!("the text \"{}\"", shortened(text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
        }
    }

    /// Number of values in it, itself included.
    pub fn count(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.value.count()).sum::<usize>(),
            _ => 1,
        }
    }

    /// How many lists and maps nest in it: 0 for a scalar.
    pub fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The first number in it that JSON cannot hold.
    pub fn without_json_form(&self) -> Option<&Node> {
        match &self.value {
            Value::Float(value) if !value.is_finite() => Some(self),
            Value::List(items) => items.iter().find_map(Node::without_json_form),
            Value::Map(entries) => entries.iter().find_map(|entry| entry.value.without_json_form()),
            _ => None,
        }
    }
}

/// Keeps the order of the file.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(items) => serializer.collect_seq(items),
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for entry in entries {
                    map.serialize_entry(&entry.key, &entry.value)?;
                }
                map.end()
            }
        }
    }
}

/// Types a plain scalar: YAML 1.2.2 section 10.3.2. A whole number beyond 64 bits becomes a float.
pub fn type_plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Value::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    let radix = |prefix: &str, radix| text.strip_prefix(prefix).and_then(|digits| whole(digits, radix));
    if let Some(value) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Value::Int(value);
    }
    if is_number(unsigned) {
        if let Ok(value) = text.parse::<i64>() {
            return Value::Int(value);
        }
        if let Ok(value) = text.parse::<f64>() {
            return Value::Float(value);
        }
    }
    Value::Text(text.to_owned())
}

/// `from_str_radix` would take a sign.
fn whole(digits: &str, radix: u32) -> Option<i64> {
    let all_digits = digits.chars().all(|c| c.is_digit(radix));
    all_digits.then(|| i64::from_str_radix(digits, radix).ok()).flatten()
}

/// `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`: what Rust parses beyond it (`inf`, `1e`) is text in YAML.
fn is_number(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !unsigned.is_empty() && digits(unsigned)
    });
    mantissa_fits && exponent_fits
}

/// Messages stay on a line.
pub fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_typed_by_the_core_schema() {
        for text in ["", "~", "null", "NULL"] {
            assert!(matches!(type_plain(text), Value::Null), "{text}");
        }
        for (text, expected) in [("0", 0), ("-12", -12), ("+3", 3), ("0o17", 15), ("0xfF", 255), ("007", 7)] {
            assert!(matches!(type_plain(text), Value::Int(value) if value == expected), "{text}");
        }
        for (text, expected) in [("1.", 1.0), (".5", 0.5), ("-1e3", -1000.0), ("9223372036854775808", 2f64.powi(63))] {
            assert!(matches!(type_plain(text), Value::Float(value) if value == expected), "{text}");
        }
        assert!(matches!(type_plain("-.inf"), Value::Float(value) if value == f64::NEG_INFINITY));
        for text in ["yes", "on", "inf", "nan", "1e", ".", "1_000", "0x-1", "0b1", "5s", "1.2.3", "e3", "-"] {
            assert!(matches!(type_plain(text), Value::Text(_)), "{text}");
        }
    }
}
