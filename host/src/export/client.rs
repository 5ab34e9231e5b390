//! The HTTP client under both OTLP protocols: hyper-util's pooled client.
//!
//! gRPC takes it too, in its HTTP/2 mode, instead of tonic's channel: bodies go out without boxing and without a hop through a
//! buffer task, and both protocols share connecting, TLS and limits. A broken connection is replaced at the next request, which
//! resolves the name again.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{InvalidUri, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::tls::{self, TlsError};
use crate::config::model;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_CONNECTIONS_MAX: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// HTTP/2: a peer that is gone without a word is noticed within these two.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What peers send are short answers.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const SEND_BUFFER_BYTES_MAX: usize = 1 << 20;
const HEADER_LIST_BYTES_MAX: u32 = 64 << 10;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("sluicebox/", env!("CARGO_PKG_VERSION")));

/// An exporter that cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The endpoint is no URL.
    #[error("endpoint {endpoint:?} is not a URL: {message}")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// Why.
        message: String,
    },
    /// A header cannot be sent.
    #[error("header {0:?} is not valid in HTTP")]
    Header(String),
    /// See [`TlsError`].
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Which versions of HTTP are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/2, without negotiation where plain.
    Http2Only,
    /// HTTP/1.1 where plain, what ALPN finds where TLS.
    Negotiated,
}

/// The pooled client.
pub(super) type HttpClient = Pooled<HttpsConnector<HttpConnector>, Chunks>;

/// Builds a client; nothing is connected yet. Root certificates are loaded only where a URL of `uris` needs them.
pub(super) fn http_client<'a>(
    config: &model::Client,
    uris: impl IntoIterator<Item = &'a Uri>,
    version: Version,
) -> Result<HttpClient, SetupError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let tls = if uris.into_iter().any(|uri| uri.scheme_str() == Some("https")) {
        tls::client_config(&config.tls)?
    } else {
        tls::client_config_without_roots()?
    };
    let mut connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = tls::server_name(&config.tls)? {
        connector = connector.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = match version {
        Version::Http2Only => connector.enable_http2().wrap_connector(tcp),
        Version::Negotiated => connector.enable_all_versions().wrap_connector(tcp),
    };
    Ok(Pooled::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .http2_only(version == Version::Http2Only)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .build(connector))
}

/// `base` with `path` appended to its own.
pub(super) fn endpoint(base: &str, path: &str) -> Result<Uri, SetupError> {
    let fail = |message: String| SetupError::Endpoint { endpoint: base.to_owned(), message };
    let uri: Uri =
        format!("{}{path}", base.trim_end_matches('/')).parse().map_err(|e: InvalidUri| fail(e.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.authority().is_some() => Ok(uri),
        _ => Err(fail("it must begin with http:// or https:// and name a host".to_owned())),
    }
}

/// The headers of every request: the user agent and the configured ones.
pub(super) fn headers(config: &model::Client) -> Result<HeaderMap, SetupError> {
    let mut headers = HeaderMap::from_iter([(http::header::USER_AGENT, USER_AGENT)]);
    for (name, value) in &config.headers {
        let invalid = || SetupError::Header(name.clone());
        let name = HeaderName::try_from(name.as_str()).map_err(|_| invalid())?;
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A request body of pieces that are sent as they are, without concatenating them.
#[derive(Debug)]
pub(super) struct Chunks {
    pieces: std::vec::IntoIter<Bytes>,
    bytes_left: u64,
}

impl Chunks {
    pub(super) fn new(mut pieces: Vec<Bytes>) -> Chunks {
        pieces.retain(|piece| !piece.is_empty());
        let bytes_left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Chunks { pieces: pieces.into_iter(), bytes_left }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        Poll::Ready(self.pieces.next().map(|piece| {
            self.bytes_left = self.bytes_left.saturating_sub(piece.len() as u64);
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}

/// What a peer answered, read within bounds.
#[derive(Debug)]
pub(super) struct Answered {
    /// At most the asked number of bytes; None where the peer sent more.
    pub(super) body: Option<Bytes>,
    /// After the body.
    pub(super) trailers: Option<HeaderMap>,
}

/// Reads an answer of at most `bytes_max` (OTLP specification: responses are limited too).
pub(super) async fn read_answer(mut body: Incoming, bytes_max: usize) -> Result<Answered, hyper::Error> {
    let mut read = Vec::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if read.len() + data.len() > bytes_max => return Ok(Answered { body: None, trailers: None }),
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Answered { body: Some(Bytes::from(read)), trailers })
}

/// An error and its causes in one line: the cause is what tells a refused connection from a wrong certificate.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
