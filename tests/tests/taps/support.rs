//! Engines that may be looked into, requests whose spans say what is to become of them, and the client of a tap.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use serde_json::{Value, json};
use sluicebox::admin::token;
use sluicebox::signal::Signal;
use sluicebox_tests::client::{Answer, Protocol, send_once};
use sluicebox_tests::config::Config;
use sluicebox_tests::engine::{Addresses, Engine};
use sluicebox_tests::items::add_text;
use sluicebox_tests::sink::{Behaviour, Sink};

pub const BOUND: Duration = Duration::from_secs(60);
pub const FILTER: &str = "filter/drops";
pub const EDITOR: &str = "attributes/edits";

pub async fn keeping() -> Sink {
    Sink::start(Behaviour { keep: true, ..Behaviour::default() }).await.unwrap()
}

/// An engine whose file allows this.
pub async fn start(config: &Config, access: &str) -> Engine {
    Engine::start_in(&[], |directory, addresses| write(directory, addresses, config, access)).await.unwrap()
}

fn write(directory: &Path, addresses: &Addresses, config: &Config, access: &str) -> anyhow::Result<()> {
    let filled = addresses.fill(&config.text()).replace("admin: {", &format!("admin: {{ data_access: {access},"));
    Ok(std::fs::write(directory.join("sluicebox.yaml"), filled)?)
}

/// Has the engine take up another file.
pub async fn reload(engine: &Engine, config: &Config, access: &str) {
    write(engine.directory(), &engine.addresses, config, access).unwrap();
    let done = engine.command(&["reload"]).await.unwrap();
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
}

/// A filter that drops spans with the attribute `drop`, and a stage behind it that sets `edit` to `edited` where it is there.
pub fn filter_and_editor(sink: SocketAddr) -> Config {
    let edits = "actions: [{ key: edit, value: edited, action: update }]";
    let drops = "error_mode: ignore, traces: { span: ['attributes[\"drop\"] != nil'] }";
    Config::new().processor_of(Signal::Traces, FILTER, drops).processor_of(Signal::Traces, EDITOR, edits).sink(sink, "")
}

/// A request with a span of each name, each with these attributes.
pub fn spans<'a>(named: impl IntoIterator<Item = (&'a str, &'a [(&'a str, &'a str)])>) -> Bytes {
    let span = |number: u8, name: &str, attributes: &[(&str, &str)]| Span {
        trace_id: vec![number.wrapping_add(1); 16],
        span_id: vec![number.wrapping_add(1); 8],
        name: name.to_owned(),
        attributes: texts(attributes),
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_000_000 + 5_000,
        ..Span::default()
    };
    let spans = (0..).zip(named).map(|(number, (name, attributes))| span(number, name, attributes)).collect();
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec().into()
}

fn texts(attributes: &[(&str, &str)]) -> Vec<KeyValue> {
    let mut texts = Vec::new();
    attributes.iter().for_each(|(key, value)| add_text(&mut texts, key, value));
    texts
}

pub async fn send(engine: &Engine, body: Bytes) -> Answer {
    send_once(engine.addresses.grpc, Protocol::Grpc, Signal::Traces, body).await.unwrap()
}

/// Spans that reached a sink, by name with their attributes.
pub fn arrived(sink: &Sink) -> Vec<(String, Vec<(String, String)>)> {
    let requests = sink.kept(Signal::Traces);
    let requests = requests.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
    let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
    let attribute = |kv: KeyValue| {
        use opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue;
        let Some(StringValue(text)) = kv.value.unwrap().value else { panic!("a text") };
        (kv.key, text)
    };
    let of = |span: Span| (span.name, span.attributes.into_iter().map(attribute).collect());
    scopes.flat_map(|scope| scope.spans).map(of).collect()
}

/// An open tap.
pub struct Tap {
    body: Incoming,
    text: BytesMut,
}

impl Tap {
    /// Opens it and reads its first line.
    pub async fn open(engine: &Engine, request: Value) -> (Tap, Value) {
        let mut tap = Tap::try_open(engine, request).await.unwrap_or_else(|refused| panic!("{refused:?}"));
        let first = tap.next().await.unwrap();
        (tap, first["tap"].clone())
    }

    /// The same; status and body where it is refused.
    pub async fn try_open(engine: &Engine, request: Value) -> Result<Tap, (u16, Value)> {
        let admin = engine.addresses.admin;
        let file = token::file(&engine.directory().join("state"), admin.port());
        // It is written a moment after the receivers listen.
        let end = Instant::now() + BOUND;
        let token = loop {
            match token::read(&file) {
                Some(token) => break token,
                None => assert!(Instant::now() < end, "no token in {}", file.display()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let request = Request::post(format!("http://{admin}/v1/taps"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(request.to_string())))
            .unwrap();
        // A client for each: dropping it hangs up.
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = tokio::time::timeout(BOUND, client.request(request)).await.unwrap().unwrap();
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            return Err((status, serde_json::from_slice(&body).unwrap()));
        }
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Ok(Tap { body: response.into_body(), text: BytesMut::new() })
    }

    /// The next line; None at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let line = self.text.split_to(end + 1);
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(BOUND, self.body.frame()).await.expect("a line or the end in time");
            self.text.extend_from_slice(&frame?.unwrap().into_data().unwrap());
        }
    }

    /// The next match; None at the end.
    pub async fn found(&mut self) -> Option<Value> {
        while let Some(line) = self.next().await {
            if let Some(found) = line.get("match") {
                return Some(found.clone());
            }
            if line.get("end").is_some() {
                return None;
            }
        }
        None
    }

    /// All matches that are still to come, and the last line.
    pub async fn rest(mut self) -> (Vec<Value>, Value) {
        let mut found = Vec::new();
        while let Some(line) = self.next().await {
            if let Some(one) = line.get("match") {
                found.push(one.clone());
            } else if line.get("end").is_some() {
                assert!(self.next().await.is_none(), "the last line is the last");
                return (found, line);
            }
        }
        panic!("the stream broke off after {} matches", found.len());
    }
}

/// What the last line says must be consistent with itself and with what came.
pub fn check_counts(found: usize, end: &Value) {
    let of = |key: &str| end[key].as_u64().unwrap();
    assert!(of("matched") <= of("seen") && of("sent") <= of("matched"), "{end}");
    assert_eq!(of("sent"), found as u64, "{end}");
}

/// Names of the spans of matches.
pub fn names(found: &[Value], side: &str) -> Vec<String> {
    found.iter().map(|one| one[side]["span.name"].as_str().unwrap().to_owned()).collect()
}

/// A tap of this stage that shows all and ends soon.
pub fn all_of(stage: &str, seconds: u32) -> Value {
    json!({ "stage": stage, "limit": 10_000, "rate_per_second": 1_000, "seconds": seconds })
}

/// `{...a, ...b}`.
pub fn with(mut a: Value, b: &Value) -> Value {
    for (key, value) in b.as_object().unwrap() {
        a[key] = value.clone();
    }
    a
}
