//! OTLP/JSON against protobuf of the same message, in both directions.

mod cases;
mod made;
mod random;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::{DecodeError, Message};
use sluicebox::signal::Signal;

/// What a full decode makes of a request: its encoding with the fields in order and nothing unknown, and a text of it.
fn decoded(signal: Signal, bytes: &[u8]) -> Result<(Vec<u8>, String), DecodeError> {
    fn one<M: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> Result<(Vec<u8>, String), DecodeError> {
        M::decode(bytes).map(|message| (message.encode_to_vec(), format!("{message:#?}\n")))
    }
    match signal {
        Signal::Traces => one::<ExportTraceServiceRequest>(bytes),
        Signal::Metrics => one::<ExportMetricsServiceRequest>(bytes),
        Signal::Logs => one::<ExportLogsServiceRequest>(bytes),
    }
}
