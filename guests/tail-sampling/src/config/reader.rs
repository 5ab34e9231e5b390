//! Reads values of a configuration and keeps everything that is wrong, each with its place.

use std::ops::RangeInclusive;

use config_reader::unknown;
use serde_json::{Map, Value};

/// What is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub struct Errors(pub Vec<String>);

impl Errors {
    pub fn add(&mut self, place: &str, message: impl AsRef<str>) {
        self.0.push(format!("{place}: {}", message.as_ref()));
    }
}

/// A map with its place. Getters give None for a key that is absent, null, or wrong, which is then an error.
#[derive(Debug)]
pub struct Block<'a> {
    pub place: String,
    pub errors: &'a mut Errors,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Block<'a> {
    /// A map, or nothing where there is none; the only keys it may have are `keys`.
    pub fn new(place: String, value: Option<&'a Value>, keys: &[&str], errors: &'a mut Errors) -> Block<'a> {
        let map = match value {
            Some(Value::Object(map)) => Some(map),
            None | Some(Value::Null) => None,
            Some(_) => {
                errors.add(&place, "expected a map");
                None
            }
        };
        for key in map.into_iter().flat_map(Map::keys).filter(|key| !keys.contains(&key.as_str())) {
            errors.add(&format!("{place}.{key}"), unknown("key", key, keys));
        }
        Block { place, errors, map }
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.and_then(|map| map.get(key)).filter(|value| !value.is_null())
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Complains about a key.
    pub fn fail(&mut self, key: &str, message: impl AsRef<str>) {
        self.errors.add(&format!("{}.{key}", self.place), message);
    }

    /// Complains unless the key is there.
    pub fn require(&mut self, key: &str) {
        if !self.has(key) {
            let message = format!("needs `{key}`");
            self.errors.add(&self.place, message);
        }
    }

    pub fn int(&mut self, key: &str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.get(key)?;
        match value.as_i64().filter(|int| range.contains(int)) {
            Some(int) => Some(int),
            None => {
                self.fail(key, expected("a whole number", range.start(), range.end(), *range.end() == i64::MAX));
                None
            }
        }
    }

    pub fn number(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.get(key)?;
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                self.fail(key, expected("a number", range.start(), range.end(), *range.end() == f64::MAX));
                None
            }
        }
    }

    /// A number above 0.
    pub fn positive(&mut self, key: &str, most: f64) -> Option<f64> {
        let value = self.get(key)?;
        let number = value.as_f64().filter(|number| *number > 0.0 && *number <= most);
        if number.is_none() {
            let bound = if most == f64::MAX { String::new() } else { format!(" and at most {most}") };
            self.fail(key, format!("expected a number above 0{bound}"));
        }
        number
    }

    pub fn bool(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        if !value.is_boolean() {
            self.fail(key, "expected true or false");
        }
        value.as_bool()
    }

    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        let value = self.get(key)?;
        if !value.is_string() {
            self.fail(key, "expected a text");
        }
        value.as_str()
    }

    /// One of these words, as its position.
    pub fn word(&mut self, key: &str, words: &[&str]) -> Option<usize> {
        let text = self.text(key)?;
        let position = words.iter().position(|word| *word == text);
        if position.is_none() {
            self.fail(key, format!("expected {}", words.join(" or ")));
        }
        position
    }

    /// The elements of a list.
    pub fn list(&mut self, key: &str) -> &'a [Value] {
        match self.get(key) {
            None => &[],
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.fail(key, "expected a list");
                &[]
            }
        }
    }

    /// A list of texts, each with its place; numbers and booleans are taken as they are written.
    pub fn texts(&mut self, key: &str) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for (index, value) in self.list(key).iter().enumerate() {
            let place = format!("{key}[{index}]");
            match value {
                Value::String(text) => texts.push((place, text.clone())),
                Value::Number(_) | Value::Bool(_) => texts.push((place, value.to_string())),
                _ => self.fail(&place, "expected a text"),
            }
        }
        texts
    }

    /// A span of time as Go writes it, such as `90s`, `1m30s` or `500ms`, in seconds.
    pub fn seconds(&mut self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let text = self.text(key)?;
        match duration_seconds(text).filter(|seconds| range.contains(seconds)) {
            Some(seconds) => Some(seconds),
            None => {
                let (from, to) = (range.start(), range.end());
                self.fail(key, format!("expected a duration such as `30s` or `1h30m`, {from} s to {to} s"));
                None
            }
        }
    }
}

fn expected<T: std::fmt::Display>(what: &str, from: &T, to: &T, is_open: bool) -> String {
    if is_open { format!("expected {what} of at least {from}") } else { format!("expected {what} from {from} to {to}") }
}

fn duration_seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let unit = rest[number..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |len| number + len);
        let scale = match &rest[number..unit] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => return None,
        };
        seconds += rest[..number].parse::<f64>().ok()? * scale;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::duration_seconds;

    #[test]
    fn durations_are_as_go_writes_them() {
        let cases = [
            ("30s", Some(30.0)),
            ("1m30s", Some(90.0)),
            ("1.5h", Some(5_400.0)),
            ("500ms", Some(0.5)),
            ("", None),
            ("30", None),
            ("s", None),
            ("1x", None),
            ("1..5s", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(duration_seconds(text), seconds, "{text}");
        }
    }
}
