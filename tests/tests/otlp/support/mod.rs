//! What the tests share.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use sluicebox::observe::metrics::Metrics;

pub mod client;
pub mod peer;
pub mod receiver;

/// Longer than anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a future, not for ever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until `reached` holds.
pub async fn until(what: &str, reached: impl Fn() -> bool) {
    let polled = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, polled).await.is_ok(), "never happened: {what}");
}

/// The value of the series `name` (without the prefix) that has all these `key="value"` labels; 0 if there is none.
pub fn series(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    let text = metrics.text();
    let prefix = format!("sluicebox_{name}{{");
    let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    let line = text.lines().find(|line| line.starts_with(&prefix) && wanted.iter().all(|label| line.contains(label)));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// A request of `spans` spans.
pub fn traces(spans: usize) -> ExportTraceServiceRequest {
    let span = |number: usize| Span {
        name: format!("span {number}"),
        trace_id: vec![7; 16],
        span_id: (number as u64).to_be_bytes().to_vec(),
        ..Span::default()
    };
    let scope = ScopeSpans { spans: (0..spans).map(span).collect(), ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() }],
    }
}

pub fn encoded(message: &impl Message) -> Bytes {
    Bytes::from(message.encode_to_vec())
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(data).expect("writes");
    encoder.finish().expect("finishes")
}

/// A gRPC length-prefixed message.
pub fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("is short");
    [&[flag][..], &len.to_be_bytes(), message].concat()
}
