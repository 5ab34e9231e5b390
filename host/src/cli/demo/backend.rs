//! Where the demo's telemetry ends: a tiny OTLP/gRPC server that counts items and remembers the first traces.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::signal::Signal;

const REQUEST_BYTES_MAX: usize = 64 << 20;
/// The examples are among the first.
const TRACES_MAX: usize = 5_000;
/// gRPC status codes: INVALID_ARGUMENT, UNIMPLEMENTED.
const INVALID_ARGUMENT: i32 = 3;
const UNIMPLEMENTED: i32 = 12;

/// A running backend; ends when dropped.
pub(super) struct Backend {
    /// Where it listens.
    pub(super) address: SocketAddr,
    shared: Arc<Mutex<Arrived>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Arrived {
    items: HashMap<Signal, u64>,
    /// Trace id to `service: span`, of the first traces.
    traces: HashMap<Vec<u8>, Vec<String>>,
}

impl Backend {
    /// Listens on `address`.
    pub(super) async fn start(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Arrived::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// Spans, data points or log records that arrived.
    pub(super) fn items(&self, signal: Signal) -> u64 {
        let arrived = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.items.get(&signal).copied().unwrap_or_default()
    }

    /// The spans of one trace that arrived, as `service: span`.
    pub(super) fn spans(&self, trace_id: &[u8]) -> Vec<String> {
        let arrived = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.traces.get(trace_id).cloned().unwrap_or_default()
    }
}

impl Arrived {
    fn take(&mut self, signal: Signal, body: &[u8]) -> Result<()> {
        let items = match signal {
            Signal::Traces => self.traces(&ExportTraceServiceRequest::decode(body)?),
            Signal::Logs => {
                let request = ExportLogsServiceRequest::decode(body)?;
                let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
                scopes.map(|scope| scope.log_records.len()).sum()
            }
            Signal::Metrics => {
                let request = ExportMetricsServiceRequest::decode(body)?;
                let scopes = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
                scopes.flat_map(|scope| &scope.metrics).map(|metric| points(metric.data.as_ref())).sum()
            }
        };
        *self.items.entry(signal).or_default() += items as u64;
        Ok(())
    }

    fn traces(&mut self, request: &ExportTraceServiceRequest) -> usize {
        let mut items = 0;
        for resource in &request.resource_spans {
            let attributes = resource.resource.as_ref().map(|r| r.attributes.as_slice()).unwrap_or_default();
            let service = attributes.iter().find(|a| a.key == "service.name").and_then(|a| a.value.as_ref());
            let service = match service.and_then(|value| value.value.as_ref()) {
                Some(Value::StringValue(service)) => service.as_str(),
                _ => "unknown",
            };
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                items += 1;
                if self.traces.len() < TRACES_MAX || self.traces.contains_key(&span.trace_id) {
                    let spans = self.traces.entry(span.trace_id.clone()).or_default();
                    spans.push(format!("{service}: {}", span.name));
                }
            }
        }
        items
    }
}

fn points(data: Option<&Data>) -> usize {
    match data {
        None => 0,
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
    }
}

async fn accept(listener: TcpListener, shared: Arc<Mutex<Arrived>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        connections.spawn(serve(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Mutex<Arrived>>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, request).await) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // The engine may hang up whenever it likes.
    let _hung_up = connection.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: &Mutex<Arrived>, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let Some(signal) = Signal::ALL.into_iter().find(|s| s.grpc_path() == request.uri().path()) else {
        return response(UNIMPLEMENTED);
    };
    let taken = match Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await {
        Err(_) => return response(INVALID_ARGUMENT),
        Ok(body) => message(&body.to_bytes()).and_then(|body| {
            let mut arrived = shared.lock().unwrap_or_else(PoisonError::into_inner);
            arrived.take(signal, &body)
        }),
    };
    response(if taken.is_ok() { 0 } else { INVALID_ARGUMENT })
}

/// The one message of a unary call: flag, length, content (gRPC over HTTP/2, "Length-Prefixed-Message").
fn message(body: &[u8]) -> Result<Vec<u8>> {
    let (prefix, content) = body.split_at_checked(5).context("no message")?;
    let mut out = Vec::new();
    if prefix.first() == Some(&1) {
        MultiGzDecoder::new(content).take(REQUEST_BYTES_MAX as u64).read_to_end(&mut out)?;
    } else {
        out.extend_from_slice(content);
    }
    Ok(out)
}

/// An empty message and a status.
fn response(status: i32) -> Response<BoxBody<Bytes, Infallible>> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status));
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}
