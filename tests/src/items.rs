//! Decoded requests whose items are looked through and changed alike, whatever the signal.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use sluicebox::signal::Signal;

use crate::generate::{named, values};
use crate::scan::ITEM_ID;

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Of spans.
    Traces(ExportTraceServiceRequest),
    /// Of data points.
    Metrics(ExportMetricsServiceRequest),
    /// Of log records.
    Logs(ExportLogsServiceRequest),
}

impl Request {
    /// Decodes it.
    pub fn decode(signal: Signal, bytes: &[u8]) -> Result<Self, prost::DecodeError> {
        Ok(match signal {
            Signal::Traces => Self::Traces(ExportTraceServiceRequest::decode(bytes)?),
            Signal::Metrics => Self::Metrics(ExportMetricsServiceRequest::decode(bytes)?),
            Signal::Logs => Self::Logs(ExportLogsServiceRequest::decode(bytes)?),
        })
    }

    /// Encodes it.
    pub fn encode(&self) -> Bytes {
        Bytes::from(match self {
            Self::Traces(request) => request.encode_to_vec(),
            Self::Metrics(request) => request.encode_to_vec(),
            Self::Logs(request) => request.encode_to_vec(),
        })
    }

    /// Calls `with` for each item in document order: the run and sequence number that name it ([`crate::generate`]), its attributes.
    pub fn each_item(&mut self, mut with: impl FnMut((u16, u64), &mut Vec<KeyValue>)) {
        match self {
            Self::Traces(request) => {
                let scopes = request.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
                scopes
                    .flat_map(|scope| &mut scope.spans)
                    .for_each(|span| with(by_id(&span.span_id), &mut span.attributes));
            }
            Self::Logs(request) => {
                let scopes = request.resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs);
                let records = scopes.flat_map(|scope| &mut scope.log_records);
                records.for_each(|record| with(by_id(&record.span_id), &mut record.attributes));
            }
            Self::Metrics(request) => {
                let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
                for data in scopes.flat_map(|scope| &mut scope.metrics).filter_map(|metric| metric.data.as_mut()) {
                    for attributes in points(data) {
                        with(by_attribute(attributes), attributes);
                    }
                }
            }
        }
    }

    /// How many items each span, log record or metric has, in document order: 1, of metrics as many as they have data points.
    pub fn items_of_records(&mut self) -> Vec<u64> {
        let mut counts = Vec::new();
        match self {
            Self::Metrics(request) => {
                let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
                let metrics = scopes.flat_map(|scope| &mut scope.metrics);
                counts.extend(metrics.map(|metric| metric.data.as_mut().map_or(0, |data| points(data).len() as u64)));
            }
            Self::Traces(_) | Self::Logs(_) => self.each_item(|_, _| counts.push(1)),
        }
        counts
    }
}

/// The text of an attribute.
pub fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// Appends an attribute.
pub fn add_text(attributes: &mut Vec<KeyValue>, key: &str, value: &str) {
    attributes.push(values::text(key, value));
}

/// The attributes of each data point.
fn points(data: &mut Data) -> Vec<&mut Vec<KeyValue>> {
    match data {
        Data::Gauge(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
        Data::Sum(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
        Data::Histogram(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
        Data::ExponentialHistogram(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
        Data::Summary(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
    }
}

fn by_attribute(attributes: &[KeyValue]) -> (u16, u64) {
    let value = attributes.iter().find(|attribute| attribute.key == ITEM_ID).and_then(|found| found.value.as_ref());
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::BytesValue(id)) => by_id(id),
        _ => named(0),
    }
}

fn by_id(id: &[u8]) -> (u16, u64) {
    named(id.try_into().map(u64::from_be_bytes).unwrap_or_default())
}
