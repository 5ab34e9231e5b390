//! The shop's metrics: what each service counted since it started.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum};

use super::shop::text;

const CUMULATIVE: i32 = 2;
const BOUNDS_MILLISECONDS: [f64; 5] = [5.0, 25.0, 100.0, 500.0, 2000.0];

/// Counts of all services.
pub(super) struct Readings {
    start: u64,
    services: [Reading; 5],
}

#[derive(Clone, Copy, Default)]
struct Reading {
    good: u64,
    failed: u64,
    sum_milliseconds: u64,
    buckets: [u64; BOUNDS_MILLISECONDS.len() + 1],
}

impl Default for Readings {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), services: [Reading::default(); 5] }
    }
}

impl Readings {
    /// Notes an answered call.
    pub(super) fn note(&mut self, service: usize, milliseconds: u64, failed: bool) {
        let Some(reading) = self.services.get_mut(service) else { return };
        reading.good += u64::from(!failed);
        reading.failed += u64::from(failed);
        reading.sum_milliseconds += milliseconds;
        let bucket = BOUNDS_MILLISECONDS.iter().take_while(|bound| milliseconds as f64 > **bound).count();
        reading.buckets[bucket] += 1;
    }

    /// Three metrics of one service: four data points.
    pub(super) fn of(&self, service: usize, time: u64) -> Vec<Metric> {
        let reading = self.services.get(service).copied().unwrap_or_default();
        let point = |outcome: &str, count: u64| NumberDataPoint {
            attributes: vec![text("outcome", outcome)],
            start_time_unix_nano: self.start,
            time_unix_nano: time,
            value: Some(Value::AsInt(i64::try_from(count).unwrap_or(i64::MAX))),
            ..NumberDataPoint::default()
        };
        let requests = Sum {
            data_points: vec![point("good", reading.good), point("failed", reading.failed)],
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        };
        let durations = HistogramDataPoint {
            start_time_unix_nano: self.start,
            time_unix_nano: time,
            count: reading.good + reading.failed,
            sum: Some(reading.sum_milliseconds as f64),
            bucket_counts: reading.buckets.to_vec(),
            explicit_bounds: BOUNDS_MILLISECONDS.to_vec(),
            ..HistogramDataPoint::default()
        };
        let durations = Histogram { data_points: vec![durations], aggregation_temporality: CUMULATIVE };
        vec![
            metric("shop.requests", "{request}", Data::Sum(requests)),
            metric("shop.request.duration", "ms", Data::Histogram(durations)),
            metric("shop.workers", "{worker}", Data::Gauge(Gauge { data_points: vec![point("busy", 3)] })),
        ]
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}
