use go_regex::Regex;
use serde_json::{Map, Value};
use sluicebox_guest::{NewValue, Signal};

use super::Errors;

/// The signals that actions are for.
pub const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// `include` or `exclude`: all tests have to be true.
#[derive(Debug)]
pub struct Block {
    pub tests: Vec<Test>,
    /// The signals that have everything that is tested.
    pub signals: Vec<Signal>,
}

/// Something that is true or false of a row.
#[derive(Debug)]
pub enum Test {
    /// As text, it is one of these.
    OneOf(Subject, Vec<Pattern>),
    Present(Subject),
    Equals(Subject, NewValue),
    Libraries(Vec<Library>),
    Severity {
        min: i64,
        match_undefined: bool,
    },
}

/// What is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Attribute(String),
    Resource(String),
    ScopeName,
    ScopeVersion,
    SpanName,
    SpanKind,
    LogBody,
    SeverityText,
    SeverityNumber,
    MetricName,
}

/// A text to compare with.
#[derive(Debug)]
pub enum Pattern {
    Strict(String),
    Regexp(Regex),
}

/// A scope's name, and its version if one is asked for.
#[derive(Debug)]
pub struct Library {
    pub name: Pattern,
    pub version: Option<Pattern>,
}

impl Pattern {
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Pattern::Strict(wanted) => wanted == text,
            Pattern::Regexp(regex) => regex.is_match(text),
        }
    }
}

const SPAN_KINDS: &[&str] =
    &["SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER"];

/// The keys of a block and the signals that each of them is for.
const CRITERIA: &[(&str, &[Signal])] = &[
    ("services", &[Signal::Traces]),
    ("span_names", &[Signal::Traces]),
    ("span_kinds", &[Signal::Traces]),
    ("log_bodies", &[Signal::Logs]),
    ("log_severity_texts", &[Signal::Logs]),
    ("log_severity_number", &[Signal::Logs]),
    ("metric_names", &[Signal::Metrics]),
    ("attributes", &[Signal::Traces, Signal::Logs]),
    ("libraries", &[Signal::Traces, Signal::Logs]),
    ("resources", &SIGNALS),
];

pub fn read(name: &str, value: &Value, errors: &mut Errors) -> Option<Block> {
    let Value::Object(map) = value else {
        errors.add(name, "expected a map with `match_type` and what to match");
        return None;
    };
    let criteria: Vec<&str> = CRITERIA.iter().map(|(key, _)| *key).collect();
    let known: Vec<&str> = ["match_type", "regexp"].into_iter().chain(criteria.iter().copied()).collect();
    errors.unknown_keys(name, map, &known);
    let is_regexp = match map.get("match_type").and_then(Value::as_str) {
        Some("strict") => false,
        Some("regexp") => true,
        _ => {
            errors.add(&format!("{name}.match_type"), "expected strict or regexp");
            return None;
        }
    };
    let mut reader = Reader { name, map, is_regexp, errors };
    reader.cache_settings();
    let signals = reader.signals()?;
    let errors_before = reader.errors.0.len();
    let tests: Vec<Test> = criteria.into_iter().flat_map(|key| reader.tests(key)).collect();
    if tests.is_empty() && errors.0.len() == errors_before {
        errors.add(name, format!("expected at least one of {}", known[2..].join(", ")));
    }
    Some(Block { tests, signals })
}

struct Reader<'a> {
    name: &'a str,
    map: &'a Map<String, Value>,
    is_regexp: bool,
    errors: &'a mut Errors,
}

