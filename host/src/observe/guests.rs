//! Metrics and log lines of components: opened by them while they are configured, shared by all instances of a stage.
//!
//! A series lives as long as a generation uses it, and is found again by stage, name and labels. Names, labels and help come from
//! configurations and code; who opens a series has checked them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// A metric as a component opened it.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    /// Less `sluicebox_guest_`.
    pub name: String,
    /// What it counts.
    pub help: String,
    /// Fixed, beside `stage`.
    pub labels: Vec<(String, String)>,
    /// What it is.
    pub kind: MetricKind,
}

/// Kinds of metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricKind {
    /// Counts up.
    Counter,
    /// Was set to something.
    Gauge,
    /// Upper bounds of its buckets, ascending and finite.
    Histogram(Vec<f64>),
}

impl MetricKind {
    const fn as_str(&self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram(_) => "histogram",
        }
    }

    const fn metric_type(&self) -> MetricType {
        match self {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Histogram(_) => MetricType::Histogram,
        }
    }
}

/// A name that means something else already.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the metric `{name}` is a {known} of stage \"{stage}\" already{difference}; give this one another name")]
pub struct MetricConflict {
    name: String,
    known: &'static str,
    stage: String,
    difference: &'static str,
}

/// Everything that components of this process count.
#[derive(Debug, Default)]
pub struct GuestMetrics {
    series: Mutex<Vec<Weak<Series>>>,
    logs: Mutex<BTreeMap<String, Weak<LogCounts>>>,
}

/// One metric of one stage.
#[derive(Debug)]
pub struct Series {
    stage: String,
    spec: MetricSpec,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Counter(AtomicU64),
    /// The bits of a double.
    Gauge(AtomicU64),
    Histogram(Mutex<Buckets>),
}

/// Values by size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// One for each bound, and one for what is above the last; not cumulative.
    pub counts: Vec<u64>,
    /// Of all values.
    pub sum: f64,
}

/// Log lines of a stage's component.
#[derive(Debug, Default)]
pub struct LogCounts {
    /// Written.
    pub written: AtomicU64,
    /// Not written, as there were more than may be.
    pub left_out: AtomicU64,
}

impl GuestMetrics {
    /// The series of a stage, in the order of `specs`: those that are in use, else new ones.
    ///
    /// # Errors
    /// A name is in use for another kind of metric, or for a histogram of other bounds. Nothing has changed then.
    pub fn attach(&self, stage: &str, specs: &[MetricSpec]) -> Result<Vec<Arc<Series>>, MetricConflict> {
        let mut all = self.series();
        all.retain(|series| series.strong_count() > 0);
        let known: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        let attached = specs.iter().map(|spec| Series::find(&known, stage, spec)).collect::<Result<Vec<_>, _>>()?;
        let is_new = |series: &&Arc<Series>| !known.iter().any(|other| Arc::ptr_eq(series, other));
        all.extend(attached.iter().filter(is_new).map(Arc::downgrade));
        Ok(attached)
    }

