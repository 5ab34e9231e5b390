use std::time::Instant;

use rustix::process::Signal as Unix;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Protocol, send_once};
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::{Addresses, Engine, ask};
use sluicebox_tests::sink::{Behaviour, Sink};

use crate::support::{BOUND, start, until_ready, workload};

/// The Collector's keys, and its answers.
#[tokio::test(flavor = "multi_thread")]
async fn it_answers_as_the_collector_does() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let (plain, own) = (Addresses::free().unwrap(), Addresses::free().unwrap());
    let bodies = "response_body: { healthy: fine, unhealthy: broken }";
    let extensions = format!(
        "extensions:\n  health_check: {{ endpoint: \"{}\" }}\n  health_check/own: {{ endpoint: \"{}\", path: /health/status, {bodies} }}\n",
        plain.admin, own.admin
    );
    let text = Config::new().sink(sink.address, "").text();
    let text = text.replace("service:\n", "service:\n  extensions: [health_check, health_check/own]\n");
    let engine = Engine::start(&format!("{extensions}{text}")).await.unwrap();

    let (status, answer) = ask(plain.admin, "/", "").await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, answer["status"].as_str()), (200, Some("Server available")));
    let (up_since, uptime) = (answer["upSince"].as_str().unwrap(), answer["uptime"].as_str().unwrap());
    assert!(up_since.starts_with("20") && up_since.ends_with('Z') && up_since.contains('T'), "{up_since}");
    assert!(uptime.strip_suffix('s').unwrap().parse::<f64>().unwrap() >= 0.0, "{uptime}");

    assert_eq!(ask(own.admin, "/health/status", "").await.unwrap(), (200, "fine".to_owned()));
    for path in ["/livez", "/readyz"] {
        assert_eq!(ask(own.admin, path, "").await.unwrap(), (200, "ok\n".to_owned()));
    }
    for (address, path) in [(own.admin, "/"), (plain.admin, "/health/status"), (plain.admin, "/metrics")] {
        assert_eq!(ask(address, path, "").await.unwrap().0, 404, "{path}");
    }
    assert!(
        engine.process.stderr().contains("health_check/own"),
        "it is among the addresses: {}",
        engine.process.stderr()
    );
}

/// A stop that waits for a queue is no longer ready, and alive until its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_alive_and_not_ready() {
    // Nobody listens there: what is queued stays there until the stop gives up.
    let nobody = Addresses::free().unwrap().admin;
    let config = Config::new().sink(nobody, "");
    let (mut engine, health) = start(&config, &["--drain-timeout", "10"]).await;
    let spans = workload(Signal::Traces, 4);
    send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, spans.request(1, 0)).await.unwrap();
    assert_eq!(ask(health, "/readyz", "").await.unwrap(), (200, "ok\n".to_owned()));
    engine.process.signal(Unix::TERM);
    let told = until_ready(health, "/readyz", |status, _| status == 503).await;
    assert_eq!(told, "not ready\nthe engine stops\n");
    assert_eq!(ask(health, "/livez", "").await.unwrap(), (200, "ok\n".to_owned()));
    let (status, answer) = ask(health, "/", "").await.unwrap();
    assert!(status == 503 && answer.contains("Server not available"), "{answer}");
    let end = Instant::now() + BOUND;
    assert!(engine.process.wait(end - Instant::now()).unwrap().success());
}

/// Asked from the first moment: alive, and not ready before all stages are built.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_is_alive_before_it_is_ready() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config = Config::new()
        .processor_of(Signal::Traces, crate::support::DROPPER, &crate::support::dropper("noop", "pass"))
        .sink(sink.address, "");
    let health = Addresses::free().unwrap().admin;
    let text = config.text().replace(
        "service:\n",
        &format!(
            "extensions: {{ health_check: {{ endpoint: \"{health}\" }} }}\nservice:\n  extensions: [health_check]\n"
        ),
    );
    let starting = tokio::spawn(async move { Engine::start(&text).await });
    let mut before = Vec::new();
    let end = Instant::now() + BOUND;
    loop {
        assert!(Instant::now() < end, "{before:?}");
        let Ok((status, told)) = ask(health, "/readyz", "").await else { continue };
        if status == 200 {
            break;
        }
        before.push((status, told));
    }
    let told: Vec<_> = before.iter().filter(|(status, told)| (*status, told.as_str()) != (503, STARTING)).collect();
    assert!(told.is_empty(), "{told:?}");
    let engine = starting.await.unwrap().unwrap();
    assert_eq!(ask(engine.addresses.admin, "/readyz", "").await.unwrap().0, 200);
}

const STARTING: &str = "not ready\nthe start is not over\n";