impl Reader<'_> {
    /// The Collector's cache of match results: values are judged once for each batch here, so there is nothing to cache.
    fn cache_settings(&mut self) {
        if let Some(Value::Object(settings)) = self.map.get("regexp") {
            self.errors.unknown_keys(&self.at("regexp"), settings, &["cacheenabled", "cachemaxnumentries"]);
        }
    }

    /// The signals that all of the block's keys are for.
    fn signals(&mut self) -> Option<Vec<Signal>> {
        let set = CRITERIA.iter().filter(|(key, _)| self.map.get(*key).is_some_and(|value| !value.is_null()));
        let set: Vec<_> = set.collect();
        let signals: Vec<_> =
            SIGNALS.into_iter().filter(|signal| set.iter().all(|(_, of)| of.contains(signal))).collect();
        if signals.is_empty() {
            let keys = set.iter().map(|(key, of)| format!("{key} (of {})", names(of))).collect::<Vec<_>>();
            self.errors.add(self.name, format!("no signal has all of these: {}", keys.join(", ")));
            return None;
        }
        Some(signals)
    }

    fn tests(&mut self, key: &str) -> Vec<Test> {
        let Some(value) = self.map.get(key).filter(|value| !value.is_null()) else { return Vec::new() };
        match key {
            "attributes" => self.attributes(key, value, Subject::Attribute),
            "resources" => self.attributes(key, value, Subject::Resource),
            "libraries" => self.libraries(key, value),
            "log_severity_number" => self.severity(key, value).into_iter().collect(),
            "services" => self.one_of(key, value, Subject::Resource("service.name".to_owned())),
            "span_names" => self.one_of(key, value, Subject::SpanName),
            "span_kinds" => self.one_of(key, value, Subject::SpanKind),
            "log_bodies" => self.one_of(key, value, Subject::LogBody),
            "log_severity_texts" => self.one_of(key, value, Subject::SeverityText),
            _ => self.one_of(key, value, Subject::MetricName),
        }
    }

    fn one_of(&mut self, key: &str, value: &Value, subject: Subject) -> Vec<Test> {
        let mut patterns = Vec::new();
        for (at, entry) in self.list(key, value) {
            let Some(text) = entry.as_str() else {
                self.errors.add(&at, "expected a text");
                continue;
            };
            if subject == Subject::SpanKind && !self.is_regexp && !SPAN_KINDS.contains(&text) {
                self.errors.add(&at, format!("not a kind of span; there are {}", SPAN_KINDS.join(", ")));
            }
            patterns.extend(self.pattern(&at, text));
        }
        if patterns.is_empty() { Vec::new() } else { vec![Test::OneOf(subject, patterns)] }
    }

    fn attributes(&mut self, key: &str, value: &Value, subject: fn(String) -> Subject) -> Vec<Test> {
        let mut tests = Vec::new();
        for (at, entry) in self.list(key, value) {
            let Value::Object(entry) = entry else {
                self.errors.add(&at, "expected a map with `key`, and `value` unless any will do");
                continue;
            };
            self.errors.unknown_keys(&at, entry, &["key", "value"]);
            let Some(key) = self.errors.text(&at, entry, "key") else {
                self.errors.add(&at, "needs `key`");
                continue;
            };
            tests.extend(match (self.errors.value(&at, entry, "value"), self.is_regexp) {
                (None, _) => Some(Test::Present(subject(key))),
                (Some(value), false) => Some(Test::Equals(subject(key), value)),
                (Some(NewValue::Str(text)), true) => {
                    self.pattern(&format!("{at}.value"), &text).map(|pattern| Test::OneOf(subject(key), vec![pattern]))
                }
                (Some(_), true) => {
                    self.errors.add(&format!("{at}.value"), "with match_type regexp, expected a text");
                    None
                }
            });
        }
        tests
    }

    fn libraries(&mut self, key: &str, value: &Value) -> Vec<Test> {
        let mut libraries = Vec::new();
        for (at, entry) in self.list(key, value) {
            let Value::Object(entry) = entry else {
                self.errors.add(&at, "expected a map with `name`, and `version` unless any will do");
                continue;
            };
            self.errors.unknown_keys(&at, entry, &["name", "version"]);
            let name = entry.get("name").and_then(Value::as_str).and_then(|name| self.pattern(&at, name));
            let version = entry.get("version").and_then(Value::as_str).and_then(|text| self.pattern(&at, text));
            match name {
                Some(name) => libraries.push(Library { name, version }),
                None => self.errors.add(&at, "needs `name`"),
            }
        }
        if libraries.is_empty() { Vec::new() } else { vec![Test::Libraries(libraries)] }
    }

    fn severity(&mut self, key: &str, value: &Value) -> Option<Test> {
        let at = self.at(key);
        let Value::Object(map) = value else {
            self.errors.add(&at, "expected a map with `min` and `match_undefined`");
            return None;
        };
        self.errors.unknown_keys(&at, map, &["min", "match_undefined"]);
        let min = map.get("min").map_or(Some(0), Value::as_i64);
        let match_undefined = map.get("match_undefined").map_or(Some(false), Value::as_bool);
        match (min, match_undefined) {
            (Some(min), Some(match_undefined)) => Some(Test::Severity { min, match_undefined }),
            _ => {
                self.errors.add(&at, "`min` is a severity number, 1 to 24, and `match_undefined` true or false");
                None
            }
        }
    }

    fn pattern(&mut self, at: &str, text: &str) -> Option<Pattern> {
        if !self.is_regexp {
            return Some(Pattern::Strict(text.to_owned()));
        }
        match go_regex::compile(text) {
            Ok(regex) => Some(Pattern::Regexp(regex)),
            Err(why) => {
                self.errors.add(at, format!("not a regular expression: {why}"));
                None
            }
        }
    }

    fn list<'v>(&mut self, key: &str, value: &'v Value) -> Vec<(String, &'v Value)> {
        let at = self.at(key);
        let Value::Array(list) = value else {
            self.errors.add(&at, "expected a list");
            return Vec::new();
        };
        list.iter().enumerate().map(|(index, entry)| (format!("{at}[{index}]"), entry)).collect()
    }

    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }
}

/// Signals by their names in configurations.
pub fn names(signals: &[Signal]) -> String {
    let name = |signal: &Signal| match signal {
        Signal::Traces => "traces",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
        Signal::Profiles => "profiles",
    };
    signals.iter().map(name).collect::<Vec<_>>().join(" and ")
}
