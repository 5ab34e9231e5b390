//! The accept loop: connections that are bounded in number, in silence and in their end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::server::Limits;

/// Speaks a protocol on one connection until the peer leaves, or gracefully ends once `stop` turns true.
pub(super) type Speak = Arc<dyn Fn(Stream, watch::Receiver<bool>) -> BoxFuture<'static, ()> + Send + Sync>;

/// Bytes that any peer that means it sends at once: HTTP/2's preface is 24 bytes, and every HTTP/1 request of OTLP is longer.
const GREETING_BYTES: usize = 24;

/// How long to wait when the process cannot accept, such as out of file descriptors.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `stop` turns true, then waits for the connections that are left. Dropping (or aborting) it closes them at once.
pub(super) async fn accept(listener: Arc<TcpListener>, limits: Limits, speak: Speak, mut stop: watch::Receiver<bool>) {
    let mut places = Places { free: Arc::new(Semaphore::new(limits.connections_max)), full: false };
    let mut connections = JoinSet::new();
    let stop_connections = stop.clone();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            (stream, peer, place) = next(&listener, &mut places) => {
                connections.spawn(connection(stream, peer, place, limits.clone(), Arc::clone(&speak), stop_connections.clone()));
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Resolves once the server is asked to stop, or is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could ask.
    let _asked = stop.wait_for(|stop| *stop).await;
}

/// The places for connections; one log line per time that they run out.
struct Places {
    free: Arc<Semaphore>,
    full: bool,
}

impl Places {
    /// A place; while there is none, peers wait in the kernel's backlog.
    async fn take(&mut self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            self.full = false;
            return place;
        }
        if !self.full {
            self.full = true;
            warn!("all places for connections are taken: new peers wait");
        }
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(place) => place,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A connection and its place. Safe to cancel.
async fn next(listener: &TcpListener, places: &mut Places) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let place = places.take().await;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
    limits: Limits,
    speak: Speak,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let greeted = Arc::new(AtomicUsize::new(0));
    let stream = Stream { inner: TokioIo::new(stream), greeted: Arc::clone(&greeted) };
    let mut speaking = speak(stream, stop);
    // HTTP/2's preface and the choice between HTTP/1 and 2 have no deadline of their own.
    tokio::select! {
        () = &mut speaking => return,
        () = tokio::time::sleep(limits.greeting_timeout) => {}
    }
    if greeted.load(Ordering::Relaxed) < GREETING_BYTES {
        debug!(%peer, "closed a connection that said nothing");
        return;
    }
    speaking.await;
}

/// A TCP stream that knows whether its peer has begun to speak.
pub(super) struct Stream {
    inner: TokioIo<TcpStream>,
    greeted: Arc<AtomicUsize>,
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.greeted.load(Ordering::Relaxed) >= GREETING_BYTES {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        // Only the first few bytes go through a buffer of their own, to be counted.
        let mut first = [0u8; GREETING_BYTES];
        let room = first.len().min(buf.remaining());
        let mut first = hyper::rt::ReadBuf::new(&mut first[..room]);
        match Pin::new(&mut self.inner).poll_read(cx, first.unfilled()) {
            Poll::Ready(Ok(())) => {
                self.greeted.fetch_add(first.filled().len(), Ordering::Relaxed);
                buf.put_slice(first.filled());
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
