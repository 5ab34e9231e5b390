//! `batch`: what is sent together, what is split, and that every sender still gets its own answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Connection, Plan, Protocol, send_once};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{EARLY_RULE, Shape, Workload};
use sluicebox_tests::sink::{Attempt, Behaviour, Sink};

const BOUND: Duration = Duration::from_secs(30);
const ITEMS: u64 = 10;
const ACCEPTED: Answer = Answer::Accepted { warning: None };
/// One request under way, one in the queue; further ones wait for a place in it and count as inside the pipeline.
const NARROW: &str = "queue_size: 1, num_consumers: 1, block_on_overflow: true";

fn workload(signal: Signal) -> Arc<Workload> {
    Workload::new(Shape { requests: 3, items_per_request: ITEMS as usize, ..Shape::new(signal) })
}

/// An engine before a sink that takes nothing until it is opened, and three requests that fill all places before it: as long as they
/// are there, `batch` has to wait for its size or its timeout.
struct Plugged {
    engine: Engine,
    sink: Sink,
    signal: Signal,
    workload: Arc<Workload>,
    open: Arc<AtomicBool>,
    /// Items of each request that the sink took.
    taken: Arc<Mutex<Vec<u64>>>,
    plugs: tokio::task::JoinSet<Answer>,
}

