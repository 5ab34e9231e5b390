//! Tail sampling as a step of a pipeline: requests end here, and what policies keep goes on later.
//!
//! Shards of `tail` hold the spans, each owned by a thread (`keeper`) that also asks the policies (`panel`): these are stages as all
//! others are, and swapping one touches nothing that waits. A request is acknowledged once all its spans are held. What is kept leaves
//! through an `outlet`, since nobody would send it again if a later step could not take it.
//!
//! A sampler outlives its pipeline: where the next file has one of its name in the pipeline of that name, it goes on there, with what
//! waits and what it remembers, and by that file's terms.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{Receiver, SendError, Sender, unbounded};
use tokio::sync::oneshot;

use crate::ack::{Ack, Outcome};
use crate::config::model::TailSampling;
use crate::memory::{Budget, Charge};
use crate::pipeline::sampling::keeper::Keeper;
use crate::pipeline::stages::{Current, Stages};
use crate::pipeline::watcher::Watchers;
use crate::pipeline::{Part, Pipeline, RETRY_AFTER_FULL, Step, retry};
use crate::tail::arrivals::{Arrival, Arrivals};
use crate::tail::explain::{Asked, Explanation, RECENT_MAX, Recent, Why};
use crate::tail::shard::Shard;

mod apart;
mod keeper;
pub(in crate::pipeline) mod outlet;
mod panel;
pub(in crate::pipeline) mod scratch;

/// Pieces of requests that may wait for a shard's thread; more are told to retry. Their bytes are charged to the budget, so this bounds the
/// wait.
const PIECES_MAX: usize = 1024;
/// How long an explanation of a trace may take.
const EXPLAIN_MAX: Duration = Duration::from_secs(5);
/// Policies run on these threads: as for the workers, Wasm stacks are 512 KiB and host functions get the rest.
const STACK_BYTES: usize = 4 << 20;

/// A tail sampler in one pipeline.
pub struct Sampler {
    name: String,
    budget: Arc<Budget>,
    watchers: Arc<Watchers>,
    shards: Vec<Way>,
    /// None until it is started.
    place: Arc<ArcSwapOption<Place>>,
    /// Until it is started.
    inboxes: Mutex<Vec<Receiver<Message>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How a sampler works, by one file.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Its keys in the file.
    pub keys: Arc<TailSampling>,
    /// Indices of its stages, in order.
    pub units: Vec<usize>,
    /// What it may hold, all shards together.
    pub bytes_max: u64,
}

/// Where a sampler stands, and how it works there.
#[derive(Debug)]
struct Place {
    terms: Terms,
    stages: Arc<Stages>,
    /// It has the sampler among its steps.
    pipeline: Weak<Pipeline>,
    step: usize,
}

/// The way to a shard's thread.
#[derive(Clone, Debug)]
struct Way {
    messages: Sender<Message>,
    level: Arc<Level>,
}

/// What a shard's thread tells of itself, so that a request is taken by all shards or by none.
#[derive(Debug, Default)]
struct Level {
    /// Pieces that wait for the thread, and what they take.
    pieces: AtomicUsize,
    pieces_bytes: AtomicU64,
    /// Bytes of spans that the shard can take.
    room_bytes: AtomicU64,
}

/// To a shard's thread.
#[derive(Debug)]
enum Message {
    /// Spans of a request.
    Take(Piece),
    /// Something waits to be tried again.
    Parked,
    /// Tell what is known of a trace.
    Explain([u8; 16], oneshot::Sender<Option<Explanation>>),
    /// Tell of the last decisions.
    Recent(Asked, oneshot::Sender<Vec<Recent>>),
    /// Decide everything and end, by then at the latest.
    Finish(Instant),
}

/// Spans of one request that belong to one shard.
#[derive(Debug)]
struct Piece {
    arrival: Arrival,
    /// All of its request.
    is_whole: bool,
    ack: Ack,
    /// Of the request's bytes, until its spans are copied.
    charge: Arc<Charge>,
}

impl Sampler {
    /// A sampler on so many threads; they are started later, when its pipeline stands.
    pub fn new(name: &str, shards: usize, budget: &Arc<Budget>) -> Arc<Self> {
        let (ways, inboxes) = (0..shards.max(1))
            .map(|_| {
                let (messages, inbox) = unbounded();
                let level = Level { room_bytes: AtomicU64::new(u64::MAX), ..Level::default() };
                (Way { messages, level: Arc::new(level) }, inbox)
            })
            .unzip();
        Arc::new(Self {
            name: name.to_owned(),
            budget: Arc::clone(budget),
            watchers: Arc::default(),
            shards: ways,
            place: Arc::default(),
            inboxes: Mutex::new(inboxes),
            threads: Mutex::default(),
        })
    }

