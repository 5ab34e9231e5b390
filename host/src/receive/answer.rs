//! The bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use prost::Message;

use crate::otlp::{ExportResponse, PartialSuccess, shorten};

/// Longest text that an answer carries: senders bound their headers to 8 KiB and up, and the text may triple in encoding.
const MESSAGE_BYTES_MAX: usize = 1024;

/// When a sender is asked to come back that met a full budget.
pub(super) const OVER_BUDGET_DELAY: Duration = Duration::from_secs(1);

/// At most one data frame, then at most one set of trailers.
#[derive(Debug, Default)]
pub(super) struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Reply {
    pub(super) fn new(data: Bytes, trailers: Option<HeaderMap>) -> Reply {
        Reply { data: Some(data).filter(|data| !data.is_empty()), trailers }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// `Export*ServiceResponse` with `partial_success` set.
pub(super) fn partial_success(rejected: u64, message: String) -> ExportResponse {
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    ExportResponse { partial_success: Some(PartialSuccess { rejected, error_message: bounded(message) }) }
}

/// The five-byte prefix and the message.
pub(super) fn grpc_frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut frame = Vec::with_capacity(5 + body.len());
    frame.push(0);
    // Answers are a few KiB at most.
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&body);
    Bytes::from(frame)
}

/// A text small enough for an answer.
pub(super) fn bounded(message: String) -> String {
    shorten(message, MESSAGE_BYTES_MAX)
}
