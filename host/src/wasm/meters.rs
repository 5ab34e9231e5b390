//! An instance's use of its stage's metrics: what a call does to them holds only if the call returns ok.

use std::sync::Arc;

use crate::observe::guests::{Buckets, MetricKind, MetricSpec, Series};

/// Metrics of one instance, in the order of opening.
#[derive(Debug, Default)]
pub(super) struct Meters {
    /// None until the instance serves: what it does before counts nowhere.
    series: Option<Arc<[Arc<Series>]>>,
    staged: Vec<Staged>,
}

/// What the call that is on did to a metric.
#[derive(Debug)]
enum Staged {
    Counter(u64),
    Gauge(Option<f64>),
    Histogram { bounds: Vec<f64>, buckets: Buckets },
}

/// A metric was used that was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOpened;

impl Meters {
    pub(super) fn new(specs: &[MetricSpec]) -> Self {
        let staged = |spec: &MetricSpec| match &spec.kind {
            MetricKind::Counter => Staged::Counter(0),
            MetricKind::Gauge => Staged::Gauge(None),
            MetricKind::Histogram(bounds) => {
                let buckets = Buckets { counts: vec![0; bounds.len() + 1], sum: 0.0 };
                Staged::Histogram { bounds: bounds.clone(), buckets }
            }
        };
        Self { series: None, staged: specs.iter().map(staged).collect() }
    }

    /// Counts here from now on.
    pub(super) fn attach(&mut self, series: Arc<[Arc<Series>]>) {
        self.series = Some(series);
    }

    /// Counts nowhere from now on.
    pub(super) fn detach(&mut self) {
        self.series = None;
    }

    pub(super) fn add(&mut self, metric: u32, amount: u64) -> Result<(), NotOpened> {
        let Some(Staged::Counter(sum)) = self.staged.get_mut(metric as usize) else { return Err(NotOpened) };
        *sum = sum.saturating_add(amount);
        Ok(())
    }

    pub(super) fn set(&mut self, metric: u32, to: f64) -> Result<(), NotOpened> {
        let Some(Staged::Gauge(value)) = self.staged.get_mut(metric as usize) else { return Err(NotOpened) };
        *value = Some(to);
        Ok(())
    }

    /// Counts values, which are finite.
    pub(super) fn observe(&mut self, metric: u32, values: &[f64]) -> Result<(), NotOpened> {
        let Some(Staged::Histogram { bounds, buckets }) = self.staged.get_mut(metric as usize) else {
            return Err(NotOpened);
        };
        for value in values {
            let bucket = bounds.partition_point(|bound| bound < value);
            if let Some(count) = buckets.counts.get_mut(bucket) {
                *count += 1;
            }
            buckets.sum = (buckets.sum + value).clamp(f64::MIN, f64::MAX);
        }
        Ok(())
    }

    /// The call is over.
    pub(super) fn end_call(&mut self, holds: bool) {
        let series = self.series.as_deref().filter(|_| holds).unwrap_or_default();
        let mut series = series.iter();
        for staged in &mut self.staged {
            let series = series.next();
            match staged {
                Staged::Counter(sum) => {
                    let sum = std::mem::take(sum);
                    if let Some(series) = series.filter(|_| sum > 0) {
                        series.add(sum);
                    }
                }
                Staged::Gauge(value) => {
                    if let Some((value, series)) = value.take().zip(series) {
                        series.set(value);
                    }
                }
                Staged::Histogram { buckets, .. } => {
                    if buckets.counts.iter().all(|&count| count == 0) {
                        continue;
                    }
                    if let Some(series) = series {
                        series.record(buckets);
                    }
                    buckets.counts.fill(0);
                    buckets.sum = 0.0;
                }
            }
        }
    }
}
