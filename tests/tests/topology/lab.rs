//! Files that are made of parts, traffic that shows which file judged it, and senders that bear nothing but what a test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use rustix::process::Signal as UnixSignal;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Connection, Protocol};
use sluicebox_tests::config::{drop_spans, otlp};
use sluicebox_tests::engine::{Addresses, Engine, TELEMETRY};
use sluicebox_tests::generate::{Shape, Workload};
use sluicebox_tests::seen::Seen;
use sluicebox_tests::sink::{Behaviour, Sink};

pub const BOUND: Duration = Duration::from_secs(60);
/// Values of `deployment.ring`, one in each span.
pub const RINGS: [&str; 4] = ["blue", "green", "stable", "canary"];
/// Different requests of a run.
const TEMPLATES: u64 = 4;

/// A configuration file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    pub receivers: Vec<(String, String)>,
    pub processors: Vec<(String, String)>,
    pub exporters: Vec<(String, String)>,
    pub pipelines: Vec<Pipeline>,
    /// Of `service.telemetry`.
    pub telemetry: String,
}

/// A pipeline of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    pub name: String,
    pub receivers: Vec<String>,
    pub processors: Vec<String>,
    pub exporters: Vec<String>,
}

impl File {
    /// `otlp` on both protocols, `otlp/sink`, and the pipeline `traces` between them with these processors (name and keys).
    pub fn new(sink: &Sink, processors: &[(&str, &str)]) -> File {
        let owned = |(name, keys): &(&str, &str)| ((*name).to_owned(), (*keys).to_owned());
        File {
            receivers: vec![("otlp".into(), protocols("$GRPC", "$HTTP"))],
            processors: processors.iter().map(owned).collect(),
            exporters: vec![("otlp/sink".into(), otlp(sink.address, ""))],
            pipelines: vec![pipeline(
                "traces",
                "otlp",
                &processors.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
                "otlp/sink",
            )],
            telemetry: TELEMETRY.replace("warn", "info"),
        }
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (section, parts) in
            [("receivers", &self.receivers), ("processors", &self.processors), ("exporters", &self.exporters)]
        {
            if !parts.is_empty() {
                text += &format!("{section}:\n");
            }
            for (name, keys) in parts {
                text += &format!("  {name}: {{ {keys} }}\n");
            }
        }
        text += &format!("service:\n  {}\n  pipelines:\n", self.telemetry);
        for Pipeline { name, receivers, processors, exporters } in &self.pipelines {
            let [receivers, processors, exporters] = [receivers, processors, exporters].map(|names| names.join(", "));
            text += &format!(
                "    {name}: {{ receivers: [{receivers}], processors: [{processors}], exporters: [{exporters}] }}\n"
            );
        }
        text
    }

    /// The same, changed.
    pub fn with(&self, change: impl FnOnce(&mut File)) -> File {
        let mut file = self.clone();
        change(&mut file);
        file
    }

    /// Keys of a receiver, a processor or an exporter.
    pub fn keys(&mut self, name: &str) -> &mut String {
        let parts = self.receivers.iter_mut().chain(&mut self.processors).chain(&mut self.exporters);
        &mut parts.into_iter().find(|(known, _)| known == name).expect("the file has it").1
    }
}

pub fn pipeline(name: &str, receiver: &str, processors: &[&str], exporter: &str) -> Pipeline {
    Pipeline {
        name: name.to_owned(),
        receivers: vec![receiver.to_owned()],
        processors: processors.iter().map(|name| (*name).to_owned()).collect(),
        exporters: vec![exporter.to_owned()],
    }
}

/// Keys of a receiver.
pub fn protocols(grpc: &str, http: &str) -> String {
    format!("protocols: {{ grpc: {{ endpoint: \"{grpc}\" }}, http: {{ endpoint: \"{http}\" }} }}")
}

/// Keys of a receiver that speaks gRPC alone.
pub fn grpc_alone(address: &str) -> String {
    format!("protocols: {{ grpc: {{ endpoint: \"{address}\" }} }}")
}

/// Keys of a filter that drops the spans of a ring.
pub fn drop_ring(ring: &str) -> String {
    drop_spans(&format!("attributes[\"deployment.ring\"] == \"{ring}\""))
}

pub async fn sink() -> Sink {
    Sink::start(Behaviour::default()).await.unwrap()
}

pub async fn start(file: &File) -> Engine {
    Engine::start(&file.text()).await.unwrap()
}

/// Another free address.
pub fn free_address() -> SocketAddr {
    Addresses::free().unwrap().grpc
}

