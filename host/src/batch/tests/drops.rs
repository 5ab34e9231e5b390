//! Dropping and splicing: against filtered structs, and byte for byte against a plain rewriting of the field tree.

use std::collections::HashSet;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, encode_varint, skip_field};

use super::*;

type Dropped = HashSet<(Level, u32)>;

#[test]
fn what_leaves_is_what_was_not_dropped() {
    for_seeds(600, |rng| {
        let (signal, segments) = requests(rng);
        let mut batch = Batch::index(signal, segments.clone()).expect("prost accepts it");
        let mut expected: Vec<Option<Vec<u8>>> = vec![None; segments.len()];
        for _ in 0..rng.random_range(1..4) {
            let before = batch.account();
            let (drops, dropped, counted) = random_drops(&mut batch, rng);
            batch.apply(drops, Edits::default()).expect("drops alone always apply");
            assert_eq!(before - batch.account(), counted, "drops are counted once");
            let mut rows = Rows::default();
            for (bytes, expected) in segments.iter().zip(&mut expected) {
                let now = expected.as_deref().unwrap_or(bytes);
                let mut structs = Request::decode(signal, now).expect("still a request");
                let rows_before = rows;
                let stripped = strip_request(signal, now, &mut rows, &dropped);
                filter(&mut structs, &mut rows_before.clone(), &dropped);
                if let Some(stripped) = stripped {
                    assert_eq!(Request::decode(signal, &stripped).expect("still a request"), structs);
                    *expected = Some(stripped);
                }
            }
            check_index(&batch, signal, &segments, &expected);
        }
        let accounts: u64 = batch.account();
        let left = batch.into_segments().expect("nothing grew");
        assert_eq!(left.len(), segments.len());
        assert_eq!(left.iter().map(|segment| segment.account).sum::<u64>(), accounts);
        for ((left, came), expected) in left.iter().zip(&segments).zip(expected) {
            match expected {
                Some(expected) => assert_eq!(left.bytes, expected),
                None => assert_eq!((left.bytes.as_ptr(), left.bytes.len()), (came.as_ptr(), came.len())),
            }
        }
    });
}

/// After drops, the index is that of the bytes that will leave.
fn check_index(batch: &Batch, signal: Signal, segments: &[Bytes], expected: &[Option<Vec<u8>>]) {
    let now = segments.iter().zip(expected).map(|(came, now)| now.clone().map_or(came.clone(), Bytes::from));
    let mut fresh = Batch::index(signal, now.collect()).expect("still a request");
    fresh.ensure(Level::Event).expect("still a request");
    let paths = [
        "resource.attributes[\"k\"]",
        "scope.name",
        "span.name",
        "metric.name",
        "log.body",
        "datapoint.time_unix_nano",
    ];
    let fields: Vec<Field> = paths.iter().map(|path| Field::open(&[(*path).to_owned()]).expect("known")).collect();
    let fields: Vec<&Field> = fields.iter().collect();
    let columns = |batch: &Batch| {
        let mut columns = vec![Column::default(); fields.len()];
        batch.columns(&batch.slice(0..batch.items()), &fields, &mut columns, &mut { PLENTY }).expect("fits");
        columns
    };
    assert_eq!(columns(batch), columns(&fresh));
    assert_eq!((batch.items(), batch.account()), (fresh.items(), fresh.account()));
    for item in 0..batch.items() {
        assert_eq!(batch.segment_of(item), fresh.segment_of(item));
        assert!(batch.items_of(batch.segment_of(item)).contains(&item));
    }
    for level in Level::ALL {
        let rows = |batch: &Batch| batch.rows(&batch.slice(0..batch.items()), level);
        assert_eq!(rows(batch), rows(&fresh), "{level:?}");
    }
}

