//! From an admitted request to the exporters' queues.
//!
//! ```text
//! inlet -> (worker: index -> judge by each stage -> splice) -> merge -> ... -> hand over
//!                                                  `-> tail sampling -> (later) what is kept goes on
//! ```
//! A pipeline's steps are fixed when it is assembled; only the generations behind its stages change ([`stages::Stages`]). A file that says
//! anything else has all pipelines assembled anew; those before finish what is inside them, by the stages that they had.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::ack::{Ack, Outcome};
use crate::export::Exporter;
use crate::memory::Charge;
use crate::observe::dead_letter::DeadLetters;
use crate::observe::metrics::{Metrics, PipelineMetrics, ReceiverMetrics};
use crate::pipeline::merge::Merger;
use crate::pipeline::sampling::outlet::Kept;
use crate::pipeline::sampling::{Sampler, Terms};
use crate::pipeline::stages::Stages;
use crate::pipeline::worker::{Job, Way};
use crate::signal::Signal;

pub mod aside;
pub mod assemble;
mod audience;
mod bisect;
mod burial;
pub mod canary;
pub mod condition;
pub mod hand_over;
pub mod health;
pub mod inlet;
pub mod intake;
pub mod judge;
mod late;
pub mod merge;
mod redaction;
pub mod sampling;
pub mod scratch;
mod seat;
mod split;
pub mod stage;
pub mod stages;
pub mod standing;
mod tenure;
#[cfg(test)]
mod tests;
mod trial;
pub mod watcher;
pub mod worker;

/// What a sender is told to wait when a queue was full (OTLP specification, "OTLP/gRPC Throttling").
const RETRY_AFTER_FULL: Duration = Duration::from_secs(1);

/// One pipeline of the config, assembled.
#[derive(Debug)]
pub struct Pipeline {
    name: String,
    signal: Signal,
    stages: Arc<Stages>,
    steps: Vec<Step>,
    exporters: Vec<Arc<Exporter>>,
    workers: Way,
    runtime: tokio::runtime::Handle,
    metrics: PipelineMetrics,
    all_metrics: Arc<Metrics>,
    /// An exporter that fails for longer no longer holds up the others.
    failing_votes_until: Duration,
    /// For the bisections of one batch.
    bisecting_max: Duration,
    /// For the requests of one batch that are judged alone.
    alone_max: Duration,
    /// Where it is told what stages could not judge.
    dead_letters: Option<Arc<DeadLetters>>,
    /// Parts inside: they came in, and were neither handed over nor answered.
    open_parts: AtomicUsize,
}

/// A step of a pipeline. Neighbouring stages are one step: the bytes are indexed and spliced once for all of them.
#[derive(Debug)]
enum Step {
    /// Indices into [`stages::Stages`].
    Guests(Vec<usize>),
    Merge(Merger),
    /// A sampler outlives its pipeline where the next file has it, too.
    Sample(Arc<Sampler>, Terms),
}

/// What flows: one request, or what stages left of it.
#[derive(Debug)]
pub struct Part {
    /// OTLP protobuf.
    pub body: Bytes,
    /// Spans, data points or log records in `body`.
    pub account: u64,
    /// The promise to its sender.
    pub ack: Ack,
    /// What `body` takes of the budget; shared by all who share these bytes.
    pub charge: Arc<Charge>,
    /// Where it came from, shared by all copies; None for what a tail sampler kept.
    pub request: Option<Arc<Request>>,
    /// Of a tail sampler: nobody would send it again, so it is tried again from here.
    pub kept: Option<Arc<Kept>>,
}

/// One request as it was admitted.
#[derive(Debug)]
pub struct Request {
    receiver: ReceiverMetrics,
    /// Items in it, once counted.
    account: OnceLock<u64>,
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

    /// From now on nothing waits to be merged: nobody else is coming.
    pub fn stop_waiting(self: &Arc<Self>) {
        for (number, step) in self.steps.iter().enumerate() {
            if let Step::Merge(merger) = step {
                self.advance(merger.stop_waiting(), number + 1);
            }
        }
    }

