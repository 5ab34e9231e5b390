//! Paths: their contexts, and how they are completed.

use sluicebox_guest::{Level, Signal};

/// A path with its context in front, as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// What its context is.
    pub level: Level,
    /// Such as `span.attributes["http.route"]`.
    pub text: String,
}

/// How paths in a condition are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every path begins with a context of the signal.
    Prefixed(Signal),
    /// Paths may be relative to this context.
    Relative(Level),
}

impl Path {
    /// Completes a path written as `first` and `rest`, where `rest` is what follows the first name (`.name`, `["key"]` or nothing).
    pub fn complete(first: &str, rest: &str, scope: Scope) -> Result<Path, String> {
        let contexts = scope.contexts();
        let named = match first {
            "instrumentation_scope" => Some(Level::Scope),
            _ => contexts.iter().copied().find(|level| level.as_str() == first),
        };
        match (named, scope) {
            (Some(level), _) if rest.starts_with('.') => Ok(Path { level, text: format!("{}{rest}", level.as_str()) }),
            (None, Scope::Relative(level)) if rest.starts_with('.') && Level::parse(first).is_some() => {
                Err(format!("`{first}` is not seen from the context `{}`; {}", level.as_str(), scope.names()))
            }
            (_, Scope::Relative(level)) => Ok(Path { level, text: format!("{}.{first}{rest}", level.as_str()) }),
            (_, Scope::Prefixed(_)) => Err(format!("a path begins with its context here; {}", scope.names())),
        }
    }

    /// Whether it holds a trace or span id, of which all zeros and no bytes are the same: none.
    pub fn is_id(&self) -> bool {
        self.text.ends_with("_id")
    }
}

/// A key in brackets; `\"` and `\\` stand for `"` and `\` in it.
pub fn key(key: &str) -> String {
    format!("[\"{}\"]", key.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Scope {
    fn names(self) -> String {
        let names: Vec<_> = self.contexts().iter().map(|level| format!("`{}.`", level.as_str())).collect();
        format!("there are {}", names.join(", "))
    }

    /// The contexts that paths may name, from the top.
    fn contexts(self) -> &'static [Level] {
        match self {
            Scope::Prefixed(Signal::Traces) => &[Level::Resource, Level::Scope, Level::Span, Level::SpanEvent],
            Scope::Prefixed(Signal::Metrics) => &[Level::Resource, Level::Scope, Level::Metric, Level::DataPoint],
            Scope::Prefixed(Signal::Logs) => &[Level::Resource, Level::Scope, Level::Log],
            Scope::Relative(Level::Scope) => &[Level::Resource, Level::Scope],
            Scope::Relative(Level::Span) => &[Level::Resource, Level::Scope, Level::Span],
            Scope::Relative(Level::SpanEvent) => &[Level::Resource, Level::Scope, Level::Span, Level::SpanEvent],
            Scope::Relative(Level::Metric) => &[Level::Resource, Level::Scope, Level::Metric],
            Scope::Relative(Level::DataPoint) => &[Level::Resource, Level::Scope, Level::Metric, Level::DataPoint],
            Scope::Relative(Level::Log) => &[Level::Resource, Level::Scope, Level::Log],
            Scope::Relative(_) | Scope::Prefixed(_) => &[Level::Resource],
        }
    }
}
