//! Exporters' queues: bounds, retries, un-merging, the account.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sluicebox::ack::{Answer, Outcome, promise};
use sluicebox::config::model::{Exporter as Config, ExporterKind, Queue, Retry, Verbosity};
use sluicebox::export::{Closed, Destination, Exporter, Full, Parcel, Part, Sent};
use sluicebox::memory::Budget;
use sluicebox::observe::metrics::Metrics;
use sluicebox::signal::Signal;
use tokio::sync::Semaphore;

use crate::support::{PATIENCE, series, soon, until};

/// Answers as scripted, and refuses whatever holds `bad`.
struct Fake {
    says: Mutex<VecDeque<Sent>>,
    tried: Mutex<Vec<Vec<u8>>>,
    /// One permit per try that may be answered.
    gate: Semaphore,
}

impl Fake {
    fn open() -> Arc<Fake> {
        Fake::gated(Semaphore::MAX_PERMITS)
    }

    fn gated(permits: usize) -> Arc<Fake> {
        Arc::new(Fake { says: Mutex::default(), tried: Mutex::default(), gate: Semaphore::new(permits) })
    }

    fn says(&self, sent: impl IntoIterator<Item = Sent>) {
        self.says.lock().expect("is whole").extend(sent);
    }

    fn tried(&self) -> Vec<Vec<u8>> {
        self.tried.lock().expect("is whole").clone()
    }
}

impl Destination for Fake {
    fn send<'a>(&'a self, _: Signal, body: &'a [Bytes]) -> BoxFuture<'a, Sent> {
        async move {
            let body = body.concat();
            self.tried.lock().expect("is whole").push(body.clone());
            self.gate.acquire().await.expect("is open").forget();
            let said = self.says.lock().expect("is whole").pop_front();
            let bad = body.windows(3).any(|window| window == b"bad");
            said.unwrap_or(if bad { refused() } else { Sent::Accepted { warning: None } })
        }
        .boxed()
    }
}

fn refused() -> Sent {
    Sent::Refused { message: "no".to_owned() }
}

fn retry() -> Sent {
    Sent::Retry { after: None, message: "later".to_owned() }
}

fn config() -> Config {
    Config {
        name: "out".to_owned(),
        kind: ExporterKind::Debug { verbosity: Verbosity::Basic },
        queue: Queue { enabled: true, requests_max: 2, consumers: 1, block_on_overflow: false, wait_for_result: true },
        retry: Retry {
            enabled: true,
            initial_interval: Duration::from_millis(1),
            max_interval: Duration::from_millis(5),
            max_elapsed: Some(PATIENCE),
            multiplier: 1.5,
            randomization: 0.5,
        },
    }
}

struct Bench {
    exporter: Exporter,
    metrics: Metrics,
}

impl Bench {
    fn start(config: &Config, fake: &Arc<Fake>) -> Bench {
        let metrics = Metrics::new();
        let fake: Arc<dyn Destination> = Arc::<Fake>::clone(fake);
        Bench { exporter: Exporter::start(config, fake, &metrics), metrics }
    }

    fn count(&self, name: &str) -> u64 {
        series(&self.metrics, &format!("exporter_{name}"), &[("exporter", "out"), ("signal", "traces")])
    }

    fn dropped(&self, reason: &str) -> u64 {
        series(&self.metrics, "exporter_dropped_items_total", &[("signal", "traces"), ("reason", reason)])
    }

    /// handed over, sent, rejected, queued.
    fn account(&self) -> [u64; 4] {
        ["handed_over_items_total", "sent_items_total", "rejected_items_total", "queued_items"].map(|n| self.count(n))
    }

