use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicebox::signal::Signal;
use sluicebox_tests::client::{self, Answer, Connection, Plan, Protocol, send_once};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Engine, ask};
use sluicebox_tests::generate::EARLY_RULE;
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::soak_factor;

use crate::support::{
    BOUND, DROPPER, REDACTOR, block, dropper, keeping, redactor, start, telling, tells_nothing, until_ready, workload,
};

const ACCEPTED: Answer = Answer::Accepted { warning: None };
const ITEMS: u64 = 16;
/// A request is shown whole once, and its parts as long as none of them is judged (`pipeline::bisect`).
const CALLS_PER_TRY: u64 = 1 + 64;

/// A redactor that faults at all that it is shown, beside a pipeline that has no part in it.
///
/// Guarantees: nothing goes round it, what senders are told to wait grows, it is called a bounded number of times, the other pipeline takes
/// everything at the first try; `/readyz` tells; a good one in its place takes everything at once.
#[tokio::test(flavor = "multi_thread")]
async fn always_trapping_redactor_costs_only_its_own_pipeline() {
    let sink = keeping().await;
    let config = Config::new()
        .processor_of(Signal::Traces, REDACTOR, &redactor("trap_on_poison"))
        .processor_of(Signal::Logs, "filter/logs", &format!("logs: {{ log_record: ['{EARLY_RULE}'] }}"))
        .sink(sink.address, "");
    let (engine, health) = start(&config, &[]).await;
    let (spans, logs) = (workload(Signal::Traces, ITEMS as usize), workload(Signal::Logs, 64));
    let plan = Plan { connections: 1, in_flight: 2, rate: Some(100.0), tries: 1, ..Plan::grpc(300) };
    let (address, other) = (engine.addresses.grpc, Arc::clone(&logs));
    let others = tokio::spawn(async move { client::run(address, &other, 2, plan).await });

    let (started, mut number, mut longest) = (Instant::now(), 0, Duration::ZERO);
    let mut connection = Connection::open(address, Protocol::Grpc, false).await.unwrap();
    let mut bodies = Vec::new();
    // The breaker opens, and stays open after three calls that were let through.
    while longest < Duration::from_millis(500) {
        assert!(started.elapsed() < BOUND, "{longest:?}");
        let body = telling(&spans, number, |_| true);
        let Answer::Retry { after: Some(after), message } = connection.send(Signal::Traces, body.clone(), BOUND).await
        else {
            panic!("it is let through")
        };
        assert!(message.contains(REDACTOR) && !message.contains("secret"), "{message}");
        if message.contains("not called") {
            longest = longest.max(after);
        }
        if bodies.len() < 20 {
            bodies.push(body);
        }
        number += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let tries = 8 + started.elapsed().as_millis() as u64 / 100 + 1;
    let metrics = engine.metrics().await.unwrap();
    let calls = metrics.sum("stage_calls", &[("stage", REDACTOR)]);
    assert!(calls <= tries * CALLS_PER_TRY, "{calls} calls, {tries} tries");
    assert_eq!(metrics.sum("stage_state", &[("stage", REDACTOR), ("state", "recoverable")]), 1);
    assert_eq!(metrics.sum("stage_breaker_open", &[("stage", REDACTOR)]), 1);
    assert_eq!(sink.items(Signal::Traces, 1), 0, "nothing goes round it");
    let (status, told) = ask(health, "/readyz?verbose", "").await.unwrap();
    assert!(status == 200 && told.contains("stage \"wasm/redactor\" is recoverable: trap: "), "{told}");
    assert!(engine.process.stderr().contains("the stage is recoverable"), "{}", engine.process.stderr());
    tells_nothing(&engine, health).await;

    engine.swap_config(REDACTOR, &block("mask")).await.unwrap();
    until_ready(health, "/readyz?verbose", |_, text| text.contains("stage \"wasm/redactor\" is ok\n")).await;
    for body in &bodies {
        assert_eq!(
            send_once(address, Protocol::Grpc, Signal::Traces, body.clone()).await.unwrap(),
            ACCEPTED,
            "at once"
        );
    }
    let others = others.await.unwrap().unwrap();
    assert_eq!((others.first_failure(), others.retries.len()), (None, 0));
    engine.settled_account(BOUND).await.unwrap();
    assert_eq!(sink.items(Signal::Traces, 1), bodies.len() as u64 * ITEMS);
    let arrived = sink.kept(Signal::Traces);
    assert!(arrived.iter().all(|body| !body.windows(6).any(|window| window == b"secret")), "all of it is masked");
    logs.check(&others.settled, &sink.take_seen(Signal::Logs, 2), true).unwrap();
}

/// envoy PR#36456, #34881, istio#54490: the same poison, sent again and again, is tried less and less, and everybody can see it.
#[tokio::test(flavor = "multi_thread")]
async fn poison_batch_does_not_loop() {
    let sink = keeping().await;
    let config =
        Config::new().processor_of(Signal::Traces, REDACTOR, &redactor("trap_on_poison")).sink(sink.address, "");
    let (engine, health) = start(&config, &["--workers", "1"]).await;
    let spans = workload(Signal::Traces, ITEMS as usize);
    let poison = telling(&spans, 0, |_| true);
    let started = Instant::now();
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    for _ in 0..400 {
        let answer = connection.send(Signal::Traces, poison.clone(), BOUND).await;
        assert!(matches!(answer, Answer::Retry { after: Some(_), .. }), "{answer:?}");
    }
    let tries = 8 + started.elapsed().as_millis() as u64 / 100 + 1;
    let metrics = engine.metrics().await.unwrap();
    let (calls, restarts) = (metrics.sum("stage_calls", &[]), metrics.sum("stage_restarts", &[]));
    assert!(calls <= tries * CALLS_PER_TRY && restarts < calls, "{calls} calls, {restarts} restarts, {tries} tries");
    let (_, told) = ask(health, "/readyz?verbose", "").await.unwrap();
    assert!(told.contains("is recoverable: trap"), "{told}");

    // Others bring it back by themselves, and then the poison is found and rejected.
    let end = Instant::now() + BOUND;
    while connection.send(Signal::Traces, telling(&spans, 1, |_| false), BOUND).await != ACCEPTED {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_ready(health, "/readyz?verbose", |status, text| status == 200 && text.contains("is ok\n")).await;
    let mut answer = connection.send(Signal::Traces, poison.clone(), BOUND).await;
    // A bisection has 100 ms, in which a busy machine may not get far.
    while matches!(answer, Answer::Retry { .. }) && Instant::now() < end {
        connection.send(Signal::Traces, telling(&spans, 2, |_| false), BOUND).await;
        answer = connection.send(Signal::Traces, poison.clone(), BOUND).await;
    }
    assert!(matches!(answer, Answer::Partial { rejected: ITEMS, .. }), "{answer:?}");
    engine.settled_account(BOUND).await.unwrap();
    tells_nothing(&engine, health).await;
}

/// A stage whose instances break at their second call: new ones judge what they could not, until the budget is spent; then nothing goes
/// round it, `/readyz` says so everywhere, and a good one heals it at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_is_not_ready_until_a_good_one_serves() {
    const RESTARTS_MAX: u64 = 100;
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config =
        Config::new().processor_of(Signal::Traces, DROPPER, &dropper("alternate", "reject")).sink(sink.address, "");
    let (engine, health) = start(&config, &["--workers", "1"]).await;
    let spans = workload(Signal::Traces, ITEMS as usize);
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    for number in 0..=RESTARTS_MAX {
        assert_eq!(ask(health, "/readyz", "").await.unwrap(), (200, "ok\n".to_owned()));
        assert_eq!(connection.send(Signal::Traces, spans.request(1, number), BOUND).await, ACCEPTED);
    }
    let wrong = "not ready\npipeline \"traces\": stage \"wasm/dropper\" is permanent: trap: ";
    for address in [health, engine.addresses.admin] {
        let (status, told) = ask(address, "/readyz", "").await.unwrap();
        assert!(status == 503 && told.starts_with(wrong) && told.lines().count() == 2, "{status} {told}");
        assert_eq!(ask(address, "/livez", "").await.unwrap(), (200, "ok\n".to_owned()));
    }
    let (status, json) = ask(health, "/readyz", "application/json").await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &json["ready"], &json["phase"]), (503, &false.into(), &"serving".into()));
    let of =
        |name: &str| json["pipelines"].as_array().unwrap().iter().find(|p| p["pipeline"] == name).cloned().unwrap();
    assert_eq!((&of("traces")["ready"], &of("logs")["ready"]), (&false.into(), &true.into()));
    assert_eq!(of("traces")["stages"][0]["state"], "permanent");
    assert_eq!(ask(health, "/", "").await.unwrap().0, 200, "as the Collector's, which knows nothing of stages");
    let answer = connection.send(Signal::Traces, spans.request(1, RESTARTS_MAX + 1), BOUND).await;
    assert!(
        matches!(answer, Answer::Retry { after: Some(after), .. } if after == Duration::from_secs(30)),
        "{answer:?}"
    );
    let metrics = engine.metrics().await.unwrap();
    assert_eq!(metrics.sum("stage_restarts", &[("stage", DROPPER)]), RESTARTS_MAX);
    assert_eq!(metrics.sum("stage_state", &[("stage", DROPPER), ("state", "permanent")]), 1);
    assert_eq!(engine.process.stderr().matches("the stage is permanent").count(), 1);
    let status = engine.command(&["swap", "--help"]).await.unwrap();
    assert_eq!(status.code, Some(0));

    engine.swap_config(DROPPER, &block("noop")).await.unwrap();
    assert_eq!(ask(health, "/readyz", "").await.unwrap(), (200, "ok\n".to_owned()));
    let answer = connection.send(Signal::Traces, spans.request(1, RESTARTS_MAX + 1), BOUND).await;
    assert_eq!(answer, ACCEPTED);
    engine.settled_account(BOUND).await.unwrap();
    assert_eq!(sink.items(Signal::Traces, 1), (RESTARTS_MAX + 2) * ITEMS, "none of it twice, none lost");
    tells_nothing(&engine, health).await;
}

