//! Swaps by the hundred at a quarter of full load: nothing is lost, repeated or refused, each request is judged wholly by one version, and
//! what was replaced is gone.
//!
//! With SLUICEBOX_SOAK more than 1: 1,000 swaps between two compiled components, 20 to ones never seen, 100 of three stages at once, with
//! what they cost beside the same traffic without them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use rustix::process::Signal as UnixSignal;
use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Plan, Protocol, Report, Steady};
use sluicebox_tests::command::guest;
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::hostile::bombs::variant;
use sluicebox_tests::items::text;
use sluicebox_tests::seen::Seen;
use sluicebox_tests::sink::{Behaviour, Sink};
use sluicebox_tests::soak_factor;

const BOUND: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
/// What the two versions drop: spans of one ring each, of which each stage takes those of one method.
const RINGS: [&str; 2] = ["blue", "green"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const WORKERS: u64 = 2;
const STAGES: [&str; 3] = ["wasm/get", "wasm/post", "wasm/put"];

struct Scale {
    swaps: u64,
    cold: u64,
    at_once: u64,
    /// Of traffic without swaps, to compare with.
    quiet: Duration,
    items: usize,
    rollbacks: u64,
}

fn scale() -> Scale {
    if soak_factor() > 1 {
        let quiet = Duration::from_secs(15);
        Scale { swaps: 1000, cold: 20, at_once: 100, quiet, items: 256, rollbacks: 20 }
    } else {
        Scale { swaps: 20, cold: 1, at_once: 4, quiet: Duration::from_millis(300), items: 64, rollbacks: 2 }
    }
}

fn rule(version: usize, stage: usize) -> Value {
    let (ring, method) = (RINGS[version], METHODS[stage]);
    let condition = format!(
        "attributes[\"deployment.ring\"] == \"{ring}\" and attributes[\"http.request.method\"] == \"{method}\""
    );
    json!({ "error_mode": "ignore", "traces": { "span": [condition] } })
}

/// All three stages at this version.
fn file(sink: &Sink, version: usize) -> String {
    let mut config = Config::new();
    for (stage, name) in STAGES.iter().enumerate() {
        config = config.processor_of(
            Signal::Traces,
            name,
            &format!("component: ./filter.wasm, config: {}", rule(version, stage)),
        );
    }
    config.sink(sink.address, "").verbose().text()
}

/// Requests whose spans tell by which version of each stage they were judged.
struct Traffic {
    workload: Arc<Workload>,
    /// Per template and span: the version and the stage that drop it.
    droppers: Vec<Vec<Option<(usize, usize)>>>,
}

const TEMPLATES: u64 = 4;

impl Traffic {
    fn new(items: usize) -> Self {
        let shape = Shape { requests: TEMPLATES as usize, items_per_request: items, ..Shape::new(Signal::Traces) };
        let workload = Workload::new(shape);
        let droppers: Vec<_> = (0..TEMPLATES).map(|n| droppers(&workload.message(1, n).unwrap())).collect();
        for template in &droppers {
            let all = (0..2).flat_map(|version| (0..3).map(move |stage| Some((version, stage))));
            all.for_each(|dropper| assert!(template.contains(&dropper), "each has something to do in each request"));
        }
        Self { workload, droppers }
    }

    /// The version of each stage that judged the request: of each exactly what it drops is missing, and nothing else.
    fn judged_by(&self, number: u64, seen: &Seen) -> [usize; 3] {
        let droppers = &self.droppers[(number % TEMPLATES) as usize];
        let base = number * self.workload.items_per_request();
        let missing = |dropper| {
            let of_dropper = (base..).zip(droppers).filter(|(_, found)| **found == dropper);
            let all: Vec<bool> = of_dropper.map(|(sequence, _)| !seen.has(sequence)).collect();
            assert!(all.iter().all(|missing| *missing == all[0]), "request {number} was judged by halves");
            all[0]
        };
        assert!(!missing(None), "request {number} lost spans that no rule drops");
        [0, 1, 2].map(|stage| {
            let by = [0, 1].map(|version| missing(Some((version, stage))));
            assert!(by[0] != by[1], "request {number} was judged by {by:?} of stage {stage}");
            usize::from(by[1])
        })
    }

    /// The same of all requests of a report, each of which was taken at once.
    fn judged(&self, report: &Report, seen: &Seen) -> Vec<[usize; 3]> {
        assert_eq!(report.first_failure(), None);
        assert_eq!(report.retries.len(), 0);
        assert_eq!(seen.duplicates, 0);
        let mut numbers: Vec<u64> = report.settled.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.judged_by(number, seen)).collect()
    }
}

