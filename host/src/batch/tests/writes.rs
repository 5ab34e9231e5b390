//! Writing fields: against the same edits made on decoded structs.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;

use super::generate::{KEYS, attributes};
use super::*;

/// What a row's field becomes.
#[derive(Clone, Debug)]
struct New {
    kind: u8,
    bytes: Vec<u8>,
    value: Option<AnyValue>,
}

/// One call of `Batch::set`.
struct Call {
    path: String,
    level: Level,
    mode: Mode,
    values: Vec<New>,
    /// Row of the batch to value.
    chosen: HashMap<u32, usize>,
}

#[test]
fn what_is_written_is_what_a_rewriting_of_structs_gives() {
    for_seeds(1500, |rng| {
        let (signal, segments) = requests(rng);
        let mut structs: Vec<Request> =
            segments.iter().map(|bytes| Request::decode(signal, bytes).expect("a request")).collect();
        let mut batch = Batch::index(signal, segments).expect("prost accepts it");
        for _stage in 0..rng.random_range(1..3) {
            batch.ensure(Level::Event).expect("prost accepts it");
            let mut edits = Edits::default();
            let calls: Vec<Call> = (0..rng.random_range(1..4)).map(|_| random_call(&batch, signal, rng)).collect();
            // Two calls of one attribute's parts may contradict each other; one field each may not.
            if calls.iter().enumerate().any(|(at, call)| calls[..at].iter().any(|other| conflicts(call, other))) {
                continue;
            }
            for call in &calls {
                write(&batch, call, &mut edits, rng);
            }
            for call in &calls {
                apply(&mut structs, call);
            }
            batch.apply(Drops::new(&batch), edits).expect("no contradictions");
            batch.settle().expect("what is written can be read");
        }
        let left = batch.into_segments().expect("small");
        for (left, expected) in left.iter().zip(&structs) {
            assert_eq!(&Request::decode(signal, &left.bytes).expect("still a request"), expected);
        }
    });
}

/// Whether both write into what may be one value.
fn conflicts(call: &Call, other: &Call) -> bool {
    let field = |call: &Call| call.path.split(']').next().unwrap_or_default().to_owned();
    call.level == other.level && (field(call) == field(other) || (is_point_value(call) && is_point_value(other)))
}

fn is_point_value(call: &Call) -> bool {
    call.path.starts_with("datapoint.value")
}

/// Writes a call's choice in one or several slices.
fn write(batch: &Batch, call: &Call, edits: &mut Edits, rng: &mut StdRng) {
    let field = Field::open_to_write(&call.path).expect("can be written");
    let (mut kinds, mut offsets, mut bytes) = (Vec::new(), vec![0], Vec::new());
    for new in &call.values {
        kinds.push(new.kind);
        bytes.extend_from_slice(&new.bytes);
        offsets.push(bytes.len() as u32);
    }
    let to = NewValues::new(&kinds, &offsets, &bytes).expect("legal values");
    let middle = rng.random_range(0..=batch.items());
    let mut written = Edits::default();
    for items in [0..middle, middle..batch.items()] {
        let slice = batch.slice(items);
        let Some(rows) = batch.index.rows_of(&slice, call.level) else { continue };
        let choice: Vec<u32> = rows.map(|row| call.chosen.get(&row).map_or(0, |&value| value as u32 + 1)).collect();
        let mut of_call = Edits::default();
        let mut left = PLENTY;
        batch.set(&slice, &field, &choice, &to, call.mode, &mut of_call, &mut left).expect("writes");
        written.append(of_call);
    }
    edits.append(written);
}

