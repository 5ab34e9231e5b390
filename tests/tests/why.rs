//! `sluicebox why` against the admin API, with a tail sampler that knows what it is told to know.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sluicebox::admin::{self, Parts, Tries};
use sluicebox::config::model::Config;
use sluicebox::config::{System, load_text};
use sluicebox::control::history::History;
use sluicebox::control::{Control, Prepared, Topology, Unprepared};
use sluicebox::export::QueueLevel;
use sluicebox::memory::Budget;
use sluicebox::memory::tail::TailBounds;
use sluicebox::observe::metrics::Metrics;
use sluicebox::observe::rates::Rates;
use sluicebox::observe::readiness::Readiness;
use sluicebox::pipeline::stages::{Current, Stages};
use sluicebox::scratch::BuildScratch;
use sluicebox::tail::explain::{Asked, Explanation, Recent, TraceState, Why};
use sluicebox::tap::Taps;
use sluicebox::view::{JobsLevel, Levels, View};
use sluicebox::wasm::BuildError;
use sluicebox_tests::command::{Done, run};
use sluicebox_tests::engine::Addresses;
use sluicebox_tests::golden::golden;

const KEPT: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const WAITING: &str = "00000000000000000000000000000001";
const STRANGE: &str = "00000000000000000000000000000002";
/// 2026-11-21, 12:00:00.25 UTC.
const ARRIVED: u64 = 1_795_262_400_250_000_000;

/// Knows three traces.
struct Sampler;

impl Why for Sampler {
    fn explain(&self, id: [u8; 16]) -> Pin<Box<dyn Future<Output = Vec<Explanation>> + Send + '_>> {
        let known = match u128::from_be_bytes(id) {
            id if format!("{id:032x}") == KEPT => vec![kept(), dropped(), by_nobody()],
            1 => vec![waiting()],
            2 => vec![Explanation { policy: Some("a\u{1b}[31m\nb".into()), probability: Some(1e-9), ..dropped() }],
            _ => Vec::new(),
        };
        Box::pin(std::future::ready(known))
    }

    fn recent(&self, _: Asked) -> Pin<Box<dyn Future<Output = Vec<Recent>> + Send + '_>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

fn kept() -> Explanation {
    Explanation {
        policy: Some("one-in-ten".into()),
        generation: Some(3),
        trigger: Some("decision_wait"),
        // 10 % as a threshold of 56 bits.
        probability: Some(0.099_999_999_999_999_98),
        decided_unix_nano: Some(ARRIVED + 30_001_500_000),
        spans: Some(12),
        late_spans: Some(3),
        due_unix_nano: None,
        ..waiting()
    }
    .in_state("tail_sampling/lab", TraceState::Kept)
}

/// Nothing but that it was dropped is remembered.
fn dropped() -> Explanation {
    Explanation { arrived_unix_nano: None, spans: None, due_unix_nano: None, ..waiting() }
        .in_state("tail_sampling/two-percent", TraceState::Dropped)
}

/// It waited, and no policy kept it.
fn by_nobody() -> Explanation {
    Explanation { generation: None, policy: None, probability: None, late_spans: Some(0), ..kept() }
        .in_state("tail_sampling/errors", TraceState::Dropped)
}

fn waiting() -> Explanation {
    Explanation {
        sampler: "tail_sampling".into(),
        state: TraceState::Waiting,
        policy: None,
        generation: None,
        trigger: None,
        probability: None,
        decided_unix_nano: None,
        arrived_unix_nano: Some(ARRIVED),
        spans: Some(4),
        late_spans: None,
        due_unix_nano: Some(ARRIVED + 30_000_000_000),
    }
}

trait InState {
    fn in_state(self, sampler: &str, state: TraceState) -> Self;
}

impl InState for Explanation {
    fn in_state(self, sampler: &str, state: TraceState) -> Self {
        Self { sampler: sampler.into(), state, ..self }
    }
}

/// Nothing around no stages.
struct Nothing;

impl Topology for Nothing {
    fn prepare(self: Arc<Self>, _: &Config, _: &Arc<Stages>) -> Result<Box<dyn Prepared>, Unprepared> {
        Err(Unprepared { step: "bind", source: "there is nothing to bind".into() })
    }
}

impl Levels for Nothing {
    fn queues(&self) -> Vec<(String, QueueLevel)> {
        Vec::new()
    }

    fn jobs(&self) -> JobsLevel {
        JobsLevel { waiting: 0, high: 0, max: 0 }
    }

    fn samplers(&self) -> Arc<Vec<TailBounds>> {
        Arc::new(vec![TailBounds {
            pipeline: "traces".into(),
            sampler: "tail_sampling/lab".into(),
            decision_wait: Duration::from_secs(10),
            traces_max: 100,
            bytes_max: 64 << 20,
            shards: 2,
        }])
    }

    fn workers(&self) -> usize {
        0
    }
}

