//! From an admitted request to the exporters' queues.
//!
//! ```text
//! inlet -> (worker: index -> judge by each stage -> splice) -> merge -> ... -> hand over
//! ```
//! A pipeline's steps are fixed when it is assembled; only the generations behind its stages change ([`stages::Stages`]).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::ack::{Ack, Outcome};
use crate::export::Exporter;
use crate::memory::Charge;
use crate::observe::metrics::{Metrics, PipelineMetrics, ReceiverMetrics};
use crate::pipeline::merge::Merger;
use crate::pipeline::worker::{Job, Workers};
use crate::signal::Signal;

pub mod assemble;
pub mod hand_over;
pub mod inlet;
pub mod intake;
pub mod judge;
pub mod merge;
pub mod stage;
pub mod stages;
pub mod worker;

/// What a sender is told to wait when a queue was full (OTLP specification, "OTLP/gRPC Throttling").
const RETRY_AFTER_FULL: Duration = Duration::from_secs(1);

/// What flows: one request, or what stages left of it.
#[derive(Debug)]
pub struct Part {
    /// OTLP protobuf.
    pub body: Bytes,
    /// Spans, data points or log records in `body`.
    pub account: u64,
    /// The promise to its sender.
    pub ack: Ack,
    /// Where it came from, shared by all copies.
    pub request: Arc<Request>,
}

/// One request as it was admitted.
#[derive(Debug)]
pub struct Request {
    receiver: ReceiverMetrics,
    /// Items in it, once counted.
    account: OnceLock<u64>,
    charge: Arc<Charge>,
}

impl Request {
    /// A request whose items are not known yet.
    pub fn new(receiver: ReceiverMetrics, charge: Charge) -> Self {
        Self { receiver, account: OnceLock::new(), charge: Arc::new(charge) }
    }

    /// Its items are known; counted once, however many pipelines it goes to.
    fn count(&self, account: u64) {
        if self.account.set(account).is_ok() {
            self.receiver.received.inc_by(account);
        }
    }

    /// What its sender is told.
    fn answered(&self, outcome: &Outcome) {
        let account = self.account.get().copied().unwrap_or(0);
        let refused = match outcome {
            Outcome::Accepted { .. } => 0,
            Outcome::Partial { rejected, .. } => account.min(*rejected),
            Outcome::Retry { .. } | Outcome::Refused { .. } => account,
        };
        self.receiver.refused.inc_by(refused);
        self.receiver.accepted.inc_by(account - refused);
    }
}

/// One pipeline of the config, assembled.
#[derive(Debug)]
pub struct Pipeline {
    name: String,
    signal: Signal,
    steps: Vec<Step>,
    exporters: Vec<Arc<Exporter>>,
    workers: Workers,
    runtime: tokio::runtime::Handle,
    metrics: PipelineMetrics,
    all_metrics: Arc<Metrics>,
    /// Requests (parts) inside: submitted and neither handed over nor answered.
    open_parts: AtomicU32,
}

/// A step of a pipeline. Neighbouring stages are one step: the bytes are indexed and spliced once for all of them.
#[derive(Debug)]
enum Step {
    /// Indices into [`stages::Stages`].
    Guests(Vec<usize>),
    Merge(Merger),
}

impl Pipeline {
    /// The name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The signal of its items.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Sends parts through the steps from number `from` on.
    fn advance(self: &Arc<Self>, parts: Vec<Part>, from: usize) {
        if parts.is_empty() {
            return;
        }
        match self.steps.get(from) {
            Some(Step::Guests(_)) => {
                if let Err(job) = self.workers.submit(Job { pipeline: Arc::clone(self), step: from, parts }) {
                    self.refuse(job.parts, "workers", "queue_full", Some(RETRY_AFTER_FULL), "all workers are busy");
                }
            }
            Some(Step::Merge(merger)) => merger.add(self, from, parts),
            None => self.hand_over(parts),
        }
    }

    /// True where the first thing that happens to a request is a guest call, so that indexing is left to the worker.
    fn starts_with_guests(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Guests(_)))
    }

    /// Parts entered: counted once their items are known.
    fn entered(&self, account: u64) {
        self.metrics.accepted.inc_by(account);
        self.metrics.held.inc_by(signed(account));
    }

    /// Items left the pipeline otherwise than to exporters.
    fn left(&self, account: u64) {
        self.metrics.held.dec_by(signed(account));
    }

    fn opened(&self, parts: usize) {
        self.open_parts.fetch_add(u32::try_from(parts).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Parts are no longer inside; a merger that waited for them may now hold all that is.
    fn closed(self: &Arc<Self>, parts: usize) {
        self.open_parts.fetch_sub(u32::try_from(parts).unwrap_or(u32::MAX), Ordering::Relaxed);
        for (number, step) in self.steps.iter().enumerate() {
            if let Step::Merge(merger) = step {
                merger.flush_if_complete(self, number);
            }
        }
    }

    fn open_parts(&self) -> usize {
        self.open_parts.load(Ordering::Relaxed) as usize
    }

    /// Tells senders to come back later, and counts.
    fn refuse(
        self: &Arc<Self>,
        parts: Vec<Part>,
        stage: &str,
        reason: &'static str,
        after: Option<Duration>,
        message: &str,
    ) {
        self.turn_away(parts, stage, reason, &Outcome::Retry { after, message: message.to_owned() });
    }

    /// Answers senders whose items are not taken over, and counts.
    fn turn_away(self: &Arc<Self>, parts: Vec<Part>, stage: &str, reason: &'static str, answer: &Outcome) {
        let account: u64 = parts.iter().map(|part| part.account).sum();
        self.all_metrics.dropped(&self.name, self.signal, stage, "", reason, false).inc_by(account);
        self.left(account);
        let count = parts.len();
        for part in parts {
            part.ack.settle(answer.clone());
        }
        self.closed(count);
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
