//! What all requests of one server share: where they go, what bounds them, how they are counted.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use prometheus_client::metrics::counter::Counter as PromCounter;
use tokio::sync::Semaphore;

use super::body::ReadError;
use super::server::Limits;
use crate::ack::Answer;
use crate::ack::Outcome;
use crate::memory::Budget;
use crate::observe::metrics::{Counter, Metrics};
use crate::pipeline::intake::Intake;
use crate::signal::Signal;

/// What the sender of a request was told: the `outcome` label of `receiver_requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Ok,
    Partial,
    Retry,
    Refused,
    TooLarge,
    Unreadable,
    OverBudget,
}

const TOLD: [(Told, &str); 7] = [
    (Told::Ok, "ok"),
    (Told::Partial, "partial"),
    (Told::Retry, "retry"),
    (Told::Refused, "refused"),
    (Told::TooLarge, "too_large"),
    (Told::Unreadable, "unreadable"),
    (Told::OverBudget, "over_budget"),
];

impl From<&Outcome> for Told {
    fn from(outcome: &Outcome) -> Told {
        match outcome {
            Outcome::Accepted { .. } => Told::Ok,
            Outcome::Partial { .. } => Told::Partial,
            Outcome::Retry { .. } => Told::Retry,
            Outcome::Refused { .. } => Told::Refused,
        }
    }
}

impl From<&ReadError> for Told {
    fn from(error: &ReadError) -> Told {
        match error {
            ReadError::TooLarge { .. } => Told::TooLarge,
            ReadError::OverBudget => Told::OverBudget,
            ReadError::Malformed(_) | ReadError::Corrupt | ReadError::Json(_) | ReadError::Interrupted => {
                Told::Unreadable
            }
        }
    }
}

/// Shared by all connections of a server.
pub(super) struct Requests {
    pub(super) receiver: String,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) budget: Arc<Budget>,
    pub(super) limits: Limits,
    /// Largest request after decompression.
    pub(super) bytes_max: u64,
    /// Large JSON bodies that are transcoded at the same time.
    pub(super) transcoding: Arc<Semaphore>,
    counters: [[Counter; TOLD.len()]; Signal::ALL.len()],
}

impl Requests {
    pub(super) fn new(
        receiver: String,
        transport: &'static str,
        bytes_max: u64,
        limits: Limits,
        intake: Arc<dyn Intake>,
        budget: Arc<Budget>,
        metrics: &Metrics,
    ) -> Requests {
        let counters = Signal::ALL.map(|signal| {
            if intake.takes(signal) {
                TOLD.map(|(_, outcome)| metrics.receiver_requests(&receiver, signal, transport, outcome))
            } else {
                // Signals that no pipeline takes get one series, not seven.
                let refused = metrics.receiver_requests(&receiver, signal, transport, "refused");
                TOLD.map(|(told, _)| if told == Told::Refused { refused.clone() } else { PromCounter::default() })
            }
        });
        let transcoding = Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, NonZero::get)));
        Requests { receiver, intake, budget, limits, bytes_max, transcoding, counters }
    }

    pub(super) fn count(&self, signal: Signal, told: Told) {
        self.counters[signal as usize][told as usize].inc();
    }

    /// Waits for the pipelines' answer, not for ever.
    pub(super) async fn outcome(&self, answer: Answer) -> Outcome {
        match tokio::time::timeout(self.limits.answer_timeout, answer).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Retry { after: None, message: "the request was not acknowledged in time".to_owned() },
        }
    }

    /// What is said where [`Intake::takes`] is false.
    pub(super) fn not_taken(&self, signal: Signal) -> String {
        format!("no pipeline takes {signal} from receiver {}; add it to a {signal} pipeline's receivers", self.receiver)
    }
}
