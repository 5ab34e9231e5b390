//! Serving own pages: few connections, none of them for ever.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::access::Peer;
use super::socket;
use super::tls::Certificates;

/// Further peers wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;
/// From a connection's beginning, or its last answer, to the end of the next request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// After that a connection takes no further request.
const CONNECTION_MAX: Duration = Duration::from_secs(15 * 60);
/// What the last request may take: longer than any stream, and than any compilation whose end is waited for.
const LAST_REQUEST_MAX: Duration = Duration::from_secs(15 * 60);
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const HEADER_BYTES_MAX: usize = 64 << 10;
/// When the process cannot accept, such as out of file descriptors.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(500);

/// Where peers come in.
#[derive(Debug)]
pub enum Door {
    /// In plain text: for pages that are open, and on loopback.
    Plain(TcpListener),
    /// TLS.
    Tls(TcpListener, Arc<Certificates>),
    /// Processes of this machine.
    Unix(UnixListener),
}

enum Arrived {
    Plain(TcpStream),
    Tls(TcpStream, Peer, Arc<Certificates>),
    Unix(UnixStream),
}

/// Serves in plain text until it is aborted.
pub async fn serve(listener: TcpListener, pages: Router) {
    serve_at(Door::Plain(listener), pages).await;
}

/// Serves until it is aborted.
pub async fn serve_at(door: Door, pages: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match door.accept().await {
            Ok(arrived) => {
                let pages = pages.clone();
                connections.spawn(async move {
                    if let Err(error) = arrived.talk(pages).await {
                        tracing::debug!(%error, "a connection to an own page broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection to an own page");
                tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
            }
        }
    }
}

impl Door {
    async fn accept(&self) -> io::Result<Arrived> {
        Ok(match self {
            Door::Plain(listener) => Arrived::Plain(listener.accept().await?.0),
            Door::Tls(listener, certificates) => {
                let stream = listener.accept().await?.0;
                // By where it listens, not by where a peer seems to be: proxies of this machine bring others.
                let is_local = listener.local_addr()?.ip().is_loopback();
                let peer = if is_local { Peer::Loopback } else { Peer::Remote };
                Arrived::Tls(stream, peer, Arc::clone(certificates))
            }
            Door::Unix(listener) => Arrived::Unix(listener.accept().await?.0),
        })
    }
}

impl Arrived {
    async fn talk(self, pages: Router) -> io::Result<()> {
        match self {
            Arrived::Plain(stream) => converse(stream, Peer::Loopback, pages).await,
            Arrived::Tls(stream, peer, certificates) => {
                let handshake = async { certificates.acceptor().await.accept(stream).await };
                let stream = tokio::time::timeout(HANDSHAKE_MAX, handshake).await??;
                converse(stream, peer, pages).await
            }
            Arrived::Unix(stream) => {
                let peer = socket::peer(&stream).await?;
                converse(stream, peer, pages).await
            }
        }
    }
}

/// Answers requests, one after another.
async fn converse<S>(stream: S, peer: Peer, pages: Router) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pages = TowerToHyperService::new(pages);
    let with_peer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        pages.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), with_peer);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = tokio::time::sleep(CONNECTION_MAX) => {
            // A stream that began late is not cut by that.
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(LAST_REQUEST_MAX, connection).await?
        }
    };
    served.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn connections_that_say_nothing_are_bounded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let pages = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let server = tokio::spawn(serve(listener, pages));
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            silent.push(TcpStream::connect(address).await.expect("connects"));
        }
        let mut late = TcpStream::connect(address).await.expect("waits in the backlog");
        late.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("sends");
        drop(silent.pop());
        let mut answer = String::new();
        let read = late.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time").expect("answers");
        assert!(answer.ends_with("here"), "{answer}");
        server.abort();
    }
}
