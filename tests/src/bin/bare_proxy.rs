//! The yardstick of the benchmark: forwards OTLP/gRPC requests as raw bytes and does nothing else.
//!
//! One tonic server and one tonic client with a codec that hands bytes through, multi-threaded runtime, mimalloc, the
//! workspace's release profile: what any engine on this stack pays before it does any work. It answers when its destination has.
//!
//! `bare_proxy LISTEN DESTINATION`, both host:port.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::{Buf, BufMut, Bytes};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::BoxFuture;
use tonic::codegen::http::{Request, Response, uri::PathAndQuery};
use tonic::server::UnaryService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MESSAGE_BYTES_MAX: usize = 64 << 20;
const WINDOW_BYTES: u32 = 4 << 20;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let listen: SocketAddr = arguments.next().context("usage: bare_proxy LISTEN DESTINATION")?.parse()?;
    let destination = arguments.next().context("usage: bare_proxy LISTEN DESTINATION")?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(listen, &destination))
}

async fn serve(listen: SocketAddr, destination: &str) -> Result<()> {
    let channel = Endpoint::from_shared(format!("http://{destination}"))?
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .tcp_nodelay(true)
        .connect_lazy();
    let listener = tokio::net::TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let channel = channel.clone();
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new()).http2_only();
            builder.http2().initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let channel = channel.clone();
                async move { Ok::<_, Infallible>(answer(channel, request).await) }
            });
            // A peer may hang up whenever it likes.
            let _hung_up = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(channel: Channel, request: Request<hyper::body::Incoming>) -> Response<Body> {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut server = tonic::server::Grpc::new(Raw).max_decoding_message_size(MESSAGE_BYTES_MAX);
    server.unary(Forward { channel, path }, request).await
}

struct Forward {
    channel: Channel,
    path: PathAndQuery,
}

impl UnaryService<Bytes> for Forward {
    type Response = Bytes;
    type Future = BoxFuture<tonic::Response<Bytes>, Status>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (channel, path) = (self.channel.clone(), self.path.clone());
        Box::pin(async move {
            let mut client = Grpc::new(channel);
            client.ready().await.map_err(|error| Status::new(Code::Unavailable, error.to_string()))?;
            client.unary(tonic::Request::new(request.into_inner()), path, Raw).await
        })
    }
}

/// A message is its bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, body: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(body.copy_to_bytes(body.remaining())))
    }
}
