//! Index, edits and splice against prost: a request that prost takes is indexed, some rows lose or get fields, some are dropped, and
//! what comes out is what the same does to the structs. Whatever prost refuses must not panic.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use sluicebox_fuzz::batch::{Batch, Drops, Edits, Field, Level, Mode, NewValues, RowSet};
use sluicebox_fuzz::signal::Signal;
use sluicebox_fuzz::{Choices, Request};

const KEY: &str = "k";
const NEW: &str = "new";
/// Bytes that edits may add; never reached by what a fuzzer makes.
const PLENTY: u64 = 1 << 30;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices(bytes);
    let signal = choices.signal();
    let (picks, removes, drops) = (choices.byte(), choices.byte() & 1 == 1, choices.byte());
    let body = Bytes::copy_from_slice(choices.0);
    let structs = Request::decode(signal, &body);
    let Ok(mut batch) = Batch::index(signal, vec![body.clone()]) else {
        assert!(structs.is_none(), "what prost takes is indexed");
        return;
    };
    let edited =
        edit(&mut batch, signal, |row| picks >> (row % 8) & 1 == 1, removes, |row| drops >> (row % 8) & 1 == 1);
    let (Some(mut structs), Some(())) = (structs, edited) else { return };
    edit_structs(&mut structs, |row| picks >> (row % 8) & 1 == 1, removes, |row| drops >> (row % 8) & 1 == 1);
    let left = batch.into_segments().expect("nothing grows to 4 GiB");
    let out = Request::decode(signal, &left[0].bytes).expect("what leaves can be decoded");
    let is_gone = left[0].bytes.is_empty();
    assert!(is_gone || out == structs, "{out:?}\n{structs:?}");
    assert!(!is_gone || body.is_empty() || items(&structs) == 0, "only a request without items goes whole");
});

/// Sets (or removes) an attribute of picked items and drops others; None where a message is malformed.
fn edit(
    batch: &mut Batch,
    signal: Signal,
    picked: impl Fn(u32) -> bool,
    removes: bool,
    dropped: impl Fn(u32) -> bool,
) -> Option<()> {
    let path = match signal {
        Signal::Traces => "span.attributes",
        Signal::Metrics => "metric.metadata",
        Signal::Logs => "log.attributes",
    };
    let field = Field::open_to_write(&format!("{path}[\"{KEY}\"]")).expect("can be written");
    let (kinds, offsets) = if removes { ([0], [0, 0]) } else { ([1], [0, NEW.len() as u32]) };
    let to = NewValues::new(&kinds, &offsets, NEW.as_bytes()).expect("legal");
    let slice = batch.slice(0..batch.items());
    let choice: Vec<u32> = (0..batch.items()).map(|row| u32::from(picked(row))).collect();
    let mut edits = Edits::default();
    batch.set(&slice, &field, &choice, &to, Mode::Set, &mut edits, &mut { PLENTY }).ok()?;
    let mut rows = RowSet::empty(Level::Item, batch.items());
    (0..batch.items()).filter(|&row| dropped(row)).for_each(|row| rows.insert(row));
    let mut drops = Drops::new(batch);
    drops.add(batch, &slice, &rows);
    batch.apply(drops, edits).expect("edits of one call do not contradict each other");
    batch.settle().expect("what is written can be read");
    Some(())
}

fn edit_structs(request: &mut Request, picked: impl Fn(u32) -> bool, removes: bool, dropped: impl Fn(u32) -> bool) {
    let mut row = 0;
    macro_rules! edit {
        ($resources:expr, $scopes:ident, $items:ident, $attributes:ident) => {
            $resources.retain_mut(|resource| {
                let had = resource.$scopes.iter().any(|scope| !scope.$items.is_empty());
                resource.$scopes.retain_mut(|scope| {
                    let had = !scope.$items.is_empty();
                    scope.$items.retain_mut(|item| {
                        if picked(row) {
                            set(&mut item.$attributes, removes);
                        }
                        row += 1;
                        !dropped(row - 1)
                    });
                    !had || !scope.$items.is_empty()
                });
                !had || resource.$scopes.iter().any(|scope| !scope.$items.is_empty())
            })
        };
    }
    match request {
        Request::Traces(request) => edit!(request.resource_spans, scope_spans, spans, attributes),
        Request::Metrics(request) => edit!(request.resource_metrics, scope_metrics, metrics, metadata),
        Request::Logs(request) => edit!(request.resource_logs, scope_logs, log_records, attributes),
    }
}

fn set(attributes: &mut Vec<KeyValue>, removes: bool) {
    let new = AnyValue { value: Some(Value::StringValue(NEW.to_owned())) };
    let mut is_first = true;
    let is_there = attributes.iter().any(|entry| entry.key == KEY);
    attributes.retain_mut(|entry| {
        if entry.key != KEY {
            return true;
        }
        *entry = KeyValue { key: KEY.to_owned(), value: Some(new.clone()), ..KeyValue::default() };
        std::mem::take(&mut is_first) && !removes
    });
    if !is_there && !removes {
        attributes.push(KeyValue { key: KEY.to_owned(), value: Some(new), ..KeyValue::default() });
    }
}

fn items(request: &Request) -> usize {
    let spans = |spans: &Vec<Span>| spans.len();
    match request {
        Request::Traces(request) => {
            request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| spans(&s.spans)).sum()
        }
        Request::Metrics(request) => {
            request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).map(|s| s.metrics.len()).sum()
        }
        Request::Logs(request) => {
            request.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum()
        }
    }
}
