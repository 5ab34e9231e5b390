//! A destination that counts: OTLP/gRPC and OTLP/HTTP on one port, which items arrived how often, programmed answers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use sluicebox::signal::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::client::Answer;
use crate::generate::named;
use crate::scan;
use crate::seen::Seen;

const WINDOW_BYTES: u32 = 4 << 20;
/// Items of a run at most: what is seen of them takes a bit each.
const ITEMS_MAX: u64 = 1 << 28;
/// Linux sends nothing more to a peer whose answer waits longer than this; tests end sooner.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// Decides what the sink answers, and how late.
pub type Script = Arc<dyn Fn(&Attempt) -> (Duration, Answer) + Send + Sync>;

/// A request that arrived, before it is answered.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Counts from 0.
    pub number: u64,
    /// The signal.
    pub signal: Signal,
    /// Run and sequence number of each item, in document order; empty if the items are not ours.
    pub items: Vec<(u16, u64)>,
    /// Request headers, in gRPC also metadata.
    pub headers: HeaderMap,
    /// The request, decompressed.
    pub body: Bytes,
}

/// How a sink behaves.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Keep the bytes of each taken request, for small runs.
    pub keep: bool,
    /// None = everything is taken at once.
    pub script: Option<Script>,
    /// A fixed port instead of a free one.
    pub port: u16,
}

/// A running sink; ends when dropped.
pub struct Sink {
    /// Where it listens, on loopback.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behaviour: Behaviour,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: u64,
    attempts: u64,
    seen: HashMap<(Signal, u16), Seen>,
    kept: Vec<(Signal, Bytes)>,
    bytes: u64,
}

impl Sink {
    /// Listens and serves.
    pub async fn start(behaviour: Behaviour) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", behaviour.port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { behaviour, state: Mutex::default() });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// What arrived of a run and was taken; taken out, so that a run's memory does not stay.
    pub fn take_seen(&self, signal: Signal, run: u16) -> Seen {
        self.shared.lock().seen.remove(&(signal, run)).unwrap_or_default()
    }

    /// Different items of a run that were taken so far.
    pub fn items(&self, signal: Signal, run: u16) -> u64 {
        self.shared.lock().seen.get(&(signal, run)).map_or(0, |seen| seen.items)
    }

    /// The kept requests of a signal, in order of arrival.
    pub fn kept(&self, signal: Signal) -> Vec<Bytes> {
        self.shared.lock().kept.iter().filter(|(s, _)| *s == signal).map(|(_, b)| b.clone()).collect()
    }

    /// Requests that arrived, whatever was answered.
    pub fn attempts(&self) -> u64 {
        self.shared.lock().attempts
    }

    /// Connections that were made to it.
    pub fn connections(&self) -> u64 {
        self.shared.lock().connections
    }

    /// Bytes of taken requests, decompressed.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().bytes
    }

    /// Waits until `items` different items of a run were taken, at most `bound`; what there was then.
    pub async fn wait_for(&self, signal: Signal, run: u16, items: u64, bound: Duration) -> u64 {
        let end = tokio::time::Instant::now() + bound;
        loop {
            let now = self.items(signal, run);
            if now >= items || tokio::time::Instant::now() >= end {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one request and notes what was taken.
    async fn receive(&self, signal: Signal, headers: HeaderMap, body: Bytes) -> Answer {
        let mut items = Vec::new();
        let read = scan::items(signal, &body, &mut |mark| items.push(named(scan::id_at(&body, mark.id))));
        let items = if read.is_ok() { items } else { Vec::new() };
        let number = {
            let mut state = self.lock();
            state.attempts += 1;
            state.attempts - 1
        };
        let attempt = Attempt { number, signal, items, headers, body };
        let answer = match &self.behaviour.script {
            None => Answer::Accepted { warning: None },
            Some(script) => {
                let (delay, answer) = script(&attempt);
                tokio::time::sleep(delay.min(DELAY_MAX)).await;
                answer
            }
        };
        if matches!(answer, Answer::Accepted { .. } | Answer::Partial { .. }) {
            let mut state = self.lock();
            // Ids that are not of the generator name anything.
            for (run, sequence) in attempt.items.into_iter().filter(|(_, sequence)| *sequence < ITEMS_MAX) {
                state.seen.entry((signal, run)).or_default().note(sequence);
            }
            state.bytes += attempt.body.len() as u64;
            if self.behaviour.keep {
                state.kept.push((signal, attempt.body));
            }
        }
        answer
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the set, when the sink is dropped.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        shared.lock().connections += 1;
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it answers wait for the peer's delayed acknowledgement; on a closed socket it fails harmlessly.
    let _closed = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, request).await) }
    });
    // A peer may hang up whenever it likes.
    let _hung_up = builder.serve_connection(TokioIo::new(stream), service).await;
}