/// fluent-bit#7112, #8156: instances are made per fault, not per batch; large records pass.
#[tokio::test(flavor = "multi_thread")]
async fn instances_are_reused() {
    const WORKERS: u64 = 2;
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config = Config::new()
        .processor_of(Signal::Traces, REDACTOR, &redactor("trap_on_poison"))
        .processor_of(Signal::Logs, DROPPER, &dropper("noop", "pass"))
        .sink(sink.address, "");
    let (engine, _) = start(&config, &["--workers", "2"]).await;
    let requests = 500 * soak_factor();
    for (run, signal) in [(1, Signal::Traces), (2, Signal::Logs)] {
        let report =
            client::run(engine.addresses.grpc, &workload(signal, 64), run, Plan::grpc(requests)).await.unwrap();
        assert_eq!(report.first_failure(), None);
    }
    let metrics = engine.settled_account(BOUND).await.unwrap();
    for stage in [REDACTOR, DROPPER] {
        let made = metrics.sum("stage_instances", &[("stage", stage)]);
        assert!((1..=WORKERS).contains(&made), "{stage}: {made} instances for {requests} requests");
        assert_eq!(metrics.sum("stage_restarts", &[("stage", stage)]), 0);
    }
    // A record of 100 kB, and one that is poison.
    let spans = workload(Signal::Traces, 4);
    let mut large = sluicebox_tests::items::Request::decode(Signal::Traces, &spans.request(3, 0)).unwrap();
    large.each_item(|_, attributes| sluicebox_tests::items::add_text(attributes, "body", &"x".repeat(100_000)));
    let answer = send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, large.encode()).await.unwrap();
    assert_eq!(answer, ACCEPTED);
    let before = engine.metrics().await.unwrap().sum("stage_instances", &[("stage", REDACTOR)]);
    let poison = telling(&spans, 1, |sequence| sequence == 5);
    send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, poison).await.unwrap();
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let faults = metrics.sum("stage_faults", &[("stage", REDACTOR)]);
    let made = metrics.sum("stage_instances", &[("stage", REDACTOR)]) - before;
    // A bisection renews instances as well where it has to be sure.
    assert!(faults > 0 && made <= 3 * faults + 1, "{made} instances for {faults} faults");
}

