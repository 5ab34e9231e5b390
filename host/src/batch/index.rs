//! The offset index: where each resource, scope, item and sub-item begins and ends.

use crate::signal::Signal;

use super::Malformed;
use super::levels::Level;
use super::wire::{DEPTH_MAX, Extent, LEN, Reader, VARINT};

/// Rows of all levels of all segments, in byte order; offsets are those of the row's segment.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The first resource row of each segment, closed by the number of resource rows.
    pub segments: Vec<u32>,
    pub resources: Envelopes,
    pub scopes: Envelopes,
    pub items: Vec<Extent>,
    /// Of metrics: one entry per item row.
    pub metrics: Vec<Metric>,
    /// Of metrics: the messages that hold the data points; several per metric where a message was split in parts.
    pub containers: Vec<Extent>,
    pub points: Option<Children>,
    pub events: Option<Children>,
    pub links: Option<Children>,
}

/// Rows of resources or scopes.
#[derive(Debug, Default)]
pub(super) struct Envelopes {
    pub extents: Vec<Extent>,
    /// The first child row of each, closed by the number of child rows.
    pub from: Vec<u32>,
    pub heads: Vec<Head>,
}

/// Where the `resource` or `scope` message of an envelope is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    /// The last one.
    pub extent: Extent,
    /// How many there are; more than one are merged when they are read.
    pub parts: u32,
}

/// Rows below items.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// The first row of each item, closed by the number of rows.
    pub from: Vec<u32>,
    pub extents: Vec<Extent>,
}

/// What the index knows of a metric beyond its extent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metric {
    pub data: MetricData,
    /// The first of its containers; the last is before the next metric's first.
    pub containers_from: u32,
    pub temporality: i32,
    pub monotonic: bool,
}

/// The kind of a metric's data, with OTTL's METRIC_DATA_TYPE_* numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MetricData {
    #[default]
    None = 0,
    Gauge = 1,
    Sum = 2,
    Histogram = 3,
    ExponentialHistogram = 4,
    Summary = 5,
}

impl Index {
    /// Indexes segments.
    pub(super) fn of<'a>(signal: Signal, segments: impl Iterator<Item = &'a [u8]>) -> Result<Index, Malformed> {
        let mut index = Index { points: (signal == Signal::Metrics).then(Children::default), ..Index::default() };
        for segment in segments {
            index.segment(segment, signal)?;
        }
        index.close();
        Ok(index)
    }

    /// Indexes one more segment; `close` must follow the last.
    fn segment(&mut self, bytes: &[u8], signal: Signal) -> Result<(), Malformed> {
        self.segments.push(self.resources.extents.len() as u32);
        let mut fields = Reader::new(bytes);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { return Ok(()) };
            match (tag.number, tag.wire) {
                (1, LEN) => {
                    let extent = fields.extent(start)?;
                    self.resource(bytes, extent, signal)?;
                }
                (1, _) => return fields.wrong_wire(),
                _ => fields.skip(tag, DEPTH_MAX)?,
            }
        }
    }

    /// Closes the lists of first rows.
    pub(super) fn close(&mut self) {
        self.segments.push(self.resources.extents.len() as u32);
        self.resources.from.push(self.scopes.extents.len() as u32);
        self.scopes.from.push(self.items.len() as u32);
        for children in [&mut self.points, &mut self.events, &mut self.links].into_iter().flatten() {
            children.from.push(children.extents.len() as u32);
        }
    }

    /// ResourceSpans, ResourceMetrics, ResourceLogs have the same fields.
    fn resource(&mut self, bytes: &[u8], extent: Extent, signal: Signal) -> Result<(), Malformed> {
        let row = self.resources.open(extent, self.scopes.extents.len());
        let mut fields = Reader::within(bytes, extent);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { return Ok(()) };
            match (tag.number, tag.wire) {
                (1, LEN) => self.resources.head(row, fields.extent(start)?),
                (2, LEN) => {
                    let extent = fields.extent(start)?;
                    self.scope(bytes, extent, signal)?;
                }
                (3, LEN) => drop(fields.extent(start)?),
                (1..=3, _) => return fields.wrong_wire(),
                _ => fields.skip(tag, DEPTH_MAX - 1)?,
            }
        }
    }

    /// ScopeSpans, ScopeMetrics, ScopeLogs have the same fields.
    fn scope(&mut self, bytes: &[u8], extent: Extent, signal: Signal) -> Result<(), Malformed> {
        let row = self.scopes.open(extent, self.items.len());
        let mut fields = Reader::within(bytes, extent);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { return Ok(()) };
            match (tag.number, tag.wire) {
                (2, LEN) => {
                    let extent = fields.extent(start)?;
                    self.items.push(extent);
                    if signal == Signal::Metrics {
                        self.metric(bytes, extent)?;
                    }
                }
                (1, LEN) => self.scopes.head(row, fields.extent(start)?),
                (3, LEN) => drop(fields.extent(start)?),
                (1..=3, _) => return fields.wrong_wire(),
                _ => fields.skip(tag, DEPTH_MAX - 2)?,
            }
        }
    }

    fn metric(&mut self, bytes: &[u8], extent: Extent) -> Result<(), Malformed> {
        let points = self.points.get_or_insert_default();
        let points_from = points.extents.len();
        points.from.push(points_from as u32);
        let containers_from = self.containers.len();
        let mut metric = Metric { containers_from: containers_from as u32, ..Metric::default() };
        let mut fields = Reader::within(bytes, extent);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { break };
            match (MetricData::of_field(tag.number), tag.number, tag.wire) {
                (Some(data), _, LEN) => {
                    if data != metric.data {
                        // A oneof: another variant replaces the one before, the same one is merged with it.
                        points.extents.truncate(points_from);
                        self.containers.truncate(containers_from);
                        metric = Metric { data, containers_from: metric.containers_from, ..Metric::default() };
                    }
                    let extent = fields.extent(start)?;
                    self.containers.push(extent);
                    metric.container(bytes, extent, &mut points.extents)?;
                }
                (None, 1 | 2 | 3 | 12, LEN) => drop(fields.extent(start)?),
                (Some(_), ..) | (None, 1 | 2 | 3 | 12, _) => return fields.wrong_wire(),
                _ => fields.skip(tag, DEPTH_MAX - 3)?,
            }
        }
        self.metrics.push(metric);
        Ok(())
    }

    /// The rows of a level below items, where they were indexed.
    pub(super) fn children(&self, level: Level) -> Option<&Children> {
        match level {
            Level::Resource | Level::Scope | Level::Item => None,
            Level::Event => self.events.as_ref(),
            Level::Link => self.links.as_ref(),
            Level::Point => self.points.as_ref(),
        }
    }

    /// The item rows of a segment.
    pub(super) fn items_of(&self, segment: usize) -> std::ops::Range<u32> {
        let resources = match self.segments.get(segment..segment + 2) {
            Some(&[first, end]) => first..end,
            _ => 0..0,
        };
        self.below(resources, Level::Resource, Level::Item).unwrap_or_default()
    }

    /// Indexes the events and links of a segment's spans.
    pub(super) fn events_and_links(
        &self,
        segment: usize,
        bytes: &[u8],
        events: &mut Children,
        links: &mut Children,
    ) -> Result<(), Malformed> {
        let items = self.items_of(segment);
        for &span in self.items.get(items.start as usize..items.end as usize).unwrap_or_default() {
            events.from.push(events.extents.len() as u32);
            links.from.push(links.extents.len() as u32);
            let mut fields = Reader::within(bytes, span);
            loop {
                let start = fields.at();
                let Some(tag) = fields.tag()? else { break };
                match (tag.number, tag.wire) {
                    (11, LEN) => events.extents.push(fields.extent(start)?),
                    (13, LEN) => links.extents.push(fields.extent(start)?),
                    (11 | 13, _) => return fields.wrong_wire(),
                    _ => fields.skip(tag, DEPTH_MAX - 3)?,
                }
            }
        }
        Ok(())
    }
}

