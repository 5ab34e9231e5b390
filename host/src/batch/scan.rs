//! One scan per message for all fields that are read of it.

use std::ops::Range;

use super::Batch;
use super::Malformed;
use super::catalog::{Message, MetricField, Read};
use super::column::Interner;
use super::field::{Path, Step};
use super::index::{Head, Index, MetricData};
use super::levels::{Level, Slice};
use super::scalars::Scalars;
use super::value::{KeyValue, kind, resolve};
use super::wire::{DEPTH_MAX, LEN, Reader, gather};
use crate::signal::Signal;

/// Attributes that one scan looks for: a bit each.
const ATTRIBUTES_MAX: usize = 64;

/// Reads every path (of any level) of the slice into its interner; returns how many messages were malformed.
pub(super) fn scan(batch: &Batch, slice: &Slice, paths: &[&Path], interners: &mut [Interner]) -> u32 {
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
    interners: &mut [Interner],
) -> u32 {
    let index = &batch.index;
    let mut malformed = 0;
    let plans = |message| Plan::of(message, wanted);
    if level == Level::Point {
        let kinds =
            [Message::NumberPoint, Message::HistogramPoint, Message::ExponentialHistogramPoint, Message::SummaryPoint]
                .map(|message| (message, plans(message)));
        batch.each_segment(level, &rows, |bytes, segment_rows| {
            let Some(points) = &index.points else { return };
            let mut item = points.from.partition_point(|&from| from <= segment_rows.start).saturating_sub(1);
            for row in segment_rows {
                while points.from.get(item + 1).is_some_and(|&next| next <= row) {
                    item += 1;
                }
                let data = index.metrics.get(item).map_or(MetricData::None, |metric| metric.data);
                let message = point_message(data);
                let extent = points.extents.get(row as usize).copied().unwrap_or_default();
                for (_, plans) in kinds.iter().filter(|(kind, _)| Some(*kind) == message) {
                    malformed += run(plans, extent.of(bytes), row - rows.start, interners);
                }
            }
        });
        return malformed;
    }
    let message = match (level, batch.signal) {
        (Level::Resource, _) => Message::Resource,
        (Level::Scope, _) => Message::Scope,
        (Level::Event, _) => Message::Event,
        (Level::Link, _) => Message::Link,
        (_, Signal::Traces) => Message::Span,
        (_, Signal::Logs) => Message::Log,
        (_, Signal::Metrics) => Message::Metric,
    };
    let plans = plans(message);
    if plans.is_empty() {
        return 0;
    }
    let envelopes = match level {
        Level::Resource => Some(&index.resources),
        Level::Scope => Some(&index.scopes),
        _ => None,
    };
    let extents = match level {
        Level::Item => index.items.as_slice(),
        _ => index.children(level).map_or(&[][..], |children| &children.extents),
    };
    batch.each_segment(level, &rows, |bytes, segment_rows| {
        for row in segment_rows {
            let at = row as usize;
            let relative = row - rows.start;
            malformed += match envelopes {
                None => run(&plans, extents.get(at).copied().unwrap_or_default().of(bytes), relative, interners),
                Some(envelopes) => match envelopes.heads.get(at) {
                    Some(Head { parts: 2.., .. }) => {
                        let envelope = envelopes.extents.get(at).copied().unwrap_or_default();
                        match gather(envelope.of(bytes), 1) {
                            Ok(merged) => run(&plans, &merged, relative, interners),
                            Err(_) => 1,
                        }
                    }
                    // Where there is none, its extent is empty: all fields are at their defaults.
                    head => run(&plans, head.copied().unwrap_or_default().extent.of(bytes), relative, interners),
                },
            };
        }
    });
    malformed
}

fn point_message(data: MetricData) -> Option<Message> {
    Some(match data {
        MetricData::None => return None,
        MetricData::Gauge | MetricData::Sum => Message::NumberPoint,
        MetricData::Histogram => Message::HistogramPoint,
        MetricData::ExponentialHistogram => Message::ExponentialHistogramPoint,
        MetricData::Summary => Message::SummaryPoint,
    })
}

/// What was read of metrics when they were indexed.
fn read_index(index: &Index, rows: &Range<u32>, wanted: &[(usize, &Path)], interners: &mut [Interner]) {
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
        for (number, segment) in self.segments.iter().enumerate() {
            let Some(&[first, end]) = self.index.segments.get(number..number + 2) else { continue };
            let Some(all) = self.index.below(first..end, Level::Resource, level) else { continue };
            let here = all.start.max(rows.start)..all.end.min(rows.end);
            if !here.is_empty() {
                each(&segment.bytes, here);
            }
        }
    }
}

/// What to look for in messages of one type.
struct Plan<'a> {
    /// The field number of the message's attributes.
    attributes_field: u32,
    attributes: Vec<Attribute<'a>>,
    /// A bit for each of `attributes`.
    all: u64,
    /// A bit for each length that a wanted key has; 63 stands for anything longer.
    key_lengths: u64,
    scalars: Scalars,
    /// AnyValues that are not attributes.
    values: Vec<(u32, &'a [Step], usize)>,
}

struct Attribute<'a> {
    key: &'a [u8],
    steps: &'a [Step],
    /// Which interner it goes to.
    number: usize,
}

