//! Requests whose rows have a text each, and guests that do what the texts say.
//!
//! A text is a list of words. `!n` faults at stage n, `-n` is dropped by it, `=n` is written by it, and `n>w` is rewritten by it
//! to `w`.

use std::ops::Range;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::fakes::Act;
use crate::batch::{Batch, Column, Edits, Field, Level, Mode, NewValues, RowSet};
use crate::pipeline::stage::{Effects, FaultKind, RuleDrop};
use crate::signal::Signal;

/// Data points of each metric.
pub const POINTS: u64 = 3;

/// What a stage does with one row.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    Faults,
    Dropped,
    Written(String),
}

/// What stage `number` does with a row of this text, if the row can be judged.
pub fn fate(number: usize, text: &str) -> Fate {
    let words: Vec<_> = text.split(' ').collect();
    let has = |mark: char| words.contains(&format!("{mark}{number}").as_str());
    if has('!') {
        return Fate::Faults;
    }
    if has('-') {
        return Fate::Dropped;
    }
    let mark = format!("{number}>");
    let write = |word: &&str| match word.strip_prefix(&mark) {
        Some(rest) => rest.to_owned(),
        None if *word == format!("={number}") => format!("written-by-{number}"),
        None => (*word).to_owned(),
    };
    let written = words.iter().map(write).collect::<Vec<_>>().join(" ");
    if written == text { Fate::Stays } else { Fate::Written(written) }
}

/// Stage `number`: faults as `kind` where any row that it is shown faults.
pub fn guest(number: usize, kind: FaultKind) -> impl Fn(&Batch, Range<u32>) -> Act + Send + Sync {
    move |batch, items| {
        let fates: Vec<_> = texts(batch, items.clone()).iter().map(|text| fate(number, text)).collect();
        if fates.contains(&Fate::Faults) {
            return Act::Fault(kind);
        }
        let mut rows = RowSet::empty(Level::Item, items.end - items.start);
        (0..).zip(&fates).filter(|(_, fate)| **fate == Fate::Dropped).for_each(|(row, _)| rows.insert(row));
        let written = |fate: &Fate| if let Fate::Written(text) = fate { Some(text.clone()) } else { None };
        let new: Vec<_> = fates.iter().map(written).collect();
        let places = new.iter().flatten().count() as u64;
        Act::Want(Effects {
            drops: vec![RuleDrop { rows, rule: 0 }],
            edits: write(batch, items, field(batch.signal()), &new),
            edited: vec![(1, places)],
            unjudgeable: 0,
        })
    }
}

/// The path of a row's text.
pub fn field(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "span.name",
        Signal::Metrics => "metric.name",
        Signal::Logs => "log.severity_text",
    }
}

/// The texts of these item rows.
pub fn texts(batch: &Batch, items: Range<u32>) -> Vec<String> {
    let field = Field::open(&[field(batch.signal()).to_owned()]).expect("is a field");
    let mut column = [Column::default()];
    batch.columns(&batch.slice(items), &[&field], &mut column, &mut u64::MAX.clone()).expect("few bytes");
    let [column] = column;
    let text = |&code: &u32| String::from_utf8(column.value(code).1.to_vec()).expect("a text");
    column.codes.iter().map(text).collect()
}

/// Edits that give these rows of the field's level a new text, where there is one.
pub fn write(batch: &Batch, items: Range<u32>, path: &str, new: &[Option<String>]) -> Edits {
    let field = Field::open_to_write(path).expect("can be written");
    let (mut choice, mut kinds, mut offsets, mut bytes) = (Vec::new(), Vec::new(), vec![0], Vec::new());
    for text in new {
        if let Some(text) = text {
            kinds.push(1);
            bytes.extend_from_slice(text.as_bytes());
            offsets.push(bytes.len() as u32);
        }
        choice.push(if text.is_some() { kinds.len() as u32 } else { 0 });
    }
    let values = NewValues::new(&kinds, &offsets, &bytes).expect("are legal");
    let mut edits = Edits::default();
    let slice = batch.slice(items);
    batch.set(&slice, &field, &choice, &values, Mode::Set, &mut edits, &mut u64::MAX.clone()).expect("can be set");
    edits
}

/// A request with these rows, in two envelopes.
pub fn request(signal: Signal, texts: &[String]) -> Bytes {
    request_without(signal, texts, |_| false)
}

/// What is left of that request when some rows are dropped, and envelopes that have none then.
pub fn request_without(signal: Signal, texts: &[String], is_dropped: impl Fn(&str) -> bool) -> Bytes {
    let (first, second) = texts.split_at(texts.len() / 2);
    let left = |half: &[String]| half.iter().filter(|text| !is_dropped(text)).cloned().collect::<Vec<_>>();
    let halves = [left(first), left(second)];
    let halves = halves.iter().map(Vec::as_slice).filter(|half| !half.is_empty());
    let bytes = match signal {
        Signal::Traces => {
            let span = |text: &String| Span { name: text.clone(), ..Span::default() };
            let envelope = |texts: &[String]| {
                let scope = ScopeSpans { spans: texts.iter().map(span).collect(), ..ScopeSpans::default() };
                ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }
            };
            ExportTraceServiceRequest { resource_spans: halves.map(envelope).collect() }.encode_to_vec()
        }
        Signal::Metrics => {
            let points = vec![NumberDataPoint::default(); POINTS as usize];
            let data = metric::Data::Sum(Sum { data_points: points, ..Sum::default() });
            let metric = |text: &String| Metric { name: text.clone(), data: Some(data.clone()), ..Metric::default() };
            let envelope = |texts: &[String]| {
                let scope = ScopeMetrics { metrics: texts.iter().map(metric).collect(), ..ScopeMetrics::default() };
                ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() }
            };
            ExportMetricsServiceRequest { resource_metrics: halves.map(envelope).collect() }.encode_to_vec()
        }
        Signal::Logs => {
            let record = |text: &String| LogRecord { severity_text: text.clone(), ..LogRecord::default() };
            let envelope = |texts: &[String]| {
                let scope = ScopeLogs { log_records: texts.iter().map(record).collect(), ..ScopeLogs::default() };
                ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }
            };
            ExportLogsServiceRequest { resource_logs: halves.map(envelope).collect() }.encode_to_vec()
        }
    };
    Bytes::from(bytes)
}

/// The texts of all rows, by a full decode.
pub fn decoded(signal: Signal, body: &[u8]) -> Vec<String> {
    match signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(body).expect("a request");
            let scopes = request.resource_spans.into_iter().flat_map(|envelope| envelope.scope_spans);
            scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(body).expect("a request");
            let scopes = request.resource_metrics.into_iter().flat_map(|envelope| envelope.scope_metrics);
            scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name).collect()
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(body).expect("a request");
            let scopes = request.resource_logs.into_iter().flat_map(|envelope| envelope.scope_logs);
            scopes.flat_map(|scope| scope.log_records).map(|record| record.severity_text).collect()
        }
    }
}

/// Items of so many rows in the account.
pub fn account(signal: Signal, rows: usize) -> u64 {
    rows as u64 * if signal == Signal::Metrics { POINTS } else { 1 }
}
