use crate::host;

/// Counts up: `sluicebox_guest_<name>_total` of the engine's metrics. Needs the grant `metrics`.
///
/// Metrics are shared by all instances of a stage, and kept when the component or its configuration is replaced, where name, kind and labels
/// match. At most 32 for a component, all of different names; names are 1 to 64 of `a-z0-9_`, labels at most four fixed pairs. What a
/// failed call did to them does not hold. They are opened while configuring, and used within calls.
#[derive(Debug)]
pub struct Counter {
    handle: host::Counter,
}

impl Counter {
    /// The error says what is wrong with a name, help or label.
    pub fn open(name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Counter, String> {
        Ok(Counter { handle: host::Counter::open(name, help, &owned(labels))? })
    }

    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.handle.add(amount);
    }
}

/// Is what it was set to last, by whichever instance. See [`Counter`].
#[derive(Debug)]
pub struct Gauge {
    handle: host::Gauge,
}

impl Gauge {
    /// The error says what is wrong with a name, help or label.
    pub fn open(name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Gauge, String> {
        Ok(Gauge { handle: host::Gauge::open(name, help, &owned(labels))? })
    }

    /// Sets it. What is no finite number is a fault.
    pub fn set(&self, value: f64) {
        self.handle.set(value);
    }
}

/// Counts values by size. See [`Counter`].
#[derive(Debug)]
pub struct Histogram {
    handle: host::Histogram,
}

impl Histogram {
    /// With the upper bounds of its buckets: 1 to 64 finite numbers, ascending. The error says what is wrong.
    pub fn open(name: &str, help: &str, bounds: &[f64], labels: &[(&str, &str)]) -> Result<Histogram, String> {
        Ok(Histogram { handle: host::Histogram::open(name, help, bounds, &owned(labels))? })
    }

    /// Counts values. What is no finite number is a fault.
    pub fn observe(&self, values: &[f64]) {
        self.handle.observe(values);
    }
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
