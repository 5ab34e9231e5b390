//! Who watches a stage: taps, shadows, guards. All of them see the same, through one hook in each place where stages are called.
//!
//! A stage that nobody watches costs one load of an atomic for each batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::pipeline::stage::{Fault, Generation, PolicyVote};
use crate::signal::Signal;
use crate::tail::traces::Traces;

/// Sees what a stage is shown and what it makes of it. It is called on threads that judge: it must neither block nor take long, so it
/// hands on what it wants (bytes are shared, not copied).
pub trait Watcher: Send + Sync {
    /// Whether it wants to see the next batch at this point. Asked once for each batch, before anything is gathered.
    fn wants(&self, point: &Point<'_>) -> bool;
    /// What a processor made of requests.
    fn seen(&self, seen: &Seen<'_>);
    /// What a policy said of traces.
    fn voted(&self, voted: &Voted<'_>);
}

/// Where something was seen.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Its signal.
    pub signal: Signal,
    /// What judges: the stage's name, number and digest.
    pub generation: &'a Arc<dyn Generation>,
    /// Whether every stage that may edit has judged what is shown here before this one (the pipeline's last editing stage stands before it).
    pub is_redacted_before: bool,
    /// The same of what this stage leaves.
    pub is_redacted_after: bool,
}

/// Requests before and after a processor.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Where.
    pub point: Point<'a>,
    /// OTLP requests as the stage was shown them.
    pub before: &'a [Bytes],
    /// What it made of them.
    pub after: After<'a>,
    /// In the guest's calls.
    pub elapsed: Duration,
}

/// What a processor made of what it was shown.
#[derive(Clone, Copy, Debug)]
pub enum After<'a> {
    /// It judged all of it.
    Judged {
        /// What it left of each request; empty where it left nothing.
        bodies: &'a [Bytes],
        /// Rows of `before` that it dropped, as accounts count (spans, log records, data points, over all requests), ascending, each with
        /// the index of its rule among [`Generation::rules`].
        dropped: &'a [(u32, u16)],
        /// Places that it edited, by rule.
        edited: &'a [(u16, u64)],
    },
    /// It failed on some of it, which goes on as it came.
    Passed(&'a Fault),
    /// It failed, and nothing goes on.
    Failed(&'a Fault),
}

/// What one policy said of traces.
#[derive(Clone, Copy, Debug)]
pub struct Voted<'a> {
    /// Where.
    pub point: Point<'a>,
    /// What was decided on.
    pub traces: &'a Arc<Traces>,
    /// Their spans, as one request.
    pub spans: &'a Bytes,
    /// One for each trace, or why there are none.
    pub votes: Result<&'a [PolicyVote], &'a Fault>,
    /// In the guest's call.
    pub elapsed: Duration,
}

/// Those who watch one stage, whatever generation serves.
#[derive(Default)]
pub struct Watchers {
    are_any: AtomicBool,
    list: ArcSwap<Vec<Arc<dyn Watcher>>>,
}

/// Keeps a watcher watching.
#[derive(Debug)]
pub struct Watching {
    watchers: Arc<Watchers>,
    watcher: Arc<dyn Watcher>,
}

impl Watchers {
    /// Has somebody watch until what is returned is dropped.
    pub fn watch(self: &Arc<Self>, watcher: Arc<dyn Watcher>) -> Watching {
        self.change(|list| list.push(Arc::clone(&watcher)));
        Watching { watchers: Arc::clone(self), watcher }
    }

    /// Those who want to see this batch.
    pub fn wanting(&self, point: &Point<'_>) -> Vec<Arc<dyn Watcher>> {
        if !self.are_any() {
            return Vec::new();
        }
        self.list.load().iter().filter(|watcher| watcher.wants(point)).map(Arc::clone).collect()
    }

    /// Whether anybody watches.
    pub fn are_any(&self) -> bool {
        self.are_any.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl Fn(&mut Vec<Arc<dyn Watcher>>)) {
        self.list.rcu(|list| {
            let mut list = Vec::clone(list);
            change(&mut list);
            list
        });
        self.are_any.store(!self.list.load().is_empty(), Ordering::Relaxed);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let watcher = &self.watcher;
        self.watchers.change(|list| list.retain(|known| !Arc::ptr_eq(known, watcher)));
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers").field("count", &self.list.load().len()).finish()
    }
}

impl fmt::Debug for dyn Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}
