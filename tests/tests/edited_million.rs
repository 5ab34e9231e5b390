//! A million items of each signal through filter, attributes and redaction while their rules change twenty times: nothing is lost or
//! repeated, and each request was judged by one snapshot of all three.
//!
//! Every version of a rule leaves its mark: the filter's in which ring is missing, the others' in the attribute `rules`: `attributes`
//! writes `a<version> <an address>` and `redaction` hides the address as `<m<version>>`.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicebox::signal::Signal;
use sluicebox_tests::account::Metrics;
use sluicebox_tests::client::{self, Answer, Plan, Protocol};
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::Engine;
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::items::{Request, text};
use sluicebox_tests::seen::Seen;
use sluicebox_tests::sink::{Attempt, Behaviour, Script, Sink};
use sluicebox_tests::soak_factor;

const STAGES: [&str; 3] = ["filter", "attributes", "redaction"];
/// The filter's version `n` drops ring `n` modulo 4.
const RINGS: [&str; 4] = ["canary", "blue", "green", "stable"];
const CHANGES: u64 = 20;
const ITEMS_PER_REQUEST: usize = 500;
/// Several slices of 2,048 rows each; one of so many requests is large.
const ITEMS_PER_LARGE_REQUEST: usize = 5000;
const LARGE: u64 = 40;
const TEMPLATES: u64 = 20;
/// More than there can be between a stage and the sink: of what arrives then, some was judged by what serves.
const UNDER_WAY_MAX: u64 = 24;
const QUEUE: &str = "sending_queue: { queue_size: 4, num_consumers: 2, block_on_overflow: true }";
const BOUND: Duration = Duration::from_secs(60);

/// Versions of the three stages' rules.
type Versions = [usize; 3];

/// Requests of small and large size, and what became of each.
struct Traffic {
    run: u16,
    workload: Arc<Workload>,
    requests: u64,
    /// Per template and item, the ring that it is in.
    rings: Vec<Vec<usize>>,
}

/// What the marks of each request's items say, by run and request.
type Marks = HashMap<(u16, u64), HashSet<String>>;

/// How far a run is.
struct Progress {
    /// Requests of both sizes.
    requests: u64,
    marks: Mutex<Marks>,
    changes: AtomicU64,
}

impl Traffic {
    fn new(signal: Signal, run: u16, items_per_request: usize, requests: u64) -> Self {
        let shape = Shape {
            requests: TEMPLATES as usize,
            items_per_request,
            odd: true,
            seed: u64::from(run),
            ..Shape::new(signal)
        };
        let workload = Workload::new(shape);
        let rings = |number| {
            let mut rings = Vec::new();
            let mut request = Request::decode(signal, &workload.request(run, number)).unwrap();
            request.each_item(|_, attributes| {
                let ring = text(attributes, "deployment.ring");
                rings.push(RINGS.iter().position(|name| Some(*name) == ring).unwrap());
            });
            rings
        };
        let rings: Vec<_> = (0..TEMPLATES).map(rings).collect();
        assert!(rings.iter().all(|of| (0..RINGS.len()).all(|ring| of.contains(&ring))), "each ring in each request");
        Self { run, workload, requests, rings }
    }

    fn items(&self) -> u64 {
        self.requests * self.workload.items_per_request()
    }

    /// The ring that is missing from a request: all of it, and nothing else.
    fn missing(&self, number: u64, seen: &Seen) -> usize {
        let rings = &self.rings[(number % TEMPLATES) as usize];
        let base = number * self.workload.items_per_request();
        let (mut there, mut missing) = ([0; 4], [0; 4]);
        for (sequence, ring) in (base..).zip(rings) {
            let counts = if seen.has(sequence) { &mut there } else { &mut missing };
            counts[*ring] += 1;
        }
        let gone: Vec<_> = (0..RINGS.len()).filter(|ring| missing[*ring] > 0).collect();
        assert!(gone.len() == 1 && there[gone[0]] == 0, "request {number}: there {there:?}, missing {missing:?}");
        gone[0]
    }
}

