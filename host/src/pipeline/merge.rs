//! `batch`: requests wait for each other and go on together. Merging is concatenation, so nothing is copied here.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::batch::{Batch, Drops, Level, RowSet};
use crate::config::model::Merge;
use crate::pipeline::{Part, Pipeline};

/// Requests waiting at one `batch` step.
#[derive(Debug)]
pub struct Merger {
    keys: Arc<Merge>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    parts: Vec<Part>,
    account: u64,
    /// Counts flushes, so that a timer knows whether its batch is still there.
    flushes: u64,
}

impl Merger {
    /// With the keys of the config.
    pub fn new(keys: Arc<Merge>) -> Self {
        Self { keys, waiting: Mutex::default() }
    }

    /// Adds parts at step `step` of `pipeline`; full batches go on at once.
    pub fn add(&self, pipeline: &Arc<Pipeline>, step: usize, parts: Vec<Part>) {
        let mut ready = Vec::new();
        {
            let mut waiting = self.lock();
            for part in parts.into_iter().flat_map(|part| self.split(pipeline, part)) {
                let too_many = self.keys.items_max.is_some_and(|max| waiting.account + part.account > max);
                if too_many && !waiting.parts.is_empty() {
                    ready.push(waiting.take());
                }
                if waiting.parts.is_empty() {
                    self.start_timer(pipeline, step, waiting.flushes);
                }
                waiting.account += part.account;
                waiting.parts.push(part);
                if waiting.account >= self.keys.items || self.keys.timeout.is_zero() {
                    ready.push(waiting.take());
                }
            }
        }
        for parts in ready {
            pipeline.advance(parts, step + 1);
        }
        self.flush_if_complete(pipeline, step);
    }

    /// Waiting longer is pointless once every open request is here: their senders wait for us.
    pub fn flush_if_complete(&self, pipeline: &Arc<Pipeline>, step: usize) {
        let parts = {
            let mut waiting = self.lock();
            if waiting.parts.is_empty() || waiting.parts.len() < pipeline.open_parts() {
                return;
            }
            waiting.take()
        };
        pipeline.advance(parts, step + 1);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_timer(&self, pipeline: &Arc<Pipeline>, step: usize, flushes: u64) {
        let timeout = self.keys.timeout;
        if timeout.is_zero() {
            return;
        }
        let pipeline_there: Weak<Pipeline> = Arc::downgrade(pipeline);
        pipeline.runtime.spawn(async move {
            tokio::time::sleep(timeout).await;
            let Some(pipeline) = pipeline_there.upgrade() else { return };
            if let Some(super::Step::Merge(merger)) = pipeline.steps.get(step) {
                merger.flush_older(&pipeline, step, flushes);
            }
        });
    }

    fn flush_older(&self, pipeline: &Arc<Pipeline>, step: usize, flushes: u64) {
        let parts = {
            let mut waiting = self.lock();
            if waiting.flushes != flushes {
                return;
            }
            waiting.take()
        };
        pipeline.advance(parts, step + 1);
    }

    /// A request larger than `send_batch_max_size` goes on in several parts, each acknowledged with the whole.
    fn split(&self, pipeline: &Arc<Pipeline>, part: Part) -> Vec<Part> {
        let Some(max) = self.keys.items_max.filter(|&max| part.account > max) else { return vec![part] };
        let Ok(batch) = Batch::index(pipeline.signal, vec![part.body.clone()]) else { return vec![part] };
        let ranges = ranges_of(&batch, max);
        if ranges.len() < 2 {
            return vec![part];
        }
        pipeline.opened(ranges.len() - 1);
        let pieces = ranges.into_iter().filter_map(|range| piece(pipeline, &part, range)).collect();
        part.ack.settle(crate::ack::Outcome::ACCEPTED);
        pieces
    }
}

impl Waiting {
    fn take(&mut self) -> Vec<Part> {
        self.flushes += 1;
        self.account = 0;
        std::mem::take(&mut self.parts)
    }
}

/// Item rows in ranges of at most `max` spans, log records or data points; a metric with more points goes alone.
fn ranges_of(batch: &Batch, max: u64) -> Vec<Range<u32>> {
    let mut ranges = Vec::new();
    let (mut start, mut account) = (0, 0);
    for row in 0..batch.items() {
        let more = batch.account_of(row..row + 1);
        if row > start && account + more > max {
            ranges.push(start..row);
            (start, account) = (row, 0);
        }
        account += more;
    }
    ranges.push(start..batch.items());
    ranges
}

/// The request without the items outside of `keep`.
fn piece(pipeline: &Pipeline, part: &Part, keep: Range<u32>) -> Option<Part> {
    let mut batch = Batch::index(pipeline.signal, vec![part.body.clone()]).ok()?;
    let all = batch.slice(0..batch.items());
    let mut others = RowSet::empty(Level::Item, batch.items());
    for row in (0..keep.start).chain(keep.end..batch.items()) {
        others.insert(row);
    }
    let mut drops = Drops::new(&batch);
    drops.add(&batch, &all, &others);
    batch.apply(drops);
    let segment = batch.into_segments().into_iter().next()?;
    let (ack, request) = (part.ack.split(), Arc::clone(&part.request));
    Some(Part { body: segment.bytes, account: segment.account, ack, request })
}
