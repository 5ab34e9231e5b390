//! `string_attribute`, `numeric_attribute` and `boolean_attribute`.

use std::collections::BTreeSet;

use go_regex::Regex;
use sluicebox_guest::{Level, TraceSet, Value};

use crate::call::Call;
use crate::votes::{Traits, Voter, Votes};

/// An attribute of the resource or of any span.
#[derive(Debug)]
pub struct AttributePolicy {
    /// The sources of the attribute of the resource and of the span.
    pub of_resource: usize,
    pub of_span: usize,
    pub test: Test,
    /// Traces are kept in which nothing matches.
    pub is_inverted: bool,
}

/// Values that match.
#[derive(Debug)]
pub enum Test {
    /// Inclusive.
    Int {
        min: i64,
        max: i64,
    },
    Texts(BTreeSet<String>),
    /// Found anywhere in the text.
    Patterns(Vec<Regex>),
    Bool(bool),
}

impl Test {
    fn matches(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Test::Int { min, max }, Value::Int(int)) => (min..=max).contains(&&int),
            (Test::Texts(texts), Value::Str(text)) => texts.contains(text),
            (Test::Patterns(patterns), Value::Str(text)) => patterns.iter().any(|pattern| pattern.is_match(text)),
            (Test::Bool(wanted), Value::Bool(bool)) => *wanted == bool,
            _ => false,
        }
    }
}

impl Voter for AttributePolicy {
    fn vote(&self, call: &Call<'_>, asked: &TraceSet) -> Votes {
        // As the Collector: an empty text of a span matches nothing, that of a resource may.
        let of_span = having(call, self.of_span, |value| value != "" && self.test.matches(value));
        let of_resource = having(call, self.of_resource, |value| self.test.matches(value));
        let matched = &(of_span | of_resource) & asked;
        let keep = if self.is_inverted { asked & &!&matched } else { matched.clone() };
        // A match stays one, whatever comes after it.
        Votes::matched(call.len, keep, matched)
    }

    fn traits(&self) -> Traits {
        Traits::default()
    }
}

/// Traces with a span, or a resource of one, whose value is judged true.
fn having(call: &Call<'_>, number: usize, judge: impl FnMut(Value<'_>) -> bool) -> TraceSet {
    let source = call.source(number);
    let entries = source.select(call.values(number), judge);
    call.having(source.rows(call.spans(), &entries), source.level(), Level::Span)
}
