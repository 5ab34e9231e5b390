//! Engines, traffic and answers that these tests share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Answer, Connection, Plan, Protocol};
use sluicebox_tests::command::guest;
use sluicebox_tests::engine::{Engine, ask};
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::items::{Request, add_text};
use sluicebox_tests::sink::{Behaviour, Sink};

pub const BOUND: Duration = Duration::from_secs(60);
pub const ACCEPTED: Answer = Answer::Accepted { warning: None };

pub fn workload(signal: Signal, items_per_request: usize) -> Arc<Workload> {
    Workload::new(Shape { requests: 4, items_per_request, ..Shape::new(signal) })
}

pub async fn sink() -> Sink {
    Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap()
}

/// A sink that answers nothing good until the gate is open.
pub async fn gated() -> (Sink, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&gate);
    let script: sluicebox_tests::sink::Script = Arc::new(move |_attempt| {
        let answer = if opened.load(Ordering::Relaxed) {
            ACCEPTED
        } else {
            Answer::Retry { after: None, message: "later".to_owned() }
        };
        (Duration::ZERO, answer)
    });
    (Sink::start(Behaviour { script: Some(script), ..Behaviour::default() }).await.unwrap(), gate)
}

/// Keys of a stage that reads all texts and masks `secret`.
pub fn redactor(more: &str) -> String {
    let component = guest("misbehaving-redactor").unwrap();
    format!("component: {component}, config: {{ behaviour: mask }}{more}")
}

/// Keys of a stage that can only drop, and misbehaves.
pub fn dropper(behaviour: &str, limits: &str) -> String {
    let component = guest("misbehaving").unwrap();
    format!("component: {component}, grants: [state], config: {{ behaviour: {behaviour} }}, limits: {{ {limits} }}")
}

/// A request whose items each tell a secret.
pub fn telling(workload: &Workload, run: u16, number: u64) -> Bytes {
    let mut request = Request::decode(workload.signal(), &workload.request(run, number)).unwrap();
    request.each_item(|(_, sequence), attributes| add_text(attributes, "note", &format!("secret {sequence}")));
    request.encode()
}

/// Sends requests of a run, one after the other; each is accepted.
pub async fn send(engine: &Engine, workload: &Arc<Workload>, run: u16, requests: u64) {
    let report = client::run(engine.addresses.grpc, workload, run, Plan::grpc(requests)).await.unwrap();
    assert_eq!(report.first_failure(), None);
}

/// Sends one request once.
pub async fn send_once(address: SocketAddr, body: Bytes) -> Answer {
    let mut connection = Connection::open(address, Protocol::Grpc, false).await.unwrap();
    connection.send(Signal::Traces, body, BOUND).await
}

/// What the admin API answers; a success.
pub async fn page(engine: &Engine, path: &str) -> Value {
    let (status, text) = ask(engine.addresses.admin, path, "application/json").await.unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Asks until the answer is as wanted.
pub async fn until(engine: &Engine, path: &str, what: &str, as_wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + BOUND;
    loop {
        let answer = page(engine, path).await;
        if as_wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "not in time: {what}: {answer:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The one of a list that has this text under this key.
pub fn named<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|one| one[key] == name);
    found.unwrap_or_else(|| panic!("no {key} {name}: {list:#}"))
}
