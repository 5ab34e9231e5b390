//! A redaction rule is changed in a file, by SIGHUP and by the command line: the next request after that was told is redacted by the new
//! rule, and each request by one rule, told by content.
//!
//! With SLUICEBOX_SOAK more than 1: how long it took from the change to the first request under the new rule.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal as UnixSignal;
use serde_json::json;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Connection, Protocol};
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::items::{Request, add_text, text};
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::soak_factor;

const STAGE: &str = "redaction";
const BOUND: Duration = Duration::from_secs(30);
const NOTE: &str = "ticket one-1234 and two-5678";
/// What each of the two rules leaves of the note.
const LEFT: [&str; 2] = ["ticket *** and two-5678", "ticket one-1234 and ***"];
const RULES: [&str; 2] = ["one-[0-9]{4}", "two-[0-9]{4}"];
const RUN: u16 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Watch,
    Signal,
    Command,
}

fn block(rule: usize) -> String {
    json!({ "allow_all_keys": true, "mask": "***", "blocked_values": [RULES[rule]] }).to_string()
}

fn file(sink: &Sink, rule: usize) -> String {
    let block = block(rule);
    let keys = block.trim_start_matches('{').trim_end_matches('}');
    Config::new().processor(STAGE, keys).sink(sink.address, "").verbose().text()
}

/// Sends one request after the other until it is told to stop; when each was begun.
async fn probe(engine: &Engine, going: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Instant>> {
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    tokio::spawn(async move {
        let workload = Workload::new(Shape { requests: 1, items_per_request: 1, ..Shape::new(Signal::Traces) });
        let mut begun = Vec::new();
        while going.load(Ordering::Relaxed) {
            let body = workload.request(RUN, begun.len() as u64);
            let mut request = Request::decode(Signal::Traces, &body).unwrap();
            request.each_item(|_, attributes| add_text(attributes, "note", NOTE));
            begun.push(Instant::now());
            let answer = connection.send(Signal::Traces, request.encode(), BOUND).await;
            assert_eq!(answer, Answer::Accepted { warning: None });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        begun
    })
}

/// By which rule each request was redacted, by its number.
fn judged(sink: &Sink, requests: usize) -> Vec<usize> {
    let mut rules = vec![None; requests];
    for body in sink.kept(Signal::Traces) {
        Request::decode(Signal::Traces, &body).unwrap().each_item(|(_, sequence), attributes| {
            let note = text(attributes, "note").unwrap();
            let rule = LEFT.iter().position(|left| *left == note);
            rules[sequence as usize] = Some(rule.unwrap_or_else(|| panic!("by both rules or none: {note}")));
        });
    }
    rules.into_iter().map(|rule| rule.expect("arrived")).collect()
}

fn swapped_lines(engine: &Engine) -> usize {
    engine.process.stderr().lines().filter(|line| line.contains("swapped") && line.contains(STAGE)).count()
}

/// Changes the rule, and waits until that is told.
async fn change(engine: &mut Engine, sink: &Sink, way: Way, rule: usize) {
    let lines = swapped_lines(engine);
    match way {
        Way::Watch => engine.rewrite(&file(sink, rule)).unwrap(),
        Way::Signal => {
            engine.rewrite(&file(sink, rule)).unwrap();
            engine.process.signal(UnixSignal::HUP);
        }
        Way::Command => {
            let rules = Path::new("rules.json");
            std::fs::write(engine.directory().join(rules), block(rule)).unwrap();
            let done = engine.command(&["swap", STAGE, "--config", "rules.json"]).await.unwrap();
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            return;
        }
    }
    let end = Instant::now() + BOUND;
    while swapped_lines(engine) == lines {
        assert!(Instant::now() < end, "{}", engine.process.stderr());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn changes(way: Way, count: usize) -> Vec<Duration> {
    let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
    let arguments: &[&str] = if way == Way::Watch { &["--watch"] } else { &[] };
    let mut engine = Engine::start_with(&file(&sink, 0), arguments).await.unwrap();
    let going = Arc::new(AtomicBool::new(true));
    let probing = probe(&engine, Arc::clone(&going)).await;
    let mut changed = Vec::new();
    for number in 1..=count {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let saved = Instant::now();
        change(&mut engine, &sink, way, number % 2).await;
        changed.push((saved, Instant::now()));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    going.store(false, Ordering::Relaxed);
    let begun = probing.await.unwrap();
    engine.settled_account(BOUND).await.unwrap();
    let rules = judged(&sink, begun.len());
    let mut times = Vec::new();
    for (number, (saved, told)) in (1..).zip(&changed) {
        let next = changed.get(number).map_or_else(Instant::now, |(next, _)| *next);
        let of_change = || begun.iter().zip(&rules).filter(|(begun, _)| **begun >= *saved && **begun < next);
        let after: Vec<_> = of_change().filter(|(begun, _)| *begun >= told).map(|(_, rule)| *rule).collect();
        assert!(
            !after.is_empty() && after.iter().all(|rule| *rule == number % 2),
            "{way:?}, change {number}: {after:?}"
        );
        let first = of_change().find(|(_, rule)| **rule == number % 2).map(|(begun, _)| *begun);
        times.push(first.expect("some came after it was told") - *saved);
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redaction_rule_changed_by_each_way_redacts_the_next_request() {
    let count = if soak_factor() > 1 { 20 } else { 2 };
    for way in [Way::Watch, Way::Signal, Way::Command] {
        let mut times = changes(way, count).await;
        times.sort_unstable();
        if soak_factor() > 1 {
            println!(
                "a redaction rule changed {count} times by {way:?}: from save to serving {:?} (longest {:?})",
                times[count / 2],
                times[count - 1]
            );
        }
    }
}