    fn push(&self, parts: &[(&'static str, u64)]) -> Vec<Answer> {
        let slot = self.exporter.try_reserve().expect("has a place");
        let (parts, answers) = parts.iter().map(|(body, account)| part(body, *account)).unzip();
        slot.push(Parcel { signal: Signal::Traces, parts });
        answers
    }
}

fn part(body: &'static str, account: u64) -> (Part, Answer) {
    let (ack, answer) = promise(|_| ());
    (Part { bytes: Bytes::from_static(body.as_bytes()), account, ack: Some(ack), charge: None }, answer)
}

async fn outcome(answers: Vec<Answer>) -> Outcome {
    assert_eq!(answers.len(), 1);
    soon(answers.into_iter().next().expect("is one")).await
}

#[tokio::test]
async fn what_is_sent_is_counted_and_its_charge_given_back() {
    let fake = Fake::gated(0);
    let bench = Bench::start(&config(), &fake);
    let budget = Budget::new(100);
    let (mut part, answer) = part("hello", 7);
    part.charge = budget.charge(5).map(Arc::new);
    bench.exporter.try_reserve().expect("has a place").push(Parcel { signal: Signal::Traces, parts: vec![part] });
    assert_eq!(bench.account(), [7, 0, 0, 7]);
    assert_eq!((bench.exporter.queued_bytes(), budget.bytes_used()), (5, 5));
    fake.gate.add_permits(1);
    assert_eq!(soon(answer).await, Outcome::ACCEPTED);
    assert_eq!(bench.account(), [7, 7, 0, 0]);
    until("bytes are given back", || bench.exporter.queued_bytes() == 0 && budget.bytes_used() == 0).await;
}

#[tokio::test]
async fn a_full_queue_refuses_or_makes_wait() {
    let fake = Fake::gated(0);
    let mut config = config();
    config.queue.block_on_overflow = true;
    let bench = Bench::start(&config, &fake);
    assert!(bench.exporter.blocks_on_overflow());
    let mut answers = bench.push(&[("a", 1)]);
    until("the first is in flight", || fake.tried().len() == 1).await;
    answers.extend(bench.push(&[("b", 1)]));
    let unused = bench.exporter.try_reserve().expect("has a place");
    assert_eq!(bench.exporter.try_reserve().err(), Some(Full));
    drop(unused);
    answers.extend(bench.push(&[("c", 1)]));
    let waiting = bench.exporter.reserve();
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    fake.gate.add_permits(3);
    soon(waiting).await.expect("gets a place");
    for answer in answers {
        assert_eq!(soon(answer).await, Outcome::ACCEPTED);
    }
    assert_eq!(fake.tried(), [b"a", b"b", b"c"]);
}

#[tokio::test]
async fn a_refused_merged_parcel_is_unmerged() {
    let fake = Fake::open();
    let bench = Bench::start(&config(), &fake);
    let answers = bench.push(&[("good", 2), ("bad", 3), ("fine", 4)]);
    let outcomes = futures_util::future::join_all(answers);
    let no = Outcome::Refused { message: "no".to_owned() };
    assert_eq!(soon(outcomes).await, [Outcome::ACCEPTED, no.clone(), Outcome::ACCEPTED]);
    assert_eq!(fake.tried(), [&b"goodbadfine"[..], b"good", b"bad", b"fine"]);
    assert_eq!(bench.account(), [9, 6, 3, 0]);
    assert_eq!(outcome(bench.push(&[("bad", 1)])).await, no);
    assert_eq!(fake.tried().len(), 5, "a single request is refused once");
}

#[tokio::test]
async fn partial_success_is_counted_and_told() {
    let fake = Fake::open();
    let bench = Bench::start(&config(), &fake);
    let partial = |rejected| Sent::Partial { rejected, message: "some".to_owned() };
    fake.says([partial(2), partial(3), partial(100)]);
    let told = outcome(bench.push(&[("a", 10)])).await;
    assert_eq!(told, Outcome::Partial { rejected: 2, message: "some".to_owned() });
    assert_eq!(bench.account(), [10, 8, 2, 0]);
    for outcome in soon(futures_util::future::join_all(bench.push(&[("a", 5), ("b", 5)]))).await {
        let Outcome::Accepted { warning: Some(warning) } = outcome else { panic!("{outcome:?}") };
        assert!(warning.starts_with("3 items"), "{warning}");
    }
    assert_eq!(bench.account(), [20, 15, 5, 0]);
    outcome(bench.push(&[("a", 4)])).await;
    assert_eq!(bench.account(), [24, 15, 9, 0], "a peer cannot reject more than it got");
}

#[tokio::test]
async fn failures_are_retried_and_seen() {
    let fake = Fake::gated(2);
    let bench = Bench::start(&config(), &fake);
    fake.says([retry(), Sent::Retry { after: Some(Duration::from_millis(3)), message: "wait".to_owned() }]);
    let answers = bench.push(&[("a", 1)]);
    until("it tries a third time", || fake.tried().len() == 3).await;
    assert!(bench.exporter.failing_since().is_some());
    assert_eq!(bench.account(), [1, 0, 0, 1]);
    fake.gate.add_permits(1);
    assert_eq!(outcome(answers).await, Outcome::ACCEPTED);
    assert!(bench.exporter.failing_since().is_none());
    let tries = |result| series(&bench.metrics, "exporter_requests_total", &[("signal", "traces"), ("reason", result)]);
    assert_eq!((tries("retry"), tries("accepted")), (2, 1));
}

#[tokio::test]
async fn retries_end_in_a_counted_drop() {
    let fake = Fake::open();
    fake.says(std::iter::repeat_n(retry(), 10_000));
    let mut config = config();
    config.retry.max_elapsed = Some(Duration::from_millis(20));
    let bench = Bench::start(&config, &fake);
    let told = outcome(bench.push(&[("a", 3)]).into_iter().collect()).await;
    assert_eq!(told, Outcome::Retry { after: None, message: "later".to_owned() });
    assert_eq!((bench.account(), bench.dropped("retry_timeout")), ([3, 0, 0, 0], 3));
    assert!(fake.tried().len() > 1);

    let fake = Fake::open();
    fake.says([retry()]);
    config.retry.enabled = false;
    let bench = Bench::start(&config, &fake);
    assert!(matches!(outcome(bench.push(&[("a", 3)])).await, Outcome::Retry { .. }));
    assert_eq!((bench.account(), bench.dropped("retry_disabled"), fake.tried().len()), ([3, 0, 0, 0], 3, 1));
}

#[tokio::test]
async fn shutdown_drains_then_drops() {
    let fake = Fake::open();
    let bench = Bench::start(&config(), &fake);
    let late = bench.exporter.try_reserve().expect("has a place");
    let answers = bench.push(&[("a", 1)]);
    assert!(bench.exporter.shutdown(PATIENCE).await);
    assert_eq!(outcome(answers).await, Outcome::ACCEPTED);
    assert_eq!(bench.exporter.try_reserve().err(), Some(Full));
    assert_eq!(bench.exporter.reserve().await.err(), Some(Closed));
    let (part, answer) = part("late", 5);
    late.push(Parcel { signal: Signal::Traces, parts: vec![part] });
    assert!(matches!(soon(answer).await, Outcome::Retry { .. }));
    assert_eq!((bench.account(), bench.dropped("shutdown")), ([6, 1, 0, 0], 5));

    let fake = Fake::gated(1);
    fake.says([retry()]);
    let mut config = config();
    config.retry.initial_interval = PATIENCE * 10;
    config.retry.max_interval = PATIENCE * 10;
    config.retry.max_elapsed = None;
    let bench = Bench::start(&config, &fake);
    let mut answers = bench.push(&[("waits for its next try", 1)]);
    until("the first failed", || bench.exporter.failing_since().is_some()).await;
    answers.extend(bench.push(&[("waits in the queue", 2), ("merged", 4)]));
    assert!(!bench.exporter.shutdown(Duration::from_millis(20)).await);
    for answer in answers {
        assert!(matches!(soon(answer).await, Outcome::Retry { .. }));
    }
    assert_eq!((bench.account(), bench.dropped("shutdown")), ([7, 0, 0, 0], 7));
}

#[tokio::test]
async fn without_a_queue_requests_in_flight_are_bounded() {
    let fake = Fake::gated(0);
    let mut config = config();
    config.queue.enabled = false;
    config.queue.wait_for_result = false;
    let bench = Bench::start(&config, &fake);
    assert!(bench.exporter.waits_for_result());
    let mut answers = Vec::new();
    while let Ok(slot) = bench.exporter.try_reserve() {
        let (part, answer) = part("x", 1);
        slot.push(Parcel { signal: Signal::Traces, parts: vec![part] });
        answers.push(answer);
    }
    until("all are in flight", || fake.tried().len() == answers.len()).await;
    assert_eq!(bench.exporter.try_reserve().err(), Some(Full));
    fake.gate.add_permits(answers.len());
    for answer in answers {
        assert_eq!(soon(answer).await, Outcome::ACCEPTED);
    }
}

#[tokio::test]
async fn the_account_adds_up_whatever_happens() {
    let fake = Fake::open();
    let mut random = StdRng::seed_from_u64(20_260_917);
    fake.says((0..2_000).map(|_| match random.random_range(0..5) {
        0 => retry(),
        1 => refused(),
        2 => Sent::Partial { rejected: random.random_range(1..20), message: "some".to_owned() },
        _ => Sent::Accepted { warning: None },
    }));
    let mut config = config();
    config.queue = Queue { requests_max: 1_000, consumers: 8, ..config.queue };
    config.retry.max_elapsed = Some(Duration::from_millis(2));
    let bench = Bench::start(&config, &fake);
    let mut answers = Vec::new();
    let mut handed_over = 0;
    for _ in 0..500 {
        let parts: Vec<_> = (0..random.random_range(1..5)).map(|_| ("x", random.random_range(0..20))).collect();
        handed_over += parts.iter().map(|(_, account)| account).sum::<u64>();
        answers.extend(bench.push(&parts));
    }
    soon(futures_util::future::join_all(answers)).await;
    let [counted, sent, rejected, queued] = bench.account();
    assert_eq!((counted, queued), (handed_over, 0));
    assert_eq!(sent + rejected + bench.dropped("retry_timeout"), handed_over);
    assert!(sent > 0 && rejected > 0);
}