impl<'a> Plan<'a> {
    /// One plan, or more where more attributes are wanted than a scan can look for.
    fn of(message: Message, wanted: &[(usize, &'a Path)]) -> Vec<Plan<'a>> {
        let mut attributes = Vec::new();
        let mut values = Vec::new();
        let mut scalars = Scalars::new(message);
        for &(number, path) in wanted {
            match (path.read, path.steps.split_first()) {
                (Read::Attribute, Some((Step::Key(key), steps))) => {
                    attributes.push(Attribute { key: key.as_bytes(), steps, number });
                }
                (Read::AnyValue(field), _) => values.push((field, path.steps.as_slice(), number)),
                (Read::Scalar(scalar), _) => scalars.want(scalar, number),
                (Read::Attribute | Read::Metric(_), _) => {}
            }
        }
        let mut plans = Vec::new();
        loop {
            let rest = attributes.split_off(attributes.len().min(ATTRIBUTES_MAX));
            if attributes.is_empty() && scalars.is_empty() && values.is_empty() {
                return plans;
            }
            plans.push(Plan {
                attributes_field: message.attributes(),
                all: u64::MAX.checked_shr(64 - attributes.len() as u32).unwrap_or(0),
                key_lengths: attributes.iter().fold(0, |bits, wanted| bits | length_bit(wanted.key)),
                attributes: std::mem::replace(&mut attributes, rest),
                scalars: std::mem::replace(&mut scalars, Scalars::new(message)),
                values: std::mem::take(&mut values),
            });
        }
    }

    fn read(&self, message: &[u8], row: u32, interners: &mut [Interner]) -> Result<(), Malformed> {
        let mut pending = self.all;
        let mut read = self.scalars.begin();
        let whole = !self.scalars.is_empty() || !self.values.is_empty();
        // The last occurrence of each AnyValue field is enough unless there are several.
        let mut value: Option<(&[u8], u32)> = None;
        let mut fields = Reader::new(message);
        while pending != 0 || whole {
            let Some(tag) = fields.tag()? else { break };
            if tag.number == self.attributes_field && pending != 0 {
                if tag.wire != LEN {
                    return fields.wrong_wire();
                }
                pending &= !self.attribute(fields.bytes()?, pending, row, interners)?;
            } else if self.values.iter().any(|(field, ..)| *field == tag.number) {
                if tag.wire != LEN {
                    return fields.wrong_wire();
                }
                value = Some((fields.bytes()?, value.map_or(1, |(_, parts)| parts + 1)));
            } else if !self.scalars.field(tag, &mut fields, &mut read)? {
                fields.skip(tag, DEPTH_MAX - 3)?;
            }
        }
        if let Some((last, parts)) = value {
            for &(field, steps, number) in &self.values {
                let Some(interner) = interners.get_mut(number) else { continue };
                let mut found = |kind, bytes: &[u8]| interner.set(row, kind, bytes);
                match parts {
                    1 => resolve(last, steps, &mut found)?,
                    _ => resolve(&gather(message, field)?, steps, &mut found)?,
                }
            }
        }
        self.scalars.end(message, &read, row, interners)
    }

    /// Reads one KeyValue; returns the bits of the attributes that it is.
    #[inline(always)]
    fn attribute(&self, message: &[u8], pending: u64, row: u32, interners: &mut [Interner]) -> Result<u64, Malformed> {
        if let Some((key, value)) = KeyValue::canonical(message) {
            if self.key_lengths & length_bit(key) == 0 {
                return Ok(0);
            }
            return self.attribute_of(key, value, pending, row, interners);
        }
        let key_value = KeyValue::read(message)?;
        self.attribute_of(key_value.key, &key_value.value, pending, row, interners)
    }

    fn attribute_of(
        &self,
        key: &[u8],
        value: &[u8],
        pending: u64,
        row: u32,
        interners: &mut [Interner],
    ) -> Result<u64, Malformed> {
        let mut found = 0;
        for (bit, wanted) in self.attributes.iter().enumerate() {
            if pending >> bit & 1 == 1 && wanted.key == key {
                found |= 1 << bit;
                if let Some(interner) = interners.get_mut(wanted.number) {
                    resolve(value, wanted.steps, &mut |kind, bytes| interner.set(row, kind, bytes))?;
                }
            }
        }
        Ok(found)
    }

    /// Takes back what was read of a message that turned out to be malformed.
    fn unset(&self, row: u32, interners: &mut [Interner]) {
        let attributes = self.attributes.iter().map(|wanted| wanted.number);
        let values = self.values.iter().map(|(.., number)| *number);
        for number in attributes.chain(values).chain(self.scalars.numbers()) {
            if let Some(interner) = interners.get_mut(number) {
                interner.unset(row);
            }
        }
    }
}

/// Returns 1 if the message is malformed, else 0.
fn run(plans: &[Plan<'_>], message: &[u8], row: u32, interners: &mut [Interner]) -> u32 {
    if plans.iter().all(|plan| plan.read(message, row, interners).is_ok()) {
        return 0;
    }
    plans.iter().for_each(|plan| plan.unset(row, interners));
    1
}

fn length_bit(key: &[u8]) -> u64 {
    1 << key.len().min(63)
}
