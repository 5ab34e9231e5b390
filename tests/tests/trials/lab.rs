//! An engine between a sender that goes on and a sink that keeps everything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::Value;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Connection, Protocol};
use sluicebox_tests::command::Done;
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::{Engine, get};
use sluicebox_tests::items::{add_text, text};
use sluicebox_tests::sink::{Behaviour, Sink};

pub const BOUND: Duration = Duration::from_secs(60);
/// Spans of a request.
pub const SPANS: u64 = 10;
pub const REDACTOR: &str = "redaction/pii";
pub const FILTER: &str = "filter/health";
/// What the redactor hides, and a candidate without `email` does not.
pub const ADDRESS: &str = "ada.lovelace@example.org";
const CARD: &str = "4111 1111 1111 1111";

pub fn redactor(detectors: &str) -> String {
    format!("allow_all_keys: true, detectors: [{detectors}]")
}

pub fn filter(condition: &str) -> String {
    format!("error_mode: ignore, traces: {{ span: ['{condition}'] }}")
}

/// Spans of requests that every tenth of is a health check.
pub const HEALTH: &str = r#"attributes["route"] == "/health""#;
pub const OTHERS: &str = r#"attributes["route"] == "/cart""#;

pub struct Lab {
    pub engine: Engine,
    pub sink: Sink,
}

/// A sender that goes on until it is told to stop.
pub struct Sender {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

/// A span as the sink got it.
#[derive(Debug)]
pub struct Arrived {
    pub request: u64,
    pub has_address: bool,
}

impl Lab {
    /// With a filter and a redactor, and this access of data.
    pub async fn start(data_access: &str) -> Arc<Lab> {
        let processors = Config::new().processor(FILTER, &filter(HEALTH)).processor(REDACTOR, &redactor("email, card"));
        Lab::start_with(data_access, processors).await
    }

    pub async fn start_with(data_access: &str, processors: Config) -> Arc<Lab> {
        let sink = Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap();
        let config = processors.sink(sink.address, "").verbose();
        let engine = Engine::start_in(&[], |directory, addresses| {
            let text = with_access(&addresses.fill(&config.text()), data_access);
            Ok(std::fs::write(directory.join("sluicebox.yaml"), text)?)
        });
        Arc::new(Lab { engine: engine.await.unwrap(), sink })
    }

    /// Writes the file again, with these processors.
    pub fn rewrite(&self, processors: Config) {
        let text = self.engine.addresses.fill(&processors.sink(self.sink.address, "").verbose().text());
        std::fs::write(self.engine.config_file(), with_access(&text, "off")).unwrap();
    }

    /// A file in the engine's directory that holds this.
    pub fn file(&self, name: &str, text: &str) -> String {
        let file: PathBuf = self.engine.directory().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    pub async fn command(&self, arguments: &[&str]) -> Done {
        self.engine.command(arguments).await.unwrap()
    }

    /// Begins a command that goes on beside.
    pub fn begin(self: &Arc<Self>, arguments: &[&str]) -> tokio::task::JoinHandle<Done> {
        let (lab, arguments) = (Arc::clone(self), arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>());
        tokio::spawn(async move {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            lab.command(&arguments).await
        })
    }

    pub async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&get(self.engine.addresses.admin, path).await.unwrap()).unwrap()
    }

    /// The last operation of a stage, as soon as it is as wanted.
    pub async fn operation(&self, stage: &str, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + BOUND;
        loop {
            let list = self.get("/v1/operations").await;
            let of_stage = list["operations"].as_array().unwrap().iter().rev().find(|one| one["stage"] == stage);
            match of_stage {
                Some(operation) if is_wanted(operation) => return operation.clone(),
                other => assert!(Instant::now() < end, "{what}: {other:?}\n{}", self.engine.process.stderr()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same, once this step is under way.
    pub async fn at_step(&self, stage: &str, step: &str) -> Value {
        let is_there = |operation: &Value| {
            let last = operation["steps"].as_array().unwrap().last();
            operation["state"] == "running" && last.is_some_and(|last| last["step"] == step)
        };
        self.operation(stage, step, is_there).await
    }

    /// Number of the generation that serves a stage.
    pub async fn generation(&self, stage: &str) -> u64 {
        self.engine.metrics().await.unwrap().sum("stage_generation", &[("stage", stage)])
    }

    /// Results of a stage's generations, oldest first.
    pub async fn history(&self, stage: &str) -> Vec<Value> {
        let stages =
            self.get(&format!("/v1/generations?stage={}", stage.replace('/', "%2F").replace(':', "%3A"))).await;
        stages["stages"][0]["generations"].as_array().unwrap().clone()
    }

    pub async fn sender(&self, spans: impl Fn(u64) -> Bytes + Send + 'static) -> Sender {
        let mut connection = Connection::open(self.engine.addresses.grpc, Protocol::Grpc, false).await.unwrap();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                let answer = connection.send(Signal::Traces, spans(number), BOUND).await;
                assert_eq!(answer, Answer::Accepted { warning: None }, "request {number}");
                count.store(number + 1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Sender { stop, sent, task }
    }

    /// Spans by sequence number, each of which arrived once, when nothing is inside any more.
    pub async fn arrived(&self) -> BTreeMap<u64, Arrived> {
        self.engine.settled_account(BOUND).await.unwrap();
        let mut arrived = BTreeMap::new();
        for body in self.sink.kept(Signal::Traces) {
            let has_address = body.windows(ADDRESS.len()).any(|window| window == ADDRESS.as_bytes());
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let spans = request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
            for span in spans {
                let sequence: u64 = text(&span.attributes, "sequence").unwrap().parse().unwrap();
                let has_address = has_address && text(&span.attributes, "note").is_some_and(|n| n.contains(ADDRESS));
                let known = arrived.insert(sequence, Arrived { request: sequence / SPANS, has_address });
                assert!(known.is_none(), "span {sequence} arrived twice");
            }
        }
        arrived
    }

    pub async fn is_ready(&self) -> bool {
        get(self.engine.addresses.admin, "/readyz").await.is_ok()
    }
}

impl Sender {
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until as many requests more were accepted.
    pub async fn goes_on(&self, requests: u64) {
        let (before, end) = (self.sent(), Instant::now() + BOUND);
        while self.sent() < before + requests {
            assert!(Instant::now() < end, "the sender stands still");
            assert!(!self.task.is_finished(), "a request was refused");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Requests that were accepted.
    pub async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// A shop's spans: each has an address and a card, the first of each request is a health check.
pub fn shop(number: u64) -> Bytes {
    let span = |place: u64| {
        let sequence = number * SPANS + place;
        let mut attributes = Vec::new();
        add_text(&mut attributes, "sequence", &sequence.to_string());
        add_text(&mut attributes, "note", &format!("mail {ADDRESS} paid {CARD} thanks"));
        add_text(&mut attributes, "route", if place == 0 { "/health" } else { "/cart" });
        Span {
            trace_id: u128::from(number + 1)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
                .to_be_bytes()
                .to_vec(),
            span_id: (sequence + 1).to_be_bytes().to_vec(),
            name: "checkout".to_owned(),
            attributes,
            start_time_unix_nano: 1_800_000_000_000_000_000,
            end_time_unix_nano: 1_800_000_000_010_000_000,
            ..Span::default()
        }
    };
    let scope = ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec().into()
}

/// The filled-in text begins with the admin's block.
fn with_access(text: &str, access: &str) -> String {
    text.replacen("\" }", &format!("\", data_access: {access} }}"), 1)
}