/// The admin API of an engine without stages; it serves until the test ends.
async fn admin_api() -> SocketAddr {
    let text = "receivers: {otlp: {protocols: {grpc: }}}\nexporters: {debug: }\n\
                service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n";
    let config = load_text("test.yaml".into(), text.into(), Path::new(""), &System).expect("is valid").config;
    let build = Arc::new(|_: &_, _| Err(BuildError::Abandoned("there is nothing to build".into())));
    let metrics = Arc::new(Metrics::new());
    let current = Current::new(Stages::new(Vec::new(), &metrics));
    let control = Control::new(build, config, current, Arc::new(Nothing), Arc::clone(&metrics), History::in_memory());
    let readiness = Readiness::starting(Arc::clone(&control) as _);
    let nothing_to_build = || -> Arc<BuildScratch> { Arc::new(|_: &_| Err(BuildError::Abandoned("nothing".into()))) };
    let budget = Budget::new(1 << 20);
    let view = View {
        control: Arc::clone(&control),
        rates: Rates::new(&metrics),
        budget: Arc::clone(&budget),
        metrics,
        readiness: Arc::clone(&readiness),
        levels: Arc::new(Nothing),
    };
    let taps = Taps::new(Arc::clone(&control), Arc::default());
    let tries = Tries::new(Arc::new(nothing_to_build));
    let api = admin::api(Parts { control, budget, why: Arc::new(Sampler), readiness, tries, taps, view }, None);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    tokio::spawn(admin::serve::serve(listener, api));
    address
}

async fn why(arguments: &[&str]) -> Done {
    let directory = tempfile::tempdir().expect("temporary folder");
    let arguments: Vec<_> = ["why"].into_iter().chain(arguments.iter().copied()).collect();
    run(directory.path(), &arguments).await.expect("runs")
}

/// Status and body of a GET.
async fn get(url: String, host: &str) -> (u16, Value) {
    let request = Request::get(url).header("host", host).body(Full::<Bytes>::default()).expect("a request");
    let response: Response<_> =
        Client::builder(TokioExecutor::new()).build_http().request(request).await.expect("answers");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, serde_json::from_slice(&body).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_told_to_people() {
    let admin = admin_api().await.to_string();
    for (name, id) in [("why-kept", KEPT), ("why-waiting", WAITING), ("why-strange-rule", STRANGE)] {
        let done = why(&[id, "--admin", &admin]).await;
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{id}");
        assert!(!done.stdout.contains('\u{1b}'), "a rule's name does not steer the terminal");
        golden(name, &done.stdout);
    }
    let shouted = why(&[&KEPT.to_uppercase(), "--admin", &admin]).await;
    assert_eq!(shouted, why(&[KEPT, "--admin", &admin]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_told_to_programs() {
    let admin = admin_api().await;
    let done = why(&[KEPT, "--json", "--admin", &admin.to_string()]).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
    golden("why-json", &done.stdout);
    let (status, answer) = get(format!("http://{admin}/v1/traces/{KEPT}"), "localhost").await;
    assert_eq!((status, answer), (200, serde_json::from_str(&done.stdout).expect("JSON")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_nobody_knows_is_1() {
    let admin = admin_api().await.to_string();
    let unknown = "f".repeat(32);
    let done = why(&[&unknown, "--admin", &admin]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""));
    golden("why-unknown", &done.stderr);
    let done = why(&[&unknown, "--json", "--admin", &admin]).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(1), ""));
    let said: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(said, json!({ "trace_id": unknown, "samplers": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_trace_id_is_2_and_nobody_is_asked() {
    for wrong in ["4bf92f35", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", ""] {
        let done = why(&[wrong, "--admin", "127.0.0.1:1"]).await;
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{done:?}");
        assert!(done.stderr.contains("a trace id is 32 hex digits, such as "), "{}", done.stderr);
    }
    let nobody = Addresses::free().expect("addresses").admin.to_string();
    let done = why(&[KEPT, "--admin", &nobody]).await;
    assert_eq!((done.code, done.stdout.as_str()), (Some(5), ""), "{done:?}");
    assert!(done.stderr.contains(&nobody), "{}", done.stderr);
}

/// The route changes nothing, so it asks for no token; browsers on foreign pages are refused as everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_trace_is_open_to_this_machine_alone() {
    let admin = admin_api().await;
    let page = |id: &str| format!("http://{admin}/v1/traces/{id}");
    let (status, answer) = get(page(WAITING), "localhost").await;
    assert_eq!((status, &answer["samplers"][0]["state"]), (200, &json!("waiting")));
    assert_eq!(answer["samplers"][0].get("policy"), None);
    let (status, answer) = get(page("12"), "localhost").await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().is_some_and(|error| error.starts_with("a trace id is 32 hex digits")), "{answer}");
    assert_eq!(get(page(WAITING), "evil.example").await.0, 403);
    let (_, status) = get(format!("http://{admin}/v1/status"), "localhost").await;
    let bounds = json!([{
        "pipeline": "traces",
        "sampler": "tail_sampling/lab",
        "decision_wait_ms": 10_000,
        "traces_max": 100,
        "memory_bytes_max": 64 << 20,
        "shards": 2,
    }]);
    assert_eq!(status["tail_samplers"], bounds);
}
