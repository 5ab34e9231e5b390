//! The fields that can be read, by their OTTL names, and where they are in the messages of
//! opentelemetry-proto (trace, metrics, logs, common and resource, v1).

use crate::signal::Signal;

use super::levels::Level;

/// A name before the first dot of a path, and what is known below it.
#[derive(Debug)]
pub(super) struct Context {
    pub name: &'static str,
    pub level: Level,
    /// None where every signal has it.
    pub signal: Option<Signal>,
    pub fields: &'static [(&'static str, Read)],
}

/// How a field is read from its level's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A key of the repeated KeyValue field; its number depends on the message.
    Attribute,
    /// The AnyValue in this field.
    AnyValue(u32),
    /// Anything that needs all of the message to be known.
    Scalar(Scalar),
    /// Known since the metric was indexed.
    Metric(MetricField),
}

/// A non-repeated field, by its number, or something derived from such fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Text(u32),
    Bytes(u32),
    /// Bytes shown as lower-case hexadecimal text.
    Hex(u32),
    Int32(u32),
    Uint32(u32),
    Fixed32(u32),
    Fixed64(u32),
    /// `end - start` of a span, in nanoseconds.
    Duration,
    StatusCode,
    StatusMessage,
    PointFlags,
    PointCount,
    PointSum,
    PointDouble,
    PointInt,
}

