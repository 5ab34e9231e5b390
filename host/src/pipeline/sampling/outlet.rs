//! Where kept spans leave a tail sampler. Their senders were answered long ago, so what a later step cannot take now comes back here and
//! is tried again, within bounded memory.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::ack::promise;
use crate::memory::Budget;
use crate::pipeline::sampling::Message;
use crate::pipeline::{Part, Pipeline};
use crate::tail::shard::Released;

/// A queue that was full is tried again after this.
pub(super) const FULL_INTERVAL: Duration = Duration::from_millis(20);
/// What waited goes on together up to this size: less than the 4 MiB that OTLP receivers take by default.
const TOGETHER_BYTES_MAX: usize = 1 << 20;
/// A stage that could not judge is tried again after this, then after twice as much, and so on.
const FAULT_INTERVAL: Duration = Duration::from_millis(100);
const FAULT_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// After so many faults what was kept is dropped, and counted: about half a minute.
const FAULTS_MAX: u32 = 10;

/// Kept spans on their way out of one shard.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// Released and not yet handed over.
    bytes: AtomicU64,
    bytes_max: AtomicU64,
    parked: Mutex<Vec<Parked>>,
    /// The shard's thread has ended: nothing is tried again. Set while `parked` is locked.
    is_over: AtomicBool,
    /// Tells the shard's thread that something was parked.
    wake: Sender<Message>,
    budget: Arc<Budget>,
}

/// That a part was kept by a tail sampler. Gone once the part was handed over or dropped.
pub struct Kept {
    outlet: Arc<Outlet>,
    /// What it was released into: it goes on there, also once the sampler stands in another one.
    pipeline: Arc<Pipeline>,
    bytes: u64,
    faults: AtomicU32,
}

/// A part that waits to be tried again.
struct Parked {
    part: Part,
    pipeline: Arc<Pipeline>,
    step: usize,
    due: Instant,
}

/// How full an outlet is: what policies keep is thinned out before it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pressure {
    /// Everything may be kept.
    None,
    /// Traces without an error are kept at the fallback's rate.
    ErrorsFirst,
    /// All traces are kept at the fallback's rate.
    Thin,
    /// Nothing can be decided.
    Full,
}

