//! An exporter: a bounded queue before a destination, consumed by a fixed number of tasks.
//!
//! Enqueueing has two phases, so that a request goes into the queues of all its exporters or of none: reserve a slot everywhere,
//! then push.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::Destination;
use super::account::{Account, Health};
use super::deliver::Delivery;
use crate::ack::Ack;
use crate::config::model;
use crate::memory::Charge;
use crate::observe::marks::HighWater;
use crate::observe::metrics::Metrics;
use crate::signal::Signal;

/// Requests in flight where `sending_queue.enabled` is false: nothing waits in a queue, and no more than these are under way.
const UNQUEUED_REQUESTS_MAX: usize = 64;

/// What one request to a peer is made of.
#[derive(Debug)]
pub struct Parcel {
    /// Of all parts.
    pub signal: Signal,
    /// In order; sent as one request by concatenation.
    pub parts: Vec<Part>,
}

/// What is left of one received request.
#[derive(Debug)]
pub struct Part {
    /// A whole OTLP export request.
    pub bytes: Bytes,
    /// Spans, data points or log records in it.
    pub account: u64,
    /// Who waits for the result, if anybody.
    pub ack: Option<Ack>,
    /// The bytes' share of the budget; shared where several exporters share the bytes.
    pub charge: Option<Arc<Charge>>,
}

/// No place in the queue (or the exporter is stopping): the sender is to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the exporter's queue is full")]
pub struct Full;

/// The exporter is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the exporter is stopping")]
pub struct Closed;

/// A configured exporter at work.
pub struct Exporter {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    bytes_max: AtomicU64,
    /// Of those who wait for bytes.
    turn: Mutex<()>,
    blocks_on_overflow: bool,
    waits_for_result: bool,
    give_up: watch::Sender<bool>,
    consumers: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// How full a queue is. A request has a place until a consumer takes it, or to its end where nothing is queued; its bytes count until it
/// is sent or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLevel {
    /// Places that are taken.
    pub places: u64,
    /// The most that were.
    pub places_high: u64,
    /// How many there are.
    pub places_max: u64,
    /// Bytes before compression.
    pub bytes: u64,
    /// The most that there were.
    pub bytes_high: u64,
    /// What they may be; the request that passes it is the last one.
    pub bytes_max: u64,
}

/// A place in the queue; given back when dropped.
pub struct Slot {
    shared: Arc<Shared>,
    place: OwnedSemaphorePermit,
}

struct Shared {
    name: String,
    queue: async_channel::Sender<Queued>,
    delivery: Delivery,
    bytes: AtomicU64,
    places_max: usize,
    /// The most bytes, and the most taken places.
    bytes_high: HighWater,
    places_high: HighWater,
    /// Told when `bytes` gets less.
    room: Notify,
}

struct Queued {
    parcel: Parcel,
    place: OwnedSemaphorePermit,
}

impl Exporter {
    /// Starts the consumers, on the current tokio runtime.
    pub fn start(config: &model::Exporter, destination: Arc<dyn Destination>, metrics: &Metrics) -> Exporter {
        let (places, consumers) = if config.queue.enabled {
            (config.queue.requests_max, config.queue.consumers)
        } else {
            (UNQUEUED_REQUESTS_MAX, UNQUEUED_REQUESTS_MAX)
        };
        // Bounded by the places.
        let (queue, waiting) = async_channel::unbounded();
        let (give_up, asked_to_give_up) = watch::channel(false);
        let delivery = Delivery {
            destination,
            retry: config.retry.clone(),
            account: Account::new(&config.name, metrics),
            health: Health::new(config.name.clone()),
            give_up: asked_to_give_up,
        };
        let places = places.clamp(1, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            name: config.name.clone(),
            queue,
            delivery,
            bytes: AtomicU64::new(0),
            places_max: places,
            bytes_high: HighWater::default(),
            places_high: HighWater::default(),
            room: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..consumers.max(1) {
            tasks.spawn(consume(waiting.clone(), Arc::clone(&shared), config.queue.enabled));
        }
        Exporter {
            shared,
            bytes_max: AtomicU64::new(u64::MAX),
            turn: Mutex::default(),
            places: Arc::new(Semaphore::new(places)),
            blocks_on_overflow: config.queue.enabled && config.queue.block_on_overflow,
            waits_for_result: !config.queue.enabled || config.queue.wait_for_result,
            give_up,
            consumers: Mutex::new(tasks),
        }
    }

    /// Bounds the queue in bytes as well: its share of the process budget. What is let in last may pass it.
    #[must_use]
    pub fn with_bytes_max(self, bytes_max: u64) -> Exporter {
        self.set_bytes_max(bytes_max);
        self
    }

    /// The same for one that works already. Less than is queued lets nothing more in until as much was sent.
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.shared.room.notify_one();
    }