type Body = BoxBody<Bytes, Infallible>;

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let grpc = Signal::ALL.into_iter().find(|s| s.grpc_path() == path);
    let http = Signal::ALL.into_iter().find(|s| s.http_path() == path);
    let headers = request.headers().clone();
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return plain(400, Bytes::new()),
    };
    match (grpc, http) {
        (Some(signal), _) => match unframe(&body) {
            Ok(body) => grpc_response(&shared.receive(signal, headers, body).await),
            Err(error) => grpc_response(&Answer::Refused { code: 3, message: error.to_string() }),
        },
        (None, Some(signal)) => match unpack(&headers, &body) {
            Ok(body) => http_response(&shared.receive(signal, headers, body).await),
            Err(_) => plain(400, Bytes::new()),
        },
        (None, None) => plain(404, Bytes::new()),
    }
}

fn unframe(body: &Bytes) -> Result<Bytes> {
    let header = body.get(..5).context("no gRPC message")?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    anyhow::ensure!(body.len() == length + 5, "not exactly one gRPC message");
    let content = body.slice(5..);
    if header[0] == 0 { Ok(content) } else { inflate(&content) }
}

fn unpack(headers: &HeaderMap, body: &Bytes) -> Result<Bytes> {
    let gzip = headers.get("content-encoding").is_some_and(|value| value == "gzip");
    if gzip { inflate(body) } else { Ok(body.clone()) }
}

fn inflate(body: &[u8]) -> Result<Bytes> {
    let mut out = Vec::new();
    MultiGzDecoder::new(body).read_to_end(&mut out)?;
    Ok(Bytes::from(out))
}

/// The message of an answer that took the request; the same shape in all signals.
fn message(answer: &Answer) -> Option<Vec<u8>> {
    let partial_success = match answer {
        Answer::Accepted { warning: None } => None,
        Answer::Accepted { warning: Some(warning) } => {
            Some(ExportTracePartialSuccess { rejected_spans: 0, error_message: warning.clone() })
        }
        Answer::Partial { rejected, message } => Some(ExportTracePartialSuccess {
            rejected_spans: i64::try_from(*rejected).unwrap_or(i64::MAX),
            error_message: message.clone(),
        }),
        Answer::Retry { .. } | Answer::Refused { .. } => return None,
    };
    Some(ExportTraceServiceResponse { partial_success }.encode_to_vec())
}

fn grpc_response(answer: &Answer) -> Response<Body> {
    let (status, body) = match answer {
        Answer::Retry { after, message } => (unavailable(*after, message), Bytes::new()),
        Answer::Refused { code, message } => {
            (tonic::Status::new(tonic::Code::from(i32::from(*code)), message.clone()), Bytes::new())
        }
        taken => {
            let body = crate::client::frame(&message(taken).unwrap_or_default());
            (tonic::Status::ok(""), body)
        }
    };
    let mut trailers = HeaderMap::new();
    // Only a message that is no header value fails, and percent encoding prevents that.
    let _encoded = status.add_header(&mut trailers);
    let body = Full::new(body).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    response
}

fn unavailable(after: Option<Duration>, message: &str) -> tonic::Status {
    match after {
        None => tonic::Status::unavailable(message),
        Some(after) => {
            let details = crate::client::retry_details(after);
            tonic::Status::with_details(tonic::Code::Unavailable, message, Bytes::from(details))
        }
    }
}

fn http_response(answer: &Answer) -> Response<Body> {
    match answer {
        Answer::Retry { after, .. } => {
            let mut response = plain(503, Bytes::new());
            if let Some(after) = after {
                response.headers_mut().insert("retry-after", http::HeaderValue::from(after.as_secs()));
            }
            response
        }
        Answer::Refused { code, .. } => plain(*code, Bytes::new()),
        taken => plain(200, Bytes::from(message(taken).unwrap_or_default())),
    }
}

fn plain(status: u16, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/x-protobuf"));
    response
}