/// Brings the engine to another file, by SIGHUP. What it said of that, where it refused.
pub async fn change(engine: &mut Engine, file: &File) -> Result<(), String> {
    const ENDS: [&str; 3] = ["the changed file is in force", "nothing differs", "nothing was changed"];
    let before = engine.process.stderr();
    let count = |text: &str, end: &str| text.matches(end).count();
    engine.rewrite(&file.text()).unwrap();
    engine.process.signal(UnixSignal::HUP);
    let end = Instant::now() + BOUND;
    loop {
        let now = engine.process.stderr();
        if count(&now, ENDS[2]) > count(&before, ENDS[2]) {
            return Err(now.get(before.len()..).unwrap_or_default().to_owned());
        }
        if ENDS.iter().any(|end| count(&now, end) > count(&before, end)) {
            return Ok(());
        }
        assert!(Instant::now() < end, "the file is not in force after {BOUND:?}:\n{now}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Requests whose spans say which rules judged them: spans of all rings are in each.
pub struct Traffic {
    pub workload: Arc<Workload>,
    pub run: u16,
    /// Per template and span, the ring that it is in.
    rings: Vec<Vec<usize>>,
}

impl Traffic {
    pub fn new(run: u16) -> Arc<Self> {
        let shape =
            Shape { requests: TEMPLATES as usize, items_per_request: 200, seed: 11, ..Shape::new(Signal::Traces) };
        let workload = Workload::new(shape);
        let rings: Vec<_> = (0..TEMPLATES).map(|number| rings(&workload.message(run, number).unwrap())).collect();
        for template in &rings {
            assert!((0..RINGS.len()).all(|ring| template.contains(&ring)), "all rings in each request");
        }
        Arc::new(Self { workload, run, rings })
    }

    /// The rings of which nothing arrived of a request, joined by spaces; of the others everything did.
    pub fn dropped(&self, number: u64, seen: &Seen) -> String {
        let base = number * self.workload.items_per_request();
        let mut here = BTreeMap::<usize, (u64, u64)>::new();
        for (sequence, ring) in (base..).zip(&self.rings[(number % TEMPLATES) as usize]) {
            let (arrived, all) = here.entry(*ring).or_default();
            *arrived += u64::from(seen.has(sequence));
            *all += 1;
        }
        for (ring, (arrived, all)) in &here {
            let ring = RINGS[*ring];
            assert!(*arrived == 0 || arrived == all, "request {number}: {arrived} of {all} {ring} spans arrived");
        }
        let gone = here.iter().filter(|(_, (arrived, _))| *arrived == 0).map(|(ring, _)| RINGS[*ring]);
        gone.collect::<Vec<_>>().join(" ")
    }

    /// Sends one request on a new connection, and tells what is dropped of it before it arrives.
    pub async fn one(&self, engine: &Engine, address: SocketAddr, sink: &Sink, number: u64) -> String {
        let body = self.workload.request(self.run, number);
        let answer = sluicebox_tests::client::send_once(address, Protocol::Grpc, Signal::Traces, body).await.unwrap();
        assert_eq!(answer, Answer::Accepted { warning: None }, "{}", engine.process.stderr());
        engine.settled_account(BOUND).await.unwrap();
        let seen = sink.take_seen(Signal::Traces, self.run);
        assert_eq!(seen.duplicates, 0);
        self.dropped(number, &seen)
    }
}

fn rings(message: &ExportTraceServiceRequest) -> Vec<usize> {
    let spans = message.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
    let ring = |span: &opentelemetry_proto::tonic::trace::v1::Span| {
        let value = span.attributes.iter().find(|a| a.key == "deployment.ring").and_then(|a| a.value.clone()?.value);
        let ring = RINGS.iter().position(|ring| matches!(&value, Some(Value::StringValue(text)) if text == ring));
        ring.expect("each span has a ring")
    };
    spans.map(ring).collect()
}

/// What senders bear beside an acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bears {
    /// Nothing: the connection stays, too.
    Nothing,
    /// That they have to connect again, as their receiver has changed. What was in flight is sent again.
    Reconnects,
}

/// Sends at a steady rate until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    lanes: tokio::task::JoinSet<()>,
    sent: Arc<AtomicU64>,
    reconnects: Arc<AtomicU64>,
}

impl Load {
    pub async fn start(lanes: &[(SocketAddr, Protocol)], traffic: &Arc<Traffic>, rate: f64, bears: Bears) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            lanes: tokio::task::JoinSet::new(),
            sent: Arc::default(),
            reconnects: Arc::default(),
        };
        let start = Instant::now();
        for &(address, protocol) in lanes {
            let mut connection = Connection::open(address, protocol, false).await.unwrap();
            let (stop, sent, reconnects) =
                (Arc::clone(&load.stop), Arc::clone(&load.sent), Arc::clone(&load.reconnects));
            let traffic = Arc::clone(traffic);
            load.lanes.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let due = Duration::from_secs_f64(number as f64 / rate);
                    tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
                    let body = traffic.workload.request(traffic.run, number);
                    loop {
                        match connection.send(Signal::Traces, body.clone(), BOUND).await {
                            Answer::Accepted { warning: None } => break,
                            Answer::Retry { after: None, message }
                                if bears == Bears::Reconnects && message.starts_with("connection:") =>
                            {
                                reconnects.fetch_add(1, Ordering::Relaxed);
                                assert!(reconnects.load(Ordering::Relaxed) < 1000, "{message}");
                            }
                            answer => panic!("request {number}: {answer:?}"),
                        }
                    }
                }
            });
        }
        load
    }

    /// Lets so many more requests be answered.
    pub async fn pass(&self, requests: u64) {
        let wanted = self.sent.load(Ordering::Relaxed) + requests;
        let end = Instant::now() + BOUND;
        while self.sent.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < end, "requests are not answered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Requests sent, all of them accepted.
    pub async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.lanes.join_all().await;
        self.sent.load(Ordering::Relaxed)
    }
}

/// Both protocols of `otlp`, the first twice.
pub fn lanes(engine: &Engine) -> [(SocketAddr, Protocol); 3] {
    let Addresses { grpc, http, .. } = engine.addresses;
    [(grpc, Protocol::Grpc), (grpc, Protocol::Grpc), (http, Protocol::Http)]
}

/// Checks what arrived of each request against the files that were in force: what each drops.
pub fn judged_by_one(traffic: &Traffic, sink: &Sink, requests: u64, files: &[&str]) -> BTreeMap<String, u64> {
    let seen = sink.take_seen(Signal::Traces, traffic.run);
    assert_eq!(seen.duplicates, 0, "nothing arrives twice");
    let mut counts = BTreeMap::new();
    for number in 0..requests {
        let dropped = traffic.dropped(number, &seen);
        assert!(files.contains(&dropped.as_str()), "request {number}: dropped {dropped:?}, which no file says");
        *counts.entry(dropped).or_default() += 1;
    }
    counts
}
