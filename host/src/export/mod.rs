//! Exporters: queues, retries, protocols.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::signal::Signal;

/// One place that telemetry is sent to, over one protocol.
pub trait Destination: Send + Sync + 'static {
    /// Sends one request: the concatenation of `body` (merged requests are concatenated, never copied). One try.
    fn send<'a>(&'a self, signal: Signal, body: &'a [Bytes]) -> BoxFuture<'a, Sent>;
}

/// What a destination answered, in the terms of OTLP (specification, "Failures").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Taken.
    Accepted {
        /// `partial_success` with nothing rejected.
        warning: Option<String>,
    },
    /// Taken but for some items; never retried.
    Partial {
        /// Spans, data points or log records that the peer rejected.
        rejected: u64,
        /// The peer's message.
        message: String,
    },
    /// Not taken, try again: retryable status, no connection, timeout.
    Retry {
        /// The peer's RetryInfo or Retry-After.
        after: Option<Duration>,
        /// Why.
        message: String,
    },
    /// Not taken, for good.
    Refused {
        /// Why.
        message: String,
    },
}