    /// Sends parts through the steps from number `from` on. Whoever has closed parts calls this afterwards, if need be with none:
    /// a merge may now hold everything that is open, and then goes on too.
    fn advance(self: &Arc<Self>, parts: Vec<Part>, from: usize) {
        // A list, not a recursion: what leaves here may complete a merge, whose leaving completes another one.
        let mut ready = vec![(parts, from)];
        while let Some((parts, from)) = ready.pop().or_else(|| self.complete_merge()) {
            if parts.is_empty() {
                continue;
            }
            match self.steps.get(from) {
                Some(Step::Guests(_)) => {
                    if let Err(job) = self.workers.submit(Job { pipeline: Arc::clone(self), step: from, parts }) {
                        let busy = retry(RETRY_AFTER_FULL, "all workers are busy");
                        self.refuse(job.parts, from, "workers", "queue_full", &busy);
                    }
                }
                Some(Step::Sample(sampler, _)) => sampler.take(self, from, parts),
                Some(Step::Merge(merger)) => {
                    let merged = merger.add(self, from, parts);
                    ready.extend(merged.into_iter().rev().map(|parts| (parts, from + 1)));
                }
                None => self.hand_over(parts),
            }
        }
    }

    /// What waits at a merge that holds every open part, and the step after it: whose senders wait send nothing more.
    fn complete_merge(&self) -> Option<(Vec<Part>, usize)> {
        self.steps.iter().enumerate().find_map(|(number, step)| match step {
            Step::Merge(merger) => Some((merger.take_if_complete(self)?, number + 1)),
            Step::Guests(_) | Step::Sample(..) => None,
        })
    }

    /// True where the first step reads requests anyway, so that counting their items is left to it.
    fn counts_at_first_step(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Guests(_) | Step::Sample(..)))
    }

    /// Tail samplers among the steps, and the steps' numbers.
    pub fn samplers(&self) -> impl Iterator<Item = (usize, &Arc<Sampler>)> {
        self.steps.iter().enumerate().filter_map(|(number, step)| match step {
            Step::Sample(sampler, _) => Some((number, sampler)),
            Step::Guests(_) | Step::Merge(_) => None,
        })
    }

    /// Items entered, once they are known.
    fn entered(&self, account: u64) {
        self.metrics.accepted.inc_by(account);
        self.metrics.held.inc_by(signed(account));
    }

    /// Items left, to exporters or otherwise.
    fn left(&self, account: u64) {
        self.metrics.held.dec_by(signed(account));
    }

    fn opened(&self, parts: usize) {
        self.open_parts.fetch_add(parts, Ordering::Relaxed);
    }

    fn closed(&self, parts: usize) {
        self.open_parts.fetch_sub(parts, Ordering::Relaxed);
    }

    /// Whether nothing is inside any more and nobody else can send anything into it.
    pub fn is_finished(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.open_parts() == 0
    }

    /// Parts inside. Exact for whoever holds a merge's lock, which every part passes that this is compared with.
    fn open_parts(&self) -> usize {
        self.open_parts.load(Ordering::Relaxed)
    }

    /// Answers parts that go no further, and counts their items as dropped. What a tail sampler kept goes back to it instead, to try step
    /// `at` again: nobody else would.
    fn refuse(&self, parts: Vec<Part>, at: usize, stage: &str, reason: &'static str, outcome: &Outcome) {
        let parts = match outcome {
            Outcome::Retry { .. } => sampling::outlet::take_back(parts, at, reason),
            Outcome::Accepted { .. } | Outcome::Partial { .. } | Outcome::Refused { .. } => parts,
        };
        if parts.is_empty() {
            return;
        }
        let account: u64 = parts.iter().map(|part| part.account).sum();
        self.all_metrics.dropped(&self.name, self.signal, stage, "", reason, false).inc_by(account);
        self.left(account);
        self.closed(parts.len());
        for part in parts {
            part.ack.settle(outcome.clone());
        }
    }
}

impl Part {
    /// Puts other bytes in the place of the body. The budget is charged for them instead.
    fn replace_body(&mut self, body: Bytes, account: u64) {
        if body.as_ptr() != self.body.as_ptr() || body.len() != self.body.len() {
            self.charge = Arc::new(self.charge.beside(body.len() as u64));
        }
        self.body = body;
        self.account = account;
    }

    /// Its items are known.
    fn count(&self, account: u64) {
        if let Some(request) = &self.request {
            request.count(account);
        }
    }
}

impl Request {
    /// A request whose items are not known yet.
    pub fn new(receiver: ReceiverMetrics) -> Self {
        Self { receiver, account: OnceLock::new() }
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

fn retry(after: Duration, message: impl Into<String>) -> Outcome {
    Outcome::Retry { after: Some(after), message: message.into() }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
