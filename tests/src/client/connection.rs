//! One connection of a sender: gRPC over HTTP/2 by hand, or OTLP/HTTP over HTTP/1.1.
//!
//! By hand, because what a status is taken for must be ours to decide: the engine is judged by it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use sluicebox::signal::Signal;
use tokio::net::TcpStream;

use super::Answer;

const WINDOW_BYTES: u32 = 4 << 20;

/// OTLP's transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
}

/// A connection that opens again by itself when it was lost. Clones share it; over HTTP they take turns.
#[derive(Clone)]
pub struct Connection {
    address: SocketAddr,
    protocol: Protocol,
    gzip: bool,
    h2: Option<http2::SendRequest<Full<Bytes>>>,
    h1: Arc<tokio::sync::Mutex<Option<http1::SendRequest<Full<Bytes>>>>>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr, protocol: Protocol, gzip: bool) -> Result<Self> {
        let mut connection = Self { address, protocol, gzip, h2: None, h1: Arc::default() };
        match protocol {
            Protocol::Grpc => connection.h2 = Some(open_h2(address).await?),
            Protocol::Http => *connection.h1.lock().await = Some(open_h1(address).await?),
        }
        Ok(connection)
    }

    /// Sends one request once. No connection, a lost one and a timeout are answers to be retried, as OTLP asks.
    pub async fn send(&mut self, signal: Signal, body: Bytes, timeout: Duration) -> Answer {
        let sent = tokio::time::timeout(timeout, async {
            match self.protocol {
                Protocol::Grpc => self.send_grpc(signal, &body).await,
                Protocol::Http => self.send_http(signal, body).await,
            }
        });
        match sent.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::Retry { after: None, message: format!("connection: {error:#}") },
            Err(_) => Answer::Retry { after: None, message: "no answer in time".to_owned() },
        }
    }

    async fn send_grpc(&mut self, signal: Signal, body: &Bytes) -> Result<Answer> {
        let mut h2 = match self.h2.take() {
            Some(h2) if !h2.is_closed() => h2,
            _ => open_h2(self.address).await?,
        };
        let request = Request::post(format!("http://{}{}", self.address, signal.grpc_path()))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = if self.gzip { request.header("grpc-encoding", "gzip") } else { request };
        let message = if self.gzip { framed(1, &gzip(body)?) } else { frame(body) };
        h2.ready().await?;
        let response = h2.send_request(request.body(Full::new(message))?);
        self.h2 = Some(h2.clone());
        let response = response.await?;
        let headers = response.headers().clone();
        let collected = response.into_body().collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let status = tonic::Status::from_header_map(&trailers)
            .or_else(|| tonic::Status::from_header_map(&headers))
            .context("the answer has no grpc-status")?;
        let message = collected.to_bytes();
        Ok(from_status(&status).unwrap_or_else(|| from_message(message.get(5..).unwrap_or_default())))
    }

    async fn send_http(&mut self, signal: Signal, body: Bytes) -> Result<Answer> {
        let mut slot = self.h1.lock().await;
        let mut h1 = match slot.take() {
            Some(h1) if !h1.is_closed() => h1,
            _ => open_h1(self.address).await?,
        };
        let request = Request::post(signal.http_path())
            .header("host", self.address.to_string())
            .header("content-type", "application/x-protobuf");
        let request = if self.gzip {
            request.header("content-encoding", "gzip").body(Full::new(Bytes::from(gzip(&body)?)))?
        } else {
            request.body(Full::new(body))?
        };
        h1.ready().await?;
        let response = h1.send_request(request).await?;
        let answer = from_http(response).await?;
        *slot = Some(h1);
        Ok(answer)
    }
}

/// A gRPC message: flag, length, content (gRPC over HTTP/2, "Length-Prefixed-Message").
pub fn frame(content: &[u8]) -> Bytes {
    framed(0, content)
}

fn framed(flag: u8, content: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(content.len() + 5);
    out.put_u8(flag);
    out.put_u32(u32::try_from(content.len()).unwrap_or(u32::MAX));
    out.put_slice(content);
    out.freeze()
}

/// The `google.rpc.Status` that carries a RetryInfo.
pub fn retry_details(after: Duration) -> Vec<u8> {
    let delay = Delay {
        seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(after.subsec_nanos()).unwrap_or_default(),
    };
    let detail = Detail {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay: Some(delay) }.encode_to_vec(),
    };
    RpcStatus { code: tonic::Code::Unavailable as i32, message: String::new(), details: vec![detail] }.encode_to_vec()
}

/// One gzip member, level 1.
pub fn gzip(body: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

/// What a gRPC status other than OK is taken for (OTLP specification, "OTLP/gRPC Failures").
fn from_status(status: &tonic::Status) -> Option<Answer> {
    use tonic::Code;
    let after = retry_info(status.details());
    let message = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Ok => None,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Some(Answer::Retry { after, message }),
        Code::ResourceExhausted if after.is_some() => Some(Answer::Retry { after, message }),
        code => Some(Answer::Refused { code: code as u16, message }),
    }
}

/// `partial_success` has the same shape in all signals: rejected_* 1, error_message 2.
fn from_message(message: &[u8]) -> Answer {
    let partial = ExportTraceServiceResponse::decode(message).ok().and_then(|r| r.partial_success);
    match partial {
        None => Answer::Accepted { warning: None },
        Some(partial) if partial.rejected_spans == 0 => Answer::Accepted { warning: Some(partial.error_message) },
        Some(partial) => {
            Answer::Partial { rejected: partial.rejected_spans.unsigned_abs(), message: partial.error_message }
        }
    }
}

/// Posts whatever it is over a connection of its own; status and body.
pub async fn post(address: SocketAddr, path: &str, content_type: &str, body: Bytes) -> Result<(u16, Bytes)> {
    let mut h1 = open_h1(address).await?;
    let request = Request::post(path).header("host", address.to_string()).header("content-type", content_type);
    let response = h1.send_request(request.body(Full::new(body))?).await?;
    Ok((response.status().as_u16(), response.into_body().collect().await?.to_bytes()))
}

async fn from_http(response: Response<Incoming>) -> Result<Answer> {
    let status = response.status().as_u16();
    let after = retry_after(response.headers());
    let body = response.into_body().collect().await?.to_bytes();
    Ok(match status {
        200 => from_message(&body),
        429 | 502 | 503 | 504 => Answer::Retry { after, message: format!("HTTP {status}") },
        _ => Answer::Refused { code: status, message: RpcStatus::decode(body).map(|s| s.message).unwrap_or_default() },
    })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let detail = status.details.iter().find(|d| d.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(detail.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    Some(Duration::new(delay.seconds.unsigned_abs(), delay.nanos.unsigned_abs()))
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

async fn open_h2(address: SocketAddr) -> Result<http2::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(TokioIo::new(tcp(address).await?))
        .await?;
    // Its end shows as an error of the requests on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn open_h1(address: SocketAddr) -> Result<http1::SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(tcp(address).await?)).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn tcp(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