/// Random rows of random levels of each slice, and the rows of the batch that they are.
fn random_drops(batch: &mut Batch, rng: &mut StdRng) -> (Drops, Dropped, u64) {
    let mut drops = Drops::new(batch);
    batch.ensure(Level::Link).expect("prost accepts it");
    let mut dropped = Dropped::new();
    let mut counted = 0;
    for items in batch.slices(rng.random_range(1..20), 10_000) {
        let slice = batch.slice(items.clone());
        for _ in 0..rng.random_range(0..3) {
            let level = Level::ALL[rng.random_range(0..6)];
            if !level.exists_in(batch.signal()) {
                continue;
            }
            let mut rows = RowSet::empty(level, batch.rows(&slice, level));
            let odds = rng.random_range(1..=8);
            (0..rows.len()).filter(|_| rng.random_ratio(odds, 8)).for_each(|row| rows.insert(row));
            counted += drops.add(batch, &slice, &rows);
            let sunk =
                if level < Level::Item { batch.rows_at(&slice, &rows, Level::Item).expect("lower") } else { rows };
            let first = batch.index.rows_of(&slice, sunk.level()).expect("available").start;
            dropped.extend(sunk.iter().map(|row| (sunk.level(), first + row)));
        }
    }
    (drops, dropped, counted)
}

/// The next row of each level below scopes.
#[derive(Clone, Copy, Default)]
struct Rows {
    items: u32,
    events: u32,
    links: u32,
    points: u32,
}

fn next(row: &mut u32) -> u32 {
    *row += 1;
    *row - 1
}

/// What became of a field.
struct Stripped {
    /// None: as it was.
    bytes: Option<Vec<u8>>,
    items: u32,
    left: u32,
}

fn strip_request(signal: Signal, bytes: &[u8], rows: &mut Rows, dropped: &Dropped) -> Option<Vec<u8>> {
    let stripped = strip(bytes, |number, resource| {
        (number == 1).then(|| {
            strip(resource, |number, scope| {
                (number == 2).then(|| {
                    strip(scope, |number, item| {
                        (number == 2).then(|| match signal {
                            Signal::Metrics => strip_metric(item, rows, dropped),
                            _ => strip_item(item, rows, dropped),
                        })
                    })
                })
            })
        })
    });
    if stripped.items > 0 && stripped.left == 0 { Some(Vec::new()) } else { stripped.bytes }
}

/// Rewrites the fields that `inner` knows; those that lost all their items go.
fn strip(message: &[u8], mut inner: impl FnMut(u32, &[u8]) -> Option<Stripped>) -> Stripped {
    let mut out = Vec::new();
    let mut changed = false;
    let (mut items, mut left) = (0, 0);
    for (number, field, payload) in parse(message) {
        let stripped = if field[0] & 7 == 2 { inner(number, payload) } else { None };
        let Some(stripped) = stripped else {
            out.extend_from_slice(field);
            continue;
        };
        items += stripped.items;
        left += stripped.left;
        changed |= stripped.bytes.is_some();
        match stripped.bytes {
            _ if stripped.items > 0 && stripped.left == 0 => changed = true,
            None => out.extend_from_slice(field),
            Some(bytes) => {
                let tag = field.iter().position(|&byte| byte < 0x80).expect("a tag ends") + 1;
                out.extend_from_slice(&field[..tag]);
                encode_varint(bytes.len() as u64, &mut out);
                out.extend(bytes);
            }
        }
    }
    Stripped { bytes: changed.then_some(out), items, left }
}

fn strip_item(item: &[u8], rows: &mut Rows, dropped: &Dropped) -> Stripped {
    let gone = dropped.contains(&(Level::Item, next(&mut rows.items)));
    // On logs no event or link is ever dropped.
    let inner = strip(item, |number, _| {
        let gone = match number {
            11 => dropped.contains(&(Level::Event, next(&mut rows.events))),
            13 => dropped.contains(&(Level::Link, next(&mut rows.links))),
            _ => return None,
        };
        Some(Stripped { bytes: None, items: 1, left: u32::from(!gone) })
    });
    Stripped { bytes: inner.bytes, items: 1, left: u32::from(!gone) }
}