fn droppers(message: &ExportTraceServiceRequest) -> Vec<Option<(usize, usize)>> {
    let spans = message.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
    let place = |span: &opentelemetry_proto::tonic::trace::v1::Span, key, known: &[&str]| {
        let found = text(&span.attributes, key)?;
        known.iter().position(|value| *value == found)
    };
    let dropper = |span| Some((place(span, "deployment.ring", &RINGS)?, place(span, "http.request.method", &METHODS)?));
    spans.map(dropper).collect()
}

async fn start(sink: &Sink) -> Engine {
    let workers = WORKERS.to_string();
    let arguments = ["--workers", workers.as_str()];
    let started = Engine::start_in(&arguments, |directory, addresses| {
        std::fs::copy(guest("filter")?, directory.join("filter.wasm"))?;
        Ok(std::fs::write(directory.join("sluicebox.yaml"), addresses.fill(&file(sink, 0)))?)
    });
    started.await.unwrap()
}

/// A quarter of what is taken when as much is sent as goes; requests per second.
async fn quarter(engine: &Engine, traffic: &Traffic) -> f64 {
    let time = if soak_factor() > 1 { Duration::from_secs(5) } else { Duration::from_millis(500) };
    let full =
        client::run(engine.addresses.grpc, &traffic.workload, 9, Plan { time, ..Plan::grpc(u64::MAX) }).await.unwrap();
    assert_eq!(full.first_failure(), None);
    engine.settled_account(BOUND).await.unwrap();
    (full.accepted() as f64 / full.elapsed.as_secs_f64() / 4.0).max(20.0)
}

fn steady(engine: &Engine, traffic: &Traffic, run: u16, rate: f64) -> Steady {
    let plan = Plan { rate: Some(rate), tries: 1, ..Plan::grpc(u64::MAX) };
    Steady::start(engine.addresses.grpc, &traffic.workload, run, plan)
}

/// The same traffic while nothing is swapped.
async fn quiet(engine: &Engine, sink: &Sink, traffic: &Traffic, run: u16, rate: f64) -> Report {
    let load = steady(engine, traffic, run, rate);
    tokio::time::sleep(scale().quiet).await;
    let report = load.stop().await.unwrap();
    engine.settled_account(BOUND).await.unwrap();
    traffic.judged(&report, &sink.take_seen(Signal::Traces, run));
    report
}

/// Has a component serve at the first stage; how long that took, from the upload's first byte.
async fn swap(engine: &Engine, component: &[u8], version: usize) -> Duration {
    let begun = Instant::now();
    let component = bytes::Bytes::copy_from_slice(component);
    let (status, answer) = engine.post("/v1/components", "application/wasm", component).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let body = json!({ "stage": STAGES[0], "digest": answer["digest"], "config": rule(version, 0) });
    let (status, answer) =
        engine.post("/v1/swap?wait=true", "application/json", body.to_string().into()).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    begun.elapsed()
}

/// Waits until what serves now has judged something: more calls have ended than could be under way.
async fn until_judged(engine: &Engine) {
    let calls = |metrics: &Metrics| metrics.sum("stage_calls", &[("stage", STAGES[0])]);
    let before = calls(&engine.metrics().await.unwrap());
    engine.until(BOUND, "it judges", |metrics| calls(metrics) > before + WORKERS).await.unwrap();
}