    /// The processor's name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who watches what it decides.
    pub fn watchers(&self) -> &Arc<Watchers> {
        &self.watchers
    }

    /// Threads that hold its traces.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Has it work at this step of this pipeline from now on, by the terms that the step has. Threads notice before they take what comes
    /// through that pipeline, or when they are woken.
    pub fn stand_at(&self, pipeline: &Arc<Pipeline>, step: usize) {
        if let Some(place) = Place::of(pipeline, step) {
            self.place.store(Some(Arc::new(place)));
        }
    }

    /// Starts the threads, at this step of this pipeline.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(&self, pipeline: &Arc<Pipeline>, step: usize, current: &Current) -> std::io::Result<()> {
        self.stand_at(pipeline, step);
        let inboxes = std::mem::take(&mut *self.inboxes.lock().unwrap_or_else(PoisonError::into_inner));
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, (way, inbox)) in self.shards.iter().zip(inboxes).enumerate() {
            let Some(keeper) = Keeper::new(self, pipeline, current, way, inbox) else { continue };
            let thread = std::thread::Builder::new().name(format!("tail-{number}")).stack_size(STACK_BYTES);
            threads.push(thread.spawn(move || keeper.work())?);
        }
        Ok(())
    }

    /// Takes requests: their spans go to the shards of their traces, and they are acknowledged when all of them are held.
    pub(super) fn take(&self, pipeline: &Arc<Pipeline>, step: usize, parts: Vec<Part>) {
        for part in parts {
            self.take_one(pipeline, step, part);
        }
    }

    fn take_one(&self, pipeline: &Arc<Pipeline>, step: usize, mut part: Part) {
        let arrivals = match Arrivals::read(part.body.clone()) {
            Ok(arrivals) => arrivals,
            Err(malformed) => {
                let refused = Outcome::Refused { message: malformed.to_string() };
                return pipeline.refuse(vec![part], step, self.name(), "malformed", &refused);
            }
        };
        if step == 0 {
            part.account = arrivals.spans();
            part.count(part.account);
            pipeline.entered(part.account);
        }
        let pieces = arrivals.split(self.shards.len());
        if let Some(why) = pieces.iter().find_map(|(shard, arrival)| self.shards.get(*shard)?.refuses(arrival)) {
            let full = retry(RETRY_AFTER_FULL, format!("tail sampler \"{}\" {why}", self.name()));
            return pipeline.refuse(vec![part], step, self.name(), "tail_full", &full);
        }
        pipeline.closed(1);
        let accounts: Vec<u64> = pieces.iter().map(|(_, arrival)| arrival.spans()).collect();
        let acks = match accounts.as_slice() {
            [] => return part.ack.settle(Outcome::ACCEPTED),
            [_] => vec![part.ack],
            several => part.ack.into_pieces(several),
        };
        let is_whole = pieces.len() == 1;
        for ((shard, arrival), ack) in pieces.into_iter().zip(acks) {
            let Some(way) = self.shards.get(shard) else { continue };
            way.level.pieces.fetch_add(1, Ordering::Relaxed);
            way.level.pieces_bytes.fetch_add(Shard::bytes_for(&arrival), Ordering::Relaxed);
            let piece = Piece { arrival, is_whole, ack, charge: Arc::clone(&part.charge) };
            if let Err(SendError(Message::Take(piece))) = way.messages.send(Message::Take(piece)) {
                piece.refuse(pipeline, self.name());
            }
        }
    }

    /// What is known of a trace.
    pub async fn explain(&self, id: [u8; 16]) -> Option<Explanation> {
        let answers = self.shards.iter().map(|way| {
            let (answer, heard) = oneshot::channel();
            let _ended = way.messages.send(Message::Explain(id, answer));
            heard
        });
        let answers = futures_util::future::join_all(answers);
        let answers = tokio::time::timeout(EXPLAIN_MAX, answers).await.ok()?;
        answers.into_iter().find_map(|answer| answer.ok()?)
    }

    /// Its last decisions, the newest first. A shard that is busy for too long is left out.
    pub async fn recent(&self, asked: &Asked) -> Vec<Recent> {
        let answers = self.shards.iter().map(|way| {
            let (answer, heard) = oneshot::channel();
            let _ended = way.messages.send(Message::Recent(asked.clone(), answer));
            tokio::time::timeout(EXPLAIN_MAX, heard)
        });
        let answers = futures_util::future::join_all(answers).await;
        let mut recent: Vec<_> = answers.into_iter().filter_map(|answer| answer.ok()?.ok()).flatten().collect();
        newest_first(&mut recent, asked.limit.min(RECENT_MAX));
        recent
    }

    /// Has everything that waits decided, and what is kept handed over; by `deadline` at the latest. Blocks until then.
    pub fn finish(&self, deadline: Instant) {
        for way in &self.shards {
            let _ended = way.messages.send(Message::Finish(deadline));
        }
        for thread in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            // A keeper contains panics; one that could not has nothing left to finish.
            let _panicked = thread.join();
        }
    }
}

