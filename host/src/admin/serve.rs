//! Serving own pages: few connections, none of them for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Further peers wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;
/// From a connection's beginning, or its last answer, to the end of the next request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Of a connection. Longer than any compilation, whose end is a swap's answer.
const CONNECTION_MAX: Duration = Duration::from_secs(15 * 60);
const HEADER_BYTES_MAX: usize = 64 << 10;
/// When the process cannot accept, such as out of file descriptors.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(500);

/// Serves until it is aborted.
pub async fn serve(listener: TcpListener, pages: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let pages = pages.clone();
                connections.spawn(async move {
                    // Who takes longer than that is cut.
                    let _ended = tokio::time::timeout(CONNECTION_MAX, connection(stream, pages)).await;
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

async fn connection(stream: TcpStream, pages: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to an own page broke");
    }
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
