//! `batch`: requests wait for each other and go on together. Merging is concatenation, so nothing is copied here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::time::Instant;

use crate::config::model::Merge;
use crate::pipeline::{Part, Pipeline, Step, split};

/// Requests go on together up to this size, however small their items are counted.
const MERGED_BYTES_MAX: usize = 64 << 20;

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
    bytes: usize,
    /// When the first of `parts` is due.
    due: Option<Instant>,
    /// One at most, however often parts come and go.
    has_timer: bool,
    /// The process stops: nobody is waited for.
    is_over: bool,
}

impl Merger {
    /// How long it holds what comes, at most.
    pub(super) fn timeout(&self) -> std::time::Duration {
        self.keys.timeout
    }

    /// With the keys of the config.
    pub fn new(keys: Arc<Merge>) -> Self {
        Self { keys, waiting: Mutex::default() }
    }

    /// Adds parts at step `step` of `pipeline`; what is to go on at once comes back, batch by batch.
    pub(super) fn add(&self, pipeline: &Arc<Pipeline>, step: usize, parts: Vec<Part>) -> Vec<Vec<Part>> {
        let parts = match self.keys.items_max {
            Some(max) if parts.iter().any(|part| part.account > max) => {
                parts.into_iter().flat_map(|part| split::split(pipeline, part, max)).collect()
            }
            _ => parts,
        };
        let mut ready = Vec::new();
        let mut waiting = self.lock();
        for part in parts {
            if waiting.would_be_too_large(&part, &self.keys) {
                ready.push(waiting.take());
            }
            waiting.push(part, &self.keys);
            if waiting.account >= self.keys.items || self.keys.timeout.is_zero() || waiting.is_over {
                ready.push(waiting.take());
            }
        }
        if waiting.is_complete(pipeline) {
            ready.push(waiting.take());
        } else if let Some(due) = waiting.due
            && !waiting.has_timer
        {
            waiting.has_timer = true;
            start_timer(pipeline, step, due);
        }
        ready
    }

    /// All that waits, if that is all that is open. Waiting longer is pointless then: their senders wait for us.
    pub(super) fn take_if_complete(&self, pipeline: &Pipeline) -> Option<Vec<Part>> {
        let mut waiting = self.lock();
        waiting.is_complete(pipeline).then(|| waiting.take())
    }

    /// All that waits; from now on parts go straight on.
    pub(super) fn stop_waiting(&self) -> Vec<Part> {
        let mut waiting = self.lock();
        waiting.is_over = true;
        waiting.take()
    }

    /// What is due now, else when something will be; neither ends the timer.
    fn on_timer(&self) -> Result<Vec<Part>, Instant> {
        let mut waiting = self.lock();
        match waiting.due {
            Some(due) if due > Instant::now() => Err(due),
            _ => {
                waiting.has_timer = false;
                Ok(waiting.take())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one timer of a merge. It ends when nothing waits, and with the pipeline.
fn start_timer(pipeline: &Arc<Pipeline>, step: usize, due: Instant) {
    let pipeline_there: Weak<Pipeline> = Arc::downgrade(pipeline);
    pipeline.runtime.spawn(async move {
        let mut due = due;
        loop {
            tokio::time::sleep_until(due).await;
            let Some(pipeline) = pipeline_there.upgrade() else { return };
            let Some(Step::Merge(merger)) = pipeline.steps.get(step) else { return };
            match merger.on_timer() {
                Ok(parts) => return pipeline.advance(parts, step + 1),
                Err(later) => due = later,
            }
        }
    });
}

impl Waiting {
    fn push(&mut self, part: Part, keys: &Merge) {
        if self.parts.is_empty() {
            self.due = Instant::now().checked_add(keys.timeout);
        }
        self.account += part.account;
        self.bytes += part.body.len();
        self.parts.push(part);
    }

    fn take(&mut self) -> Vec<Part> {
        (self.account, self.bytes, self.due) = (0, 0, None);
        std::mem::take(&mut self.parts)
    }

    fn would_be_too_large(&self, part: &Part, keys: &Merge) -> bool {
        let items = keys.items_max.is_some_and(|max| self.account + part.account > max);
        !self.parts.is_empty() && (items || self.bytes + part.body.len() > MERGED_BYTES_MAX)
    }

    fn is_complete(&self, pipeline: &Pipeline) -> bool {
        !self.parts.is_empty() && self.parts.len() >= pipeline.open_parts()
    }
}

#[cfg(test)]
impl Merger {
    /// Whether anything waits here.
    pub(super) fn holds_any(&self) -> bool {
        !self.lock().parts.is_empty()
    }
}
