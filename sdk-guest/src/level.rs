use crate::host;

/// The kind of telemetry in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans, with events and links.
    Traces,
    /// Metrics, with data points.
    Metrics,
    /// Log records.
    Logs,
    /// Profiles; processors are not called for them yet.
    Profiles,
}

impl Signal {
    pub(crate) fn of(signal: host::Signal) -> Self {
        match signal {
            host::Signal::Traces => Signal::Traces,
            host::Signal::Metrics => Signal::Metrics,
            host::Signal::Logs => Signal::Logs,
            host::Signal::Profiles => Signal::Profiles,
        }
    }
}

/// What a row is. Lower levels see the fields of the levels above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A resource; of every signal.
    Resource,
    /// An instrumentation scope; of every signal.
    Scope,
    /// A span; of traces.
    Span,
    /// A log record; of logs.
    Log,
    /// A metric; of metrics.
    Metric,
    /// An event of a span; of traces.
    SpanEvent,
    /// A link of a span; of traces.
    SpanLink,
    /// A data point of a metric; of metrics.
    DataPoint,
}

impl Level {
    /// The name in paths and in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Resource => "resource",
            Level::Scope => "scope",
            Level::Span => "span",
            Level::Log => "log",
            Level::Metric => "metric",
            Level::SpanEvent => "spanevent",
            Level::SpanLink => "spanlink",
            Level::DataPoint => "datapoint",
        }
    }

    /// The level of this name.
    pub fn parse(name: &str) -> Option<Level> {
        use Level::*;
        [Resource, Scope, Span, Log, Metric, SpanEvent, SpanLink, DataPoint].into_iter().find(|l| l.as_str() == name)
    }
}
