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
}

/// A part of the promise to answer a request. The request is answered when all parts are settled.
/// A part that is dropped unsettled counts as a retry: nothing is acknowledged by accident.
#[derive(Debug)]
pub struct Ack {
    shared: Arc<Shared>,
    /// Spans, data points or log records that this part stands for, where it is one of several.
    items: u64,
    is_settled: bool,
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
    open: usize,
    parts: Parts,
    heard: Heard,
    then: Option<Then>,
}

/// What the parts of one promise are of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    /// Different rows of one request.
    Rows,
    /// The same rows, to several exporters or pipelines.
    Copies,
}

/// What was said of the parts so far.
#[derive(Debug, Default)]
struct Heard {
    accepted: usize,
    warning: Option<String>,
    /// Items refused, and of what: whole parts and items of parts.
    refused: Option<(u64, String)>,
    partial: Option<(u64, String)>,
    retry: Option<(Option<Duration>, String)>,
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
    let then = Some(Then::Sender(sender, Box::new(observe)));
    let state = State { open: 1, parts: Parts::Rows, heard: Heard::default(), then };
    let shared = Arc::new(Shared { state: Mutex::new(state) });
    (Ack { shared, items: 0, is_settled: false }, Answer(receiver))
}

impl Ack {
    fn several(parts: Parts, items: impl Iterator<Item = u64>, then: Then) -> Vec<Ack> {
        let state = State { open: 0, parts, heard: Heard::default(), then: Some(then) };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let acks: Vec<_> = items.map(|items| Ack { shared: Arc::clone(&shared), items, is_settled: false }).collect();
        shared.lock().open = acks.len();
        acks
    }

    /// Turns this part into one for each piece that its rows are cut into, of so many spans, data points or log records each.
    #[must_use]
    pub fn into_pieces(self, items: &[u64]) -> Vec<Ack> {
        Self::several(Parts::Rows, items.iter().copied(), Then::Whole(self))
    }

    /// Tells that `rejected` of its items are refused for good, which is a warning where they are none; what comes back stands for the
    /// other `rest`.
    #[must_use]
    pub fn reject_some(self, rejected: u64, rest: u64, message: String) -> Ack {
        let mut heard = Heard::default();
        heard.note(
            Parts::Rows,
            rejected,
            match rejected {
                0 => Outcome::Accepted { warning: Some(message) },
                _ => Outcome::Partial { rejected, message },
            },
        );
        let state = State { open: 1, parts: Parts::Rows, heard, then: Some(Then::Whole(self)) };
        Ack { shared: Arc::new(Shared { state: Mutex::new(state) }), items: rest, is_settled: false }
    }

    /// Turns this part into `copies` of itself, one for each exporter or pipeline that answers for it.
    #[must_use]
    pub fn into_copies(self, copies: usize) -> Vec<Ack> {
        let items = self.items;
        Self::several(Parts::Copies, std::iter::repeat_n(items, copies), Then::Whole(self))
    }

    /// Settles this part.
    pub fn settle(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        self.is_settled = true;
        let done = self.shared.lock().settle(self.items, outcome);
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
    /// Notes what was said of a part; the answer once it was the last one.
    fn settle(&mut self, items: u64, outcome: Outcome) -> Option<(Then, Outcome)> {
        self.heard.note(self.parts, items, outcome);
        self.open -= 1;
        if self.open > 0 {
            return None;
        }
        let heard = std::mem::take(&mut self.heard);
        let answer = match self.parts {
            Parts::Rows => heard.of_rows(),
            Parts::Copies => heard.of_copies(),
        };
        self.then.take().map(|then| (then, answer))
    }
}

impl Heard {
    fn note(&mut self, parts: Parts, items: u64, outcome: Outcome) {
        let count = |known: &mut Option<(u64, String)>, items: u64, message: String| {
            *known = Some(match known.take() {
                None => (items, message),
                Some((before, first)) if parts == Parts::Rows => (before.saturating_add(items), first),
                Some((before, first)) => (before.max(items), first),
            });
        };
        match outcome {
            Outcome::Accepted { warning } => {
                self.accepted += 1;
                self.warning = self.warning.take().or(warning);
            }
            Outcome::Partial { rejected, message } => count(&mut self.partial, rejected, message),
            Outcome::Refused { message } => count(&mut self.refused, items, message),
            Outcome::Retry { after, message } => {
                let (before, first) = self.retry.take().unwrap_or((None, message));
                self.retry = Some((before.max(after), first));
            }
        }
    }

    /// All that was refused together is refused; a retry of any row is one of the request (at least once).
    fn of_rows(self) -> Outcome {
        match (self.retry, self.partial, self.refused) {
            (Some((after, message)), _, _) => Outcome::Retry { after, message },
            (None, None, None) => Outcome::Accepted { warning: self.warning },
            (None, None, Some((_, message))) if self.accepted == 0 => Outcome::Refused { message },
            (None, partial, refused) => {
                let rejected = [&partial, &refused].into_iter().flatten().map(|(items, _)| items).sum();
                let message = refused.or(partial).map(|(_, message)| message).unwrap_or_default();
                Outcome::Partial { rejected, message }
            }
        }
    }