    fn is_full(&self) -> bool {
        self.queued_bytes() >= self.bytes_max.load(Ordering::Relaxed)
    }

    /// As configured, such as `otlp/backend`.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// A place in the queue, if there is one now.
    pub fn try_reserve(&self) -> Result<Slot, Full> {
        if self.is_full() {
            return Err(Full);
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Full)?;
        Ok(Slot { shared: Arc::clone(&self.shared), place })
    }

    /// A place in the queue, waited for: for [`Exporter::blocks_on_overflow`]. Places are given out in the order of asking.
    pub async fn reserve(&self) -> Result<Slot, Closed> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Closed)?;
        let _turn = self.turn.lock().await;
        while self.is_full() && !self.places.is_closed() {
            // One waits at a time, and is told even if it looked just before.
            self.shared.room.notified().await;
        }
        if self.places.is_closed() {
            return Err(Closed);
        }
        Ok(Slot { shared: Arc::clone(&self.shared), place })
    }

    /// Drops the copy meant for this exporter, counted: it has failed for long and holds up the others.
    pub fn skip(&self, parcel: Parcel) {
        let items = parcel.parts.iter().map(|part| part.account).sum();
        self.shared.delivery.account.handed_over(parcel.signal, items);
        self.shared.delivery.skip(parcel);
    }

    /// `sending_queue.block_on_overflow`.
    pub fn blocks_on_overflow(&self) -> bool {
        self.blocks_on_overflow
    }

    /// True where senders are answered with this exporter's result, so that parts carry an [`Ack`].
    pub fn waits_for_result(&self) -> bool {
        self.waits_for_result
    }

    /// Since when no try has got through, if the last one did not.
    pub fn failing_since(&self) -> Option<Instant> {
        self.shared.delivery.health.failing_since()
    }

    /// What the queue holds, and may.
    pub fn level(&self) -> QueueLevel {
        QueueLevel {
            places: self.shared.places_taken(&self.places),
            places_high: self.shared.places_high.get(),
            places_max: self.shared.places_max as u64,
            bytes: self.queued_bytes(),
            bytes_high: self.shared.bytes_high.get(),
            bytes_max: self.bytes_max.load(Ordering::Relaxed),
        }
    }

    /// Bytes in the queue and in flight, before compression.
    pub fn queued_bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Takes nothing more and drains for at most `patience`; what is left then is dropped and counted as `shutdown`. True if
    /// nothing was left.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        self.places.close();
        self.shared.room.notify_one();
        self.shared.queue.close();
        let mut consumers = self.consumers.lock().await;
        let drain = async { while consumers.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, drain).await.is_ok() {
            return true;
        }
        self.give_up.send_replace(true);
        while consumers.join_next().await.is_some() {}
        let items = self.shared.delivery.account.dropped_at_shutdown();
        tracing::error!(exporter = self.name(), items, "not sent before the end of the drain, and dropped");
        false
    }
}

impl Shared {
    fn places_taken(&self, places: &Semaphore) -> u64 {
        self.places_max.saturating_sub(places.available_permits()) as u64
    }
}

impl Slot {
    /// Hands a parcel over to the exporter.
    pub fn push(self, parcel: Parcel) {
        let Slot { shared, place } = self;
        let items = parcel.parts.iter().map(|part| part.account).sum();
        shared.delivery.account.handed_over(parcel.signal, items);
        let bytes = parcel_bytes(&parcel);
        let before = shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.bytes_high.note(before.saturating_add(bytes));
        shared.places_high.note(shared.places_taken(place.semaphore()));
        if let Err(refused) = shared.queue.try_send(Queued { parcel, place }) {
            // Closed: the queue has no bound of its own.
            shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
            shared.delivery.drop_at_shutdown(refused.into_inner().parcel);
        }
    }
}

/// One consumer: takes parcels until the queue is closed and empty.
async fn consume(waiting: async_channel::Receiver<Queued>, shared: Arc<Shared>, place_is_for_waiting: bool) {
    while let Ok(Queued { parcel, place }) = waiting.recv().await {
        let bytes = parcel_bytes(&parcel);
        let in_flight = if place_is_for_waiting {
            drop(place);
            None
        } else {
            Some(place)
        };
        // A defect costs the parcel, whose acknowledgements settle by themselves, not the consumer.
        if AssertUnwindSafe(shared.delivery.deliver(parcel)).catch_unwind().await.is_err() {
            tracing::error!(exporter = shared.name, "an internal error while sending: senders are told to retry");
        }
        drop(in_flight);
        shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
        shared.room.notify_one();
    }
}

fn parcel_bytes(parcel: &Parcel) -> u64 {
    parcel.parts.iter().map(|part| part.bytes.len() as u64).sum()
}
