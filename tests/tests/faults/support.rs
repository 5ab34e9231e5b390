//! Engines with a stage that misbehaves, and requests that tell secrets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluicebox::signal::Signal;
use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::{Addresses, Engine, ask, get};
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::items::{Request, add_text};
use sluicebox_tests::sink::{Behaviour, Sink};

pub const REDACTOR: &str = "wasm/redactor";
pub const DROPPER: &str = "wasm/dropper";
pub const BOUND: Duration = Duration::from_secs(60);
/// Little memory is filled soon; only what never ends is to meet the deadline, on a busy machine too.
const LIMITS: &str = "limits: { memory_mib: 4, deadline: 1s }";

pub fn block(behaviour: &str) -> String {
    format!("{{ \"behaviour\": \"{behaviour}\" }}")
}

/// Keys of a stage that reads all texts and masks `secret`; `*_on_poison` faults at the text `poison`.
pub fn redactor(behaviour: &str) -> String {
    format!("component: {}, config: {}, {LIMITS}", guest("misbehaving-redactor").unwrap(), block(behaviour))
}

/// Keys of a stage that can only drop.
pub fn dropper(behaviour: &str, on_fault: &str) -> String {
    let component = guest("misbehaving").unwrap();
    format!("component: {component}, grants: [state], config: {}, {LIMITS}, on_fault: {on_fault}", block(behaviour))
}

pub async fn keeping() -> Sink {
    Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap()
}

pub fn workload(signal: Signal, items_per_request: usize) -> Arc<Workload> {
    Workload::new(Shape { requests: 4, items_per_request, ..Shape::new(signal) })
}

/// A request whose items each tell a secret; those that `is_poison` names by their sequence numbers are poison.
pub fn telling(workload: &Workload, number: u64, is_poison: impl Fn(u64) -> bool) -> Bytes {
    let mut request = Request::decode(workload.signal(), &workload.request(1, number)).unwrap();
    request.each_item(|(_, sequence), attributes| {
        let poison = if is_poison(sequence) { " poison" } else { "" };
        add_text(attributes, "note", &format!("secret {sequence}{poison}"));
    });
    request.encode()
}

/// An engine with a health check on an address of its own.
pub async fn start(config: &Config, arguments: &[&str]) -> (Engine, SocketAddr) {
    let health = Addresses::free().unwrap().admin;
    let text = config.text().replace(
        "service:\n",
        &format!(
            "extensions: {{ health_check: {{ endpoint: \"{health}\" }} }}\nservice:\n  extensions: [health_check]\n"
        ),
    );
    (Engine::start_with(&text, arguments).await.unwrap(), health)
}

/// Asks until the answer is as wanted.
pub async fn until_ready(address: SocketAddr, path: &str, as_wanted: impl Fn(u16, &str) -> bool) -> String {
    let end = std::time::Instant::now() + BOUND;
    loop {
        let (status, text) = ask(address, path, "text/plain").await.unwrap();
        if as_wanted(status, &text) {
            return text;
        }
        assert!(std::time::Instant::now() < end, "{status}: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nothing of what was sent is told anywhere but to its destination.
pub async fn tells_nothing(engine: &Engine, health: SocketAddr) {
    let page = get(engine.addresses.metrics, "/metrics").await.unwrap();
    let status = get(engine.addresses.admin, "/v1/status").await.unwrap();
    let (_, ready) = ask(health, "/readyz?verbose", "application/json").await.unwrap();
    let (stderr, stdout) = (engine.process.stderr(), engine.process.stdout());
    let told = [("stderr", stderr), ("stdout", stdout), ("/metrics", page), ("/v1/status", status), ("/readyz", ready)];
    for (what, text) in told {
        assert!(!text.contains("secret") && !text.contains("/api/v1/items"), "{what}: {text}");
    }
}