/// A stage's block in this version.
fn block(stage: &str, version: usize) -> Value {
    match stage {
        "filter" => {
            let rule = format!("attributes[\"deployment.ring\"] == \"{}\"", RINGS[version % RINGS.len()]);
            json!({
                "error_mode": "ignore",
                "traces": { "span": [rule] }, "logs": { "log_record": [rule] }, "metrics": { "datapoint": [rule] },
            })
        }
        "attributes" => {
            let mark = format!("a{version} ada.{version}@mail.example.com");
            json!({ "actions": [
                { "key": "rules", "value": mark, "action": "upsert" },
                { "key": "enduser.id", "action": "delete" },
            ] })
        }
        _ => json!({
            "allow_all_keys": true,
            "detectors": ["email", "card", "iban", "ipv4"],
            "mask": format!("<m{version}>"),
        }),
    }
}

fn config(sink: &Sink, versions: Versions) -> String {
    let with = |config: Config, (stage, version): (&&str, usize)| {
        let block = block(stage, version).to_string();
        // The test configuration writes the outer braces.
        config.processor(stage, &block[1..block.len() - 1])
    };
    STAGES.iter().zip(versions).fold(Config::new(), with).sink(sink.address, QUEUE).text()
}

impl Progress {
    fn new(requests: u64) -> Arc<Self> {
        Arc::new(Self { requests, marks: Mutex::default(), changes: AtomicU64::new(0) })
    }

    fn arrived(&self) -> u64 {
        self.marks.lock().unwrap().len() as u64
    }

    /// The part of the requests that is due to arrive after so many changes.
    fn due(&self, changes: u64) -> u64 {
        self.requests * changes / (CHANGES + 1)
    }

    /// Takes everything; slowly while the changes are behind, so that they never run out of requests.
    fn script(self: &Arc<Self>) -> Script {
        let progress = Arc::clone(self);
        Arc::new(move |attempt| {
            progress.note(attempt);
            let is_ahead = progress.arrived() > progress.due(progress.changes.load(Ordering::Relaxed) + 1);
            let delay = if is_ahead { Duration::from_millis(50) } else { Duration::ZERO };
            (delay, Answer::Accepted { warning: None })
        })
    }

    /// Notes the marks of all items of each request, and any text that had to be hidden.
    fn note(&self, attempt: &Attempt) {
        let mut found = Marks::new();
        let mut request = Request::decode(attempt.signal, &attempt.body).unwrap();
        request.each_item(|(run, sequence), attributes| {
            let size = if run.is_multiple_of(2) { ITEMS_PER_LARGE_REQUEST } else { ITEMS_PER_REQUEST };
            let marks = found.entry((run, sequence / size as u64)).or_default();
            let mark = text(attributes, "rules").unwrap_or("none");
            if !marks.contains(mark) {
                marks.insert(mark.to_owned());
            }
        });
        let secrets: [&[u8; 12]; 3] = [b"@example.com", b"@mail.exampl", b"4111 1111 11"];
        if attempt.body.windows(12).any(|window| secrets.iter().any(|secret| window == *secret)) {
            found.values_mut().for_each(|marks| marks.extend(["not redacted".to_owned()]));
        }
        let mut all = self.marks.lock().unwrap();
        found.into_iter().for_each(|(request, marks)| all.entry(request).or_default().extend(marks));
    }
}