impl Outlet {
    pub(super) fn new(bytes_max: u64, wake: Sender<Message>, budget: Arc<Budget>) -> Arc<Outlet> {
        let (bytes, bytes_max) = (AtomicU64::new(0), AtomicU64::new(bytes_max));
        let (parked, is_over) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Outlet { bytes, bytes_max, parked, is_over, wake, budget })
    }

    /// How much may be on its way out, from now on.
    pub(super) fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Sends released requests into the steps after the sampler, behind those that are to be tried again.
    pub(super) fn release(self: &Arc<Self>, pipeline: &Arc<Pipeline>, step: usize, released: Vec<Released>) {
        if released.is_empty() {
            return;
        }
        pipeline.opened(released.len());
        let mut parts: Vec<Part> = released.into_iter().map(|released| self.part(pipeline, released)).collect();
        let mut parked = self.parked();
        if parked.is_empty() {
            drop(parked);
            while !parts.is_empty() {
                let rest = parts.split_off(together(parts.iter()));
                pipeline.advance(parts, step + 1);
                parts = rest;
            }
        } else {
            let due = parked.iter().map(|parked| parked.due).max().unwrap_or_else(Instant::now);
            let parts =
                parts.into_iter().map(|part| Parked { part, pipeline: Arc::clone(pipeline), step: step + 1, due });
            parked.extend(parts);
        }
    }

    fn part(self: &Arc<Self>, pipeline: &Arc<Pipeline>, released: Released) -> Part {
        let Released { body, spans } = released;
        let bytes = body.len() as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Nobody waits for this answer.
        let (ack, _answer) = promise(|_outcome| {});
        let (outlet, pipeline) = (Arc::clone(self), Arc::clone(pipeline));
        let kept = Some(Arc::new(Kept { outlet, pipeline, bytes, faults: AtomicU32::new(0) }));
        let charge = Arc::new(self.budget.charge_over(bytes));
        Part { body, account: spans, ack, charge, request: None, kept }
    }

    /// Tries again what is due, in the order in which it came back, until something comes back at once. What has waited goes on together:
    /// a destination that is slow for each request gets fewer and larger ones.
    pub(super) fn try_again(&self, now: Instant) {
        let parked = std::mem::take(&mut *self.parked());
        let (mut due, mut later): (Vec<_>, Vec<_>) = parked.into_iter().partition(|parked| parked.due <= now);
        while let Some(first) = due.first() {
            let (pipeline, step) = (Arc::clone(&first.pipeline), first.step);
            let is_like = |parked: &&Parked| parked.step == step && Arc::ptr_eq(&parked.pipeline, &pipeline);
            let of_step = due.iter().take_while(is_like);
            let rest = due.split_off(together(of_step.map(|parked| &parked.part)));
            let parts = due.into_iter().map(|parked| parked.part).collect();
            due = rest;
            pipeline.advance(parts, step);
            if !self.parked().is_empty() {
                break;
            }
        }
        // What is behind something that came back need not be tried before it.
        due.iter_mut().for_each(|parked| parked.due = now + FULL_INTERVAL);
        let mut parked = self.parked();
        parked.append(&mut due);
        parked.append(&mut later);
    }

    /// When something is to be tried again.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.parked().iter().map(|parked| parked.due).min()
    }

    pub(super) fn pressure(&self) -> Pressure {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed).max(1);
        let percent = self.bytes.load(Ordering::Relaxed).saturating_mul(100) / bytes_max;
        match percent {
            0..50 => Pressure::None,
            50..75 => Pressure::ErrorsFirst,
            75..100 => Pressure::Thin,
            _ => Pressure::Full,
        }
    }

    /// Bytes on their way out.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts as dropped what still waits to be tried again, and what would from now on.
    pub(super) fn give_up(&self, sampler: &str) {
        let parked = {
            let mut parked = self.parked();
            self.is_over.store(true, Ordering::Relaxed);
            std::mem::take(&mut *parked)
        };
        let stopping = crate::ack::Outcome::Retry { after: None, message: "the sampler is stopping".to_owned() };
        for Parked { part, pipeline, .. } in parked {
            pipeline.refuse(vec![Part { kept: None, ..part }], 0, sampler, "shutdown", &stopping);
        }
    }

    /// Has a part tried again after a while; it comes back where nothing is any more.
    fn park(&self, pipeline: &Arc<Pipeline>, part: Part, step: usize, wait: Duration) -> Option<Part> {
        let mut parked = self.parked();
        if self.is_over.load(Ordering::Relaxed) {
            return Some(part);
        }
        parked.push(Parked { part, pipeline: Arc::clone(pipeline), step, due: Instant::now() + wait });
        None
    }

    fn parked(&self) -> MutexGuard<'_, Vec<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of these parts go on together, at least one.
fn together<'a>(parts: impl Iterator<Item = &'a Part>) -> usize {
    let sums = parts.scan(0, |bytes, part| {
        *bytes += part.body.len();
        Some(*bytes)
    });
    sums.take_while(|bytes| *bytes <= TOGETHER_BYTES_MAX).count().max(1)
}

/// Parts that have a sender to try them again, or that were tried often enough; the others wait for their sampler.
pub(in crate::pipeline) fn take_back(parts: Vec<Part>, step: usize, reason: &'static str) -> Vec<Part> {
    let mut others = Vec::new();
    for part in parts {
        let wait = part.kept.as_ref().and_then(|kept| kept.wait_after(reason));
        match (part.kept.clone(), wait) {
            (Some(kept), Some(wait)) => match kept.outlet.park(&kept.pipeline, part, step, wait) {
                Some(part) => others.push(part),
                // A thread that ends just now gives up what is parked.
                None => drop(kept.outlet.wake.send(Message::Parked)),
            },
            _ => others.push(part),
        }
    }
    others
}

impl Kept {
    /// How long to wait before the next try; None where there is none.
    fn wait_after(&self, reason: &'static str) -> Option<Duration> {
        match reason {
            "queue_full" => Some(FULL_INTERVAL),
            "shutdown" => None,
            _ => {
                let faults = self.faults.fetch_add(1, Ordering::Relaxed);
                let wait = FAULT_INTERVAL.saturating_mul(2_u32.saturating_pow(faults)).min(FAULT_INTERVAL_MAX);
                (faults < FAULTS_MAX).then_some(wait)
            }
        }
    }
}

/// Without the pipeline, which may hold what holds this.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parked").field("step", &self.step).finish_non_exhaustive()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.outlet.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
