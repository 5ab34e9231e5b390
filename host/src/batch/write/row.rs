//! The message of a row, wherever it is.

use std::borrow::Cow;

use super::{Extent, Floor, LEN, Level, Message, Reader};
use crate::batch::index::MetricData;
use crate::batch::{Batch, Malformed};
use crate::signal::Signal;

/// A row's message in its segment.
pub(super) struct Row<'a> {
    pub segment: usize,
    pub bytes: &'a [u8],
    pub message: Message,
    pub floor: Floor,
    /// The envelope that holds the message, where that is a field of it; else the message itself.
    pub envelope: Extent,
    parts: Cow<'a, [Extent]>,
    /// Whether the parts are fields of the envelope.
    is_chained: bool,
}

impl Row<'_> {
    /// The message's parts in order: mostly one, none where it is not there.
    pub(super) fn parts(&self) -> &[Extent] {
        &self.parts
    }

    /// What encloses a field of this part, below the envelope.
    pub(super) fn chain(&self, part: Extent) -> Chain {
        Chain(self.is_chained.then_some(part))
    }
}

/// At most one enclosing field.
pub(super) struct Chain(Option<Extent>);

impl std::ops::Deref for Chain {
    type Target = [Extent];

    fn deref(&self) -> &[Extent] {
        self.0.as_slice()
    }
}

impl Batch {
    /// Where the message of a row is; None for a data point of a kind that is not known.
    pub(super) fn row<'a>(
        &'a self,
        segment: usize,
        bytes: &'a [u8],
        level: Level,
        row: u32,
    ) -> Result<Option<Row<'a>>, Malformed> {
        let at = row as usize;
        let index = &self.index;
        let envelopes = match level {
            Level::Resource => Some((&index.resources, Message::Resource, Floor::Resource)),
            Level::Scope => Some((&index.scopes, Message::Scope, Floor::Scope)),
            Level::Item | Level::Event | Level::Link | Level::Point => None,
        };
        if let Some((envelopes, message, floor)) = envelopes {
            let Some((envelope, head)) = envelopes.get(row) else { return Ok(None) };
            let parts = match head.parts {
                0 => Cow::Borrowed(&[][..]),
                1 => Cow::Owned(vec![head.extent]),
                _ => Cow::Owned(all_heads(bytes, envelope)?),
            };
            return Ok(Some(Row { segment, bytes, message, floor, envelope, parts, is_chained: true }));
        }
        let (extents, message, floor): (&[Extent], _, _) = match level {
            Level::Item => (&index.items, self.item_message(), Floor::Item),
            Level::Event | Level::Link | Level::Point => {
                let Some(children) = index.children(level) else { return Ok(None) };
                match level {
                    Level::Event => (&children.extents, Message::Event, Floor::Item),
                    Level::Link => (&children.extents, Message::Link, Floor::Item),
                    _ => {
                        let Some(message) = self.point_message(row) else { return Ok(None) };
                        (&children.extents, message, Floor::Container)
                    }
                }
            }
            Level::Resource | Level::Scope => return Ok(None),
        };
        let Some(parts) = extents.get(at..at + 1) else { return Ok(None) };
        let envelope = parts.first().copied().unwrap_or_default();
        let is_chained = level != Level::Item;
        Ok(Some(Row { segment, bytes, message, floor, envelope, parts: Cow::Borrowed(parts), is_chained }))
    }

    fn item_message(&self) -> Message {
        match self.signal {
            Signal::Traces => Message::Span,
            Signal::Metrics => Message::Metric,
            Signal::Logs => Message::Log,
        }
    }

    /// The message of a data point depends on its metric.
    fn point_message(&self, row: u32) -> Option<Message> {
        let points = self.index.points.as_ref()?;
        let item = points.from.partition_point(|&from| from <= row).checked_sub(1)?;
        Some(match self.index.metrics.get(item)?.data {
            MetricData::Gauge | MetricData::Sum => Message::NumberPoint,
            MetricData::Histogram => Message::HistogramPoint,
            MetricData::ExponentialHistogram => Message::ExponentialHistogramPoint,
            MetricData::Summary => Message::SummaryPoint,
            MetricData::None => return None,
        })
    }
}

/// The parts of an envelope's `resource` or `scope`.
fn all_heads(bytes: &[u8], envelope: Extent) -> Result<Vec<Extent>, Malformed> {
    let mut heads = Vec::new();
    let mut fields = Reader::within(bytes, envelope);
    loop {
        let start = fields.at();
        let Some(tag) = fields.tag()? else { return Ok(heads) };
        match (tag.number, tag.wire) {
            (1, LEN) => heads.push(fields.extent(start)?),
            _ => fields.skip(tag, super::DEPTH_MAX)?,
        }
    }
}