fn middle(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_at_a_quarter_of_full_load_lose_repeat_and_refuse_nothing() {
    let scale = scale();
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let engine = start(&sink).await;
    let traffic = Traffic::new(scale.items);
    let compiled = std::fs::read(guest("filter").unwrap()).unwrap();
    let components = [variant(&compiled, 1), variant(&compiled, 2)];
    // Both are compiled, and all is in memory that will be.
    for number in 0..10 {
        swap(&engine, &components[number % 2], number % 2).await;
    }
    let rate = quarter(&engine, &traffic).await;
    let mut without = quiet(&engine, &sink, &traffic, 1, rate).await;

    let resident = engine.process.rss_bytes().unwrap();
    let load = steady(&engine, &traffic, 2, rate);
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut resident_after = Vec::new();
    for number in 0..scale.swaps as usize {
        times.push(swap(&engine, &components[number % 2], number % 2).await);
        if number < 2 {
            until_judged(&engine).await;
        }
        if (number + 1).is_multiple_of(scale.swaps as usize / 10) {
            resident_after.push(engine.process.rss_bytes().unwrap() / MIB);
        }
    }
    let swapping = begun.elapsed();
    let mut swapped = load.stop().await.unwrap();
    engine.settled_account(BOUND).await.unwrap();
    let grown = engine.process.rss_bytes().unwrap() as f64 - resident as f64;
    check_both(&traffic, &swapped, &sink, 2);

    let load = steady(&engine, &traffic, 3, rate);
    let mut cold_times = Vec::new();
    for number in 0..scale.cold {
        cold_times.push(swap(&engine, &variant(&compiled, 100 + number), number as usize % 2).await);
    }
    let mut cold = load.stop().await.unwrap();
    let metrics = engine.settled_account(BOUND).await.unwrap();
    traffic.judged(&cold, &sink.take_seen(Signal::Traces, 3));
    let of_stage = |name: &str, stage| metrics.sum(name, &[("stage", stage)]);
    assert_eq!(of_stage("stage_generation", STAGES[0]), 11 + scale.swaps + scale.cold);
    assert_eq!(of_stage("stage_generations_live", STAGES[0]), 1);
    assert_eq!((of_stage("stage_generation", STAGES[1]), of_stage("stage_swaps", STAGES[1])), (1, 0));
    assert_eq!((metrics.sum("stage_faults", &[]), metrics.sum("receiver_refused_items", &[])), (0, 0));
    assert!(grown < (64 * MIB) as f64, "{grown} bytes more are resident after {} swaps", scale.swaps);

    let rollbacks = rollbacks(&engine, &sink, &traffic, rate, scale.rollbacks).await;
    if soak_factor() > 1 {
        let ((median, longest), (cold_median, cold_longest)) = (middle(&mut times), middle(&mut cold_times));
        println!(
            "{} swaps between two compiled components at {rate:.0} requests/s of {} spans: {:.1} swaps/s, each {median:?} (longest \
             {longest:?}); {} requests, none lost, repeated, refused or judged by halves",
            scale.swaps,
            scale.items,
            scale.swaps as f64 / swapping.as_secs_f64(),
            swapped.accepted()
        );
        println!("{} swaps to components never seen: each {cold_median:?} (longest {cold_longest:?})", scale.cold);
        println!(
            "p99 of requests: {:?} without swaps, {:?} while swapping, {:?} while compiling and swapping; p50 {:?}, {:?}, {:?}",
            without.delay(0.99),
            swapped.delay(0.99),
            cold.delay(0.99),
            without.delay(0.5),
            swapped.delay(0.5),
            cold.delay(0.5)
        );
        println!(
            "resident memory: {} MiB, {:+.1} MiB after the {} swaps; after each tenth of them {resident_after:?} MiB",
            resident / MIB,
            grown / MIB as f64,
            scale.swaps
        );
        println!("{rollbacks}");
    }
}

/// Both versions judged some of the requests.
fn check_both(traffic: &Traffic, report: &Report, sink: &Sink, run: u16) {
    let judged = traffic.judged(report, &sink.take_seen(Signal::Traces, run));
    for version in 0..2 {
        assert!(judged.iter().any(|by| by[0] == version), "version {version} judged none of {}", judged.len());
    }
    assert!(judged.iter().all(|by| by[1..] == [0, 0]), "other stages are as they were");
}

/// Goes back so often under load, each time to what served before, which is of the other version; what that took.
async fn rollbacks(engine: &Engine, sink: &Sink, traffic: &Traffic, rate: f64, count: u64) -> String {
    let load = steady(engine, traffic, 4, rate);
    let told = go_back(engine, sink, traffic, count).await;
    let report = load.stop().await.unwrap();
    engine.settled_account(BOUND).await.unwrap();
    traffic.judged(&report, &sink.take_seen(Signal::Traces, 4));
    told
}

async fn go_back(engine: &Engine, sink: &Sink, traffic: &Traffic, count: u64) -> String {
    let mut times = Vec::new();
    let mut version = serving(engine, sink, traffic).await;
    let mut to = Value::Null;
    for _ in 0..count {
        let body = json!({ "stage": STAGES[0], "to": to }).to_string();
        let begun = Instant::now();
        let (status, answer) = engine.post("/v1/rollback", "application/json", body.into()).await.unwrap();
        times.push(begun.elapsed());
        assert_eq!(status, 200, "{answer}");
        // By itself the next one would go further back.
        to = answer["old"]["generation"].clone();
        let before = std::mem::replace(&mut version, serving(engine, sink, traffic).await);
        assert!(before != version, "the next request is judged by what served before");
    }
    let (median, longest) = middle(&mut times);
    format!("{count} rollbacks: {median:?} each, longest {longest:?}")
}

/// The version of the first stage that judges the next request.
async fn serving(engine: &Engine, sink: &Sink, traffic: &Traffic) -> usize {
    const RUN: u16 = 5;
    let body = traffic.workload.request(RUN, 0);
    let answer = client::send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, body).await.unwrap();
    assert_eq!(answer, Answer::Accepted { warning: None });
    // Nothing is merged, so a request arrives at once or not at all.
    assert!(sink.wait_for(Signal::Traces, RUN, 1, BOUND).await > 0);
    traffic.judged_by(0, &sink.take_seen(Signal::Traces, RUN))[0]
}

