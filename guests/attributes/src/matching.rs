//! Which rows the actions are for: `include` and `exclude`.

use sluicebox_guest::{NewValue, Signal, Tuple, Value};

use crate::config::{Block, Library, SIGNALS, Subject, Test};
use crate::plan::quoted;

/// Both blocks, and what has to be read for them.
#[derive(Debug)]
pub struct Conditions {
    include: Option<Block>,
    exclude: Option<Block>,
    subjects: Vec<Subject>,
}

impl Conditions {
    pub fn new(include: Option<Block>, exclude: Option<Block>) -> Conditions {
        let mut subjects: Vec<Subject> = Vec::new();
        for subject in include.iter().chain(&exclude).flat_map(|block| &block.tests).flat_map(Test::subjects) {
            if !subjects.contains(&subject) {
                subjects.push(subject);
            }
        }
        Conditions { include, exclude, subjects }
    }

    /// The signals that have everything that is tested.
    pub fn signals(&self) -> Vec<Signal> {
        let blocks = || self.include.iter().chain(&self.exclude);
        SIGNALS.into_iter().filter(|signal| blocks().all(|block| block.signals.contains(signal))).collect()
    }

    /// The paths of what is tested.
    pub fn paths(&self, signal: Signal) -> Vec<String> {
        self.subjects.iter().map(|subject| subject.path(signal)).collect()
    }

    /// Whether the actions are for rows with these values; the tested ones begin at position `first`.
    pub fn allow(&self, tuple: Tuple<'_>, first: usize) -> bool {
        let read = |subject: &Subject| {
            let position = self.subjects.iter().position(|known| known == subject);
            position.map_or(Value::Absent, |position| tuple.get(first + position))
        };
        let holds = |block: &Block| block.tests.iter().all(|test| test.holds(&read));
        self.include.as_ref().is_none_or(holds) && !self.exclude.as_ref().is_some_and(holds)
    }
}

impl Test {
    fn subjects(&self) -> Vec<Subject> {
        match self {
            Test::OneOf(subject, _) | Test::Present(subject) | Test::Equals(subject, _) => vec![subject.clone()],
            Test::Libraries(_) => vec![Subject::ScopeName, Subject::ScopeVersion],
            Test::Severity { .. } => vec![Subject::SeverityNumber],
        }
    }

    fn holds<'a>(&self, read: &impl Fn(&Subject) -> Value<'a>) -> bool {
        match self {
            Test::OneOf(subject, patterns) => {
                let text = subject.text(read(subject));
                text.is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(&text)))
            }
            Test::Present(subject) => !read(subject).is_absent(),
            Test::Equals(subject, value) => NewValue::from(read(subject)) == *value,
            Test::Libraries(libraries) => {
                let name = read(&Subject::ScopeName).as_str().unwrap_or_default();
                let version = read(&Subject::ScopeVersion).as_str().unwrap_or_default();
                libraries.iter().any(|library: &Library| {
                    library.name.matches(name) && library.version.as_ref().is_none_or(|wanted| wanted.matches(version))
                })
            }
            Test::Severity { min, match_undefined } => match read(&Subject::SeverityNumber) {
                Value::Int(0) => *match_undefined,
                Value::Int(severity) => severity >= *min,
                _ => false,
            },
        }
    }
}

impl Subject {
    fn path(&self, signal: Signal) -> String {
        match self {
            Subject::Attribute(key) if signal == Signal::Logs => format!("log.attributes[{}]", quoted(key)),
            Subject::Attribute(key) => format!("span.attributes[{}]", quoted(key)),
            Subject::Resource(key) => format!("resource.attributes[{}]", quoted(key)),
            Subject::ScopeName => "scope.name".to_owned(),
            Subject::ScopeVersion => "scope.version".to_owned(),
            Subject::SpanName => "span.name".to_owned(),
            Subject::SpanKind => "span.kind".to_owned(),
            Subject::LogBody => "log.body".to_owned(),
            Subject::SeverityText => "log.severity_text".to_owned(),
            Subject::SeverityNumber => "log.severity_number".to_owned(),
            Subject::MetricName => "metric.name".to_owned(),
        }
    }

    /// What patterns are matched with; None where nothing matches.
    fn text(&self, value: Value<'_>) -> Option<String> {
        match (self, value) {
            (Subject::SpanKind, Value::Int(kind)) => Some(kind_name(kind).to_owned()),
            (Subject::LogBody, value) => Some(collector_text::of(value)),
            (_, value) => collector_text::to_match(value),
        }
    }
}

/// The names of the OTLP enum (trace.proto, Span.SpanKind).
fn kind_name(kind: i64) -> &'static str {
    match kind {
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        _ => "SPAN_KIND_UNSPECIFIED",
    }
}