fn strip_metric(metric: &[u8], rows: &mut Rows, dropped: &Dropped) -> Stripped {
    let mut gone = dropped.contains(&(Level::Item, next(&mut rows.items)));
    let data: Vec<u32> =
        parse(metric).iter().map(|field| field.0).filter(|number| [5, 7, 9, 10, 11].contains(number)).collect();
    let replaced = data.iter().rposition(|number| Some(number) != data.last()).map_or(0, |at| at + 1);
    let (mut at, mut points, mut left) = (0, 0, 0);
    let inner = strip(metric, |number, container| {
        if ![5, 7, 9, 10, 11].contains(&number) {
            return None;
        }
        at += 1;
        if at <= replaced {
            return None;
        }
        let inner = strip(container, |number, _| {
            (number == 1).then(|| {
                let gone = dropped.contains(&(Level::Point, next(&mut rows.points)));
                Stripped { bytes: None, items: 1, left: u32::from(!gone) }
            })
        });
        points += inner.items;
        left += inner.left;
        // A part that lost its points stays, for its other fields.
        Some(Stripped { bytes: inner.bytes, items: 0, left: 0 })
    });
    gone |= points > 0 && left == 0;
    Stripped { bytes: inner.bytes, items: 1, left: u32::from(!gone) }
}

/// Number, whole bytes and payload of each field.
fn parse(message: &[u8]) -> Vec<(u32, &[u8], &[u8])> {
    let mut fields = Vec::new();
    let mut rest = message;
    while rest.has_remaining() {
        let start = rest;
        let (number, wire) = decode_key(&mut rest).expect("accepted by prost");
        let mut payload = rest;
        skip_field(wire, number, &mut rest, DecodeContext::default()).expect("accepted by prost");
        let end = start.len() - rest.len();
        if wire == WireType::LengthDelimited {
            prost::encoding::decode_varint(&mut payload).expect("accepted by prost");
        }
        let payload_len = payload.len() - rest.len();
        fields.push((number, &start[..end], &payload[..payload_len]));
    }
    fields
}

/// The same on structs.
fn filter(request: &mut Request, rows: &mut Rows, dropped: &Dropped) {
    /// Removes items and, upwards, what lost its last.
    macro_rules! envelopes {
        ($resources:expr, $scopes:ident, $items:ident, $keep:expr) => {{
            let mut keep = $keep;
            let (mut all, mut left) = (0, 0);
            $resources.retain_mut(|resource| {
                let (mut resource_all, mut resource_left) = (0, 0);
                resource.$scopes.retain_mut(|scope| {
                    let items = scope.$items.len();
                    scope.$items.retain_mut(&mut keep);
                    resource_all += items;
                    resource_left += scope.$items.len();
                    items == 0 || !scope.$items.is_empty()
                });
                all += resource_all;
                left += resource_left;
                resource_all == 0 || resource_left > 0
            });
            if all > 0 && left == 0 {
                $resources.clear();
            }
        }};
    }
    match request {
        Request::Traces(request) => envelopes!(request.resource_spans, scope_spans, spans, |span: &mut Span| {
            span.events.retain(|_| !dropped.contains(&(Level::Event, next(&mut rows.events))));
            span.links.retain(|_| !dropped.contains(&(Level::Link, next(&mut rows.links))));
            !dropped.contains(&(Level::Item, next(&mut rows.items)))
        }),
        Request::Logs(request) => envelopes!(request.resource_logs, scope_logs, log_records, |_: &mut LogRecord| {
            !dropped.contains(&(Level::Item, next(&mut rows.items)))
        }),
        Request::Metrics(request) => {
            envelopes!(request.resource_metrics, scope_metrics, metrics, |metric: &mut Metric| {
                let mut keep = |_: &()| !dropped.contains(&(Level::Point, next(&mut rows.points)));
                macro_rules! points {
                    ($data:expr) => {{
                        let points = $data.data_points.len();
                        $data.data_points.retain(|_| keep(&()));
                        points == 0 || !$data.data_points.is_empty()
                    }};
                }
                let left = match &mut metric.data {
                    None => true,
                    Some(Data::Gauge(data)) => points!(data),
                    Some(Data::Sum(data)) => points!(data),
                    Some(Data::Histogram(data)) => points!(data),
                    Some(Data::ExponentialHistogram(data)) => points!(data),
                    Some(Data::Summary(data)) => points!(data),
                };
                !dropped.contains(&(Level::Item, next(&mut rows.items))) && left
            })
        }
    }
}