fn random_call(batch: &Batch, signal: Signal, rng: &mut StdRng) -> Call {
    let key = |rng: &mut StdRng| format!("[{:?}]", KEYS[rng.random_range(0..KEYS.len())]).replace("\\u{e9}", "é");
    let steps = |rng: &mut StdRng| -> String {
        (0..rng.random_range(0..3))
            .map(|_| if rng.random_ratio(2, 3) { key(rng) } else { format!("[{}]", rng.random_range(0..3)) })
            .collect()
    };
    let level = match signal {
        Signal::Traces => {
            [Level::Resource, Level::Scope, Level::Item, Level::Event, Level::Link][rng.random_range(0..5)]
        }
        Signal::Metrics => [Level::Resource, Level::Scope, Level::Item, Level::Point][rng.random_range(0..4)],
        Signal::Logs => [Level::Resource, Level::Scope, Level::Item][rng.random_range(0..3)],
    };
    let (context, fields): (&str, &[(&str, u8)]) = match (level, signal) {
        (Level::Resource, _) => ("resource", &[]),
        (Level::Scope, _) => ("scope", &[("name", 1), ("version", 1)]),
        (Level::Event, _) => ("spanevent", &[("name", 1), ("time_unix_nano", 3)]),
        (Level::Link, _) => ("spanlink", &[("trace_state", 1), ("flags", 3)]),
        (Level::Point, _) => ("datapoint", &[("value_int", 3), ("value_double", 4), ("flags", 3)]),
        (Level::Item, Signal::Traces) => {
            ("span", &[("name", 1), ("kind", 3), ("status.code", 3), ("status.message", 1), ("trace_state", 1)])
        }
        (Level::Item, Signal::Logs) => ("log", &[("severity_number", 3), ("severity_text", 1), ("event_name", 1)]),
        (Level::Item, Signal::Metrics) => ("metric", &[("name", 1), ("unit", 1), ("description", 1)]),
    };
    let (path, kind) = if !fields.is_empty() && rng.random_ratio(1, 3) {
        let (name, kind) = fields[rng.random_range(0..fields.len())];
        (format!("{context}.{name}"), Some(kind))
    } else if context == "log" && rng.random_ratio(1, 4) {
        (format!("log.body{}", steps(rng)), None)
    } else {
        let attributes = if context == "metric" { "metadata" } else { "attributes" };
        (format!("{context}.{attributes}{}{}", key(rng), steps(rng)), None)
    };
    let values: Vec<New> = (0..rng.random_range(1..4)).map(|_| random_value(kind, rng)).collect();
    let slice = batch.slice(0..batch.items());
    let rows = batch.index.rows_of(&slice, level).unwrap_or_default();
    let chosen: HashMap<u32, usize> = rows
        .map(|row| (row, rng.random_range(0..values.len() * 3 / 2 + 1)))
        .filter(|(_, value)| *value < values.len())
        .collect();
    let mode = if kind.is_none() && rng.random_ratio(1, 3) { Mode::Insert } else { Mode::Set };
    Call { path, level, mode, chosen, values }
}

fn random_value(kind: Option<u8>, rng: &mut StdRng) -> New {
    let kind = kind.unwrap_or_else(|| [0, 1, 2, 3, 4, 5, 6, 7, 8][rng.random_range(0..9)]);
    let text = [
        "",
        "new",
        "a longer value than the one before, so that length prefixes grow beyond a byte; it has to have 128 bytes at least, with reserve",
    ][rng.random_range(0..3)];
    let int = rng.random_range(0..5_i64);
    let list = || Value::KvlistValue(KeyValueList { values: attributes(&mut StdRng::seed_from_u64(7)) });
    let (bytes, value) = match kind {
        0 => return New { kind, bytes: Vec::new(), value: None },
        1 => (text.as_bytes().to_vec(), Some(Value::StringValue(text.to_owned()))),
        2 => (vec![1], Some(Value::BoolValue(true))),
        3 => (int.to_le_bytes().to_vec(), Some(Value::IntValue(int))),
        4 => (0.5_f64.to_le_bytes().to_vec(), Some(Value::DoubleValue(0.5))),
        5 => (text.as_bytes().to_vec(), Some(Value::BytesValue(text.as_bytes().to_vec()))),
        6 => {
            let array = Value::ArrayValue(opentelemetry_proto::tonic::common::v1::ArrayValue {
                values: vec![AnyValue { value: Some(Value::IntValue(int)) }, AnyValue { value: Some(list()) }],
            });
            (AnyValue { value: Some(array.clone()) }.encode_to_vec(), Some(array))
        }
        7 => (AnyValue { value: Some(list()) }.encode_to_vec(), Some(list())),
        _ => (Vec::new(), None),
    };
    New { kind, bytes, value: Some(AnyValue { value }) }
}