    /// Counts of a stage's log lines.
    pub fn log(&self, stage: &str) -> Arc<LogCounts> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.retain(|_, counts| counts.strong_count() > 0);
        if let Some(known) = logs.get(stage).and_then(Weak::upgrade) {
            return known;
        }
        let counts = Arc::new(LogCounts::default());
        logs.insert(stage.to_owned(), Arc::downgrade(&counts));
        counts
    }

    fn series(&self) -> MutexGuard<'_, Vec<Weak<Series>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    fn find(known: &[Arc<Series>], stage: &str, spec: &MetricSpec) -> Result<Arc<Series>, MetricConflict> {
        let conflict = |series: &Series, difference| MetricConflict {
            name: spec.name.clone(),
            known: series.spec.kind.as_str(),
            stage: series.stage.clone(),
            difference,
        };
        let mut same = None;
        for series in known.iter().filter(|series| series.spec.name == spec.name) {
            if series.spec.kind.as_str() != spec.kind.as_str() {
                return Err(conflict(series, ""));
            }
            if series.stage == stage && series.spec.labels == spec.labels {
                if series.spec.kind != spec.kind {
                    return Err(conflict(series, ", with other bounds"));
                }
                same = Some(Arc::clone(series));
            }
        }
        Ok(same.unwrap_or_else(|| Arc::new(Series::new(stage, spec))))
    }

    fn new(stage: &str, spec: &MetricSpec) -> Self {
        let held = match &spec.kind {
            MetricKind::Counter => Held::Counter(AtomicU64::new(0)),
            MetricKind::Gauge => Held::Gauge(AtomicU64::new(0)),
            MetricKind::Histogram(bounds) => {
                Held::Histogram(Mutex::new(Buckets { counts: vec![0; bounds.len() + 1], sum: 0.0 }))
            }
        };
        Self { stage: stage.to_owned(), spec: spec.clone(), held }
    }

    /// Adds to a counter.
    pub fn add(&self, amount: u64) {
        if let Held::Counter(count) = &self.held {
            // Wraps around at 2^64, as all counters do.
            count.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64) {
        if let Held::Gauge(bits) = &self.held {
            bits.store(value.to_bits(), Ordering::Relaxed);
        }
    }

    /// Adds to a histogram's buckets.
    pub fn record(&self, more: &Buckets) {
        if let Held::Histogram(buckets) = &self.held {
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            for (count, more) in buckets.counts.iter_mut().zip(&more.counts) {
                *count = count.wrapping_add(*more);
            }
            // Stays a number, whatever is added up.
            buckets.sum = (buckets.sum + more.sum).clamp(f64::MIN, f64::MAX);
        }
    }
}

impl Collector for GuestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut by_name: BTreeMap<String, Vec<Arc<Series>>> = BTreeMap::new();
        for series in self.series().iter().filter_map(Weak::upgrade) {
            by_name.entry(format!("guest_{}", series.spec.name)).or_default().push(series);
        }
        for (name, mut series) in by_name {
            series.sort_by(|a, b| (&a.stage, &a.spec.labels).cmp(&(&b.stage, &b.spec.labels)));
            encode_family(&mut encoder, &name, &series)?;
        }
        let logs: Vec<_> = {
            let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
            logs.iter().filter_map(|(stage, counts)| Some((stage.clone(), counts.upgrade()?))).collect()
        };
        let written = "Log lines of the stage's component that were written";
        encode_logs(&mut encoder, "stage_log_lines", written, &logs, |counts| &counts.written)?;
        let left_out = "Log lines of the stage's component that were more than it may write, and left out";
        encode_logs(&mut encoder, "stage_log_lines_left_out", left_out, &logs, |counts| &counts.left_out)
    }
}

fn encode_family(encoder: &mut DescriptorEncoder<'_>, name: &str, series: &[Arc<Series>]) -> fmt::Result {
    let Some(first) = series.first() else { return Ok(()) };
    let mut family = encoder.encode_descriptor(name, &first.spec.help, None, first.spec.kind.metric_type())?;
    for one in series {
        let stage = ("stage".to_owned(), one.stage.clone());
        let labels: Vec<(String, String)> = [stage].into_iter().chain(one.spec.labels.iter().cloned()).collect();
        let mut metric = family.encode_family(&labels)?;
        match (&one.held, &one.spec.kind) {
            (Held::Counter(count), _) => {
                metric.encode_counter::<NoLabelSet, _, u64>(&count.load(Ordering::Relaxed), None)?;
            }
            (Held::Gauge(bits), _) => metric.encode_gauge(&f64::from_bits(bits.load(Ordering::Relaxed)))?,
            (Held::Histogram(buckets), MetricKind::Histogram(bounds)) => {
                let buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // The encoder makes them cumulative, and wants the last one to have no bound.
                let ends = bounds.iter().copied().chain([f64::INFINITY]);
                let counts: Vec<(f64, u64)> = ends.zip(buckets.counts.iter().copied()).collect();
                let count = buckets.counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(*count));
                metric.encode_histogram::<NoLabelSet>(buckets.sum, count, &counts, None)?;
            }
            (Held::Histogram(_), _) => {}
        }
    }
    Ok(())
}

fn encode_logs(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    logs: &[(String, Arc<LogCounts>)],
    count: fn(&LogCounts) -> &AtomicU64,
) -> fmt::Result {
    if logs.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (stage, counts) in logs {
        let labels = [("stage", stage.as_str())];
        let mut metric = family.encode_family(&labels)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&count(counts).load(Ordering::Relaxed), None)?;
    }
    Ok(())
}
