//! Metrics of all five kinds, some data points each.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, Sum, Summary, SummaryDataPoint, exemplar, number_data_point,
};
use prost::Message;
use rand::Rng;
use rand::rngs::StdRng;

use super::values::{self, EPOCH, text};
use super::{Shape, envelope};
use crate::scan::ITEM_ID;

const CUMULATIVE: i32 = 2;

/// The next metric, encoded, with at most `points_max` data points; whether each of them matches is pushed.
pub fn metric(rng: &mut StdRng, shape: &Shape, points_max: usize, matches: &mut Vec<bool>) -> Vec<u8> {
    if shape.odd && rng.random_range(0..10) == 0 {
        // A metric without data, and one with data but without points, are legal.
        let data = rng.random_range(0..2) == 0;
        let data = data.then(|| Data::Gauge(Gauge { data_points: Vec::new() }));
        return Metric { name: "shop.idle".to_owned(), data, ..Metric::default() }.encode_to_vec();
    }
    let points = rng.random_range(1..=points_max.min(8));
    let mut attributes = || attributes(rng, shape, matches);
    let labels: Vec<Vec<KeyValue>> = (0..points).map(|_| attributes()).collect();
    let (name, data) = data(rng, labels);
    let metric = Metric {
        name: name.to_owned(),
        description: "Generated for tests".to_owned(),
        unit: "ms".to_owned(),
        metadata: if shape.odd { vec![text("prometheus.type", "gauge")] } else { Vec::new() },
        data: Some(data),
    };
    let mut bytes = metric.encode_to_vec();
    if shape.odd && rng.random_range(0..4) == 0 {
        envelope::future_fields(&mut bytes);
    }
    bytes
}

fn attributes(rng: &mut StdRng, shape: &Shape, matches: &mut Vec<bool>) -> Vec<KeyValue> {
    let (matched, route) = values::route(rng, shape);
    matches.push(matched);
    let mut attributes = vec![
        text("http.request.method", "GET"),
        text("http.route", &route),
        // Patched to the data point's identity.
        values::attribute(ITEM_ID, Value::BytesValue(vec![1; 8])),
    ];
    if shape.odd && rng.random_range(0..4) == 0 {
        attributes.extend(values::odd(rng));
    }
    attributes.push(values::ring(rng, matched));
    attributes
}

fn data(rng: &mut StdRng, labels: Vec<Vec<KeyValue>>) -> (&'static str, Data) {
    let time = EPOCH + rng.random_range(0..3_600_000_000_000_u64);
    let number = |(attributes, value)| NumberDataPoint {
        attributes,
        start_time_unix_nano: EPOCH,
        time_unix_nano: time,
        value: Some(value),
        ..NumberDataPoint::default()
    };
    match rng.random_range(0..5) {
        0 => {
            let value = || number_data_point::Value::AsDouble(rng.random());
            let data_points = labels.into_iter().zip(std::iter::repeat_with(value)).map(number).collect();
            ("shop.load", Data::Gauge(Gauge { data_points }))
        }
        1 => {
            let value = || number_data_point::Value::AsInt(rng.random_range(-5..1_000_000));
            let data_points = labels.into_iter().zip(std::iter::repeat_with(value)).map(number).collect();
            let sum = Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true };
            ("shop.requests", Data::Sum(sum))
        }
        2 => {
            let data_points = labels.into_iter().map(|attributes| histogram(rng, attributes, time)).collect();
            ("shop.latency", Data::Histogram(Histogram { data_points, aggregation_temporality: CUMULATIVE }))
        }
        3 => {
            let data_points = labels.into_iter().map(|attributes| exponential(rng, attributes, time)).collect();
            let data = ExponentialHistogram { data_points, aggregation_temporality: CUMULATIVE };
            ("shop.size", Data::ExponentialHistogram(data))
        }
        _ => {
            let data_points = labels.into_iter().map(|attributes| summary(rng, attributes, time)).collect();
            ("shop.pause", Data::Summary(Summary { data_points }))
        }
    }
}

fn histogram(rng: &mut StdRng, attributes: Vec<KeyValue>, time: u64) -> HistogramDataPoint {
    let bucket_counts: Vec<u64> = (0..6).map(|_| rng.random_range(0..5000)).collect();
    HistogramDataPoint {
        attributes,
        time_unix_nano: time,
        count: bucket_counts.iter().sum(),
        sum: Some(rng.random_range(0.0..1e6)),
        bucket_counts,
        explicit_bounds: vec![1.0, 5.0, 25.0, 100.0, 500.0],
        exemplars: vec![Exemplar {
            filtered_attributes: vec![text("enduser.id", "7")],
            time_unix_nano: time,
            span_id: vec![3; 8],
            trace_id: vec![3; 16],
            value: Some(exemplar::Value::AsDouble(3.5)),
        }],
        min: Some(0.25),
        max: Some(rng.random_range(500.0..900.0)),
        ..HistogramDataPoint::default()
    }
}

fn exponential(rng: &mut StdRng, attributes: Vec<KeyValue>, time: u64) -> ExponentialHistogramDataPoint {
    let positive: Vec<u64> = (0..10).map(|_| rng.random_range(0..300)).collect();
    ExponentialHistogramDataPoint {
        attributes,
        time_unix_nano: time,
        count: positive.iter().sum::<u64>() + 2,
        sum: Some(1234.5),
        scale: -2,
        zero_count: 2,
        positive: Some(Buckets { offset: -3, bucket_counts: positive }),
        negative: Some(Buckets::default()),
        zero_threshold: 1e-9,
        ..ExponentialHistogramDataPoint::default()
    }
}

fn summary(rng: &mut StdRng, attributes: Vec<KeyValue>, time: u64) -> SummaryDataPoint {
    let quantile_values = [0.5, 0.99].map(|quantile| ValueAtQuantile { quantile, value: rng.random() });
    SummaryDataPoint {
        attributes,
        time_unix_nano: time,
        count: rng.random_range(1..1000),
        sum: 77.0,
        quantile_values: quantile_values.to_vec(),
        ..SummaryDataPoint::default()
    }
}
