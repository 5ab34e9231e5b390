//! `metering`: metrics of a component, opened while it is configured.

use wasmtime::component::Resource;

use crate::observe::guests::{MetricKind, MetricSpec};
use crate::wasm::bindings::metering::{Host, HostCounter, HostGauge, HostHistogram};
use crate::wasm::fault::bad_output;
use crate::wasm::meters::NotOpened;
use crate::wasm::state::{CounterHandle, GaugeHandle, HistogramHandle, State};

/// Metrics of one instance.
const METRICS_MAX: usize = 32;
/// Longest name of a metric or a label, and longest value of a label.
const NAME_BYTES_MAX: usize = 64;
const HELP_BYTES_MAX: usize = 256;
const LABELS_MAX: usize = 4;
/// Buckets of a histogram, less the last.
const BOUNDS_MAX: usize = 64;
/// What the exposition formats add to names: of two metrics one could seem to be a part of the other.
const ENDINGS: [&str; 6] = ["_total", "_bucket", "_count", "_sum", "_created", "_info"];
/// Labels that are the host's.
const LABELS_TAKEN: [&str; 2] = ["stage", "le"];

type Labels = Vec<(String, String)>;
type Opened<T> = wasmtime::Result<Result<Resource<T>, String>>;

impl Host for State {}

impl HostCounter for State {
    fn open(&mut self, name: String, help: String, labels: Labels) -> Opened<CounterHandle> {
        self.open_metric(name, help, labels, MetricKind::Counter).map(|metric| metric.map(Resource::new_own))
    }

    fn add(&mut self, counter: Resource<CounterHandle>, amount: u64) -> wasmtime::Result<()> {
        self.host_call(0)?;
        self.in_call()?;
        self.meters.add(counter.rep(), amount).map_err(not_opened)
    }

    fn drop(&mut self, _counter: Resource<CounterHandle>) -> wasmtime::Result<()> {
        // Metrics live as long as the instance, as fields do.
        self.host_call(0)
    }
}

impl HostGauge for State {
    fn open(&mut self, name: String, help: String, labels: Labels) -> Opened<GaugeHandle> {
        self.open_metric(name, help, labels, MetricKind::Gauge).map(|metric| metric.map(Resource::new_own))
    }

    fn set(&mut self, gauge: Resource<GaugeHandle>, value: f64) -> wasmtime::Result<()> {
        self.host_call(0)?;
        self.in_call()?;
        check_finite(&[value])?;
        self.meters.set(gauge.rep(), value).map_err(not_opened)
    }

    fn drop(&mut self, _gauge: Resource<GaugeHandle>) -> wasmtime::Result<()> {
        self.host_call(0)
    }
}

impl HostHistogram for State {
    fn open(&mut self, name: String, help: String, bounds: Vec<f64>, labels: Labels) -> Opened<HistogramHandle> {
        self.host_call(size_of_val(bounds.as_slice()))?;
        let ascends = bounds.is_sorted_by(|one, next| one < next) && bounds.iter().all(|bound| bound.is_finite());
        if bounds.is_empty() || bounds.len() > BOUNDS_MAX || !ascends {
            let told = format!("the bounds of a histogram are 1 to {BOUNDS_MAX} finite numbers, ascending");
            return Ok(Err(told));
        }
        let kind = MetricKind::Histogram(bounds);
        self.open_metric(name, help, labels, kind).map(|metric| metric.map(Resource::new_own))
    }

    fn observe(&mut self, histogram: Resource<HistogramHandle>, values: Vec<f64>) -> wasmtime::Result<()> {
        self.host_call(size_of_val(values.as_slice()))?;
        self.in_call()?;
        check_finite(&values)?;
        self.meters.observe(histogram.rep(), &values).map_err(not_opened)
    }

    fn drop(&mut self, _histogram: Resource<HistogramHandle>) -> wasmtime::Result<()> {
        self.host_call(0)
    }
}

impl State {
    fn open_metric(
        &mut self,
        name: String,
        help: String,
        labels: Labels,
        kind: MetricKind,
    ) -> wasmtime::Result<Result<u32, String>> {
        let labels_bytes: usize = labels.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum();
        self.host_call(labels_bytes.saturating_add(name.len()).saturating_add(help.len()))?;
        if !self.is_configuring {
            return Ok(Err("metrics are opened in `configure` only".to_owned()));
        }
        let spec = MetricSpec { name, help, labels, kind };
        let metrics = &mut self.opened.metrics;
        if let Err(told) = check(&spec, metrics) {
            return Ok(Err(told));
        }
        metrics.push(spec);
        Ok(Ok(metrics.len() as u32 - 1))
    }

    /// An error outside of a call: nothing would say whether it holds.
    fn in_call(&mut self) -> wasmtime::Result<()> {
        if self.call.is_some() { Ok(()) } else { Err(bad_output("a metric was used outside of a call")) }
    }
}

fn check(spec: &MetricSpec, others: &[MetricSpec]) -> Result<(), String> {
    let MetricSpec { name, help, labels, .. } = spec;
    if others.len() >= METRICS_MAX {
        return Err(format!("more than {METRICS_MAX} metrics"));
    }
    if !is_name(name) {
        return Err(format!("a metric's name has 1 to {NAME_BYTES_MAX} of `a-z0-9_` and begins with a letter"));
    }
    if let Some(ending) = ENDINGS.into_iter().find(|ending| name.ends_with(ending)) {
        return Err(format!("metric `{name}`: `{ending}` is added where it belongs, leave it out"));
    }
    if others.iter().any(|other| other.name == *name) {
        return Err(format!("metric `{name}` is opened twice"));
    }
    if !is_text(help, HELP_BYTES_MAX) {
        let told = "bytes without control characters, quotes and backslashes";
        return Err(format!("metric `{name}`: its help has 1 to {HELP_BYTES_MAX} {told}"));
    }
    if labels.len() > LABELS_MAX {
        return Err(format!("metric `{name}`: more than {LABELS_MAX} labels"));
    }
    for (number, (key, value)) in labels.iter().enumerate() {
        if !is_name(key) || LABELS_TAKEN.contains(&key.as_str()) {
            let told =
                format!("has 1 to {NAME_BYTES_MAX} of `a-z0-9_`, begins with a letter, and is not `stage` or `le`");
            return Err(format!("metric `{name}`: the key of a label {told}"));
        }
        if labels.iter().take(number).any(|(other, _)| other == key) {
            return Err(format!("metric `{name}`: label `{key}` is there twice"));
        }
        if !is_text(value, NAME_BYTES_MAX) {
            let told = "bytes without control characters, quotes and backslashes";
            return Err(format!("metric `{name}`: the value of label `{key}` has 1 to {NAME_BYTES_MAX} {told}"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_text(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'))
}

fn check_finite(values: &[f64]) -> wasmtime::Result<()> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(bad_output("a metric was given what is no finite number"))
}

fn not_opened(NotOpened: NotOpened) -> wasmtime::Error {
    bad_output("a metric that was not opened")
}
