//! Typed values of a section. A wrong one is reported and replaced by the default, so that the rest is checked too.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::context::suggest;
use super::section::Section;
use crate::config::code::Code;
use crate::config::duration;
use crate::config::report::Problem;
use crate::config::tree::{Node, Value};

impl<'a> Section<'a> {
    /// A whole number within a range.
    pub(super) fn whole(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let node = self.get(key)?;
        let example = format!("write a number from {} to {} without quotes", range.start(), range.end());
        match node.value {
            Value::Int(value) => match u64::try_from(value).ok().filter(|value| range.contains(value)) {
                Some(value) => Some(value),
                None => self.out_of_range(key, node, &example),
            },
            Value::Float(value) if value.fract() == 0.0 => self.out_of_range(key, node, &example),
            _ => self.wrong_type(key, node, "a whole number", &example),
        }
    }

    /// A number within a range.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let node = self.get(key)?;
        let example = format!("write a number from {} to {} without quotes", range.start(), range.end());
        #[allow(clippy::cast_precision_loss, reason = "a number this large is out of every range")]
        let value = match node.value {
            Value::Int(value) => value as f64,
            Value::Float(value) => value,
            _ => return self.wrong_type(key, node, "a number", &example),
        };
        if range.contains(&value) { Some(value) } else { self.out_of_range(key, node, &example) }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        match node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong_type(key, node, "true or false", "write true or false, without quotes"),
        }
    }

    /// A duration with its unit.
    pub(super) fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let node = self.get(key)?;
        let parsed = match &node.value {
            Value::Text(text) => duration::parse(text),
            Value::Int(0) => Ok(Duration::ZERO),
            Value::Int(_) | Value::Float(_) => Err(duration::DurationError::NoUnit),
            _ => return self.wrong_type(key, node, "a duration", "write a number and its unit, such as 5s or 300ms"),
        };
        match parsed {
            Ok(value) if range.contains(&value) => Some(value),
            Ok(_) => {
                let help = format!("write a duration from {:?} to {:?}", range.start(), range.end());
                self.out_of_range(key, node, &help)
            }
            Err(error) => {
                let message = format!("{} is not a duration: {} {}", self.named(key), node.found(), error.what());
                let help = "write a number and its unit, such as 5s, 300ms or 1m30s";
                self.context.push(with_origin(Problem::new(Code::BadDuration, node.place, message, help), node));
                None
            }
        }
    }

    /// A text. Numbers and the like must stand in quotes, unless a variable holds them.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let node = self.get(key)?;
        self.text_of(key, node)
    }

    /// The text of a value under `key`.
    pub(super) fn text_of(&self, key: &str, node: &'a Node) -> Option<&'a str> {
        node.as_text().or_else(|| match node.value {
            Value::List(_) | Value::Map(_) => self.wrong_type(key, node, "a text", "write the text after the colon"),
            _ => self.wrong_type(key, node, "a text", "put it in quotes"),
        })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<(&'a str, &'a Node)>> {
        let items = self.list(key)?;
        let text = |node: &'a Node| {
            let text = node.as_text();
            if text.is_none() {
                let message = format!("each of {} must be a text, found {}", self.named(key), node.found());
                let help = "write a text, in quotes if it looks like a number";
                self.context.tell(Code::WrongType, node.place, message, help);
            }
            Some((text?, node))
        };
        Some(items.iter().filter_map(text).collect())
    }

    /// A list of anything; null counts as absent.
    pub(super) fn list(&mut self, key: &'static str) -> Option<&'a [Node]> {
        let node = self.get(key)?;
        match &node.value {
            Value::List(items) => Some(items),
            _ => self.wrong_type(key, node, "a list", "write it as \"[a, b]\", or each item after \"- \""),
        }
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let node = self.get(key)?;
        let text = node.as_text();
        if let Some((_, value)) = choices.iter().find(|(word, _)| text == Some(word)) {
            return Some(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).filter(|word| is_offered(word)).collect();
        let message = format!("{} cannot be {}", self.named(key), node.found());
        self.context.tell(Code::NotAChoice, node.place, message, suggest(text.unwrap_or_default(), "values", &words));
        None
    }

    /// A key of which only some values do something here: anything else is refused by name.
    pub(super) fn only(&mut self, key: &'static str, supported: &[&str], help: &str) {
        let Some(node) = self.get(key) else { return };
        let written = match &node.value {
            Value::Bool(value) => value.to_string(),
            _ => match self.text_of(key, node) {
                Some(text) => text.to_owned(),
                None => return,
            },
        };
        if !supported.contains(&written.as_str()) {
            let message = format!("{}: {} is not supported yet", self.named(key), node.found());
            self.context.tell(Code::UnsupportedValue, node.place, message, help);
        }
    }

    pub(super) fn wrong_type<T>(&self, key: &str, node: &Node, wanted: &str, help: &str) -> Option<T> {
        let message = format!("{} must be {wanted}, found {}", self.named(key), node.found());
        self.context.push(with_origin(Problem::new(Code::WrongType, node.place, message, help), node));
        None
    }

    fn out_of_range<T>(&self, key: &str, node: &Node, help: &str) -> Option<T> {
        let message = format!("{} is out of range: {}", self.named(key), node.found());
        self.context.push(with_origin(Problem::new(Code::OutOfRange, node.place, message, help), node));
        None
    }

    /// Two values that cannot both be meant.
    pub(super) fn contradiction(&mut self, key: &'static str, what: impl Display, help: &str) {
        let place = self.entry(key).map_or(self.place, |entry| entry.value.place);
        let message = format!("{} {what}", self.named(key));
        self.context.tell(Code::Contradiction, place, message, help);
    }
}

/// Other spellings of a word work, but are not offered.
fn is_offered(word: &str) -> bool {
    !word.is_empty() && !word.contains(|c: char| c.is_ascii_uppercase())
}

/// Says that a value is not the file's own.
pub(super) fn with_origin(problem: Problem, node: &Node) -> Problem {
    match (&node.substituted, node.unset_variable()) {
        (_, Some(variable)) => problem.detail(format!("environment variable \"{variable}\" is not set")),
        (Some(substituted), None) if substituted.from_file => {
            problem.detail("its value comes from a file and is not shown")
        }
        (Some(_), None) => problem.detail("its value comes from the environment and is not shown"),
        (None, None) => problem,
    }
}
