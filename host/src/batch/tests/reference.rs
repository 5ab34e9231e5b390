//! What the module does, done plainly: on decoded structs and on trees of fields.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};

use super::{Level, Request};

/// A row and the rows below it.
pub struct Node<'a> {
    pub level: Level,
    pub row: Row<'a>,
    pub below: Vec<Node<'a>>,
}

#[derive(Clone, Copy)]
pub enum Row<'a> {
    Resource(Option<&'a Resource>),
    Scope(Option<&'a InstrumentationScope>),
    Span(&'a Span),
    Log(&'a LogRecord),
    Metric(&'a Metric),
    Event(&'a Event),
    Link(&'a Link),
    Number(&'a NumberDataPoint),
    Histogram(&'a HistogramDataPoint),
    Exponential(&'a ExponentialHistogramDataPoint),
    Summary(&'a SummaryDataPoint),
}

fn node<'a>(level: Level, row: Row<'a>, below: Vec<Node<'a>>) -> Node<'a> {
    Node { level, row, below }
}

pub fn tree(request: &Request) -> Vec<Node<'_>> {
    macro_rules! envelopes {
        ($resources:expr, $scopes:ident, $items:ident, $item:expr) => {
            $resources
                .iter()
                .map(|resource| {
                    let scopes = resource.$scopes.iter().map(|scope| {
                        let items = scope.$items.iter().map($item).collect();
                        node(Level::Scope, Row::Scope(scope.scope.as_ref()), items)
                    });
                    node(Level::Resource, Row::Resource(resource.resource.as_ref()), scopes.collect())
                })
                .collect()
        };
    }
    match request {
        Request::Traces(request) => envelopes!(request.resource_spans, scope_spans, spans, |span| {
            let events = span.events.iter().map(|event| node(Level::Event, Row::Event(event), vec![]));
            let links = span.links.iter().map(|link| node(Level::Link, Row::Link(link), vec![]));
            node(Level::Item, Row::Span(span), events.chain(links).collect())
        }),
        Request::Logs(request) => {
            envelopes!(request.resource_logs, scope_logs, log_records, |log| node(Level::Item, Row::Log(log), vec![]))
        }
        Request::Metrics(request) => envelopes!(request.resource_metrics, scope_metrics, metrics, |metric| {
            let point = |row| node(Level::Point, row, vec![]);
            let points = match &metric.data {
                None => vec![],
                Some(Data::Gauge(data)) => data.data_points.iter().map(|p| point(Row::Number(p))).collect(),
                Some(Data::Sum(data)) => data.data_points.iter().map(|p| point(Row::Number(p))).collect(),
                Some(Data::Histogram(data)) => data.data_points.iter().map(|p| point(Row::Histogram(p))).collect(),
                Some(Data::ExponentialHistogram(data)) => {
                    data.data_points.iter().map(|p| point(Row::Exponential(p))).collect()
                }
                Some(Data::Summary(data)) => data.data_points.iter().map(|p| point(Row::Summary(p))).collect(),
            };
            node(Level::Item, Row::Metric(metric), points)
        }),
    }
}

/// Every row of a level with the rows above it, the row itself last.
pub fn rows<'a, 'b>(tree: &'b [Node<'a>], level: Level) -> Vec<Vec<&'b Node<'a>>> {
    fn walk<'a, 'b>(
        nodes: &'b [Node<'a>],
        level: Level,
        above: &mut Vec<&'b Node<'a>>,
        rows: &mut Vec<Vec<&'b Node<'a>>>,
    ) {
        for node in nodes {
            above.push(node);
            if node.level == level {
                rows.push(above.clone());
            }
            walk(&node.below, level, above, rows);
            above.pop();
        }
    }
    let mut found = Vec::new();
    walk(tree, level, &mut Vec::new(), &mut found);
    found
}

/// A value as a column shows it; arrays and maps are compared decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    Flat(u8, Vec<u8>),
    List(u8, AnyValue),
}

pub const ABSENT: Shown = Shown::Flat(0, Vec::new());

pub fn shown(value: &AnyValue) -> Shown {
    match &value.value {
        None | Some(Value::StringValueStrindex(_)) => Shown::Flat(8, vec![]),
        Some(Value::StringValue(text)) => Shown::Flat(1, text.clone().into_bytes()),
        Some(Value::BoolValue(value)) => Shown::Flat(2, vec![u8::from(*value)]),
        Some(Value::IntValue(value)) => int(*value),
        Some(Value::DoubleValue(value)) => double(*value),
        Some(Value::BytesValue(bytes)) => Shown::Flat(5, bytes.clone()),
        Some(Value::ArrayValue(_)) => Shown::List(6, value.clone()),
        Some(Value::KvlistValue(_)) => Shown::List(7, value.clone()),
    }
}

pub fn int(value: i64) -> Shown {
    Shown::Flat(3, value.to_le_bytes().to_vec())
}

pub fn double(value: f64) -> Shown {
    Shown::Flat(4, value.to_le_bytes().to_vec())
}

pub fn text(value: &str) -> Shown {
    Shown::Flat(1, value.as_bytes().to_vec())
}

/// The first attribute with the key; one without value is empty.
pub fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a AnyValue> {
    static EMPTY: AnyValue = AnyValue { value: None };
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(found.value.as_ref().unwrap_or(&EMPTY))
}

pub fn attributes<'a>(row: Row<'a>) -> &'a [KeyValue] {
    match row {
        Row::Resource(resource) => resource.map_or(&[], |resource| &resource.attributes),
        Row::Scope(scope) => scope.map_or(&[], |scope| &scope.attributes),
        Row::Span(span) => &span.attributes,
        Row::Log(log) => &log.attributes,
        Row::Metric(metric) => &metric.metadata,
        Row::Event(event) => &event.attributes,
        Row::Link(link) => &link.attributes,
        Row::Number(point) => &point.attributes,
        Row::Histogram(point) => &point.attributes,
        Row::Exponential(point) => &point.attributes,
        Row::Summary(point) => &point.attributes,
    }
}
