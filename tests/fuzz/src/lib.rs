//! What fuzz targets share: choices read from the fuzzer's bytes, and OTLP requests decoded by prost, the oracle.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

// The engine's own files: they need nothing of the engine, whose other parts take minutes to build with coverage.
#[allow(dead_code, reason = "a target uses a part")]
#[path = "../../../host/src/batch/mod.rs"]
pub mod batch;
#[allow(dead_code, reason = "a target uses a part")]
#[path = "../../../host/src/json/mod.rs"]
pub mod json;
#[path = "../../../host/src/signal.rs"]
pub mod signal;
#[path = "../../../host/src/table/mod.rs"]
pub mod table;

use signal::Signal;

/// A decoded request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Spans.
    Traces(ExportTraceServiceRequest),
    /// Metrics.
    Metrics(ExportMetricsServiceRequest),
    /// Log records.
    Logs(ExportLogsServiceRequest),
}

impl Request {
    /// None where the bytes are no request of this signal.
    pub fn decode(signal: Signal, bytes: &[u8]) -> Option<Request> {
        match signal {
            Signal::Traces => Message::decode(bytes).ok().map(Request::Traces),
            Signal::Metrics => Message::decode(bytes).ok().map(Request::Metrics),
            Signal::Logs => Message::decode(bytes).ok().map(Request::Logs),
        }
    }

    /// Its bytes, without unknown fields.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Request::Traces(request) => request.encode_to_vec(),
            Request::Metrics(request) => request.encode_to_vec(),
            Request::Logs(request) => request.encode_to_vec(),
        }
    }
}

/// Decisions taken from the front of the fuzzer's bytes; zeros when there are no more.
#[derive(Debug)]
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// One of the signals.
    pub fn signal(&mut self) -> Signal {
        Signal::ALL[usize::from(self.byte()) % Signal::ALL.len()]
    }
}
