//! The yardstick of the benchmark: forwards OTLP/gRPC requests as raw bytes and does nothing else.
//!
//! The engine's stack without the engine: hyper's HTTP/2 server and pooled client with the windows and frame sizes of
//! host/src/receive/server.rs and host/src/export/client.rs, a multi-threaded runtime, mimalloc, the workspace's release
//! profile. A request is read whole, forwarded frame by frame without a copy, and answered with its destination's answer.
//!
//! `bare_proxy LISTEN DESTINATION`, both host:port.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As the engine's receivers.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// As the engine's exporters.
const ANSWER_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const ANSWER_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const SEND_BUFFER_BYTES_MAX: usize = 1 << 20;

type Pooled = Client<HttpConnector, Collected<Bytes>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("usage: bare_proxy LISTEN DESTINATION");
    let (listen, destination) = (next()?.parse()?, next()?);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(listen, destination))
}

async fn serve(listen: SocketAddr, destination: String) -> Result<()> {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    let client: Pooled = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_only(true)
        .http2_initial_stream_window_size(ANSWER_STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(ANSWER_CONNECTION_WINDOW_BYTES)
        .http2_max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .build(tcp);
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, client.clone(), destination.clone()));
    }
}

async fn connection(stream: TcpStream, client: Pooled, destination: String) {
    let service = service_fn(move |request| forward(client.clone(), destination.clone(), request));
    let mut server = http2::Builder::new(TokioExecutor::new());
    server
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX);
    // A peer may hang up whenever it likes.
    let _hung_up = server.serve_connection(TokioIo::new(stream), service).await;
}

/// An error resets the stream, which a sender takes for a failed try.
async fn forward(
    client: Pooled,
    destination: String,
    request: Request<Incoming>,
) -> Result<Response<Collected<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = Uri::builder().scheme("http").authority(destination).path_and_query(path).build()?;
    let body = body.collect().await?;
    let (head, body) = client.request(Request::from_parts(head, body)).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?))
}
