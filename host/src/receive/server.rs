//! A receiver's server: bound first, so that addresses are known, served when the pipelines stand.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::debug;

use super::accept::{Speak, accept, stopped};
use super::cors::Cors;
use super::port_holder::port_holder;
use super::requests::Requests;
use super::{grpc, http as otlp_http};
use crate::config::model::{GrpcServer, HttpServer};
use crate::memory::Budget;
use crate::observe::metrics::Metrics;
use crate::pipeline::intake::Intake;

/// HTTP/2: what a peer may send before it is read. Transient: requests are read as they come, or refused.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Large frames save copies: a message in one frame is kept as it came.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Requests of a connection at a time, where the file does not say.
const STREAMS_MAX: u32 = 1_000;
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// Rapid resets (CVE-2023-44487, RUSTSEC-2024-0003): beyond these the connection is closed.
const PENDING_RESETS_MAX: usize = 20;
const LOCAL_RESETS_MAX: usize = 1_024;
const HTTP1_BUFFER_BYTES_MAX: usize = 256 << 10;
const BACKLOG: u32 = 1_024;

/// Bounds of a server that are not part of the configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; further peers wait in the kernel's backlog.
    pub connections_max: usize,
    /// From accept to the first bytes (HTTP/2's preface, or the beginning of a request).
    pub greeting_timeout: Duration,
    /// HTTP/1: from the connection's beginning, or the last answer, to the end of the next request's head; so it ends idle
    /// connections, too.
    pub header_timeout: Duration,
    /// From a request's head to the end of its body.
    pub body_timeout: Duration,
    /// From there to the pipelines' answer.
    pub answer_timeout: Duration,
    /// HTTP/2: silence after which the peer is pinged.
    pub keepalive_interval: Duration,
    /// HTTP/2: wait for the ping's answer.
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 8_192,
            greeting_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            // Longer than an exporter's retries, whose end is the answer where senders wait for the result.
            answer_timeout: Duration::from_secs(330),
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("receiver {receiver}: cannot listen on {address}: {source}{}", .holder.as_ref().map(|holder| format!("; the port is held by {holder}")).unwrap_or_default())]
pub struct BindError {
    /// Name of the receiver.
    pub receiver: String,
    /// The address.
    pub address: SocketAddr,
    /// Who listens there already, where that can be known: name and process id.
    pub holder: Option<String>,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A bound socket that speaks one of OTLP's protocols once served.
#[derive(Debug)]
pub struct Server {
    listener: Arc<TcpListener>,
    local: SocketAddr,
    receiver: String,
    protocol: Protocol,
    limits: Limits,
}

/// What a server speaks, with the keys of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// `protocols.grpc`.
    Grpc(GrpcServer),
    /// `protocols.http`.
    Http(HttpServer),
}

impl Protocol {
    /// Where it is to listen.
    pub fn endpoint(&self) -> SocketAddr {
        match self {
            Protocol::Grpc(server) => server.endpoint,
            Protocol::Http(server) => server.endpoint,
        }
    }
}

impl Server {
    /// Binds `protocols.grpc` of a receiver.
    pub fn bind_grpc(receiver: &str, config: &GrpcServer, limits: Limits) -> Result<Server, BindError> {
        Server::bind(receiver, Protocol::Grpc(config.clone()), limits)
    }

    /// Binds `protocols.http` of a receiver.
    pub fn bind_http(receiver: &str, config: &HttpServer, limits: Limits) -> Result<Server, BindError> {
        Server::bind(receiver, Protocol::Http(config.clone()), limits)
    }

    /// Binds one of a receiver's protocols.
    pub fn bind(receiver: &str, protocol: Protocol, limits: Limits) -> Result<Server, BindError> {
        let address = protocol.endpoint();
        let (listener, local) = listen(address).map_err(|source| BindError {
            receiver: receiver.to_owned(),
            address,
            holder: if source.kind() == io::ErrorKind::AddrInUse { port_holder(address.port()) } else { None },
            source,
        })?;
        Ok(Server { listener: Arc::new(listener), local, receiver: receiver.to_owned(), protocol, limits })
    }

    /// The same, on the socket of a server that stops: peers that connect in between wait for this one.
    #[must_use]
    pub fn instead_of(stopping: &Handle, receiver: &str, protocol: &Protocol, limits: Limits) -> Option<Server> {
        let listener = Arc::clone(stopping.listener.as_ref()?);
        Some(Server {
            listener,
            local: stopping.local,
            receiver: receiver.to_owned(),
            protocol: protocol.clone(),
            limits,
        })
    }

    /// Where it listens; the port is the real one where the configuration says 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What it is, for people: `otlp gRPC`.
    pub fn description(&self) -> String {
        let protocol = match self.protocol {
            Protocol::Grpc(_) => "gRPC",
            Protocol::Http(_) => "HTTP",
        };
        format!("{} {protocol}", self.receiver)
    }

    /// Starts to accept, on the current tokio runtime.
    pub fn serve(self, intake: Arc<dyn Intake>, budget: Arc<Budget>, metrics: &Metrics) -> Handle {
        let requests = |transport, bytes_max| {
            Arc::new(Requests::new(
                self.receiver.clone(),
                transport,
                bytes_max,
                self.limits.clone(),
                intake,
                budget,
                metrics,
            ))
        };
        let speak = match &self.protocol {
            Protocol::Grpc(config) => {
                speak_grpc(requests("grpc", config.message_bytes_max), config.streams_max.unwrap_or(STREAMS_MAX))
            }
            Protocol::Http(config) => speak_http(requests("http", config.body_bytes_max), Cors::new(config)),
        };
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(Arc::clone(&self.listener), self.limits, speak, stopped));
        Handle { local: self.local, listener: Some(self.listener), stop, task }
    }
}

/// A serving server. Dropped without [`Handle::shutdown`], it stops at once.
#[derive(Debug)]
pub struct Handle {
    local: SocketAddr,
    /// Until it is asked to stop.
    listener: Option<Arc<TcpListener>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Stops accepting, tells peers to go (GOAWAY, `connection: close`), waits at most `patience` for requests in flight, then
    /// closes what is left. True if nothing had to be cut.
    pub async fn shutdown(mut self, patience: Duration) -> bool {
        self.listener = None;
        self.stop.send_replace(true);
        tokio::time::timeout(patience, &mut self.task).await.is_ok()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

fn speak_grpc(requests: Arc<Requests>, streams_max: u32) -> Speak {
    let limits = &requests.limits;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(streams_max)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .auto_date_header(false);
    Arc::new(move |stream, mut stop| {
        let builder = builder.clone();
        let requests = Arc::clone(&requests);
        Box::pin(async move {
            let service = service_fn(move |request| {
                let requests = Arc::clone(&requests);
                async move { Ok::<_, Infallible>(grpc::call(requests, request).await) }
            });
            let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(%error, "a gRPC connection broke");
            }
        })
    })
}

fn speak_http(requests: Arc<Requests>, cors: Option<Cors>) -> Speak {
    let limits = &requests.limits;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX)
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    let cors = Arc::new(cors);
    Arc::new(move |stream, mut stop| {
        let builder = builder.clone();
        let requests = Arc::clone(&requests);
        let cors = Arc::clone(&cors);
        Box::pin(async move {
            let service = service_fn(move |request| {
                let requests = Arc::clone(&requests);
                let cors = Arc::clone(&cors);
                async move { Ok::<_, Infallible>(otlp_http::call(requests, cors, request).await) }
            });
            let connection = builder.serve_connection(stream, service).into_owned();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                debug!(%error, "an HTTP connection broke");
            }
        })
    })
}
