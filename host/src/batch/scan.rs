//! One scan per message for all fields that are read of it.

use std::ops::Range;

use crate::signal::Signal;

use super::Batch;
use super::catalog::{Message, MetricField, Read};
use super::column::Interner;
use super::field::Path;
use super::index::{Index, MetricData};
use super::levels::{Level, Slice};
use super::plan::{self, Plan};
use super::scalars::Values;
use super::value::kind;
use super::wire::gather;

/// Reads every path (of any level) of the slice into its interner; returns how many messages were malformed.
pub(super) fn scan(batch: &Batch, slice: &Slice, paths: &[&Path], interners: &mut [Interner<'_>]) -> u32 {
    let mut malformed = 0;
    for level in Level::ALL {
        let Some(rows) = batch.index.rows_of(slice, level) else { continue };
        let wanted: Vec<(usize, &Path)> = paths
            .iter()
            .enumerate()
            .filter(|(_, path)| path.level == level && path.signal.is_none_or(|signal| signal == batch.signal))
            .map(|(number, path)| (number, *path))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        if level == Level::Item && batch.signal == Signal::Metrics {
            read_index(&batch.index, &rows, &wanted, interners);
        }
        malformed += scan_level(batch, level, rows, &wanted, interners);
    }
    malformed
}

fn scan_level(
    batch: &Batch,
    level: Level,
    rows: Range<u32>,
    wanted: &[(usize, &Path)],
    interners: &mut [Interner<'_>],
) -> u32 {
    let message = match (level, batch.signal) {
        (Level::Resource, _) => {
            return scan_heads(batch, level, &rows, &Plan::of(Message::Resource, wanted), interners);
        }
        (Level::Scope, _) => return scan_heads(batch, level, &rows, &Plan::of(Message::Scope, wanted), interners),
        (Level::Point, _) => return scan_points(batch, &rows, wanted, interners),
        (Level::Event, _) => Message::Event,
        (Level::Link, _) => Message::Link,
        (Level::Item, Signal::Traces) => Message::Span,
        (Level::Item, Signal::Logs) => Message::Log,
        (Level::Item, Signal::Metrics) => Message::Metric,
    };
    let plans = Plan::of(message, wanted);
    let extents = match level {
        Level::Item => batch.index.items.as_slice(),
        _ => batch.index.children(level).map_or(&[][..], |children| &children.extents),
    };
    let mut malformed = 0;
    let mut values = Values::new();
    batch.each_segment(level, &rows, |bytes, here| {
        for (row, extent) in here.clone().zip(extents.get(here.start as usize..).unwrap_or_default()) {
            malformed += plan::run(&plans, extent.of(bytes), row - rows.start, &mut values, interners);
        }
    });
    malformed
}

/// Reads the `resource` or `scope` message of envelopes.
fn scan_heads(
    batch: &Batch,
    level: Level,
    rows: &Range<u32>,
    plans: &[Plan<'_>],
    interners: &mut [Interner<'_>],
) -> u32 {
    let envelopes = match level {
        Level::Resource => &batch.index.resources,
        _ => &batch.index.scopes,
    };
    let mut malformed = 0;
    let mut values = Values::new();
    batch.each_segment(level, rows, |bytes, here| {
        for row in here {
            let Some((envelope, head)) = envelopes.get(row) else { continue };
            let mut run = |message: &[u8]| plan::run(plans, message, row - rows.start, &mut values, interners);
            malformed += match head.parts {
                // Where there is none, its extent is empty: all fields are at their defaults.
                0 | 1 => run(head.extent.of(bytes)),
                _ => gather(envelope.of(bytes), 1).map_or(1, |merged| run(&merged)),
            };
        }
    });
    malformed
}

/// Reads data points, whose message depends on the metric.
fn scan_points(batch: &Batch, rows: &Range<u32>, wanted: &[(usize, &Path)], interners: &mut [Interner<'_>]) -> u32 {
    let index = &batch.index;
    let Some(points) = &index.points else { return 0 };
    let numbers = Plan::of(Message::NumberPoint, wanted);
    let histograms = Plan::of(Message::HistogramPoint, wanted);
    let exponentials = Plan::of(Message::ExponentialHistogramPoint, wanted);
    let summaries = Plan::of(Message::SummaryPoint, wanted);
    let mut malformed = 0;
    let mut values = Values::new();
    batch.each_segment(Level::Point, rows, |bytes, here| {
        let mut item = points.from.partition_point(|&from| from <= here.start).saturating_sub(1);
        for (row, extent) in here.clone().zip(points.extents.get(here.start as usize..).unwrap_or_default()) {
            while points.from.get(item + 1).is_some_and(|&next| next <= row) {
                item += 1;
            }
            let plans = match index.metrics.get(item).map(|metric| metric.data) {
                None | Some(MetricData::None) => continue,
                Some(MetricData::Gauge | MetricData::Sum) => &numbers,
                Some(MetricData::Histogram) => &histograms,
                Some(MetricData::ExponentialHistogram) => &exponentials,
                Some(MetricData::Summary) => &summaries,
            };
            malformed += plan::run(plans, extent.of(bytes), row - rows.start, &mut values, interners);
        }
    });
    malformed
}

/// What was read of metrics when they were indexed.
fn read_index(index: &Index, rows: &Range<u32>, wanted: &[(usize, &Path)], interners: &mut [Interner<'_>]) {
    for (number, path) in wanted {
        let (Read::Metric(field), Some(interner)) = (path.read, interners.get_mut(*number)) else { continue };
        for row in rows.clone() {
            let Some(metric) = index.metrics.get(row as usize) else { continue };
            let row = row - rows.start;
            match (field, metric.data) {
                (MetricField::Type, data) => interner.set(row, kind::INT, &(data as i64).to_le_bytes()),
                (
                    MetricField::Temporality,
                    MetricData::Sum | MetricData::Histogram | MetricData::ExponentialHistogram,
                ) => interner.set(row, kind::INT, &i64::from(metric.temporality).to_le_bytes()),
                (MetricField::Monotonic, MetricData::Sum) => {
                    interner.set(row, kind::BOOL, &[u8::from(metric.monotonic)]);
                }
                _ => {}
            }
        }
    }
}

impl Batch {
    /// Calls `each` with the bytes of each segment and those of `rows` that are in it.
    fn each_segment(&self, level: Level, rows: &Range<u32>, mut each: impl FnMut(&[u8], Range<u32>)) {
        self.segments_of(level, rows).for_each(|(_, bytes, here)| each(bytes, here));
    }

    /// Number and bytes of each segment, and those of `rows` that are in it, where there are any.
    pub(super) fn segments_of(
        &self,
        level: Level,
        rows: &Range<u32>,
    ) -> impl Iterator<Item = (usize, &[u8], Range<u32>)> {
        self.segments.iter().enumerate().filter_map(move |(number, segment)| {
            let &[first, end] = self.index.segments.get(number..number + 2)? else { return None };
            let all = self.index.below(first..end, Level::Resource, level)?;
            let here = all.start.max(rows.start)..all.end.min(rows.end);
            (!here.is_empty()).then_some((number, segment.bytes.as_ref(), here))
        })
    }
}
