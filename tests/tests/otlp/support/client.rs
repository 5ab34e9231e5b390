//! A client that says whatever a test wants said.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response, Uri};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use sluicebox::otlp::{ExportResponse, Status};
use sluicebox::signal::Signal;
use tokio::net::TcpStream;

use super::soon;

pub type Body = BoxBody<Bytes, Infallible>;

/// A body of these frames.
pub fn frames(frames: Vec<Vec<u8>>) -> Body {
    let frames = frames.into_iter().map(|frame| Ok(Frame::data(Bytes::from(frame))));
    BoxBody::new(StreamBody::new(stream::iter(frames)))
}

pub fn whole(body: impl Into<Bytes>) -> Body {
    BoxBody::new(Full::new(body.into()))
}

/// These bytes, and then nothing more, for ever.
pub fn unfinished(first: Vec<u8>) -> Body {
    let first = stream::iter([Ok(Frame::data(Bytes::from(first)))]);
    // BoxBody asks for Sync, which the pending stream is.
    BoxBody::new(StreamBody::new(first.chain(stream::pending())))
}

/// An HTTP/2 connection.
pub async fn connect2(address: SocketAddr) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("shakes hands");
    tokio::spawn(connection);
    sender
}

/// What a gRPC call was answered.
#[derive(Debug)]
pub struct GrpcAnswer {
    pub http_status: u16,
    pub code: Option<i32>,
    pub message: String,
    pub status: Option<Status>,
    pub response: Option<ExportResponse>,
    pub headers: HeaderMap,
}

/// One call on a new connection.
pub async fn call(address: SocketAddr, signal: Signal, headers: &[(&str, &str)], body: Body) -> GrpcAnswer {
    call_on(&mut connect2(address).await, signal.grpc_path(), headers, body).await
}

pub async fn call_on(
    connection: &mut http2::SendRequest<Body>,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> GrpcAnswer {
    let mut request = Request::post(Uri::try_from(format!("http://localhost{path}")).expect("is a URI"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request.headers_mut().expect("is valid").insert(
            http::HeaderName::try_from(*name).expect("is a name"),
            http::HeaderValue::try_from(*value).expect("is a value"),
        );
    }
    let response = soon(connection.send_request(request.body(body).expect("is valid"))).await.expect("is answered");
    grpc_answer(response).await
}

async fn grpc_answer(response: Response<Incoming>) -> GrpcAnswer {
    let (parts, body) = response.into_parts();
    let collected = soon(body.collect()).await.expect("is read");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let find =
        |name: &str| parts.headers.get(name).or(trailers.get(name)).map(|value| value.to_str().expect("is text"));
    let code = find("grpc-status").map(|code| code.parse().expect("is a number"));
    let message = find("grpc-message").unwrap_or_default().to_owned();
    let status = find("grpc-status-details-bin").map(|details| {
        use base64::Engine;
        let details = base64::engine::general_purpose::STANDARD_NO_PAD.decode(details).expect("is base64");
        Status::decode(details.as_slice()).expect("is a status")
    });
    let body = collected.to_bytes();
    let response = (!body.is_empty()).then(|| {
        assert_eq!(body[0], 0, "uncompressed");
        assert_eq!(body[1..5], u32::try_from(body.len() - 5).expect("is short").to_be_bytes(), "one message");
        ExportResponse::decode(&body[5..]).expect("is a response")
    });
    GrpcAnswer { http_status: parts.status.as_u16(), code, message, status, response, headers: parts.headers }
}

/// What an HTTP request was answered.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl HttpAnswer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("is text"))
    }

    pub fn error(&self) -> Status {
        assert_eq!(self.header("content-type"), "application/x-protobuf");
        Status::decode(self.body.clone()).expect("is a status")
    }
}

/// One request over HTTP/1.1 on a new connection.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> HttpAnswer {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("shakes hands");
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = soon(sender.send_request(request.body(body).expect("is valid"))).await.expect("is answered");
    let (parts, body) = response.into_parts();
    let body = soon(body.collect()).await.expect("is read").to_bytes();
    HttpAnswer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

pub async fn post(address: SocketAddr, signal: Signal, headers: &[(&str, &str)], body: impl Into<Bytes>) -> HttpAnswer {
    let headers = [&[PROTOBUF], headers].concat();
    request(address, "POST", signal.http_path(), &headers, whole(body)).await
}
