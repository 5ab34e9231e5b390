//! What a sender is told, and when: each request's acknowledgement travels with its rows.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

/// What a sender is told of its request, before a protocol words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was taken over. A warning goes out as `partial_success` with zero rejected (OTLP specification, "Partial Success").
    Accepted {
        /// What the sender should know although nothing was refused.
        warning: Option<String>,
    },
    /// Some items were refused for good; the rest was taken over.
    Partial {
        /// Spans, data points or log records refused.
        rejected: u64,
        /// Why, without any telemetry.
        message: String,
    },
    /// Nothing was taken over: send it again later.
    Retry {
        /// When; None leaves it to the sender's backoff.
        after: Option<Duration>,
        /// Why, without any telemetry.
        message: String,
    },
    /// Nothing was taken over, and sending it again will not help.
    Refused {
        /// Why, without any telemetry.
        message: String,
    },
}

impl Outcome {
    /// Taken over whole, nothing to say.
    pub const ACCEPTED: Outcome = Outcome::Accepted { warning: None };

    /// Of two parts of one request, what the sender is told of the whole: a retry is worse than a refusal (at least once),
    /// a refusal worse than a part of it.
    #[must_use]
    pub fn worse(self, other: Outcome) -> Outcome {
        match (self, other) {
            (Outcome::Partial { rejected: a, message }, Outcome::Partial { rejected: b, .. }) => {
                Outcome::Partial { rejected: a.saturating_add(b), message }
            }
            (Outcome::Accepted { warning: a }, Outcome::Accepted { warning: b }) => {
                Outcome::Accepted { warning: a.or(b) }
            }
            (a, b) if a.rank() >= b.rank() => a,
            (_, b) => b,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Outcome::Accepted { .. } => 0,
            Outcome::Partial { .. } => 1,
            Outcome::Refused { .. } => 2,
            Outcome::Retry { .. } => 3,
        }
    }
}

/// A part of the promise to answer a request. The request is answered when all parts are settled.
/// A part that is dropped unsettled counts as a retry: nothing is acknowledged by accident.
#[derive(Debug)]
pub struct Ack {
    shared: Arc<Shared>,
    settled: bool,
}

/// Resolves to the answer when all parts of an [`Ack`] are settled.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<Outcome>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: u32,
    parts: Parts,
    worst: Outcome,
    refused: u32,
    settled: u32,
    then: Option<Then>,
}

/// What the parts of one promise are of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    /// Different rows: the worst of them is the answer.
    Rows,
    /// The same rows to several exporters: a permanent refusal by one of several is a warning.
    Copies,
}

/// Where an answer goes.
enum Then {
    Sender(oneshot::Sender<Outcome>, Box<dyn FnOnce(&Outcome) + Send>),
    Whole(Ack),
}

impl std::fmt::Debug for Then {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Then::Sender(..) => "Sender",
            Then::Whole(_) => "Whole",
        })
    }
}

/// A new promise and what resolves when it is kept. `observe` sees the answer just before the sender does.
pub fn promise(observe: impl FnOnce(&Outcome) + Send + 'static) -> (Ack, Answer) {
    let (sender, receiver) = oneshot::channel();
    (Ack::new(Parts::Rows, Then::Sender(sender, Box::new(observe))), Answer(receiver))
}

impl Ack {
    fn new(parts: Parts, then: Then) -> Ack {
        let state = State { open: 1, parts, worst: Outcome::ACCEPTED, refused: 0, settled: 0, then: Some(then) };
        Ack { shared: Arc::new(Shared { state: Mutex::new(state) }), settled: false }
    }

    /// Another part of the same promise, for other rows of the request.
    #[must_use]
    pub fn split(&self) -> Ack {
        self.shared.lock().open += 1;
        Ack { shared: Arc::clone(&self.shared), settled: false }
    }

    /// Turns this part into `copies` of itself, one for each exporter that answers for it.
    #[must_use]
    pub fn into_copies(self, copies: usize) -> Vec<Ack> {
        let first = Ack::new(Parts::Copies, Then::Whole(self));
        let mut all: Vec<Ack> = (1..copies).map(|_| first.split()).collect();
        all.push(first);
        all
    }

    /// Settles this part.
    pub fn settle(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        self.settled = true;
        let done = self.shared.lock().add(outcome);
        match done {
            None => {}
            Some((Then::Whole(ack), answer)) => ack.settle(answer),
            Some((Then::Sender(sender, observe), answer)) => {
                observe(&answer);
                // The sender may have hung up; its answer then interests nobody.
                let _gone = sender.send(answer);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, outcome: Outcome) -> Option<(Then, Outcome)> {
        self.settled += 1;
        self.refused += u32::from(matches!(outcome, Outcome::Refused { .. }));
        let worst = std::mem::replace(&mut self.worst, Outcome::ACCEPTED);
        self.worst = worst.worse(outcome);
        self.open -= 1;
        if self.open > 0 {
            return None;
        }
        let answer = match std::mem::replace(&mut self.worst, Outcome::ACCEPTED) {
            Outcome::Refused { message } if self.parts == Parts::Copies && self.refused < self.settled => {
                Outcome::Accepted { warning: Some(format!("one of several destinations refused it: {message}")) }
            }
            answer => answer,
        };
        self.then.take().map(|then| (then, answer))
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !self.settled {
            self.finish(Outcome::Retry {
                after: None,
                message: "the request was abandoned inside the engine".to_owned(),
            });
        }
    }
}

impl Future for Answer {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(cx).map(|answer| {
            answer.unwrap_or_else(|_| Outcome::Retry { after: None, message: "the engine is stopping".to_owned() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Outcome {
        Outcome::Retry { after: None, message: "full".to_owned() }
    }

    #[tokio::test]
    async fn answered_when_all_parts_are_settled_with_the_worst() {
        let (ack, answer) = promise(|_| ());
        let other = ack.split();
        ack.settle(Outcome::Partial { rejected: 2, message: "two".to_owned() });
        other.settle(Outcome::Partial { rejected: 3, message: "three".to_owned() });
        assert_eq!(answer.await, Outcome::Partial { rejected: 5, message: "two".to_owned() });

        let (ack, answer) = promise(|_| ());
        ack.split().settle(retry());
        ack.settle(Outcome::Refused { message: "bad".to_owned() });
        assert_eq!(answer.await, retry());
    }

    #[tokio::test]
    async fn a_refusal_by_one_of_several_exporters_is_a_warning() {
        let refusal = Outcome::Refused { message: "no".to_owned() };
        let (ack, answer) = promise(|_| ());
        let mut copies = ack.into_copies(2).into_iter();
        copies.next().expect("two").settle(refusal.clone());
        copies.next().expect("two").settle(Outcome::ACCEPTED);
        assert!(matches!(answer.await, Outcome::Accepted { warning: Some(_) }));

        let (ack, answer) = promise(|_| ());
        for copy in ack.into_copies(2) {
            copy.settle(refusal.clone());
        }
        assert_eq!(answer.await, refusal);
    }

    #[tokio::test]
    async fn a_dropped_part_is_a_retry() {
        let (ack, answer) = promise(|_| ());
        drop(ack.split());
        ack.settle(Outcome::ACCEPTED);
        assert!(matches!(answer.await, Outcome::Retry { .. }));
    }
}
