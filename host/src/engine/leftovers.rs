//! What a change has taken the place of: it finishes what it has, in the background.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::export::Exporter;
use crate::pipeline::Pipeline;
use crate::pipeline::inlet::Inlet;
use crate::pipeline::sampling::Sampler;
use crate::pipeline::stages::Current;
use crate::receive::Handle;

/// How often pipelines are looked at.
const POLL: Duration = Duration::from_millis(5);

/// Parts that nothing new leads to.
pub(super) struct Leftovers {
    /// Of receivers that are gone, or have other options.
    pub ports: Vec<Handle>,
    /// Ways into `pipelines`. Each ends with the last request that took it.
    pub inlets: Vec<Weak<Inlet>>,
    pub pipelines: Vec<Arc<Pipeline>>,
    /// Of `pipelines`, but for those that have moved on.
    pub samplers: Vec<Arc<Sampler>>,
    pub exporters: Vec<Arc<Exporter>>,
    pub current: Arc<Current>,
}

/// When it is to be over.
pub(super) struct Until {
    pub deadline: Instant,
    /// Set when the process stops.
    pub stop_by: watch::Receiver<Option<Instant>>,
}

impl Leftovers {
    /// Drains it: receivers answer what is in flight; pipelines finish, merges first, since nobody else comes; then what waits in
    /// samplers is decided; then queues are sent to where they were meant for. What is left at the deadline is dropped, and counted.
    pub(super) async fn drain(self, mut until: Until) {
        let Leftovers { ports, inlets, pipelines, samplers, exporters, current } = self;
        pipelines.iter().for_each(Pipeline::stop_waiting);
        let quiet = async {
            join_all(ports.into_iter().map(|port| port.shutdown(Duration::MAX))).await;
            while inlets.iter().any(|inlet| inlet.strong_count() > 0) {
                tokio::time::sleep(POLL).await;
            }
            finished(&pipelines).await;
        };
        // Not all of the time: queues need some, too.
        if until.bound(2, quiet).await.is_none() {
            tracing::warn!("a replaced receiver or pipeline did not finish what it had in time");
        }
        if !samplers.is_empty() {
            finish_samplers(samplers, &mut until).await;
            if until.bound(1, finished(&pipelines)).await.is_none() {
                tracing::warn!("what a removed tail sampler kept was not handed over in time");
            }
        }
        let drained = join_all(exporters.iter().map(|exporter| exporter.shutdown(Duration::MAX)));
        if until.bound(1, drained).await.is_none() {
            join_all(exporters.iter().map(|exporter| exporter.shutdown(Duration::ZERO))).await;
        }
        drop(pipelines);
        // They may have taken instances again for what they finished.
        current.wake();
    }
}

async fn finished(pipelines: &[Arc<Pipeline>]) {
    while !pipelines.iter().all(Pipeline::is_finished) {
        tokio::time::sleep(POLL).await;
    }
}

async fn finish_samplers(samplers: Vec<Arc<Sampler>>, until: &mut Until) {
    let (finishing, deadline) = (samplers.clone(), until.now());
    let mut finished = tokio::task::spawn_blocking(move || {
        finishing.iter().for_each(|sampler| sampler.finish(deadline));
    });
    if until.bound(1, &mut finished).await.is_none() {
        // The process stops earlier than was said.
        let at_once = move || samplers.iter().for_each(|sampler| sampler.finish(Instant::now()));
        let _ended = tokio::task::spawn_blocking(at_once).await;
    }
}

impl Until {
    fn now(&self) -> Instant {
        self.stop_by.borrow().map_or(self.deadline, |stop_by| stop_by.min(self.deadline))
    }

    /// Waits for something, at most one of so many parts of the time that is left; None = that is over.
    async fn bound<T>(&mut self, parts: u32, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let began = Instant::now();
        loop {
            let patience = self.now().saturating_duration_since(began) / parts;
            tokio::select! {
                done = &mut future => return Some(done),
                () = tokio::time::sleep_until((began + patience).into()) => return None,
                Ok(()) = self.stop_by.changed() => {}
            }
        }
    }
}