/// Changes one stage after the other, each time when a further part of the requests has arrived; all snapshots that served.
async fn change(engine: &Engine, sink: &Sink, progress: &Progress) -> Vec<Versions> {
    let mut versions = [0; 3];
    let mut served = vec![versions];
    for change in 1..=CHANGES {
        let (end, wanted) = (Instant::now() + BOUND, progress.due(change).max(progress.arrived() + UNDER_WAY_MAX));
        while progress.arrived() < wanted {
            assert!(Instant::now() < end, "{change}: {}", engine.process.stderr());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let place = change as usize % STAGES.len();
        let stage = STAGES[place];
        versions[place] += 1;
        served.push(versions);
        if change % 4 == 3 {
            let serving = |m: &Metrics| m.sum("stage_generation", &[("stage", stage)]);
            let before = serving(&engine.metrics().await.unwrap());
            engine.rewrite(&config(sink, versions)).unwrap();
            // The stage was swapped since: only with force the file's word counts.
            let body = serde_json::json!({ "force": true }).to_string();
            let (status, answer) = engine.post("/v1/reload?wait=true", "application/json", body.into()).await.unwrap();
            assert_eq!(status, 200, "{answer}");
            engine.until(BOUND, "the file's rule serves", |m| serving(m) > before).await.unwrap();
        } else {
            engine.swap_config(stage, &block(stage, versions[place]).to_string()).await.unwrap();
        }
        progress.changes.store(change, Ordering::Relaxed);
    }
    served
}

async fn a_million(signal: Signal, base: u16, plan: fn(u64) -> Plan) {
    let large = LARGE * soak_factor();
    let small = 1_000_000 / ITEMS_PER_REQUEST as u64 * soak_factor() - large * 10;
    let traffic = [(base, ITEMS_PER_REQUEST, small), (base + 1, ITEMS_PER_LARGE_REQUEST, large)];
    let traffic = traffic.map(|(run, items, requests)| Traffic::new(signal, run, items, requests));
    let progress = Progress::new(small + large);
    let sink = Sink::start(Behaviour { script: Some(progress.script()), ..Behaviour::default() }).await.unwrap();
    let engine = Engine::start_with(&config(&sink, [0; 3]), &["--watch"]).await.unwrap();

    let run = |of: &Traffic, plan: Plan| {
        let (run, workload, address) = (of.run, Arc::clone(&of.workload), address(&engine, plan.protocol));
        async move { client::run(address, &workload, run, plan).await.unwrap() }
    };
    // A large request comes after each so many small ones.
    let slowly = Plan { connections: 1, in_flight: 1, ..plan(large) };
    let (small_report, large_report, served) =
        tokio::join!(run(&traffic[0], plan(small)), run(&traffic[1], slowly), change(&engine, &sink, &progress));

    assert_eq!((small_report.first_failure(), large_report.first_failure()), (None, None));
    let metrics = engine.settled_account(BOUND).await.unwrap();
    let marks = progress.marks.lock().unwrap();
    let (mut arrived, mut judged) = (0, HashSet::new());
    for of in &traffic {
        let seen = sink.take_seen(signal, of.run);
        assert_eq!(seen.duplicates, 0);
        arrived += seen.items;
        for number in 0..of.requests {
            let missing = of.missing(number, &seen);
            let marks = &marks[&(of.run, number)];
            assert_eq!(marks.len(), 1, "request {number} was judged by several: {marks:?}");
            let is_of = |v: &&Versions| v[0] % 4 == missing && marks.contains(&format!("a{} <m{}>", v[1], v[2]));
            let snapshot = served.iter().find(is_of);
            let snapshot =
                snapshot.unwrap_or_else(|| panic!("request {number}: {missing} missing, {marks:?} never served"));
            judged.insert(*snapshot);
        }
    }
    assert_eq!(judged.len() as u64, CHANGES + 1, "every snapshot judged some");
    let items = traffic.iter().map(Traffic::items).sum::<u64>();
    assert_eq!(items, 1_000_000 * soak_factor());
    assert_eq!(metrics.sum("pipeline_dropped_items", &[("stage", "filter"), ("intended", "true")]), items - arrived);
    assert_eq!(metrics.sum("pipeline_dropped_items", &[]), items - arrived);
    assert_eq!(metrics.sum("exporter_sent_items", &[]), arrived);
    assert_eq!(metrics.sum("stage_faults", &[]), 0);
    let changes = |stage| metrics.sum("stage_generation", &[("stage", stage)]) - 1;
    assert!(STAGES.map(changes).iter().sum::<u64>() >= CHANGES);
}

fn address(engine: &Engine, protocol: Protocol) -> SocketAddr {
    if protocol == Protocol::Grpc { engine.addresses.grpc } else { engine.addresses.http }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_spans_under_changing_rules() {
    a_million(Signal::Traces, 1, Plan::grpc).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_log_records_under_changing_rules() {
    a_million(Signal::Logs, 3, Plan::http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_data_points_under_changing_rules() {
    a_million(Signal::Metrics, 5, Plan::grpc).await;
}
