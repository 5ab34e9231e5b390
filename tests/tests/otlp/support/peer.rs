//! A peer of exporters that answers whatever a test wants answered.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sluicebox::config::model::{Client, Compression, Encoding, ExporterKind, Secret, TlsClient};
use sluicebox::export::{Destination, destination};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::receiver::local;

/// What a request brought.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub version: http::Version,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("is text"))
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Says {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(&'static str, String)>,
    /// Answer never.
    pub never: bool,
}

impl Says {
    pub fn http(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Says {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Says { status, headers, body: body.to_vec(), trailers: Vec::new(), never: false }
    }

    /// A gRPC answer whose status comes after the body.
    pub fn grpc(body: &[u8], trailers: &[(&'static str, &str)]) -> Says {
        let trailers = trailers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Says { trailers, ..Says::http(200, &[("content-type", "application/grpc")], body) }
    }

    /// A gRPC answer of headers alone.
    pub fn grpc_code(code: i32, headers: &[(&'static str, &str)]) -> Says {
        let mut says = Says::http(200, &[("content-type", "application/grpc")], b"");
        says.headers.push(("grpc-status", code.to_string()));
        says.headers.extend(headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
        says
    }
}

#[derive(Default)]
pub struct Lines {
    pub asked: Mutex<Vec<Asked>>,
    pub says: Mutex<VecDeque<Says>>,
}

/// A listening peer.
pub struct Peer {
    pub address: SocketAddr,
    pub lines: Arc<Lines>,
}

impl Peer {
    pub async fn start() -> Peer {
        Peer::listen(TcpListener::bind(local()).await.expect("binds"), |stream| async { stream })
    }

    /// Listens where it was told, and treats each connection first (such as with TLS).
    pub fn listen<S, F>(
        listener: TcpListener,
        treat: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
    ) -> Peer
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = S> + Send + 'static,
    {
        let address = listener.local_addr().expect("has an address");
        let lines = Arc::new(Lines::default());
        let shared = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (lines, treated) = (Arc::clone(&shared), treat(stream));
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&lines), request));
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A peer that hangs up is no failure of the test.
                    let _ended = builder.serve_connection(TokioIo::new(treated.await), service).await;
                });
            }
        });
        Peer { address, lines }
    }

    pub fn says(&self, says: Says) {
        self.lines.says.lock().expect("is whole").push_back(says);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.lines.asked.lock().expect("is whole").clone()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn answer(
    lines: Arc<Lines>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let is_grpc = parts.headers.get("content-type").is_some_and(|value| value == "application/grpc");
    let path = parts.uri.path_and_query().map(|path| path.to_string()).unwrap_or_default();
    let asked = Asked { path, version: parts.version, headers: parts.headers, body };
    lines.asked.lock().expect("is whole").push(asked);
    let says = lines.says.lock().expect("is whole").pop_front();
    let says = says.unwrap_or_else(|| {
        if is_grpc { Says::grpc(&[0; 5], &[("grpc-status", "0")]) } else { Says::http(200, &[], b"") }
    });
    if says.never {
        std::future::pending::<()>().await;
    }
    let mut frames = Vec::new();
    if !says.body.is_empty() {
        frames.push(Ok(Frame::data(Bytes::from(says.body))));
    }
    if !says.trailers.is_empty() {
        frames.push(Ok(Frame::trailers(header_map(&says.trailers))));
    }
    let mut response = Response::new(BoxBody::new(StreamBody::new(stream::iter(frames))));
    *response.status_mut() = http::StatusCode::from_u16(says.status).expect("is a status");
    *response.headers_mut() = header_map(&says.headers);
    Ok(response)
}

fn header_map(headers: &[(&'static str, String)]) -> HeaderMap {
    headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::try_from(value).expect("is a value")))
        .collect()
}

/// A client's configuration; gzip, a header of its own, and patience.
pub fn client(endpoint: String) -> Client {
    Client {
        endpoint,
        tls: TlsClient::default(),
        compression: Compression::Gzip,
        headers: vec![("x-tenant".to_owned(), Secret::new("blue".to_owned()))],
        timeout: Duration::from_secs(10),
    }
}

pub fn plain(endpoint: String) -> Client {
    Client { compression: Compression::None, ..client(endpoint) }
}

pub fn grpc(client: Client) -> Arc<dyn Destination> {
    destination(&ExporterKind::OtlpGrpc(client), Arc::new(Mutex::new(Vec::new()))).expect("is set up")
}

pub fn http(client: Client) -> Arc<dyn Destination> {
    over_http(client, Encoding::Proto)
}

pub fn http_json(client: Client) -> Arc<dyn Destination> {
    over_http(client, Encoding::Json)
}

fn over_http(client: Client, encoding: Encoding) -> Arc<dyn Destination> {
    let kind = ExporterKind::OtlpHttp { client, endpoints: Vec::new(), encoding };
    destination(&kind, Arc::new(Mutex::new(Vec::new()))).expect("is set up")
}
