//! The last batches of each stage, in memory only, for probing candidates; only where the file lets the admin API show telemetry.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::model::DataAccess;
use crate::memory::{Budget, Charge};
use crate::pipeline::stages::Stages;
use crate::pipeline::watcher::{Point, Seen, Voted, Watcher, Watching};
use crate::signal::Signal;
use crate::tail::traces::Traces;

/// Batches of a stage.
pub const BATCHES_MAX: usize = 8;
/// Bytes of them, of each stage.
pub const BYTES_MAX: u64 = 4 << 20;
/// For how long each is kept.
pub const AGE_MAX: Duration = Duration::from_secs(60);
/// Between two batches once there are enough, so that they are spread over [`AGE_MAX`].
const PAUSE: Duration = Duration::from_millis(7_500);
/// How often what is too old goes.
const PURGE_INTERVAL: Duration = Duration::from_secs(5);

/// What a stage was shown.
#[derive(Clone, Debug)]
pub(super) enum Exhibit {
    /// OTLP requests.
    Batch(Signal, Vec<Bytes>),
    /// Traces that were decided, and their spans.
    Traces(Arc<Traces>, Bytes),
}

/// Of all stages.
pub(in crate::control) struct LastBatches {
    budget: Arc<Budget>,
    rings: Mutex<BTreeMap<String, (Arc<Ring>, Watching)>>,
}

struct Ring {
    budget: Arc<Budget>,
    access: AtomicU8,
    started: Instant,
    /// Milliseconds since `started` before which no further batch is taken.
    next_ms: AtomicU64,
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    at: Instant,
    exhibit: Exhibit,
    charge: Charge,
}

impl LastBatches {
    /// None yet; they are charged here.
    pub(in crate::control) fn new(budget: &Arc<Budget>) -> Arc<Self> {
        let last = Arc::new(Self { budget: Arc::clone(budget), rings: Mutex::default() });
        let weak = Arc::downgrade(&last);
        tokio::spawn(async move {
            while let Some(last) = weak.upgrade() {
                last.purge();
                drop(last);
                tokio::time::sleep(PURGE_INTERVAL).await;
            }
        });
        last
    }

    /// From now on the batches of these stages are kept, as far as this access allows.
    pub(in crate::control) fn follow(&self, stages: &Stages, access: DataAccess) {
        let mut rings = self.rings();
        let mut before = std::mem::take(&mut *rings);
        if access == DataAccess::Off {
            return;
        }
        for generation in stages.snapshot().iter() {
            let name = generation.stage();
            let Some(watchers) = stages.position(name).and_then(|index| stages.watchers(index)) else { continue };
            let (ring, watching) = before.remove(name).unzip();
            let ring = ring.unwrap_or_else(|| Ring::new(&self.budget));
            ring.allow(access);
            let watcher: Arc<dyn Watcher> = Arc::<Ring>::clone(&ring);
            rings.insert(name.to_owned(), (ring, watchers.watch(watcher)));
            // Where it stands for the same stage, it watches twice for a moment, and keeps one.
            drop(watching);
        }
    }

    /// Those of a stage, oldest first.
    pub(super) fn of(&self, stage: &str) -> Vec<Exhibit> {
        let ring = self.rings().get(stage).map(|(ring, _)| Arc::clone(ring));
        ring.map_or_else(Vec::new, |ring| {
            let mut kept = ring.kept();
            Ring::forget(&mut kept);
            kept.iter().map(|kept| kept.exhibit.clone()).collect()
        })
    }

    fn purge(&self) {
        for (ring, _) in self.rings().values() {
            Ring::forget(&mut ring.kept());
        }
    }

    fn rings(&self) -> MutexGuard<'_, BTreeMap<String, (Arc<Ring>, Watching)>> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::clone(budget),
            access: AtomicU8::new(DataAccess::Off as u8),
            started: Instant::now(),
            next_ms: AtomicU64::new(0),
            kept: Mutex::default(),
        })
    }

    /// What was kept by a wider access goes.
    fn allow(&self, access: DataAccess) {
        let before = self.access.swap(access as u8, Ordering::Relaxed);
        if (access as u8) < before {
            self.kept().clear();
        }
    }

    fn keep(&self, exhibit: Exhibit, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > BYTES_MAX {
            return;
        }
        let Some(charge) = self.budget.charge(bytes) else { return };
        let mut kept = self.kept();
        Ring::forget(&mut kept);
        let held = |kept: &VecDeque<Kept>| kept.iter().map(|kept| kept.charge.bytes()).sum::<u64>();
        while kept.len() >= BATCHES_MAX || held(&kept) + bytes > BYTES_MAX {
            kept.pop_front();
        }
        kept.push_back(Kept { at: Instant::now(), exhibit, charge });
        if kept.len() >= BATCHES_MAX {
            let next = self.started.elapsed() + PAUSE;
            self.next_ms.store(u64::try_from(next.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    fn forget(kept: &mut VecDeque<Kept>) {
        while kept.front().is_some_and(|oldest| oldest.at.elapsed() >= AGE_MAX) {
            kept.pop_front();
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Ring {
    fn wants(&self, point: &Point<'_>) -> bool {
        let needed = if point.is_redacted_before { DataAccess::Redacted } else { DataAccess::Full };
        self.access.load(Ordering::Relaxed) >= needed as u8
            && self.started.elapsed().as_millis() >= u128::from(self.next_ms.load(Ordering::Relaxed))
    }

    fn seen(&self, seen: &Seen<'_>) {
        let bytes = seen.before.iter().map(Bytes::len).sum();
        self.keep(Exhibit::Batch(seen.point.signal, seen.before.to_vec()), bytes);
    }

    fn voted(&self, voted: &Voted<'_>) {
        self.keep(Exhibit::Traces(Arc::clone(voted.traces), voted.spans.clone()), voted.spans.len());
    }
}

impl fmt::Debug for LastBatches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastBatches").field("stages", &self.rings().len()).finish_non_exhaustive()
    }
}