impl Plugged {
    async fn start(
        signal: Signal,
        batch: &str,
        queue: &str,
        judge: impl Fn(&Attempt) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (open, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (gate, note) = (Arc::clone(&open), Arc::clone(&taken));
        let script = Arc::new(move |attempt: &Attempt| {
            if !gate.load(Ordering::Relaxed) {
                return (Duration::ZERO, Answer::Retry { after: None, message: "not yet".to_owned() });
            }
            let answer = judge(attempt);
            if matches!(answer, Answer::Accepted { .. } | Answer::Partial { .. }) {
                note.lock().unwrap().push(attempt.items.len() as u64);
            }
            (Duration::ZERO, answer)
        });
        let sink = Sink::start(Behaviour { script: Some(script), ..Behaviour::default() }).await.unwrap();
        let keys = format!("sending_queue: {{ {NARROW}{queue} }}");
        let config = Config::new().processor("batch", batch).sink(sink.address, &keys);
        let engine = Engine::start(&config.text()).await.unwrap();
        let plugs = tokio::task::JoinSet::new();
        let mut this = Self { engine, sink, signal, workload: workload(signal), open, taken, plugs };
        for (number, (queued, held)) in (0..).zip([(1, 0), (2, 0), (2, 1)]) {
            this.send(number);
            // Until it is under way it takes the only place in the queue.
            let first_try = |this: &Self| this.sink.attempts() > 0;
            let there = |m: &Metrics| {
                (m.sum("exporter_queued_items", &[]), m.sum("pipeline_held_items", &[]))
                    == (queued * ITEMS, held * ITEMS)
            };
            this.engine.until(BOUND, "the request is in its place", there).await.unwrap();
            while !first_try(&this) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        this
    }

    fn send(&mut self, number: u64) {
        let (address, signal, body) = (self.engine.addresses.grpc, self.signal, self.workload.request(1, number));
        self.plugs.spawn(async move { send_once(address, Protocol::Grpc, signal, body).await.unwrap() });
    }

    async fn until_held(&self, requests: u64) {
        let held = |m: &Metrics| m.sum("pipeline_held_items", &[]) == requests * ITEMS;
        self.engine.until(BOUND, &format!("{requests} requests are held"), held).await.unwrap();
    }

    /// Lets everything through; answers, sizes of what arrived (smallest first) and metrics.
    async fn finish(self) -> (Vec<Answer>, Vec<u64>, Metrics) {
        self.open.store(true, Ordering::Relaxed);
        let answers = self.plugs.join_all().await;
        let metrics = self.engine.settled_account(BOUND).await.unwrap();
        let mut taken = self.taken.lock().unwrap().clone();
        taken.sort_unstable();
        let seen = self.sink.take_seen(self.signal, 1);
        assert_eq!((seen.items, seen.duplicates), (taken.iter().sum(), 0));
        (answers, taken, metrics)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_together_once_they_have_the_size() {
    for signal in Signal::ALL {
        let mut plugged = Plugged::start(signal, "send_batch_size: 40, timeout: 60s", "", |_| ACCEPTED).await;
        for number in 3..13 {
            plugged.send(number);
        }
        plugged.until_held(11).await;
        let (answers, taken, metrics) = plugged.finish().await;
        assert!(answers.len() == 13 && answers.iter().all(|answer| *answer == ACCEPTED), "{answers:?}");
        // Two full batches; the rest once all other requests are through.
        assert_eq!(taken, [10, 10, 10, 20, 40, 40], "{signal}");
        let all = 13 * ITEMS;
        assert_eq!(metrics.sum("receiver_accepted_items", &[]), all);
        assert_eq!(metrics.sum("exporter_sent_items", &[("signal", signal.as_str())]), all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_alone_once_they_have_waited_for_the_timeout() {
    for (timeout, arrived) in [("100ms", vec![10; 5]), ("60s", vec![10, 10, 10, 20])] {
        let batch = format!("send_batch_size: 1000, timeout: {timeout}");
        let mut plugged = Plugged::start(Signal::Logs, &batch, "", |_| ACCEPTED).await;
        plugged.send(3);
        plugged.until_held(2).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        plugged.send(4);
        plugged.until_held(3).await;
        let (_, taken, _) = plugged.finish().await;
        assert_eq!(taken, arrived, "timeout {timeout}");
    }
}

/// A sender that waits for its answer sends nothing more: to wait for the timeout is to wait for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_once_every_open_request_is_in_it() {
    for keys in ["", "sending_queue: { wait_for_result: true }"] {
        let sink = Sink::start(Behaviour::default()).await.unwrap();
        let config = Config::new()
            .processor("filter/health", &drop_spans(EARLY_RULE))
            .processor("batch", "send_batch_size: 1000000, timeout: 300s")
            .sink(sink.address, keys);
        let engine = Engine::start(&config.text()).await.unwrap();
        let workload = workload(Signal::Traces);
        let plan = Plan { tries: 1, ..Plan::grpc(200) };
        let report = client::run(engine.addresses.grpc, &workload, 1, plan).await.unwrap();
        assert_eq!(report.first_failure(), None);
        engine.settled_account(BOUND).await.unwrap();
        let delivered = workload.check(&report.settled, &sink.take_seen(Signal::Traces, 1), true).unwrap();
        assert_eq!(delivered.arrived + delivered.dropped, 200 * ITEMS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_request_is_split_and_answered_once() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::new(Mutex::new(ACCEPTED));
    let (note, tell) = (Arc::clone(&sizes), Arc::clone(&told));
    let script = Arc::new(move |attempt: &Attempt| {
        note.lock().unwrap().push(attempt.items.len() as u64);
        // Only the piece with the request's last item is answered otherwise.
        let last = attempt.items.iter().any(|(_, sequence)| sequence % 100 == 99);
        (Duration::ZERO, if last { tell.lock().unwrap().clone() } else { ACCEPTED })
    });
    let sink = Sink::start(Behaviour { script: Some(script), ..Behaviour::default() }).await.unwrap();
    let keys = "sending_queue: { wait_for_result: true }, retry_on_failure: { enabled: false }";
    let batch = "send_batch_size: 30, send_batch_max_size: 30, timeout: 60s";
    let engine = Engine::start(&Config::new().processor("batch", batch).sink(sink.address, keys).text()).await.unwrap();
    let mut run = 0;
    for signal in Signal::ALL {
        let workload = Workload::new(Shape { requests: 2, items_per_request: 100, odd: true, ..Shape::new(signal) });
        let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
        for (answer, heard) in [
            (ACCEPTED, "Accepted { warning: None }"),
            (Answer::Retry { after: None, message: "later".to_owned() }, "Retry {"),
            (Answer::Partial { rejected: 2, message: "two".to_owned() }, "Partial { rejected: 2"),
        ] {
            *told.lock().unwrap() = answer.clone();
            run += 1;
            let sender = connection.send(signal, workload.request(run, 0), BOUND).await;
            assert!(format!("{sender:?}").starts_with(heard), "{signal}: the sink said {answer:?}, heard {sender:?}");
            let mut sizes = std::mem::take(&mut *sizes.lock().unwrap());
            assert_eq!(sizes.iter().sum::<u64>(), 100, "{signal}: {sizes:?}");
            sizes.sort_unstable();
            match signal {
                // A metric is not cut: pieces may be smaller.
                Signal::Metrics => assert!(sizes.len() >= 4 && sizes.iter().all(|n| *n <= 30), "{sizes:?}"),
                Signal::Traces | Signal::Logs => assert_eq!(sizes, [10, 30, 30, 30], "{signal}"),
            }
            let seen = sink.take_seen(signal, run);
            assert_eq!(seen.duplicates, 0);
            assert_eq!(seen.items < 100, matches!(answer, Answer::Retry { .. }), "{signal}: {} arrived", seen.items);
        }
    }
    engine.settled_account(BOUND).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_timeout_requests_go_straight_on() {
    let mut plugged = Plugged::start(Signal::Traces, "send_batch_size: 1000, timeout: 0s", "", |_| ACCEPTED).await;
    for number in 3..8 {
        plugged.send(number);
    }
    plugged.until_held(6).await;
    let (_, taken, _) = plugged.finish().await;
    assert_eq!(taken, [10; 8]);
}

/// A destination that refuses a merged request for one bad part of it gets each request once more, alone.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_request_does_not_cost_the_others_theirs() {
    let bad = |attempt: &Attempt| attempt.items.iter().any(|(_, sequence)| sequence / ITEMS == 5);
    let refused = || Answer::Refused { code: 3, message: "a bad span".to_owned() };
    let judge = move |attempt: &Attempt| if bad(attempt) { refused() } else { ACCEPTED };
    let mut plugged =
        Plugged::start(Signal::Traces, "send_batch_size: 40, timeout: 60s", ", wait_for_result: true", judge).await;
    for number in 3..7 {
        plugged.send(number);
    }
    plugged.until_held(5).await;
    let (answers, taken, metrics) = plugged.finish().await;
    assert_eq!(answers.iter().filter(|answer| **answer == ACCEPTED).count(), 6, "{answers:?}");
    let refusal = answers.iter().find(|answer| **answer != ACCEPTED);
    assert!(matches!(refusal, Some(Answer::Refused { message, .. }) if message.contains("a bad span")), "{answers:?}");
    assert_eq!(taken, [10; 6], "all but the bad one, each alone");
    assert_eq!(metrics.sum("exporter_rejected_items", &[]), ITEMS);
    assert_eq!(metrics.sum("receiver_refused_items", &[]), ITEMS);
}

/// Whose items a partial success of a merged request means cannot be known: it is counted, and said to all.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_success_of_a_merged_request_is_a_warning_to_all() {
    let judge = |attempt: &Attempt| match attempt.items.len() {
        40 => Answer::Partial { rejected: 3, message: "three".to_owned() },
        _ => ACCEPTED,
    };
    let mut plugged =
        Plugged::start(Signal::Logs, "send_batch_size: 40, timeout: 60s", ", wait_for_result: true", judge).await;
    for number in 3..7 {
        plugged.send(number);
    }
    plugged.until_held(5).await;
    let (answers, _, metrics) = plugged.finish().await;
    let warned =
        |answer: &&Answer| matches!(answer, Answer::Accepted { warning: Some(text) } if text.contains("three"));
    assert_eq!(answers.iter().filter(warned).count(), 4, "{answers:?}");
    assert_eq!(metrics.sum("exporter_rejected_items", &[]), 3);
    assert_eq!(metrics.sum("exporter_sent_items", &[]), 7 * ITEMS - 3);
}
