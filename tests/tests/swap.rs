//! Live change under traffic: nothing is lost, nothing is judged twice or by halves, and a bad candidate changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use rustix::process::Signal as UnixSignal;
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Connection, Plan, Protocol};
use sluicebox_tests::config::{Config, drop_spans, drop_spans_json};
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::seen::Seen;
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::soak_factor;

const STAGE: &str = "filter/ring";
const RINGS: [&str; 2] = ["blue", "green"];
/// Swaps, unless a soak asks for more.
const SWAPS: u64 = 200;
const BOUND: Duration = Duration::from_secs(30);

fn rule(ring: &str) -> String {
    format!("attributes[\"deployment.ring\"] == \"{ring}\"")
}

fn config(sink: &Sink, ring: &str) -> String {
    Config::new()
        .processor(STAGE, &drop_spans(&rule(ring)))
        .processor("filter/other", &drop_spans("name == \"nothing has this name\""))
        .sink(sink.address, "")
        .verbose()
        .text()
}

/// Requests whose spans say which of the two rules judged them: both rings are in every request.
struct Traffic {
    workload: Arc<Workload>,
    run: u16,
    /// Per template and span, the ring that it is in.
    rings: Vec<Vec<Option<usize>>>,
}

impl Traffic {
    fn new(run: u16, items_per_request: usize) -> Self {
        let shape = Shape { requests: 4, items_per_request, seed: u64::from(run), ..Shape::new(Signal::Traces) };
        let workload = Workload::new(shape);
        let rings: Vec<_> = (0..4).map(|number| rings(&workload.message(run, number).unwrap())).collect();
        for template in &rings {
            assert!(RINGS.iter().enumerate().all(|(ring, _)| template.contains(&Some(ring))), "both in each request");
        }
        Self { workload, run, rings }
    }

    /// Which rule judged the request: exactly the spans of one ring are missing, all others are there.
    fn judged_by(&self, number: u64, seen: &Seen) -> usize {
        let rings = &self.rings[(number % 4) as usize];
        let base = number * self.workload.items_per_request();
        let missing = |ring| {
            let of_ring = (base..).zip(rings).filter(|(_, r)| **r == ring);
            of_ring.fold((0, 0), |(missing, all), (sequence, _)| (missing + u64::from(!seen.has(sequence)), all + 1))
        };
        let (others, _) = missing(None);
        assert_eq!(others, 0, "request {number} lost spans that no rule drops");
        let [blue, green] = [0, 1].map(|ring| {
            let (missing, all) = missing(Some(ring));
            assert!(missing == 0 || missing == all, "request {number} was judged by halves: {missing} of {all}");
            missing > 0
        });
        assert!(blue != green, "request {number}: dropped blue {blue}, dropped green {green}");
        usize::from(green)
    }
}

fn rings(message: &ExportTraceServiceRequest) -> Vec<Option<usize>> {
    let spans = message.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
    let ring = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        let value = span.attributes.iter().find(|a| a.key == "deployment.ring").and_then(|a| a.value.clone()?.value);
        RINGS.iter().position(|ring| matches!(&value, Some(Value::StringValue(text)) if text == ring))
    };
    spans.map(ring).collect()
}

/// Sends at a steady rate on connections that stay, until told to stop. Every answer has to be an acceptance.
struct Load {
    stop: Arc<AtomicBool>,
    lanes: tokio::task::JoinSet<()>,
    sent: Arc<AtomicU64>,
}

impl Load {
    async fn start(engine: &Engine, traffic: &Arc<Traffic>, rate: f64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut lanes = tokio::task::JoinSet::new();
        let start = Instant::now();
        for protocol in [Protocol::Grpc, Protocol::Grpc, Protocol::Http] {
            let address = if protocol == Protocol::Grpc { engine.addresses.grpc } else { engine.addresses.http };
            let mut connection = Connection::open(address, protocol, false).await.unwrap();
            let (stop, sent, traffic) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(traffic));
            lanes.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let due = Duration::from_secs_f64(number as f64 / rate);
                    tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
                    let body = traffic.workload.request(traffic.run, number);
                    let answer = connection.send(Signal::Traces, body, BOUND).await;
                    assert_eq!(answer, Answer::Accepted { warning: None }, "request {number}");
                }
            });
        }
        Self { stop, lanes, sent }
    }

    /// Requests sent, all of them accepted.
    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.lanes.join_all().await;
        self.sent.load(Ordering::Relaxed)
    }
}

/// A swap by one of the five ways; returns when the new generation serves.
async fn swap(engine: &mut Engine, sink: &Sink, number: u64, ring: &str) {
    let block = drop_spans_json(&rule(ring));
    // The step is odd, so that each time the file says the other ring than before.
    match number % 21 {
        // A file that changes a stage which drifted would be refused.
        6 => {
            let file = engine.directory().join("rules.yaml");
            std::fs::write(&file, block).unwrap();
            let done = engine.command(&["swap", STAGE, "--config", file.to_str().unwrap(), "--write"]).await.unwrap();
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            assert!(done.stdout.contains(&format!("generation {number} ")), "{}", done.stdout);
        }
        7 => {
            engine.rewrite(&config(sink, ring)).unwrap();
            if (number / 21).is_multiple_of(2) {
                engine.process.signal(UnixSignal::HUP);
            }
            let wanted = number + 1;
            let serves = |m: &Metrics| m.sum("stage_generation", &[("stage", STAGE)]) == wanted;
            engine.until(BOUND, "the file's rule serves", serves).await.unwrap();
        }
        13 => {
            let file = engine.directory().join("rules.json");
            std::fs::write(&file, block).unwrap();
            let done = engine.command(&["swap", STAGE, "--config", file.to_str().unwrap()]).await.unwrap();
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            assert!(done.stdout.contains(&format!("generation {number} ")), "{}", done.stdout);
        }
        _ => {
            let answer = engine.swap_config(STAGE, &block).await.unwrap();
            assert_eq!(answer["new"]["generation"], number + 1);
            assert_eq!(answer["drained"], true);
        }
    }
}

