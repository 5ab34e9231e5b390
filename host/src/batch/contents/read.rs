//! Reading the contents of a slice: its envelopes' own fields, then its items.

use std::ops::Range;

use super::table::MessageType;
use super::walk::{Stop, Walk};
use super::{Contents, Envelope};
use crate::batch::index::Index;
use crate::batch::levels::{Level, Slice};
use crate::batch::wire::Extent;
use crate::batch::{Batch, TooLarge};
use crate::signal::Signal;

/// The messages of a signal's envelopes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages {
    pub request: MessageType,
    pub resource: MessageType,
    pub scope: MessageType,
    pub item: MessageType,
}

impl Messages {
    pub(super) fn of(signal: Signal) -> Messages {
        match signal {
            Signal::Traces => Messages {
                request: MessageType::ExportTraceServiceRequest,
                resource: MessageType::ResourceSpans,
                scope: MessageType::ScopeSpans,
                item: MessageType::Span,
            },
            Signal::Metrics => Messages {
                request: MessageType::ExportMetricsServiceRequest,
                resource: MessageType::ResourceMetrics,
                scope: MessageType::ScopeMetrics,
                item: MessageType::Metric,
            },
            Signal::Logs => Messages {
                request: MessageType::ExportLogsServiceRequest,
                resource: MessageType::ResourceLogs,
                scope: MessageType::ScopeLogs,
                item: MessageType::LogRecord,
            },
        }
    }
}

impl Batch {
    /// Finds everything in the slice that can hold text. Fields that nobody can judge are noted; those of envelopes with the envelope's
    /// first item only, so that each is noted once in all slices.
    ///
    /// What it takes is taken from `bytes_left`, which never reaches 0. Returns how many messages were malformed: not all of their
    /// contents were found.
    pub fn read_contents(&self, slice: &Slice, out: &mut Contents, bytes_left: &mut u64) -> Result<u32, TooLarge> {
        out.clear();
        let mut read = Read {
            batch: self,
            slice,
            messages: Messages::of(self.signal),
            walk: Walk::new(self, out, bytes_left),
            malformed: 0,
        };
        for (number, segment) in self.segments.iter().enumerate() {
            let resources = self.index.resources_of(number);
            let shown = common(&resources, &slice.resources);
            let is_first = read.has_first(number, &resources);
            if !segment.dropped && (is_first || !shown.is_empty()) {
                read.walk.segment(number, &segment.bytes);
                let whole = Extent { start: 0, body: 0, end: segment.bytes.len() as u32 };
                if is_first {
                    let below = part(&self.index.resources.extents, &resources);
                    let request = (Envelope::Request, number as u32);
                    read.envelope(read.messages.request, request, whole, below, &(0..0))?;
                }
                read.resources(shown)?;
            }
        }
        Ok(read.malformed)
    }
}

struct Read<'a, 'o> {
    batch: &'a Batch,
    slice: &'a Slice,
    messages: Messages,
    walk: Walk<'a, 'o>,
    malformed: u32,
}

impl Read<'_, '_> {
    /// Whether the slice answers for a request's own fields: it has its first item, or where it has none its first row; a request
    /// without rows is the first slice's.
    fn has_first(&self, segment: usize, resources: &Range<u32>) -> bool {
        let items = self.batch.index.items_of(segment);
        match (items.is_empty(), resources.is_empty()) {
            (false, _) => self.slice.items.contains(&items.start),
            (true, false) => self.slice.resources.contains(&resources.start),
            (true, true) => self.slice.items.start == 0,
        }
    }

    fn resources(&mut self, shown: Range<u32>) -> Result<(), TooLarge> {
        let index = &self.batch.index;
        for row in shown {
            let Some((extent, _)) = index.resources.get(row) else { continue };
            let scopes = index.below(row..row + 1, Level::Resource, Level::Scope).unwrap_or_default();
            let items = index.below(row..row + 1, Level::Resource, Level::Item).unwrap_or_default();
            let below = part(&index.scopes.extents, &scopes);
            self.envelope(self.messages.resource, (Envelope::Resource, row), extent, below, &items)?;
            for row in common(&scopes, &self.slice.scopes) {
                self.scope(row)?;
            }
        }
        Ok(())
    }

    fn scope(&mut self, row: u32) -> Result<(), TooLarge> {
        let index = &self.batch.index;
        let Some((extent, _)) = index.scopes.get(row) else { return Ok(()) };
        let items = index.below(row..row + 1, Level::Scope, Level::Item).unwrap_or_default();
        let below = part(&index.items, &items);
        self.envelope(self.messages.scope, (Envelope::Scope, row), extent, below, &items)?;
        let shown = common(&items, &self.slice.items);
        for (row, &extent) in shown.clone().zip(part(&index.items, &shown)) {
            self.malformed += Stop::malformed(self.walk.item(self.messages.item, row, extent))?;
        }
        Ok(())
    }

    /// Walks what lies between the rows of an envelope.
    fn envelope(
        &mut self,
        message: MessageType,
        envelope: (Envelope, u32),
        extent: Extent,
        below: &[Extent],
        items: &Range<u32>,
    ) -> Result<(), TooLarge> {
        let is_first = items.is_empty() || self.slice.items.contains(&items.start);
        let mut at = extent.body;
        let starts = below.iter().map(|row| (row.start, row.end)).chain([(extent.end, extent.end)]);
        for (start, end) in starts {
            if start > at {
                let gap = Extent { start: extent.start, body: at, end: start };
                self.malformed += Stop::malformed(self.walk.envelope(message, envelope, gap, is_first))?;
            }
            at = end;
        }
        Ok(())
    }
}

impl Index {
    /// The resource rows of a segment.
    pub(super) fn resources_of(&self, segment: usize) -> Range<u32> {
        match self.segments.get(segment..segment + 2) {
            Some(&[first, end]) => first..end,
            _ => 0..0,
        }
    }
}

fn common(a: &Range<u32>, b: &Range<u32>) -> Range<u32> {
    let start = a.start.max(b.start);
    start..a.end.min(b.end).max(start)
}

fn part<'a>(extents: &'a [Extent], rows: &Range<u32>) -> &'a [Extent] {
    extents.get(rows.start as usize..rows.end as usize).unwrap_or_default()
}