impl Place {
    fn of(pipeline: &Arc<Pipeline>, step: usize) -> Option<Place> {
        let Some(Step::Sample(_, terms)) = pipeline.steps.get(step) else { return None };
        let (pipeline, stages) = (Arc::downgrade(pipeline), Arc::clone(&pipeline.stages));
        Some(Place { terms: terms.clone(), stages, pipeline, step })
    }
}

/// The tail samplers that are at work, for questions about traces.
#[derive(Debug, Default)]
pub struct Samplers(ArcSwap<Vec<Arc<Sampler>>>);

impl Samplers {
    /// Those of these pipelines are at work now.
    pub fn set(&self, pipelines: &[Arc<Pipeline>]) {
        let samplers = pipelines.iter().flat_map(|pipeline| pipeline.samplers());
        self.0.store(Arc::new(samplers.map(|(_, sampler)| Arc::clone(sampler)).collect()));
    }

    /// The ones of this name: one for each pipeline that has it.
    pub fn named(&self, name: &str) -> Vec<Arc<Sampler>> {
        self.0.load().iter().filter(|sampler| sampler.name() == name).cloned().collect()
    }
}

impl Why for Samplers {
    fn explain(&self, id: [u8; 16]) -> Pin<Box<dyn Future<Output = Vec<Explanation>> + Send + '_>> {
        let samplers = self.0.load_full();
        Box::pin(async move {
            let asked = futures_util::future::join_all(samplers.iter().map(|sampler| sampler.explain(id)));
            asked.await.into_iter().flatten().collect()
        })
    }

    fn recent(&self, asked: Asked) -> Pin<Box<dyn Future<Output = Vec<Recent>> + Send + '_>> {
        let samplers = self.0.load_full();
        Box::pin(async move {
            let told = futures_util::future::join_all(samplers.iter().map(|sampler| sampler.recent(&asked))).await;
            let mut recent: Vec<_> = told.into_iter().flatten().collect();
            newest_first(&mut recent, asked.limit);
            recent
        })
    }
}

fn newest_first(recent: &mut Vec<Recent>, max: usize) {
    recent.sort_by_key(|decision| std::cmp::Reverse(decision.decided_unix_nano));
    recent.truncate(max);
}

impl Piece {
    /// Its thread has ended, as the sampler is gone: its spans are counted, and its sender is told to retry.
    fn refuse(self, pipeline: &Pipeline, sampler: &str) {
        let spans = self.arrival.spans();
        let (name, signal) = (&pipeline.name, pipeline.signal);
        pipeline.all_metrics.dropped(name, signal, sampler, "", "shutdown", false).inc_by(spans);
        pipeline.left(spans);
        self.ack.settle(retry(RETRY_AFTER_FULL, format!("tail sampler \"{sampler}\" is stopping")));
    }
}

impl Way {
    /// Why it takes no more now.
    fn refuses(&self, arrival: &Arrival) -> Option<&'static str> {
        if self.level.pieces.load(Ordering::Relaxed) >= PIECES_MAX {
            return Some("is busy");
        }
        let waiting = self.level.pieces_bytes.load(Ordering::Relaxed);
        let wanted = Shard::bytes_for(arrival).saturating_add(waiting);
        (wanted > self.level.room_bytes.load(Ordering::Relaxed)).then_some("has no memory left")
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("name", &self.name())
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}