impl Scalar {
    /// Ids of traces and spans, in either form.
    pub(super) fn is_id(self) -> bool {
        matches!(self, Scalar::Bytes(_) | Scalar::Hex(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetricField {
    Type,
    Temporality,
    Monotonic,
}

const DROPPED_ATTRIBUTES: &str = "dropped_attributes_count";

const SCOPE: &[(&str, Read)] = &[
    ("name", Read::Scalar(Scalar::Text(1))),
    ("version", Read::Scalar(Scalar::Text(2))),
    ("attributes", Read::Attribute),
    (DROPPED_ATTRIBUTES, Read::Scalar(Scalar::Uint32(4))),
];

/// Every context that paths may begin with.
pub(super) const CONTEXTS: &[Context] = &[
    Context {
        name: "resource",
        level: Level::Resource,
        signal: None,
        fields: &[("attributes", Read::Attribute), (DROPPED_ATTRIBUTES, Read::Scalar(Scalar::Uint32(2)))],
    },
    Context { name: "scope", level: Level::Scope, signal: None, fields: SCOPE },
    Context { name: "instrumentation_scope", level: Level::Scope, signal: None, fields: SCOPE },
    Context {
        name: "span",
        level: Level::Item,
        signal: Some(Signal::Traces),
        fields: &[
            ("trace_id", Read::Scalar(Scalar::Bytes(1))),
            ("trace_id.string", Read::Scalar(Scalar::Hex(1))),
            ("span_id", Read::Scalar(Scalar::Bytes(2))),
            ("span_id.string", Read::Scalar(Scalar::Hex(2))),
            ("trace_state", Read::Scalar(Scalar::Text(3))),
            ("parent_span_id", Read::Scalar(Scalar::Bytes(4))),
            ("parent_span_id.string", Read::Scalar(Scalar::Hex(4))),
            ("name", Read::Scalar(Scalar::Text(5))),
            ("kind", Read::Scalar(Scalar::Int32(6))),
            ("start_time_unix_nano", Read::Scalar(Scalar::Fixed64(7))),
            ("end_time_unix_nano", Read::Scalar(Scalar::Fixed64(8))),
            ("duration", Read::Scalar(Scalar::Duration)),
            ("attributes", Read::Attribute),
            (DROPPED_ATTRIBUTES, Read::Scalar(Scalar::Uint32(10))),
            ("dropped_events_count", Read::Scalar(Scalar::Uint32(12))),
            ("dropped_links_count", Read::Scalar(Scalar::Uint32(14))),
            ("status.code", Read::Scalar(Scalar::StatusCode)),
            ("status.message", Read::Scalar(Scalar::StatusMessage)),
            ("flags", Read::Scalar(Scalar::Fixed32(16))),
        ],
    },
    Context {
        name: "spanevent",
        level: Level::Event,
        signal: Some(Signal::Traces),
        fields: &[
            ("time_unix_nano", Read::Scalar(Scalar::Fixed64(1))),
            ("name", Read::Scalar(Scalar::Text(2))),
            ("attributes", Read::Attribute),
            (DROPPED_ATTRIBUTES, Read::Scalar(Scalar::Uint32(4))),
        ],
    },
    Context {
        name: "spanlink",
        level: Level::Link,
        signal: Some(Signal::Traces),
        fields: &[
            ("trace_id", Read::Scalar(Scalar::Bytes(1))),
            ("trace_id.string", Read::Scalar(Scalar::Hex(1))),
            ("span_id", Read::Scalar(Scalar::Bytes(2))),
            ("span_id.string", Read::Scalar(Scalar::Hex(2))),
            ("trace_state", Read::Scalar(Scalar::Text(3))),
            ("attributes", Read::Attribute),
            (DROPPED_ATTRIBUTES, Read::Scalar(Scalar::Uint32(5))),
            ("flags", Read::Scalar(Scalar::Fixed32(6))),
        ],
    },
    Context {
        name: "log",
        level: Level::Item,
        signal: Some(Signal::Logs),
        fields: &[
            ("time_unix_nano", Read::Scalar(Scalar::Fixed64(1))),
            ("severity_number", Read::Scalar(Scalar::Int32(2))),
            ("severity_text", Read::Scalar(Scalar::Text(3))),
            ("body", Read::AnyValue(5)),
            ("attributes", Read::Attribute),
            (DROPPED_ATTRIBUTES, Read::Scalar(Scalar::Uint32(7))),
            ("flags", Read::Scalar(Scalar::Fixed32(8))),
            ("trace_id", Read::Scalar(Scalar::Bytes(9))),
            ("trace_id.string", Read::Scalar(Scalar::Hex(9))),
            ("span_id", Read::Scalar(Scalar::Bytes(10))),
            ("span_id.string", Read::Scalar(Scalar::Hex(10))),
            ("observed_time_unix_nano", Read::Scalar(Scalar::Fixed64(11))),
            ("event_name", Read::Scalar(Scalar::Text(12))),
        ],
    },
    Context {
        name: "metric",
        level: Level::Item,
        signal: Some(Signal::Metrics),
        fields: &[
            ("name", Read::Scalar(Scalar::Text(1))),
            ("description", Read::Scalar(Scalar::Text(2))),
            ("unit", Read::Scalar(Scalar::Text(3))),
            ("type", Read::Metric(MetricField::Type)),
            ("aggregation_temporality", Read::Metric(MetricField::Temporality)),
            ("is_monotonic", Read::Metric(MetricField::Monotonic)),
            ("metadata", Read::Attribute),
        ],
    },
    Context {
        name: "datapoint",
        level: Level::Point,
        signal: Some(Signal::Metrics),
        fields: &[
            ("attributes", Read::Attribute),
            ("start_time_unix_nano", Read::Scalar(Scalar::Fixed64(2))),
            ("time_unix_nano", Read::Scalar(Scalar::Fixed64(3))),
            ("value_double", Read::Scalar(Scalar::PointDouble)),
            ("value_int", Read::Scalar(Scalar::PointInt)),
            ("flags", Read::Scalar(Scalar::PointFlags)),
            ("count", Read::Scalar(Scalar::PointCount)),
            ("sum", Read::Scalar(Scalar::PointSum)),
        ],
    },
];

/// A message that fields are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Resource,
    Scope,
    Span,
    Log,
    Metric,
    Event,
    Link,
    NumberPoint,
    HistogramPoint,
    ExponentialHistogramPoint,
    SummaryPoint,
}

impl Message {
    /// The repeated KeyValue field.
    pub(super) fn attributes(self) -> u32 {
        match self {
            Message::Resource | Message::ExponentialHistogramPoint => 1,
            Message::Scope | Message::Event => 3,
            Message::Link => 4,
            Message::Log => 6,
            Message::NumberPoint | Message::SummaryPoint => 7,
            Message::Span | Message::HistogramPoint => 9,
            Message::Metric => 12,
        }
    }

    /// The number of a data point's `flags`.
    pub(super) fn point_flags(self) -> u32 {
        match self {
            Message::HistogramPoint | Message::ExponentialHistogramPoint => 10,
            _ => 8,
        }
    }
}