/// vector#26391, #7750, #15160: why something was dropped can be seen without asking for it, and what is meant is no error.
#[tokio::test(flavor = "multi_thread")]
async fn drop_reason_is_kept() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let config = Config::new()
        .processor_of(Signal::Traces, "filter/spans", &drop_spans(EARLY_RULE))
        .processor_of(Signal::Traces, REDACTOR, &redactor("trap_on_poison"))
        .verbose()
        .sink(sink.address, "");
    let text = format!("dead_letter: {{ path: dead.jsonl }}\n{}", config.text());
    let engine = Engine::start(&text).await.unwrap();
    let spans = workload(Signal::Traces, ITEMS as usize);
    assert_eq!(
        send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, spans.request(1, 0)).await.unwrap(),
        ACCEPTED
    );
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let intended = [("stage", "filter/spans"), ("reason", "rule"), ("intended", "true")];
    assert!(metrics.sum("pipeline_dropped_items", &intended) > 0);
    let page = sluicebox_tests::engine::get(engine.addresses.metrics, "/metrics").await.unwrap();
    let dropped = page.lines().find(|line| line.contains("pipeline_dropped") && line.contains("intended=\"true\""));
    assert!(dropped.is_some_and(|line| !line.contains("rule=\"\"")), "{dropped:?} names the rule");
    let stderr = engine.process.stderr();
    assert!(!stderr.contains("ERROR") && !stderr.contains("WARN"), "what is meant to be dropped is no news: {stderr}");

    let first = spans.items_per_request();
    let kept = (first..2 * first).find(|&sequence| !spans.matches(sequence)).unwrap();
    let end = Instant::now() + BOUND;
    let answer = loop {
        let poison = telling(&spans, 1, |sequence| sequence == kept);
        match send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, poison).await.unwrap() {
            Answer::Retry { .. } if Instant::now() < end => {}
            answer => break answer,
        }
    };
    let Answer::Partial { rejected: 1, message } = answer else { panic!("{answer:?}") };
    assert!(message.contains(REDACTOR), "{message}");
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let poison = [("stage", REDACTOR), ("reason", "poison"), ("intended", "false")];
    assert_eq!(metrics.sum("pipeline_dropped_items", &poison), 1);
    engine.until(BOUND, "it is written", |m| m.sum("dead_letter_entries", &[]) >= 1).await.unwrap();
    let dead = std::fs::read_to_string(engine.directory().join("dead.jsonl")).unwrap();
    assert!(dead.contains("\"outcome\":\"rejected\"") && dead.contains("\"fault\":\"trap\""), "{dead}");
    assert!(!engine.process.stderr().contains("ERROR"), "{}", engine.process.stderr());
}