    /// The worst of all, but that what one took is taken over: a whole refusal by others is a warning then.
    fn of_copies(self) -> Outcome {
        match (self.retry, self.partial, self.refused) {
            (Some((after, message)), _, _) => Outcome::Retry { after, message },
            (None, Some((rejected, message)), _) => Outcome::Partial { rejected, message },
            (None, None, Some((_, message))) if self.accepted == 0 => Outcome::Refused { message },
            (None, None, refused) => {
                let said = |(_, message)| format!("one of several destinations refused it: {message}");
                Outcome::Accepted { warning: self.warning.or(refused.map(said)) }
            }
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !self.is_settled {
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

    fn refused() -> Outcome {
        Outcome::Refused { message: "no".to_owned() }
    }

    fn partial(rejected: u64) -> Outcome {
        Outcome::Partial { rejected, message: "some".to_owned() }
    }

    /// The answer to a request whose parts, made by `parts`, are told `outcomes`.
    async fn answer(parts: impl FnOnce(Ack) -> Vec<Ack>, outcomes: &[Outcome]) -> Outcome {
        let (ack, mut answer) = promise(|_| ());
        let mut parts = parts(ack);
        assert_eq!(parts.len(), outcomes.len());
        for (part, outcome) in parts.drain(..).zip(outcomes) {
            let now = Pin::new(&mut answer).poll(&mut Context::from_waker(std::task::Waker::noop()));
            assert!(now.is_pending(), "answered before all parts are settled");
            part.settle(outcome.clone());
        }
        answer.await
    }

    #[tokio::test]
    async fn pieces_are_answered_together() {
        let pieces = async |outcomes: &[Outcome]| answer(|ack| ack.into_pieces(&[10, 20]), outcomes).await;
        assert_eq!(pieces(&[Outcome::ACCEPTED, Outcome::ACCEPTED]).await, Outcome::ACCEPTED);
        assert_eq!(pieces(&[partial(2), partial(3)]).await, partial(5));
        assert_eq!(pieces(&[refused(), retry()]).await, retry());
        assert_eq!(pieces(&[refused(), refused()]).await, refused());
        let some = Outcome::Partial { rejected: 20, message: "no".to_owned() };
        assert_eq!(pieces(&[Outcome::ACCEPTED, refused()]).await, some, "the other rows were taken over");
        let some = Outcome::Partial { rejected: 21, message: "no".to_owned() };
        assert_eq!(pieces(&[partial(1), refused()]).await, some);
    }

    #[tokio::test]
    async fn the_worst_of_several_exporters_counts_but_one_refusal_is_a_warning() {
        let copies = async |outcomes: &[Outcome]| answer(|ack| ack.into_copies(2), outcomes).await;
        assert!(matches!(copies(&[refused(), Outcome::ACCEPTED]).await, Outcome::Accepted { warning: Some(_) }));
        assert_eq!(copies(&[Outcome::ACCEPTED, partial(1)]).await, partial(1));
        assert_eq!(copies(&[refused(), refused()]).await, refused());
        assert_eq!(copies(&[partial(3), partial(7)]).await, partial(7));
        assert_eq!(copies(&[Outcome::ACCEPTED, retry()]).await, retry());
    }

    #[tokio::test]
    async fn pieces_of_copies_count_their_items() {
        let (ack, answer) = promise(|_| ());
        let mut pieces = ack.into_pieces(&[10, 20]).into_iter();
        pieces.next().expect("two").settle(Outcome::ACCEPTED);
        for copy in pieces.next().expect("two").into_copies(2) {
            copy.settle(refused());
        }
        assert_eq!(answer.await, Outcome::Partial { rejected: 20, message: "no".to_owned() });
    }

    #[tokio::test]
    async fn what_is_rejected_is_told_with_what_becomes_of_the_rest() {
        let rest = async |rejected, outcome: Outcome| {
            answer(|ack| vec![ack.reject_some(rejected, 5, "poison".to_owned())], &[outcome]).await
        };
        let told = |rejected, message: &str| Outcome::Partial { rejected, message: message.to_owned() };
        assert_eq!(rest(2, Outcome::ACCEPTED).await, told(2, "poison"));
        assert_eq!(rest(2, partial(3)).await, told(5, "poison"));
        assert_eq!(rest(2, refused()).await, told(7, "no"));
        assert_eq!(rest(2, retry()).await, retry());
        let warning = Outcome::Accepted { warning: Some("poison".to_owned()) };
        assert_eq!(rest(0, Outcome::ACCEPTED).await, warning, "a metric without data points");
    }

    #[tokio::test]
    async fn a_dropped_part_is_a_retry() {
        let parts = |ack: Ack| {
            let mut parts = ack.into_pieces(&[1, 1]);
            drop(parts.pop());
            parts
        };
        assert!(matches!(answer(parts, &[Outcome::ACCEPTED]).await, Outcome::Retry { .. }));
    }

    #[tokio::test]
    async fn the_longest_wait_that_was_asked_for_is_passed_on() {
        let later = |seconds| Outcome::Retry { after: Some(Duration::from_secs(seconds)), message: "full".to_owned() };
        let heard = answer(|ack| ack.into_copies(3), &[later(1), later(5), retry()]).await;
        assert_eq!(heard, later(5));
    }
}