impl Envelopes {
    pub(super) fn get(&self, row: u32) -> Option<(Extent, Head)> {
        Some((*self.extents.get(row as usize)?, *self.heads.get(row as usize)?))
    }

    /// Adds a row whose children begin at row `from`.
    fn open(&mut self, extent: Extent, from: usize) -> usize {
        let row = self.extents.len();
        self.extents.push(extent);
        self.from.push(from as u32);
        self.heads.push(Head::default());
        row
    }

    fn head(&mut self, row: usize, extent: Extent) {
        if let Some(head) = self.heads.get_mut(row) {
            *head = Head { extent, parts: head.parts + 1 };
        }
    }
}

impl Metric {
    /// Reads Gauge, Sum, Histogram, ExponentialHistogram or Summary.
    fn container(&mut self, bytes: &[u8], extent: Extent, points: &mut Vec<Extent>) -> Result<(), Malformed> {
        let has_temporality =
            matches!(self.data, MetricData::Sum | MetricData::Histogram | MetricData::ExponentialHistogram);
        let mut fields = Reader::within(bytes, extent);
        loop {
            let start = fields.at();
            let Some(tag) = fields.tag()? else { return Ok(()) };
            match (tag.number, tag.wire) {
                (1, LEN) => points.push(fields.extent(start)?),
                (1, _) => return fields.wrong_wire(),
                (2, VARINT) if has_temporality => self.temporality = fields.varint()? as i32,
                (2, _) if has_temporality => return fields.wrong_wire(),
                (3, VARINT) if self.data == MetricData::Sum => self.monotonic = fields.varint()? != 0,
                (3, _) if self.data == MetricData::Sum => return fields.wrong_wire(),
                _ => fields.skip(tag, DEPTH_MAX - 4)?,
            }
        }
    }
}

impl MetricData {
    /// By the field of Metric that holds it.
    fn of_field(number: u32) -> Option<MetricData> {
        Some(match number {
            5 => MetricData::Gauge,
            7 => MetricData::Sum,
            9 => MetricData::Histogram,
            10 => MetricData::ExponentialHistogram,
            11 => MetricData::Summary,
            _ => return None,
        })
    }
}
