//! Columns against a plain walk over the decoded requests.

use std::ops::Range;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;

use super::reference::{ABSENT, Node, Row, Shown, attribute, attributes, double, int, rows, shown, text, tree};
use super::*;

const SCALARS: [&str; 52] = [
    "resource.dropped_attributes_count",
    "scope.name",
    "instrumentation_scope.version",
    "scope.dropped_attributes_count",
    "span.trace_id",
    "span.trace_id.string",
    "span.span_id",
    "span.span_id.string",
    "span.parent_span_id",
    "span.parent_span_id.string",
    "span.trace_state",
    "span.name",
    "span.kind",
    "span.start_time_unix_nano",
    "span.end_time_unix_nano",
    "span.duration",
    "span.flags",
    "span.dropped_attributes_count",
    "span.dropped_events_count",
    "span.dropped_links_count",
    "span.status.code",
    "span.status.message",
    "spanevent.name",
    "spanevent.time_unix_nano",
    "spanevent.dropped_attributes_count",
    "spanlink.trace_id",
    "spanlink.span_id.string",
    "spanlink.trace_state",
    "spanlink.flags",
    "log.body",
    "log.severity_number",
    "log.severity_text",
    "log.time_unix_nano",
    "log.observed_time_unix_nano",
    "log.trace_id",
    "log.span_id.string",
    "log.flags",
    "log.event_name",
    "log.dropped_attributes_count",
    "metric.name",
    "metric.description",
    "metric.unit",
    "metric.type",
    "metric.aggregation_temporality",
    "metric.is_monotonic",
    "datapoint.time_unix_nano",
    "datapoint.start_time_unix_nano",
    "datapoint.value_double",
    "datapoint.value_int",
    "datapoint.flags",
    "datapoint.count",
    "datapoint.sum",
];
const ATTRIBUTES: [&str; 8] = [
    "resource.attributes",
    "scope.attributes",
    "span.attributes",
    "spanevent.attributes",
    "spanlink.attributes",
    "log.attributes",
    "metric.metadata",
    "datapoint.attributes",
];

#[test]
fn columns_are_what_a_walk_over_structs_finds() {
    for_seeds(400, |rng| {
        let (signal, segments) = requests(rng);
        check_columns(signal, segments, rng);
    });
}

/// Compares random fields over random slices; the requests must be such that prost accepts them.
pub fn check_columns(signal: Signal, segments: Vec<Bytes>, rng: &mut StdRng) {
    let decoded: Vec<Request> =
        segments.iter().map(|bytes| Request::decode(signal, bytes).expect("accepted by prost")).collect();
    let tree: Vec<Node<'_>> = decoded.iter().flat_map(tree).collect();
    let mut batch = Batch::index(signal, segments).expect("prost accepts it");
    batch.ensure(Level::Event).expect("prost accepts it");
    batch.ensure(Level::Link).expect("prost accepts it");
    let mut columns = vec![Column::default(); 12];
    let items = 0..batch.items();
    for slice in [items.clone(), part(items, rng)] {
        let fields: Vec<(Vec<String>, Field)> = (0..columns.len()).map(|_| random_field(rng)).collect();
        let opened: Vec<&Field> = fields.iter().map(|(_, field)| field).collect();
        let shown = batch.slice(slice.clone());
        assert_eq!(batch.columns(&shown, &opened, &mut columns, &mut { PLENTY }), Ok(0), "nothing is malformed");
        for ((paths, field), column) in fields.iter().zip(&columns) {
            let range = batch.index.rows_of(&shown, field.level()).unwrap_or_default();
            let rows = rows_shown(&tree, &slice, field.level(), range);
            assert_eq!(batch.rows(&shown, field.level()) as usize, rows.len(), "{paths:?}");
            check_column(paths, column, &rows);
        }
    }
}

fn part(items: Range<u32>, rng: &mut StdRng) -> Range<u32> {
    let start = rng.random_range(0..=items.end);
    start..rng.random_range(start..=items.end)
}

fn random_path(rng: &mut StdRng) -> String {
    if rng.random() {
        return SCALARS[rng.random_range(0..SCALARS.len())].to_owned();
    }
    let key = generate::KEYS[rng.random_range(0..generate::KEYS.len())];
    let mut path = format!("{}[\"{key}\"]", ATTRIBUTES[rng.random_range(0..ATTRIBUTES.len())]);
    if rng.random_ratio(1, 10) {
        path = "log.body".to_owned();
    }
    while rng.random_ratio(1, 3) {
        path += ["[0]", "[1]", "[\"k\"]", "[\"\"]"][rng.random_range(0..4)];
    }
    path
}