fn apply(structs: &mut [Request], call: &Call) {
    let mut row = 0;
    let mut each = |field: FieldMut<'_>| {
        if let Some(&value) = call.chosen.get(&row) {
            let (_, rest) = call.path.split_once('.').expect("a context");
            field.set(rest, &call.values[value], call.mode);
        }
        row += 1;
    };
    for request in structs {
        rows_mut(request, call.level, &mut each);
    }
}

/// A row that is written.
enum FieldMut<'a> {
    Resource(&'a mut Option<opentelemetry_proto::tonic::resource::v1::Resource>),
    Scope(&'a mut Option<opentelemetry_proto::tonic::common::v1::InstrumentationScope>),
    Span(&'a mut opentelemetry_proto::tonic::trace::v1::Span),
    Event(&'a mut opentelemetry_proto::tonic::trace::v1::span::Event),
    Link(&'a mut opentelemetry_proto::tonic::trace::v1::span::Link),
    Log(&'a mut opentelemetry_proto::tonic::logs::v1::LogRecord),
    Metric(&'a mut opentelemetry_proto::tonic::metrics::v1::Metric),
    Number(&'a mut opentelemetry_proto::tonic::metrics::v1::NumberDataPoint),
    /// A point of another kind: its attributes and flags.
    Point(&'a mut Vec<KeyValue>, &'a mut u32),
}

fn rows_mut(request: &mut Request, level: Level, each: &mut impl FnMut(FieldMut<'_>)) {
    macro_rules! envelopes {
        ($resources:expr, $scopes:ident, $items:ident, $item:expr) => {
            for resource in $resources {
                if level == Level::Resource {
                    each(FieldMut::Resource(&mut resource.resource));
                }
                for scope in &mut resource.$scopes {
                    if level == Level::Scope {
                        each(FieldMut::Scope(&mut scope.scope));
                    }
                    for item in &mut scope.$items {
                        $item(item);
                    }
                }
            }
        };
    }
    match request {
        Request::Traces(request) => envelopes!(&mut request.resource_spans, scope_spans, spans, |span: &mut _| {
            let span: &mut opentelemetry_proto::tonic::trace::v1::Span = span;
            match level {
                Level::Item => each(FieldMut::Span(span)),
                Level::Event => span.events.iter_mut().for_each(|event| each(FieldMut::Event(event))),
                Level::Link => span.links.iter_mut().for_each(|link| each(FieldMut::Link(link))),
                _ => {}
            }
        }),
        Request::Logs(request) => envelopes!(&mut request.resource_logs, scope_logs, log_records, |log| {
            if level == Level::Item {
                each(FieldMut::Log(log));
            }
        }),
        Request::Metrics(request) => {
            envelopes!(&mut request.resource_metrics, scope_metrics, metrics, |metric: &mut _| {
                let metric: &mut opentelemetry_proto::tonic::metrics::v1::Metric = metric;
                match (level, &mut metric.data) {
                    (Level::Item, _) => each(FieldMut::Metric(metric)),
                    (Level::Point, Some(Data::Gauge(data))) => {
                        data.data_points.iter_mut().for_each(|point| each(FieldMut::Number(point)));
                    }
                    (Level::Point, Some(Data::Sum(data))) => {
                        data.data_points.iter_mut().for_each(|point| each(FieldMut::Number(point)));
                    }
                    (Level::Point, Some(Data::Histogram(data))) => {
                        data.data_points
                            .iter_mut()
                            .for_each(|p| each(FieldMut::Point(&mut p.attributes, &mut p.flags)));
                    }
                    (Level::Point, Some(Data::ExponentialHistogram(data))) => {
                        data.data_points
                            .iter_mut()
                            .for_each(|p| each(FieldMut::Point(&mut p.attributes, &mut p.flags)));
                    }
                    (Level::Point, Some(Data::Summary(data))) => {
                        data.data_points
                            .iter_mut()
                            .for_each(|p| each(FieldMut::Point(&mut p.attributes, &mut p.flags)));
                    }
                    _ => {}
                }
            })
        }
    }
}

impl FieldMut<'_> {
    fn set(self, name: &str, new: &New, mode: Mode) {
        let text = || {
            new.value.as_ref().map_or(String::new(), |value| match &value.value {
                Some(Value::StringValue(text)) => text.clone(),
                other => panic!("not a text: {other:?}"),
            })
        };
        let int = || {
            new.value.as_ref().map_or(0, |value| match &value.value {
                Some(Value::IntValue(int)) => *int,
                other => panic!("not an int: {other:?}"),
            })
        };
        if let Some((_, steps)) = name.split_once("attributes").or(name.split_once("metadata")) {
            return self.attributes(new.kind != 0, |attributes| set_in(attributes, &parse(steps), new, mode));
        }
        match (self, name) {
            (FieldMut::Scope(scope), "name") if new.kind != 0 => scope.get_or_insert_default().name = text(),
            (FieldMut::Scope(scope), "version") if new.kind != 0 => scope.get_or_insert_default().version = text(),
            (FieldMut::Scope(Some(scope)), "name") => scope.name = text(),
            (FieldMut::Scope(Some(scope)), "version") => scope.version = text(),
            (FieldMut::Event(event), "name") => event.name = text(),
            (FieldMut::Event(event), "time_unix_nano") => event.time_unix_nano = int() as u64,
            (FieldMut::Link(link), "trace_state") => link.trace_state = text(),
            (FieldMut::Link(link), "flags") => link.flags = int() as u32,
            (FieldMut::Span(span), "name") => span.name = text(),
            (FieldMut::Span(span), "kind") => span.kind = int() as i32,
            (FieldMut::Span(span), "trace_state") => span.trace_state = text(),
            (FieldMut::Span(span), "status.code") => span.status.get_or_insert_default().code = int() as i32,
            (FieldMut::Span(span), "status.message") => span.status.get_or_insert_default().message = text(),
            (FieldMut::Log(log), "severity_number") => log.severity_number = int() as i32,
            (FieldMut::Log(log), "severity_text") => log.severity_text = text(),
            (FieldMut::Log(log), "event_name") => log.event_name = text(),
            (FieldMut::Log(log), "body") if mode == Mode::Set || log.body.is_none() => log.body.clone_from(&new.value),
            (FieldMut::Log(_), "body") => {}
            (FieldMut::Log(log), body) => {
                let steps = parse(body.strip_prefix("body").expect("a log's field"));
                if let Some(body) = &mut log.body {
                    set_within(body, &steps, new, mode);
                }
            }
            (FieldMut::Metric(metric), "name") => metric.name = text(),
            (FieldMut::Metric(metric), "unit") => metric.unit = text(),
            (FieldMut::Metric(metric), "description") => metric.description = text(),
            (FieldMut::Number(point), "flags") => point.flags = int() as u32,
            (FieldMut::Point(_, flags), "flags") => *flags = int() as u32,
            (FieldMut::Number(point), "value_int") => {
                point.value = Some(number_data_point::Value::AsInt(int()));
            }
            (FieldMut::Number(point), "value_double") => point.value = Some(number_data_point::Value::AsDouble(0.5)),
            _ => {}
        }
    }

    fn attributes(self, creates: bool, with: impl FnOnce(&mut Vec<KeyValue>)) {
        match self {
            FieldMut::Point(attributes, _) => with(attributes),
            FieldMut::Resource(resource) => match resource {
                Some(resource) => with(&mut resource.attributes),
                None if creates => {
                    let mut attributes = Vec::new();
                    with(&mut attributes);
                    if !attributes.is_empty() {
                        resource.get_or_insert_default().attributes = attributes;
                    }
                }
                None => {}
            },
            FieldMut::Scope(scope) => match scope {
                Some(scope) => with(&mut scope.attributes),
                None if creates => {
                    let mut attributes = Vec::new();
                    with(&mut attributes);
                    if !attributes.is_empty() {
                        scope.get_or_insert_default().attributes = attributes;
                    }
                }
                None => {}
            },
            FieldMut::Span(span) => with(&mut span.attributes),
            FieldMut::Event(event) => with(&mut event.attributes),
            FieldMut::Link(link) => with(&mut link.attributes),
            FieldMut::Log(log) => with(&mut log.attributes),
            FieldMut::Metric(metric) => with(&mut metric.metadata),
            FieldMut::Number(point) => with(&mut point.attributes),
        }
    }
}

#[derive(Clone, Debug)]
enum Place {
    Key(String),
    Index(usize),
}

/// The steps of generated paths, whose keys need no escapes.
fn parse(steps: &str) -> Vec<Place> {
    let inner = steps.trim_start_matches('[').trim_end_matches(']');
    inner
        .split("][")
        .filter(|_| !steps.is_empty())
        .map(|step| match step.strip_prefix('"') {
            Some(key) => Place::Key(key.trim_end_matches('"').to_owned()),
            None => Place::Index(step.parse().expect("an index")),
        })
        .collect()
}

fn set_in(map: &mut Vec<KeyValue>, steps: &[Place], new: &New, mode: Mode) {
    let Some((Place::Key(key), rest)) = steps.split_first() else { return };
    let is_there = map.iter().any(|entry| entry.key == *key);
    if is_there && rest.is_empty() {
        if mode == Mode::Insert {
            return;
        }
        let mut is_first = true;
        map.retain_mut(|entry| {
            if entry.key != *key {
                return true;
            }
            let stays = is_first && new.kind != 0;
            is_first = false;
            *entry = KeyValue { key: key.clone(), value: new.value.clone(), key_strindex: 0 };
            stays
        });
    } else if is_there {
        for value in map.iter_mut().filter(|entry| entry.key == *key).filter_map(|entry| entry.value.as_mut()) {
            set_within(value, rest, new, mode);
        }
    } else if new.kind != 0 && rest.iter().all(|step| matches!(step, Place::Key(_))) {
        let value = rest.iter().rev().fold(new.value.clone(), |value, step| {
            let Place::Key(key) = step else { unreachable!("only keys") };
            let entry = KeyValue { key: key.clone(), value, key_strindex: 0 };
            Some(AnyValue { value: Some(Value::KvlistValue(KeyValueList { values: vec![entry] })) })
        });
        map.push(KeyValue { key: key.clone(), value, key_strindex: 0 });
    }
}

fn set_within(any: &mut AnyValue, steps: &[Place], new: &New, mode: Mode) {
    match (&mut any.value, steps) {
        (Some(Value::KvlistValue(map)), [Place::Key(_), ..]) => set_in(&mut map.values, steps, new, mode),
        (Some(Value::ArrayValue(array)), [Place::Index(index)]) if *index < array.values.len() => {
            match (&new.value, mode) {
                (_, Mode::Insert) => {}
                (Some(value), Mode::Set) => array.values[*index] = value.clone(),
                (None, Mode::Set) => drop(array.values.remove(*index)),
            }
        }
        (Some(Value::ArrayValue(array)), [Place::Index(index), rest @ ..]) => {
            if let Some(value) = array.values.get_mut(*index) {
                set_within(value, rest, new, mode);
            }
        }
        _ => {}
    }
}
