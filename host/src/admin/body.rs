//! Bodies arrive within a bounded time, whoever reads them.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

/// From a request's head to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Ends a body that takes longer with an error: it must not pass for one that is whole.
pub(super) async fn within_its_time(request: Request, next: Next) -> Response {
    let deadline = Instant::now() + BODY_TIMEOUT;
    let body = |body: Body| {
        Body::from_stream(stream::unfold(Some(body.into_data_stream()), move |stream| async move {
            let mut stream = stream?;
            let chunk: io::Result<Bytes> = match tokio::time::timeout_at(deadline, stream.next()).await {
                Ok(chunk) => chunk?.map_err(io::Error::other),
                Err(_) => return Some((Err(io::ErrorKind::TimedOut.into()), None)),
            };
            Some((chunk, Some(stream)))
        }))
    };
    next.run(request.map(body)).await
}
