//! From the queue to the peer: tries, un-merging, settlement.

use std::slice;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::watch;

use super::account::{Account, GaveUp, Health};
use super::queue::{Parcel, Part};
use super::retry::Backoff;
use super::{Destination, Sent};
use crate::ack::Outcome;
use crate::config::model::Retry;
use crate::signal::Signal;

/// What consumers of a queue share.
pub(super) struct Delivery {
    pub(super) destination: Arc<dyn Destination>,
    pub(super) retry: Retry,
    pub(super) account: Account,
    pub(super) health: Health,
    /// Turns true when what is left is to be dropped.
    pub(super) give_up: watch::Receiver<bool>,
}

/// How a request ended.
#[derive(Clone, Debug)]
enum Verdict {
    Accepted { warning: Option<String> },
    Partial { rejected: u64, message: String },
    Refused { message: String },
    GaveUp { reason: GaveUp, message: String },
}

impl Delivery {
    /// Sends a parcel until it is settled. One that the peer refuses for good although it was merged of several requests is sent
    /// again request by request, each once alone, so that one bad request does not take the others with it.
    pub(super) async fn deliver(&self, parcel: Parcel) {
        let Parcel { signal, parts } = parcel;
        let bodies: Vec<Bytes> = parts.iter().map(|part| part.bytes.clone()).collect();
        let verdict = self.send(signal, &bodies).await;
        drop(bodies);
        if parts.len() > 1 && matches!(verdict, Verdict::Refused { .. }) {
            for part in parts {
                let verdict = self.send(signal, slice::from_ref(&part.bytes)).await;
                self.settle(signal, vec![part], verdict);
            }
        } else {
            self.settle(signal, parts, verdict);
        }
    }

    /// Settles what never got to a consumer.
    pub(super) fn drop_at_shutdown(&self, parcel: Parcel) {
        let message = "the engine is stopping".to_owned();
        self.settle(parcel.signal, parcel.parts, Verdict::GaveUp { reason: GaveUp::Shutdown, message });
    }

    /// Settles the copy of an exporter that no longer holds up the others.
    pub(super) fn skip(&self, parcel: Parcel) {
        let message = "the exporter has been failing and its queue is full".to_owned();
        self.settle(parcel.signal, parcel.parts, Verdict::GaveUp { reason: GaveUp::Skipped, message });
    }

    /// Tries until there is a verdict.
    async fn send(&self, signal: Signal, bodies: &[Bytes]) -> Verdict {
        let started = Instant::now();
        let mut backoff = Backoff::new(&self.retry);
        loop {
            let sent = tokio::select! {
                biased;
                () = self.given_up() => return stopping(),
                sent = self.destination.send(signal, bodies) => sent,
            };
            self.account.tried(signal, &sent);
            let (after, message) = match sent {
                Sent::Accepted { warning } => {
                    self.health.answered();
                    return Verdict::Accepted { warning };
                }
                Sent::Partial { rejected, message } => {
                    self.health.answered();
                    return Verdict::Partial { rejected, message };
                }
                Sent::Refused { message } => {
                    self.health.answered();
                    return Verdict::Refused { message };
                }
                Sent::Retry { after, message } => (after, message),
            };
            self.health.failed(&message);
            if !self.retry.enabled {
                return Verdict::GaveUp { reason: GaveUp::RetryDisabled, message };
            }
            let Some(delay) = backoff.next(started.elapsed(), after) else {
                return Verdict::GaveUp { reason: GaveUp::RetryTimeout, message };
            };
            tokio::select! {
                biased;
                () = self.given_up() => return stopping(),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn given_up(&self) {
        // The sender lives as long as the exporter; without it nobody waits for what is left.
        let mut give_up = self.give_up.clone();
        let _asked = give_up.wait_for(|give_up| *give_up).await;
    }

    /// Counts, and answers those who wait.
    fn settle(&self, signal: Signal, parts: Vec<Part>, verdict: Verdict) {
        let items: u64 = parts.iter().map(|part| part.account).sum();
        match &verdict {
            Verdict::Accepted { .. } => self.account.sent(signal, items, 0),
            Verdict::Partial { rejected, message } => {
                self.account.sent(signal, items, *rejected);
                self.health.refused(message);
            }
            Verdict::Refused { message } => {
                self.account.sent(signal, items, items);
                self.health.refused(message);
            }
            Verdict::GaveUp { reason, .. } => self.account.dropped(signal, items, *reason),
        }
        let outcome = outcome(verdict, parts.len() > 1);
        for ack in parts.into_iter().filter_map(|part| part.ack) {
            ack.settle(outcome.clone());
        }
    }
}

fn stopping() -> Verdict {
    Verdict::GaveUp { reason: GaveUp::Shutdown, message: "the engine is stopping".to_owned() }
}

/// What senders are told. Which request of a merged parcel lost items is unknown: all of them get a warning.
fn outcome(verdict: Verdict, merged: bool) -> Outcome {
    match verdict {
        Verdict::Accepted { warning } => Outcome::Accepted { warning },
        Verdict::Partial { rejected, message } if merged => Outcome::Accepted {
            warning: Some(format!("{rejected} items of several requests sent together were rejected: {message}")),
        },
        Verdict::Partial { rejected, message } => Outcome::Partial { rejected, message },
        Verdict::Refused { message } => Outcome::Refused { message },
        Verdict::GaveUp { message, .. } => Outcome::Retry { after: None, message },
    }
}