/// A file that changes three stages: each request is judged by all of the old ones or by all of the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn several_stages_change_at_once() {
    let scale = scale();
    let sink = Sink::start(Behaviour::default()).await.unwrap();
    let mut engine = start(&sink).await;
    let traffic = Traffic::new(scale.items);
    let rate = quarter(&engine, &traffic).await;
    let mut without = quiet(&engine, &sink, &traffic, 1, rate).await;

    let load = steady(&engine, &traffic, 2, rate);
    let mut times = Vec::new();
    for number in 1..=scale.at_once {
        let begun = Instant::now();
        engine.rewrite(&file(&sink, (number % 2) as usize)).unwrap();
        engine.process.signal(UnixSignal::HUP);
        let all_serve =
            |m: &Metrics| STAGES.iter().all(|stage| m.sum("stage_generation", &[("stage", stage)]) == number + 1);
        engine.until(BOUND, "all three serve", all_serve).await.unwrap();
        times.push(begun.elapsed());
        if number <= 2 {
            until_judged(&engine).await;
        }
    }
    let mut swapped = load.stop().await.unwrap();
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let judged = traffic.judged(&swapped, &sink.take_seen(Signal::Traces, 2));
    assert!(judged.iter().all(|by| by[0] == by[1] && by[1] == by[2]), "no request is judged by some of both");
    assert!((0..2).all(|version| judged.iter().any(|by| by[0] == version)), "both judged some");
    for stage in STAGES {
        assert_eq!(metrics.sum("stage_generations_live", &[("stage", stage)]), 1);
        assert_eq!(metrics.sum("stage_swaps", &[("stage", stage), ("result", "committed")]), scale.at_once);
    }
    assert_eq!((metrics.sum("stage_faults", &[]), metrics.sum("receiver_refused_items", &[])), (0, 0));
    if soak_factor() > 1 {
        let (median, longest) = middle(&mut times);
        println!(
            "{} changes of three stages at once at {rate:.0} requests/s: {median:?} each from save to serving (longest {longest:?}); {} \
             requests, each judged wholly by one version; p99 {:?} without, {:?} with",
            scale.at_once,
            swapped.accepted(),
            without.delay(0.99),
            swapped.delay(0.99)
        );
    }
}
