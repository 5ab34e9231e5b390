//! Data points.

use std::fmt;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    SummaryDataPoint, exponential_histogram_data_point::Buckets, number_data_point,
};

use super::page::{Inline, Page, number, text};

pub(super) fn print(page: &mut Page, request: &ExportMetricsServiceRequest, bytes: usize) {
    let metrics = || request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    let points: usize = metrics().map(|metric| points(metric).len()).sum();
    page.line(
        0,
        format_args!(
            "metrics: {} resources, {} metrics, {points} data points, {bytes} bytes",
            request.resource_metrics.len(),
            metrics().count()
        ),
    );
    if page.is_basic() {
        return;
    }
    for resource in &request.resource_metrics {
        if page.is_detailed() {
            page.resource(resource.resource.as_ref(), &resource.schema_url);
        }
        for scope in &resource.scope_metrics {
            if page.is_detailed() {
                page.scope(scope.scope.as_ref(), &scope.schema_url);
            }
            for metric in &scope.metrics {
                if page.is_detailed() { detailed(page, metric) } else { lines(page, metric) }
            }
        }
    }
}

fn lines(page: &mut Page, metric: &Metric) {
    for point in points(metric) {
        page.line(0, format_args!("{:?}{} {}", metric.name, Inline(point.attributes()), point));
    }
}

fn detailed(page: &mut Page, metric: &Metric) {
    page.line(2, "metric");
    page.field(3, "name", text(&metric.name));
    page.field(3, "description", text(&metric.description));
    page.field(3, "unit", text(&metric.unit));
    let (kind, temporality, monotonic) = match &metric.data {
        None => ("none", None, None),
        Some(Data::Gauge(_)) => ("gauge", None, None),
        Some(Data::Sum(sum)) => ("sum", Some(sum.aggregation_temporality), Some(sum.is_monotonic)),
        Some(Data::Histogram(histogram)) => ("histogram", Some(histogram.aggregation_temporality), None),
        Some(Data::ExponentialHistogram(histogram)) => {
            ("exponential histogram", Some(histogram.aggregation_temporality), None)
        }
        Some(Data::Summary(_)) => ("summary", None, None),
    };
    page.field(3, "type", Some(kind));
    let temporality = temporality.and_then(|value| AggregationTemporality::try_from(value).ok());
    page.field(3, "aggregation_temporality", temporality.map(|temporality| temporality.as_str_name()));
    page.field(3, "is_monotonic", monotonic);
    for point in points(metric) {
        page.line(3, "data point");
        page.attributes(4, point.attributes());
        let (start, time, flags) = point.times_and_flags();
        page.field(4, "start_time_unix_nano", number(start));
        page.field(4, "time_unix_nano", number(time));
        page.field(4, "flags", number(flags));
        page.field(4, "value", Some(&point));
    }
}

fn points(metric: &Metric) -> Vec<Point<'_>> {
    match &metric.data {
        None => Vec::new(),
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().map(Point::Number).collect(),
        Some(Data::Sum(sum)) => sum.data_points.iter().map(Point::Number).collect(),
        Some(Data::Histogram(histogram)) => histogram.data_points.iter().map(Point::Histogram).collect(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.iter().map(Point::Exponential).collect(),
        Some(Data::Summary(summary)) => summary.data_points.iter().map(Point::Summary).collect(),
    }
}

enum Point<'a> {
    Number(&'a NumberDataPoint),
    Histogram(&'a HistogramDataPoint),
    Exponential(&'a ExponentialHistogramDataPoint),
    Summary(&'a SummaryDataPoint),
}

impl<'a> Point<'a> {
    fn attributes(&self) -> &'a [KeyValue] {
        match self {
            Point::Number(point) => &point.attributes,
            Point::Histogram(point) => &point.attributes,
            Point::Exponential(point) => &point.attributes,
            Point::Summary(point) => &point.attributes,
        }
    }

    fn times_and_flags(&self) -> (u64, u64, u32) {
        match self {
            Point::Number(point) => (point.start_time_unix_nano, point.time_unix_nano, point.flags),
            Point::Histogram(point) => (point.start_time_unix_nano, point.time_unix_nano, point.flags),
            Point::Exponential(point) => (point.start_time_unix_nano, point.time_unix_nano, point.flags),
            Point::Summary(point) => (point.start_time_unix_nano, point.time_unix_nano, point.flags),
        }
    }
}

impl fmt::Display for Point<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Number(point) => match point.value {
                None => f.write_str("none"),
                Some(number_data_point::Value::AsInt(value)) => write!(f, "{value}"),
                Some(number_data_point::Value::AsDouble(value)) => write!(f, "{value:?}"),
            },
            Point::Histogram(point) => {
                aggregate(f, point.count, point.sum, point.min, point.max)?;
                write!(f, " bounds={:?} buckets={:?}", point.explicit_bounds, point.bucket_counts)
            }
            Point::Exponential(point) => {
                aggregate(f, point.count, point.sum, point.min, point.max)?;
                write!(f, " scale={} zeros={}", point.scale, point.zero_count)?;
                buckets(f, "positive", point.positive.as_ref())?;
                buckets(f, "negative", point.negative.as_ref())
            }
            Point::Summary(point) => {
                write!(f, "count={} sum={:?}", point.count, point.sum)?;
                point.quantile_values.iter().try_for_each(|at| write!(f, " q{:?}={:?}", at.quantile, at.value))
            }
        }
    }
}

fn aggregate(
    f: &mut fmt::Formatter<'_>,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
) -> fmt::Result {
    write!(f, "count={count}")?;
    for (name, value) in [("sum", sum), ("min", min), ("max", max)] {
        if let Some(value) = value {
            write!(f, " {name}={value:?}")?;
        }
    }
    Ok(())
}

fn buckets(f: &mut fmt::Formatter<'_>, name: &str, buckets: Option<&Buckets>) -> fmt::Result {
    match buckets {
        Some(buckets) if !buckets.bucket_counts.is_empty() => {
            write!(f, " {name}={}:{:?}", buckets.offset, buckets.bucket_counts)
        }
        _ => Ok(()),
    }
}
