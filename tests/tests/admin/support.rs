//! A client that can be as wrong as it likes.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sluicebox_tests::config::{Config, drop_spans};
use sluicebox_tests::engine::{Addresses, Engine};
use sluicebox_tests::generate::EARLY_RULE;
use sluicebox_tests::hostile::made::Made;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

pub const STAGE: &str = "filter/health";
pub const OTHER: &str = "filter/other";
pub const BOUND: Duration = Duration::from_secs(60);

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a refusal, whose form is checked.
    pub fn refused(&self) -> (u16, String) {
        let said = self.json();
        assert!(!said["error"].as_str().unwrap().is_empty() && said["causes"].is_array(), "{said}");
        (self.status, said["code"].as_str().unwrap().to_owned())
    }
}

/// Two stages, and nobody to send to.
pub fn config() -> String {
    let nobody = Addresses::free().unwrap().grpc;
    let config = Config::new().processor(STAGE, &drop_spans(EARLY_RULE));
    config.processor(OTHER, &drop_spans("name == \"other\"")).sink(nobody, "").verbose().text()
}

pub async fn engine() -> Engine {
    Engine::start(&config()).await.unwrap()
}

pub fn token(engine: &Engine) -> String {
    let file = engine.directory().join(format!("state/admin-{}.token", engine.addresses.admin.port()));
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

pub fn bearer(engine: &Engine) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", token(engine)))
}

pub fn socket(engine: &Engine) -> PathBuf {
    engine.directory().join(format!("state/admin-{}.sock", engine.addresses.admin.port()))
}

/// A request; `host` is given unless the headers give one.
pub fn request(method: &str, path: &str, headers: &[(&str, String)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let method: Method = method.parse().unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost");
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// Sends a request over any stream.
pub async fn open(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    tokio::time::timeout(BOUND, sender.send_request(request)).await.expect("answers in time").unwrap()
}

pub async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Answer {
    let (head, body) = open(stream, request).await.into_parts();
    let body = tokio::time::timeout(BOUND, body.collect()).await.expect("ends in time").unwrap().to_bytes();
    Answer { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

/// Over TCP.
pub async fn ask(engine: &Engine, method: &str, path: &str, headers: &[(&str, String)], body: &str) -> Answer {
    let stream = TcpStream::connect(engine.addresses.admin).await.unwrap();
    over(stream, request(method, path, headers, body.to_owned())).await
}

/// Over TCP with the token, and JSON.
pub async fn change(engine: &Engine, method: &str, path: &str, body: &Value) -> Answer {
    let json = ("content-type", "application/json".to_owned());
    ask(engine, method, path, &[bearer(engine), json], &body.to_string()).await
}

/// Over the Unix socket.
pub async fn by_socket(engine: &Engine, method: &str, path: &str, body: &Value) -> Answer {
    let stream = UnixStream::connect(socket(engine)).await.unwrap();
    let headers = [("content-type", "application/json".to_owned())];
    over(stream, request(method, path, &headers, body.to_string())).await
}

pub async fn status(engine: &Engine) -> Value {
    ask(engine, "GET", "/v1/status", &[], "").await.json()
}

/// The generation that serves at a stage.
pub async fn generation(engine: &Engine, stage: &str) -> u64 {
    let status = status(engine).await;
    let stages = status["stages"].as_array().unwrap().clone();
    let of = stages.iter().find(|known| known["stage"] == stage).unwrap();
    of["serving"]["generation"].as_u64().unwrap()
}

/// Sends a component that hangs until its time for starting is over (2 s), and begins a swap to it; the operation's number.
pub async fn hanging_swap(engine: &Engine, stage: &str) -> u64 {
    let wasm = Made::component("start_spin").unwrap();
    let headers = [bearer(engine), ("content-type", "application/wasm".to_owned())];
    let stream = TcpStream::connect(engine.addresses.admin).await.unwrap();
    let sent = over(stream, request("POST", "/v1/components", &headers, wasm)).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    let body = json!({ "stage": stage, "digest": sent.json()["digest"] });
    let begun = change(engine, "POST", "/v1/swap", &body).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    begun.json()["id"].as_u64().unwrap()
}

/// How an operation is, once it has ended.
pub async fn ended(engine: &Engine, id: u64) -> Value {
    let end = tokio::time::Instant::now() + BOUND;
    loop {
        let now = ask(engine, "GET", &format!("/v1/operations/{id}"), &[bearer(engine)], "").await;
        assert_eq!(now.status, 200, "{now:?}");
        let now = now.json();
        if now["state"] != "running" {
            return now;
        }
        assert!(tokio::time::Instant::now() < end, "it does not end: {now}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
