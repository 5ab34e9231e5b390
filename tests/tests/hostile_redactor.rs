//! A redactor that faults lets nothing through: its senders are told to come again, a record that it cannot take is rejected alone, and
//! a good one in its place takes everything at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{Answer, Connection, Protocol, send_once};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::{Engine, get};
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::items::{Request, add_text, text};
use sluicebox_tests::sink::{Behaviour, Sink};

const STAGE: &str = "wasm/redactor";
const BOUND: Duration = Duration::from_secs(30);
const ACCEPTED: Answer = Answer::Accepted { warning: None };
/// Little memory is filled soon, so that a bisection is through before its time is up.
const LIMITS: &str = "memory_mib: 4, deadline: 1s";
/// Bisecting has 100 ms of each try, in which a busy machine may not get far.
const TRIES_MAX: usize = 100;

/// Faults of guests/misbehaving-redactor at the text `poison`, and of every batch of spans.
const MISDEEDS: [(&str, &str); 8] = [
    ("trap_on_poison", "trap"),
    ("spin_on_poison", "deadline"),
    ("allocate_on_poison", "memory"),
    ("error_on_poison", "returned_error"),
    ("leaf_out_of_range", "bad_output"),
    ("not_utf8", "bad_output"),
    ("bad_any_value", "bad_output"),
    ("flood", "host_call_budget"),
];

fn config(sink: &Sink, behaviour: &str, limits: &str) -> String {
    let component = guest("misbehaving-redactor").unwrap();
    let keys = format!("component: {component}, config: {}, limits: {{ {limits} }}", block(behaviour));
    Config::new().processor(STAGE, &keys).sink(sink.address, "").text()
}

fn block(behaviour: &str) -> String {
    format!("{{ \"behaviour\": \"{behaviour}\" }}")
}

async fn keeping() -> Sink {
    Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap()
}

fn workload(signal: Signal, items_per_request: usize) -> Arc<Workload> {
    Workload::new(Shape { requests: 4, items_per_request, ..Shape::new(signal) })
}

/// A request whose items each tell a secret; those that `is_poison` names by their sequence numbers are poison.
fn telling(workload: &Workload, run: u16, number: u64, is_poison: impl Fn(u64) -> bool) -> Bytes {
    let mut request = Request::decode(workload.signal(), &workload.request(run, number)).unwrap();
    request.each_item(|(_, sequence), attributes| {
        let poison = if is_poison(sequence) { " poison" } else { "" };
        add_text(attributes, "note", &format!("secret {sequence}{poison}"));
    });
    request.encode()
}

/// The items of the record that has this item: itself, or all data points of its metric, which is what can be poison there.
fn record_of(workload: &Workload, run: u16, sequence: u64) -> Range<u64> {
    let number = sequence / workload.items_per_request();
    let mut request = Request::decode(workload.signal(), &workload.request(run, number)).unwrap();
    let mut start = number * workload.items_per_request();
    for items in request.items_of_records() {
        if (start..start + items).contains(&sequence) {
            return start..start + items;
        }
        start += items;
    }
    panic!("no record has item {sequence}")
}

/// Sequence numbers of what arrived of a run, each of them with its note redacted.
fn redacted(sink: &Sink, signal: Signal, run: u16) -> BTreeMap<u64, String> {
    let mut notes = BTreeMap::new();
    for body in sink.kept(signal) {
        assert!(!body.windows(6).any(|window| window == b"secret"), "{signal}: a secret left");
        Request::decode(signal, &body).unwrap().each_item(|(of, sequence), attributes| {
            if of == run {
                let note = text(attributes, "note").unwrap().to_owned();
                assert!(note.starts_with(&format!("*** {sequence}")), "{note}");
                assert_eq!(notes.insert(sequence, note), None, "{sequence} arrived twice");
            }
        });
    }
    notes
}

/// Sends until the answer is another than to come again, as OTLP asks of senders; how often that was told.
async fn send(address: SocketAddr, signal: Signal, body: Bytes) -> (Answer, usize) {
    let mut connection = Connection::open(address, Protocol::Grpc, false).await.unwrap();
    for retries in 0..TRIES_MAX {
        match connection.send(signal, body.clone(), BOUND).await {
            Answer::Retry { after: Some(_), .. } => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => return (answer, retries),
        }
    }
    panic!("told to come again {TRIES_MAX} times");
}