/// Threads seen across other tools: elastic/apm-server#8339, opentelemetry-collector#10216.
#[tokio::test(flavor = "multi_thread")]
async fn swap_under_load_loses_nothing() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut engine = Engine::start_with(&config(&sink, RINGS[0]), &["--watch"]).await.unwrap();
    let small = Arc::new(Traffic::new(1, 256));
    // Several slices of 2,048 rows each.
    let large = Arc::new(Traffic::new(2, 5000));
    let full = Plan { time: Duration::from_millis(700), ..Plan::grpc(u64::MAX) };
    let full = client::run(engine.addresses.grpc, &small.workload, 3, full).await.unwrap();
    assert_eq!(full.first_failure(), None);
    let rate = (full.accepted() as f64 / full.elapsed.as_secs_f64() / 4.0).clamp(20.0, 2000.0);

    let loads = (Load::start(&engine, &small, rate).await, Load::start(&engine, &large, 10.0).await);
    let swaps = SWAPS * soak_factor();
    for number in 1..=swaps {
        swap(&mut engine, &sink, number, RINGS[(number % 2) as usize]).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sent = (loads.0.finish().await, loads.1.finish().await);

    let metrics = engine.settled_account(BOUND).await.unwrap();
    for (traffic, sent) in [(&small, sent.0), (&large, sent.1)] {
        let seen = sink.take_seen(Signal::Traces, traffic.run);
        assert_eq!(seen.duplicates, 0);
        let mut judged = [0_u64; 2];
        for number in 0..sent {
            judged[traffic.judged_by(number, &seen)] += 1;
        }
        assert!(judged.iter().all(|n| *n > 0), "both rules judged some of {sent} requests: {judged:?}");
    }
    let of_stage = |name: &str, stage| metrics.sum(name, &[("stage", stage)]);
    assert_eq!(of_stage("stage_generation", STAGE), swaps + 1);
    assert_eq!(of_stage("stage_generations_live", STAGE), 1);
    assert_eq!(of_stage("stage_generation", "filter/other"), 1);
    assert_eq!(metrics.sum("stage_swaps", &[("stage", STAGE), ("result", "committed")]), swaps);
    assert_eq!(metrics.sum("stage_faults", &[]), 0);
    let everything = small.workload.items_per_request() * (sent.0 + full.accepted()) + 5000 * sent.1;
    assert_eq!(metrics.sum("receiver_accepted_items", &[]), everything);
}

/// wash#3922: the next request is judged by what was committed.
#[tokio::test(flavor = "multi_thread")]
async fn new_code_is_serving() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = Engine::start(&config(&sink, RINGS[0])).await.unwrap();
    let traffic = Traffic::new(1, 64);
    let mut connection = Connection::open(engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
    for number in 0..40 {
        let ring = (number % 2) as usize;
        engine.swap_config(STAGE, &drop_spans_json(&rule(RINGS[ring]))).await.unwrap();
        let answer = connection.send(Signal::Traces, traffic.workload.request(1, number), BOUND).await;
        assert_eq!(answer, Answer::Accepted { warning: None });
    }
    engine.settled_account(BOUND).await.unwrap();
    let seen = sink.take_seen(Signal::Traces, 1);
    for number in 0..40 {
        assert_eq!(traffic.judged_by(number, &seen) as u64, number % 2, "request {number}");
    }
}

/// refinery#866: both ends of a change leave a line.
#[tokio::test(flavor = "multi_thread")]
async fn reload_is_logged() {
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut engine = Engine::start(&config(&sink, RINGS[0])).await.unwrap();
    let lines = |engine: &Engine, text: &str| engine.process.stderr().lines().filter(|l| l.contains(text)).count();

    engine.rewrite(&config(&sink, RINGS[1])).unwrap();
    engine.process.signal(UnixSignal::HUP);
    engine.until(BOUND, "generation 2", |m| m.sum("stage_generation", &[("stage", STAGE)]) == 2).await.unwrap();
    let stderr = engine.process.stderr();
    let line = stderr.lines().find(|line| line.contains("swapped")).expect("a line of the swap");
    for part in [STAGE, "generation 1 sha256:", "generation 2 sha256:"] {
        assert!(line.contains(part), "{line}");
    }

    engine.rewrite(&config(&sink, "x\" or or \"y")).unwrap();
    engine.process.signal(UnixSignal::HUP);
    let end = Instant::now() + BOUND;
    while lines(&engine, "nothing was changed") == 0 {
        assert!(Instant::now() < end, "{}", engine.process.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stderr = engine.process.stderr();
    let from = stderr.find("nothing was changed").unwrap_or_default();
    assert!(stderr[from..].contains(STAGE), "{stderr}");
    assert_eq!(lines(&engine, "swapped"), 1);
}
