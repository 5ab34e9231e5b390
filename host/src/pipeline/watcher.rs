//! Who watches a stage: taps, shadows, guards. All of them see the same, through one hook in each place where stages are called.
//!
//! A stage that nobody watches costs one load of an atomic for each batch.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::pipeline::stage::{Fault, Generation, PolicyVote};
use crate::signal::Signal;
use crate::tail::traces::Traces;
use crate::tail::verdict::Verdict;

/// Sees what a stage is shown and what it makes of it. It is called on threads that judge: it must neither block nor take long, so it
/// hands on what it wants (bytes are shared, not copied). One that panics costs nobody anything, and watches no more.
pub trait Watcher: Send + Sync {
    /// Whether it wants to see the next batch at this point. Asked once for each batch, before anything is gathered.
    fn wants(&self, point: &Point<'_>) -> bool;
    /// What a processor made of requests: told once, of what counted. Of a batch whose requests were judged each alone it is told of each;
    /// of records that a stage faults on alone, of each beside the others.
    fn seen(&self, seen: &Seen<'_>);
    /// What a policy said of traces.
    fn voted(&self, voted: &Voted<'_>);
    /// What a tail sampler made of traces. Who watches a sampler is not asked before.
    fn decided(&self, _decided: &Decided<'_>) {}
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
    /// It failed on this, which goes on as it came. Where it failed only on some of a batch, that alone is shown here; the batch was shown as
    /// judged before, with these records unchanged.
    Passed(&'a Fault),
    /// It failed, and nothing goes on. Where it failed too often to be called, this is how it did last.
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

/// What a tail sampler made of traces.
#[derive(Clone, Copy, Debug)]
pub struct Decided<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// The sampler's name.
    pub sampler: &'a str,
    /// As of [`Point::is_redacted_before`].
    pub is_redacted: bool,
    /// What was to be decided. What was offered early and is not settled comes again.
    pub traces: &'a Traces,
    /// Their spans, as one request.
    pub spans: &'a Bytes,
    /// One for each trace.
    pub verdicts: &'a [Verdict],
}

/// Those who watch one stage, whatever generation serves.
#[derive(Default)]
pub struct Watchers {
    are_any: AtomicBool,
    list: ArcSwap<Vec<Arc<dyn Watcher>>>,
    /// Held while the list changes, so that `are_any` is of the last change.
    changing: Mutex<()>,
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

    /// All of them.
    pub fn all(&self) -> Vec<Arc<dyn Watcher>> {
        Vec::clone(&self.list.load())
    }

    /// Whether anybody watches.
    pub fn are_any(&self) -> bool {
        self.are_any.load(Ordering::Relaxed)
    }

    /// Has it watch no more.
    pub fn dismiss(&self, watcher: &Arc<dyn Watcher>) {
        self.change(|list| list.retain(|known| !Arc::ptr_eq(known, watcher)));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<dyn Watcher>>)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = self.all();
        change(&mut list);
        self.are_any.store(!list.is_empty(), Ordering::Relaxed);
        self.list.store(Arc::new(list));
    }
}

impl Drop for Watching {
    /// Once: the same one may watch here twice for a moment, when it is told again where to.
    fn drop(&mut self) {
        let watcher = &self.watcher;
        self.watchers.change(|list| {
            if let Some(place) = list.iter().position(|known| Arc::ptr_eq(known, watcher)) {
                list.remove(place);
            }
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Watcher for Nobody {
        fn wants(&self, _point: &Point<'_>) -> bool {
            false
        }

        fn seen(&self, _seen: &Seen<'_>) {}

        fn voted(&self, _voted: &Voted<'_>) {}
    }

    #[test]
    fn each_watching_ends_by_itself() {
        let watchers = Arc::new(Watchers::default());
        let (one, other): (Arc<dyn Watcher>, Arc<dyn Watcher>) = (Arc::new(Nobody), Arc::new(Nobody));
        let first = watchers.watch(Arc::clone(&one));
        let beside = watchers.watch(Arc::clone(&other));
        let again = watchers.watch(Arc::clone(&one));
        drop(first);
        assert!(watchers.all().iter().any(|known| Arc::ptr_eq(known, &one)), "it watches on");
        drop(beside);
        assert_eq!(watchers.all().len(), 1);
        drop(again);
        assert!(!watchers.are_any() && watchers.all().is_empty());
    }

    #[test]
    fn who_is_dismissed_watches_no_more_however_often_it_did() {
        let watchers = Arc::new(Watchers::default());
        let one: Arc<dyn Watcher> = Arc::new(Nobody);
        let watching = (watchers.watch(Arc::clone(&one)), watchers.watch(Arc::clone(&one)));
        watchers.dismiss(&one);
        assert!(!watchers.are_any());
        drop(watching);
        assert!(watchers.all().is_empty());
    }
}
