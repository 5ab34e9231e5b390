//! A stop, as the operation that the admin API tells of until the process is gone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::control::operations::{Operation, OperationState};
use crate::control::who::Who;
use crate::control::{Control, Drained, Left};
use crate::export::Exporter;
use crate::observe::metrics::Metrics;
use crate::pipeline::Pipeline;
use crate::signal::Signal;

const TELL_INTERVAL: Duration = Duration::from_millis(200);
/// How long the process stays for those who watch it end.
const WATCHED_MAX: Duration = Duration::from_secs(1);
/// How long it stays for who asked for it and has not begun to watch: an empty process is done before that.
const WATCHER_MAX: Duration = Duration::from_secs(2);
const WATCHED_POLL: Duration = Duration::from_millis(5);
/// An answer that was given is not yet on its way.
const FLUSH: Duration = Duration::from_millis(50);

pub(super) struct Drain {
    operation: Option<Arc<Operation>>,
    metrics: Arc<Metrics>,
    telling: Mutex<JoinSet<()>>,
}

impl Drain {
    /// The one that was asked for, or one of a signal.
    pub(super) fn begin(control: &Control, metrics: &Arc<Metrics>) -> Drain {
        let operation = control.draining().or_else(|| control.begin_drain(&Who::Signal).ok());
        Drain { operation, metrics: Arc::clone(metrics), telling: Mutex::default() }
    }

    pub(super) fn step(&self, step: &str) {
        if let Some(operation) = &self.operation {
            operation.step(step);
        }
    }

    /// Tells from now on what these still have.
    pub(super) fn watch(&self, pipelines: &[Arc<Pipeline>], exporters: &[Arc<Exporter>]) {
        let Some(operation) = self.operation.clone() else { return };
        let held = pipelines.iter().map(|pipeline| self.metrics.pipeline(pipeline.name(), pipeline.signal()).held);
        let of_exporter =
            |exporter: &Arc<Exporter>| Signal::ALL.map(|signal| self.metrics.exporter(exporter.name(), signal).queued);
        let (held, queued): (Vec<_>, Vec<_>) = (held.collect(), exporters.iter().flat_map(of_exporter).collect());
        self.telling.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            loop {
                let sum = |gauges: &[crate::observe::metrics::Gauge]| {
                    gauges.iter().map(|gauge| u64::try_from(gauge.get()).unwrap_or_default()).sum()
                };
                let left = Left { held_items: sum(&held), queued_items: sum(&queued) };
                operation.tell(serde_json::to_value(left).unwrap_or_default());
                tokio::time::sleep(TELL_INTERVAL).await;
            }
        });
    }

    /// It is over: says so, and stays for a moment while somebody watches.
    pub(super) async fn ended(self, exporters: &[Arc<Exporter>]) {
        let Some(operation) = self.operation else { return };
        drop(self.telling);
        let of_exporter = |exporter: &Arc<Exporter>| {
            Signal::ALL.map(|signal| self.metrics.exporter_dropped(exporter.name(), signal, "shutdown").get())
        };
        let dropped_items = exporters.iter().flat_map(of_exporter).sum();
        let was_asked_for = operation.progress().who != Who::Signal.to_string();
        // Before the end, which is when those who watch stop doing so.
        let is_watched =
            operation.is_watched() || was_asked_for && comes_true(WATCHER_MAX, || operation.is_watched()).await;
        operation.end(OperationState::Succeeded, serde_json::to_value(Drained { dropped_items }).ok());
        if is_watched {
            comes_true(WATCHED_MAX, || !operation.is_watched()).await;
            tokio::time::sleep(FLUSH).await;
        }
    }
}

/// Waits until it is so, at most as long as `bound`; whether it is.
async fn comes_true(bound: Duration, is_so: impl Fn() -> bool) -> bool {
    let becomes = async {
        while !is_so() {
            tokio::time::sleep(WATCHED_POLL).await;
        }
    };
    tokio::time::timeout(bound, becomes).await.is_ok()
}