fn random_field(rng: &mut StdRng) -> (Vec<String>, Field) {
    loop {
        let paths: Vec<String> = (0..rng.random_range(1..4)).map(|_| random_path(rng)).collect();
        if let Ok(field) = Field::open(&paths) {
            return (paths, field);
        }
    }
}

/// The rows of a level that a slice of item rows shows, each with the rows above it.
/// The rows of a level that have items of the slice, and those between and beside them without any items that are shown with them.
fn rows_shown<'a, 'b>(
    tree: &'b [Node<'a>],
    slice: &Range<u32>,
    level: Level,
    shown: Range<u32>,
) -> Vec<Vec<&'b Node<'a>>> {
    let items = rows(tree, Level::Item);
    let items = &items[slice.start as usize..slice.end as usize];
    let all = rows(tree, level);
    let is_below = |row: &Vec<&Node<'_>>, item: &Vec<&Node<'_>>| {
        item.iter().zip(row).all(|(a, b)| std::ptr::eq::<Node<'_>>(*a, *b))
    };
    let has_any = |row: &Vec<&Node<'_>>| items.iter().any(|item| is_below(row, item));
    for (number, row) in all.iter().enumerate() {
        let is_shown = shown.contains(&(number as u32));
        assert!(is_shown || !has_any(row), "what has items of the slice is shown");
        let last = row.last().expect("itself");
        let is_empty_envelope = match level {
            Level::Resource => last.below.is_empty() || last.below.iter().any(|scope| scope.below.is_empty()),
            Level::Scope => last.below.is_empty(),
            Level::Item | Level::Event | Level::Link | Level::Point => false,
        };
        assert!(!is_shown || has_any(row) || is_empty_envelope, "what has items of other slices only is not shown");
    }
    all[shown.start as usize..shown.end as usize].to_vec()
}

fn check_column(paths: &[String], column: &Column, rows: &[Vec<&Node<'_>>]) {
    let arity = paths.len();
    let entries = column.kinds.len() / arity;
    assert_eq!(column.kinds.len(), entries * arity);
    assert_eq!(column.offsets.len(), column.kinds.len() + 1);
    assert_eq!(column.offsets.last().copied(), Some(column.bytes.len() as u32));
    assert!(column.kinds[..arity].iter().all(|&kind| kind == 0), "entry 0 is absent");
    let entry = |code: usize| (0..arity).map(|i| column.value((code * arity + i) as u32)).collect::<Vec<_>>();
    for a in 0..entries {
        assert!((0..a).all(|b| entry(a) != entry(b)), "{paths:?}: each different value once");
    }
    assert_eq!(column.codes.len(), rows.len(), "{paths:?}");
    for (&code, row) in column.codes.iter().zip(rows) {
        for (path, (kind, bytes)) in paths.iter().zip(entry(code as usize)) {
            let found = match kind {
                6 | 7 => Shown::List(kind, Message::decode(bytes).expect("an AnyValue")),
                _ => Shown::Flat(kind, bytes.to_vec()),
            };
            assert_eq!(found, expected(path, row), "{path}");
        }
    }
}

fn expected(path: &str, above: &[&Node<'_>]) -> Shown {
    above.iter().map(|node| expected_in(path, node.row)).find(|shown| shown.is_some()).flatten().unwrap_or(ABSENT)
}

/// None where the row is not of the path's context.
fn expected_in(path: &str, row: Row<'_>) -> Option<Shown> {
    let path = path.replace("instrumentation_scope.", "scope.");
    let (context, field) = path.split_once('.')?;
    let row_context = match row {
        Row::Resource(_) => "resource",
        Row::Scope(_) => "scope",
        Row::Span(_) => "span",
        Row::Log(_) => "log",
        Row::Metric(_) => "metric",
        Row::Event(_) => "spanevent",
        Row::Link(_) => "spanlink",
        Row::Number(_) | Row::Histogram(_) | Row::Exponential(_) | Row::Summary(_) => "datapoint",
    };
    if context != row_context {
        return None;
    }
    if let Some((_, steps)) = field.split_once('[') {
        let mut steps = steps.trim_end_matches(']').split("][");
        let mut value = match row {
            Row::Log(log) if field.starts_with("body") => {
                return Some(log.body.as_ref().and_then(|body| walk(body, steps)).map_or(ABSENT, shown));
            }
            row => attribute(attributes(row), steps.next()?.trim_matches('"')),
        };
        value = value.and_then(|value| walk(value, steps));
        return Some(value.map_or(ABSENT, shown));
    }
    Some(scalar(field, row))
}

fn walk<'a, 'b>(
    value: &'a opentelemetry_proto::tonic::common::v1::AnyValue,
    mut steps: impl Iterator<Item = &'b str>,
) -> Option<&'a opentelemetry_proto::tonic::common::v1::AnyValue> {
    let Some(step) = steps.next() else { return Some(value) };
    let next = match (value.value.as_ref()?, step.parse::<usize>()) {
        (Value::ArrayValue(list), Ok(index)) => list.values.get(index)?,
        (Value::KvlistValue(map), Err(_)) => attribute(&map.values, step.trim_matches('"'))?,
        _ => return None,
    };
    walk(next, steps.collect::<Vec<_>>().into_iter())
}

fn hex(bytes: &[u8]) -> Shown {
    text(&bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn scalar(field: &str, row: Row<'_>) -> Shown {
    let bytes = |bytes: &[u8]| Shown::Flat(5, bytes.to_vec());
    match (field, row) {
        ("dropped_attributes_count", Row::Resource(r)) => int(r.map_or(0, |r| r.dropped_attributes_count).into()),
        ("name", Row::Scope(scope)) => text(scope.map_or("", |scope| &scope.name)),
        ("version", Row::Scope(scope)) => text(scope.map_or("", |scope| &scope.version)),
        ("dropped_attributes_count", Row::Scope(s)) => int(s.map_or(0, |s| s.dropped_attributes_count).into()),
        ("trace_id", Row::Span(span)) => bytes(&span.trace_id),
        ("trace_id.string", Row::Span(span)) => hex(&span.trace_id),
        ("span_id", Row::Span(span)) => bytes(&span.span_id),
        ("span_id.string", Row::Span(span)) => hex(&span.span_id),
        ("parent_span_id", Row::Span(span)) => bytes(&span.parent_span_id),
        ("parent_span_id.string", Row::Span(span)) => hex(&span.parent_span_id),
        ("trace_state", Row::Span(span)) => text(&span.trace_state),
        ("name", Row::Span(span)) => text(&span.name),
        ("kind", Row::Span(span)) => int(span.kind.into()),
        ("start_time_unix_nano", Row::Span(span)) => int(span.start_time_unix_nano as i64),
        ("end_time_unix_nano", Row::Span(span)) => int(span.end_time_unix_nano as i64),
        ("duration", Row::Span(span)) => {
            let nanos = i128::from(span.end_time_unix_nano) - i128::from(span.start_time_unix_nano);
            int(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
        }
        ("flags", Row::Span(span)) => int(span.flags.into()),
        ("dropped_attributes_count", Row::Span(span)) => int(span.dropped_attributes_count.into()),
        ("dropped_events_count", Row::Span(span)) => int(span.dropped_events_count.into()),
        ("dropped_links_count", Row::Span(span)) => int(span.dropped_links_count.into()),
        ("status.code", Row::Span(span)) => int(span.status.as_ref().map_or(0, |status| status.code).into()),
        ("status.message", Row::Span(span)) => text(span.status.as_ref().map_or("", |status| &status.message)),
        ("name", Row::Event(event)) => text(&event.name),
        ("time_unix_nano", Row::Event(event)) => int(event.time_unix_nano as i64),
        ("dropped_attributes_count", Row::Event(event)) => int(event.dropped_attributes_count.into()),
        ("trace_id", Row::Link(link)) => bytes(&link.trace_id),
        ("span_id.string", Row::Link(link)) => hex(&link.span_id),
        ("trace_state", Row::Link(link)) => text(&link.trace_state),
        ("flags", Row::Link(link)) => int(link.flags.into()),
        ("body", Row::Log(log)) => log.body.as_ref().map_or(ABSENT, shown),
        ("severity_number", Row::Log(log)) => int(log.severity_number.into()),
        ("severity_text", Row::Log(log)) => text(&log.severity_text),
        ("time_unix_nano", Row::Log(log)) => int(log.time_unix_nano as i64),
        ("observed_time_unix_nano", Row::Log(log)) => int(log.observed_time_unix_nano as i64),
        ("trace_id", Row::Log(log)) => bytes(&log.trace_id),
        ("span_id.string", Row::Log(log)) => hex(&log.span_id),
        ("flags", Row::Log(log)) => int(log.flags.into()),
        ("event_name", Row::Log(log)) => text(&log.event_name),
        ("dropped_attributes_count", Row::Log(log)) => int(log.dropped_attributes_count.into()),
        ("name", Row::Metric(metric)) => text(&metric.name),
        ("description", Row::Metric(metric)) => text(&metric.description),
        ("unit", Row::Metric(metric)) => text(&metric.unit),
        ("type", Row::Metric(metric)) => int(match metric.data {
            None => 0,
            Some(Data::Gauge(_)) => 1,
            Some(Data::Sum(_)) => 2,
            Some(Data::Histogram(_)) => 3,
            Some(Data::ExponentialHistogram(_)) => 4,
            Some(Data::Summary(_)) => 5,
        }),
        ("aggregation_temporality", Row::Metric(metric)) => match &metric.data {
            Some(Data::Sum(data)) => int(data.aggregation_temporality.into()),
            Some(Data::Histogram(data)) => int(data.aggregation_temporality.into()),
            Some(Data::ExponentialHistogram(data)) => int(data.aggregation_temporality.into()),
            _ => ABSENT,
        },
        ("is_monotonic", Row::Metric(metric)) => match &metric.data {
            Some(Data::Sum(data)) => Shown::Flat(2, vec![u8::from(data.is_monotonic)]),
            _ => ABSENT,
        },
        (field, row) => point(field, row),
    }
}

fn point(field: &str, row: Row<'_>) -> Shown {
    let (start, time, flags, count, sum, value) = match row {
        Row::Number(p) => (p.start_time_unix_nano, p.time_unix_nano, p.flags, None, None, p.value),
        Row::Histogram(p) => (p.start_time_unix_nano, p.time_unix_nano, p.flags, Some(p.count), p.sum, None),
        Row::Exponential(p) => (p.start_time_unix_nano, p.time_unix_nano, p.flags, Some(p.count), p.sum, None),
        Row::Summary(p) => (p.start_time_unix_nano, p.time_unix_nano, p.flags, Some(p.count), Some(p.sum), None),
        _ => panic!("no expectation for {field}"),
    };
    match (field, value) {
        ("start_time_unix_nano", _) => int(start as i64),
        ("time_unix_nano", _) => int(time as i64),
        ("flags", _) => int(flags.into()),
        ("count", _) => count.map_or(ABSENT, |count| int(count as i64)),
        ("sum", _) => sum.map_or(ABSENT, double),
        ("value_double", Some(Number::AsDouble(value))) => double(value),
        ("value_int", Some(Number::AsInt(value))) => int(value),
        ("value_double" | "value_int", _) => ABSENT,
        _ => panic!("no expectation for {field}"),
    }
}

/// Spans of different names under a resource with a long text.
fn long_text_above(spans: usize, text_bytes: usize) -> Batch {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    let value = AnyValue { value: Some(Value::StringValue("x".repeat(text_bytes))) };
    let attributes = vec![KeyValue { key: "long".to_owned(), value: Some(value), ..KeyValue::default() }];
    let span = |number: usize| Span { name: format!("span {number}"), ..Span::default() };
    let scope = ScopeSpans { spans: (0..spans).map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![scope],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest { resource_spans: vec![resource] };
    Batch::index(Signal::Traces, vec![request.encode_to_vec().into()]).expect("well-formed")
}

#[test]
fn what_columns_take_is_bounded() {
    let batch = long_text_above(100, 10_000);
    let slice = batch.slice(0..100);
    assert!((10_000 + 100 * 8..12_000).contains(&batch.bytes_of(&slice)), "{}", batch.bytes_of(&slice));
    assert!(batch.bytes_of(&batch.slice(0..1)) < batch.bytes_of(&slice));
    assert_eq!(batch.bytes_of(&batch.slice(0..0)), 0);
    let open =
        |paths: &[&str]| Field::open(&paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>()).expect("known");
    let (name, long) = (open(&["span.name"]), open(&["resource.attributes[\"long\"]"]));
    let pair = open(&["span.name", "resource.attributes[\"long\"]"]);
    let read = |fields: &[&Field], mut bytes_left: u64| {
        let mut columns = vec![Column::default(); fields.len()];
        batch.columns(&slice, fields, &mut columns, &mut bytes_left).map(|_| bytes_left)
    };
    // Each value once costs little more than the bytes it is read from; repeated for each name, a hundred times as much.
    assert!(read(&[&name, &long, &name], 20_000).is_ok());
    assert_eq!(read(&[&pair], 1_000_000), Err(TooLarge));
    let left = read(&[&pair], 2_000_000).expect("fits");
    // To the byte, so that nothing is taken unseen.
    let taken = 2_000_000 - left;
    assert_eq!(read(&[&pair], taken), Err(TooLarge));
    assert_eq!(read(&[&pair], taken + 1), Ok(1));
    // Rows cost too, before they are made.
    assert_eq!(read(&[&name], 100 * 4), Err(TooLarge));
}
