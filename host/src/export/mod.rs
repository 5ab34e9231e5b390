//! Exporters: queues, retries, protocols.
//!
//! A [`Destination`] speaks a protocol and knows one try. An [`Exporter`] is a destination with a queue before it, consumers that
//! retry, and the account of what became of every item.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::config::model::ExporterKind;
use crate::signal::Signal;

mod account;
mod client;
mod compress;
mod debug;
mod deliver;
mod otlp_grpc;
mod otlp_http;
mod queue;
mod retry;
mod tls;

pub use client::SetupError;
pub use debug::Writer;
pub use queue::{Closed, Exporter, Full, Parcel, Part, QueueLevel, Slot};
pub use tls::{TlsError, client_config};

/// OTLP protobuf as OTLP/JSON; None if it is malformed.
pub fn to_json(signal: Signal, protobuf: &[u8]) -> Option<Vec<u8>> {
    crate::json::to_json(signal, protobuf).ok()
}

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

/// The destination that the configuration describes. Connects when first used. `writer` is where `debug` prints.
pub fn destination(kind: &ExporterKind, writer: Writer) -> Result<Arc<dyn Destination>, SetupError> {
    Ok(match kind {
        ExporterKind::OtlpGrpc(client) => Arc::new(otlp_grpc::OtlpGrpc::new(client)?),
        ExporterKind::OtlpHttp { client, endpoints, encoding } => {
            Arc::new(otlp_http::OtlpHttp::new(client, endpoints, *encoding)?)
        }
        ExporterKind::Debug { verbosity } => Arc::new(debug::Debug::new(*verbosity, writer)),
    })
}
