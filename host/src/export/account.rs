//! An exporter's account: handed over = sent + rejected + dropped + queued, in spans, data points and log records.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Sent;
use crate::observe::metrics::{Counter, ExporterMetrics, Metrics};
use crate::observe::throttle::Throttle;
use crate::signal::Signal;

/// Between two log lines on failures that came and went.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(5);
/// Between two log lines on refusals.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Why an exporter gave items up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GaveUp {
    /// `max_elapsed_time` passed.
    RetryTimeout,
    /// `retry_on_failure` is off.
    RetryDisabled,
    /// The process stops.
    Shutdown,
    /// The queue was full, and the exporter had failed for too long to hold up the others.
    Skipped,
}

impl GaveUp {
    const ALL: [(GaveUp, &str); 4] = [
        (GaveUp::RetryTimeout, "retry_timeout"),
        (GaveUp::RetryDisabled, "retry_disabled"),
        (GaveUp::Shutdown, "shutdown"),
        (GaveUp::Skipped, "skipped"),
    ];
}

/// Counters by signal.
#[derive(Debug)]
pub(super) struct Account {
    signals: [SignalAccount; Signal::ALL.len()],
}

#[derive(Debug)]
struct SignalAccount {
    items: ExporterMetrics,
    dropped: [Counter; GaveUp::ALL.len()],
    tries: [Counter; 4],
}

impl Account {
    pub(super) fn new(exporter: &str, metrics: &Metrics) -> Account {
        let signals = Signal::ALL.map(|signal| SignalAccount {
            items: metrics.exporter(exporter, signal),
            dropped: GaveUp::ALL.map(|(_, reason)| metrics.exporter_dropped(exporter, signal, reason)),
            tries: ["accepted", "partial", "retry", "refused"]
                .map(|result| metrics.exporter_requests(exporter, signal, result)),
        });
        Account { signals }
    }

    pub(super) fn handed_over(&self, signal: Signal, items: u64) {
        let account = &self.signals[signal as usize].items;
        account.handed_over.inc_by(items);
        account.queued.inc_by(gauge(items));
    }

    pub(super) fn tried(&self, signal: Signal, sent: &Sent) {
        let [accepted, partial, retry, refused] = &self.signals[signal as usize].tries;
        match sent {
            Sent::Accepted { .. } => accepted,
            Sent::Partial { .. } => partial,
            Sent::Retry { .. } => retry,
            Sent::Refused { .. } => refused,
        }
        .inc();
    }

    /// Of `items`, the peer took all but `rejected`.
    pub(super) fn sent(&self, signal: Signal, items: u64, rejected: u64) {
        let account = &self.signals[signal as usize].items;
        let rejected = rejected.min(items);
        account.sent.inc_by(items - rejected);
        account.rejected.inc_by(rejected);
        account.queued.dec_by(gauge(items));
    }

    pub(super) fn dropped(&self, signal: Signal, items: u64, reason: GaveUp) {
        let account = &self.signals[signal as usize];
        account.dropped[reason as usize].inc_by(items);
        account.items.queued.dec_by(gauge(items));
    }

    /// Items of all signals that were dropped because the process stops: nobody reads the counters after that.
    pub(super) fn dropped_at_shutdown(&self) -> u64 {
        self.signals.iter().map(|account| account.dropped[GaveUp::Shutdown as usize].get()).sum()
    }
}

fn gauge(items: u64) -> i64 {
    i64::try_from(items).unwrap_or(i64::MAX)
}

/// Whether an exporter gets through; one log line per change.
#[derive(Debug)]
pub(super) struct Health {
    exporter: String,
    state: Mutex<State>,
    /// A peer that takes every other request must not flood the log.
    failure_lines: Throttle,
    refusal_lines: Throttle,
}

#[derive(Debug, Default)]
struct State {
    failing_since: Option<Instant>,
    /// Whether that it fails was logged, so that its end is, too.
    is_logged: bool,
}

impl Health {
    pub(super) fn new(exporter: String) -> Health {
        Health {
            exporter,
            state: Mutex::default(),
            failure_lines: Throttle::new(FAILURE_LOG_INTERVAL),
            refusal_lines: Throttle::new(REFUSAL_LOG_INTERVAL),
        }
    }

    pub(super) fn failing_since(&self) -> Option<Instant> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failing_since
    }

    /// A try ended without an answer, or with one that asks to come again.
    pub(super) fn failed(&self, message: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failing_since.is_some() {
            return;
        }
        state.failing_since = Some(Instant::now());
        if let Some(left_out) = self.failure_lines.admit() {
            state.is_logged = true;
            warn!(exporter = self.exporter, left_out, "cannot send, trying again: {message}");
        }
    }

    /// The peer answered for good.
    pub(super) fn answered(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = state.failing_since.take()
            && std::mem::take(&mut state.is_logged)
        {
            info!(exporter = self.exporter, "sending again, after {:.1} s", since.elapsed().as_secs_f64());
        }
    }

    /// The peer refused items for good; they are counted each time, logged now and then.
    pub(super) fn refused(&self, message: &str) {
        if let Some(left_out) = self.refusal_lines.admit() {
            warn!(exporter = self.exporter, left_out, "the peer rejected items: {message}");
        }
    }
}