/// Nothing of what was sent is told.
async fn tells_nothing(engine: &Engine) {
    let page = get(engine.addresses.metrics, "/metrics").await.unwrap();
    let status = get(engine.addresses.admin, "/v1/status").await.unwrap();
    let (stderr, stdout) = (engine.process.stderr(), engine.process.stdout());
    for (what, text) in [("stderr", stderr), ("stdout", stdout), ("/metrics", page), ("/v1/status", status)] {
        assert!(!text.contains("secret") && !text.contains("note"), "{what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poison_record_of_two_thousand_is_rejected_alone() {
    const ITEMS: u64 = 500;
    let sink = keeping().await;
    let mut engine = Engine::start(&config(&sink, "mask", LIMITS)).await.unwrap();
    let (mut run, mut rejected) = (0, 0);
    for behaviour in ["trap_on_poison", "error_on_poison", "allocate_on_poison"] {
        engine.swap_config(STAGE, &block(behaviour)).await.unwrap();
        for signal in Signal::ALL {
            run += 1;
            let workload = workload(signal, ITEMS as usize);
            // Another one each time, the first and the last of a request among them.
            let poison = [0, ITEMS - 1, 777, 4 * ITEMS - 1, 1234, ITEMS][run as usize % 6];
            let bodies = [0, 1, 2, 3].map(|number| telling(&workload, run, number, |sequence| sequence == poison));
            let [first, second, third, fourth] = bodies.map(|body| send(engine.addresses.grpc, signal, body));
            let answers = tokio::join!(first, second, third, fourth);

            let record = record_of(&workload, run, poison);
            let answers = [answers.0.0, answers.1.0, answers.2.0, answers.3.0];
            for (number, answer) in (0..).zip(&answers) {
                if number == poison / ITEMS {
                    let Answer::Partial { rejected, message } = answer else { panic!("{behaviour}: {answer:?}") };
                    assert_eq!(*rejected, record.end - record.start, "{behaviour}, {signal}");
                    assert!(message.contains(STAGE) && !message.contains("poison"), "{message}");
                } else {
                    assert_eq!(*answer, ACCEPTED, "{behaviour}, {signal}");
                }
            }
            engine.settled_account(BOUND).await.unwrap();
            let arrived = redacted(&sink, signal, run);
            let others: Vec<_> = (0..4 * ITEMS).filter(|sequence| !record.contains(sequence)).collect();
            assert!(arrived.keys().eq(&others), "{behaviour}, {signal}: all others and nothing else");
            rejected += record.end - record.start;
        }
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let poison = [("stage", STAGE), ("reason", "poison"), ("intended", "false")];
    assert_eq!(metrics.sum("pipeline_dropped_items", &poison), rejected);
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), 9 * 4 * ITEMS - rejected);
    assert_eq!(metrics.sum("exporter_sent_items", &[]), 9 * 4 * ITEMS - rejected);
    assert_eq!(metrics.sum("stage_passed_unjudged_items", &[]), 0);
    assert!(engine.process.alive());
    tells_nothing(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_cannot_judge_comes_again_and_a_good_one_takes_it() {
    const ITEMS: u64 = 64;
    let sink = keeping().await;
    let mut engine = Engine::start(&config(&sink, "mask", LIMITS)).await.unwrap();
    let spans = workload(Signal::Traces, ITEMS as usize);
    let mut bodies = Vec::new();
    for (behaviour, kind) in MISDEEDS {
        // Each a generation that never judged anything.
        engine.swap_config(STAGE, &block(behaviour)).await.unwrap();
        for (protocol, address) in [(Protocol::Grpc, engine.addresses.grpc), (Protocol::Http, engine.addresses.http)] {
            let body = telling(&spans, 1, bodies.len() as u64, |_| true);
            let answer = send_once(address, protocol, Signal::Traces, body.clone()).await.unwrap();
            let Answer::Retry { after: Some(_), message } = answer else { panic!("{behaviour}: {answer:?}") };
            assert!(protocol == Protocol::Http || message.contains(STAGE), "{message}");
            bodies.push(body);
        }
        let metrics = engine.settled_account(BOUND).await.unwrap();
        let items = bodies.len() as u64 * ITEMS;
        assert!(metrics.has("stage_faults", &[("stage", STAGE), ("kind", kind)]), "{behaviour} is {kind}");
        let faults = [("stage", STAGE), ("reason", "fault"), ("intended", "false")];
        assert_eq!(metrics.sum("pipeline_dropped_items", &faults), items, "{behaviour}");
        assert_eq!(metrics.sum("receiver_refused_items", &[("signal", "traces")]), items);
        assert_eq!(metrics.sum("stage_passed_unjudged_items", &[]), 0);
        assert!(engine.process.alive(), "{behaviour}");
    }
    assert_eq!(sink.attempts(), 0, "nothing goes round it");
    tells_nothing(&engine).await;

    engine.swap_config(STAGE, &block("mask")).await.unwrap();
    for body in &bodies {
        let answer = send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, body.clone()).await.unwrap();
        assert_eq!(answer, ACCEPTED, "at once");
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let arrived = redacted(&sink, Signal::Traces, 1);
    assert_eq!(arrived.len(), bodies.len() * ITEMS as usize);
    assert!(arrived.values().all(|note| note.ends_with(" poison")));
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), arrived.len() as u64);
}

/// A deadline is not bisected, since each probe may take as long; but it does not hold up its sender for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_always_late_is_rejected_at_the_third_time() {
    const ITEMS: u64 = 64;
    let sink = keeping().await;
    let engine =
        Engine::start_with(&config(&sink, "spin_on_poison", "deadline: 20ms"), &["--workers", "1"]).await.unwrap();
    for (run, signal) in (1..).zip(Signal::ALL) {
        let workload = workload(signal, ITEMS as usize);
        let good = telling(&workload, run, 0, |_| false);
        assert_eq!(send(engine.addresses.grpc, signal, good).await, (ACCEPTED, 0));
        let bad = telling(&workload, run, 1, |sequence| sequence == ITEMS + 5);
        let (answer, retries) = send(engine.addresses.grpc, signal, bad).await;
        let Answer::Partial { rejected: ITEMS, message } = answer else { panic!("{answer:?}") };
        assert!(message.contains(STAGE) && !message.contains("secret"), "{message}");
        assert_eq!(retries, 2);
        let rejected = |m: &Metrics| m.sum("pipeline_dropped_items", &[("reason", "poison")]) == u64::from(run) * ITEMS;
        engine.until(BOUND, "they are counted", rejected).await.unwrap();
        assert_eq!(redacted(&sink, signal, run).len() as u64, ITEMS);
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    assert_eq!(metrics.sum("exporter_sent_items", &[]), 3 * ITEMS);
    assert_eq!(metrics.sum("pipeline_dropped_items", &[("reason", "fault")]), 6 * ITEMS);
    tells_nothing(&engine).await;
}
