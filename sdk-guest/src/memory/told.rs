//! What a component tells: log lines and metrics; and the time that it is told.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::opening;

const LINES_MAX: usize = 64;
const LINE_BYTES_MAX: usize = 1024;
const NUMBERS_MAX: usize = 8;
const METRICS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
const HELP_BYTES_MAX: usize = 256;
const LABELS_MAX: usize = 4;
const BOUNDS_MAX: usize = 64;
/// What is added to names.
const ENDINGS: [&str; 6] = ["_total", "_bucket", "_count", "_sum", "_created", "_info"];
/// 2026-01-01, where the time of tests begins.
const START_UNIX_NANO: u64 = 1_767_225_600_000_000_000;

thread_local! {
    static NOW_UNIX_NANO: Cell<u64> = const { Cell::new(START_UNIX_NANO) };
}

/// As in the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Debug,
    Info,
    Warn,
    Error,
}

/// What a stage's component has told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    shared: Rc<RefCell<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_called: bool,
    lines: Vec<(Severity, String)>,
    metrics: Vec<(String, Measured)>,
}

/// What a metric is now.
#[derive(Clone, Debug, PartialEq)]
pub enum Measured {
    /// What was added up.
    Counter(u64),
    /// What it was set to last; None before that.
    Gauge(Option<f64>),
    /// Values by size.
    Histogram {
        /// Upper bounds of the buckets.
        bounds: Vec<f64>,
        /// How many values are in each, and above the last.
        counts: Vec<u64>,
        /// Of all values.
        sum: f64,
    },
}

impl Told {
    pub fn lines(&self) -> Vec<(Severity, String)> {
        self.shared.borrow().lines.clone()
    }

    pub fn metric(&self, name: &str) -> Option<Measured> {
        let shared = self.shared.borrow();
        shared.metrics.iter().find(|(has, _)| has == name).map(|(_, measured)| measured.clone())
    }

    /// Runs a call at a time since the tests' begin. If it fails the metrics are as before; lines stay.
    pub fn during<T, E>(&self, now: Duration, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        NOW_UNIX_NANO.set(START_UNIX_NANO + now.as_nanos() as u64);
        let before = self.shared.borrow().metrics.clone();
        self.shared.borrow_mut().is_called = true;
        let result = call().inspect_err(|_| self.shared.borrow_mut().metrics = before);
        self.shared.borrow_mut().is_called = false;
        result
    }

    fn open_metric(&self, name: &str, help: &str, labels: &[(String, String)], new: Measured) -> Result<usize, String> {
        let metrics = &mut self.shared.borrow_mut().metrics;
        if metrics.len() == METRICS_MAX {
            return Err(format!("more than {METRICS_MAX} metrics"));
        }
        if metrics.iter().any(|(has, _)| has == name) {
            return Err(format!("the metric `{name}` is already there"));
        }
        if !is_name(name) || ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            return Err(format!("`{name}` cannot be the name of a metric"));
        }
        if !is_text(help, HELP_BYTES_MAX) {
            return Err(format!("`{name}`: its help is not 1 to {HELP_BYTES_MAX} bytes of plain text"));
        }
        if labels.len() > LABELS_MAX {
            return Err(format!("`{name}`: more than {LABELS_MAX} labels"));
        }
        for (number, (key, value)) in labels.iter().enumerate() {
            let is_taken = matches!(key.as_str(), "stage" | "le") || labels[..number].iter().any(|(has, _)| has == key);
            if !is_name(key) || is_taken || !is_text(value, NAME_BYTES_MAX) {
                return Err(format!("`{name}`: `{key}` and its value cannot be a label"));
            }
        }
        metrics.push((name.to_owned(), new));
        Ok(metrics.len() - 1)
    }

    fn measure(&self, number: usize, change: impl FnOnce(&mut Measured)) {
        let shared = &mut *self.shared.borrow_mut();
        assert!(shared.is_called, "fault: a metric was used outside of a call");
        change(&mut shared.metrics[number].1);
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_text(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && !text.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'))
}

pub fn now_unix_nano() -> u64 {
    NOW_UNIX_NANO.get()
}

pub fn write_log(severity: Severity, text: &str) {
    let written = opening::with_told("log lines", |told| {
        told.shared.borrow_mut().lines.push((severity, text.to_owned()));
        Ok(())
    });
    assert!(written.is_ok(), "fault: a text was logged outside of `configure`");
}

#[derive(Debug)]
pub struct Line {
    told: Told,
    severity: Severity,
    parts: Vec<String>,
}

impl Line {
    pub fn open(severity: Severity, text: &str) -> Result<Line, String> {
        opening::with_told("lines", |told| {
            if text.is_empty() || text.len() > LINE_BYTES_MAX {
                return Err(format!("a line is not of 1 to {LINE_BYTES_MAX} bytes"));
            }
            let parts: Vec<String> = text.split("{}").map(str::to_owned).collect();
            if parts.len() > NUMBERS_MAX + 1 {
                return Err(format!("a line has more than {NUMBERS_MAX} numbers"));
            }
            Ok(Line { told: told.clone(), severity, parts })
        })
        .and_then(|line| opening::count_line(LINES_MAX).map(|()| line))
    }

    pub fn write(&self, numbers: &[f64]) {
        assert!(numbers.len() + 1 == self.parts.len(), "fault: {} numbers for {:?}", numbers.len(), self.parts);
        let numbers = numbers.iter().map(ToString::to_string).chain([String::new()]);
        let text = self.parts.iter().zip(numbers).map(|(part, number)| format!("{part}{number}")).collect();
        self.told.shared.borrow_mut().lines.push((self.severity, text));
    }
}

#[derive(Debug)]
pub struct Counter {
    told: Told,
    number: usize,
}

impl Counter {
    pub fn open(name: &str, help: &str, labels: &[(String, String)]) -> Result<Counter, String> {
        opening::with_told("metrics", |told| {
            let number = told.open_metric(name, help, labels, Measured::Counter(0))?;
            Ok(Counter { told: told.clone(), number })
        })
    }

    pub fn add(&self, amount: u64) {
        self.told.measure(self.number, |metric| {
            if let Measured::Counter(count) = metric {
                *count += amount;
            }
        });
    }
}

#[derive(Debug)]
pub struct Gauge {
    told: Told,
    number: usize,
}

impl Gauge {
    pub fn open(name: &str, help: &str, labels: &[(String, String)]) -> Result<Gauge, String> {
        opening::with_told("metrics", |told| {
            let number = told.open_metric(name, help, labels, Measured::Gauge(None))?;
            Ok(Gauge { told: told.clone(), number })
        })
    }

    pub fn set(&self, value: f64) {
        assert!(value.is_finite(), "fault: a gauge was set to {value}");
        self.told.measure(self.number, |metric| *metric = Measured::Gauge(Some(value)));
    }
}

#[derive(Debug)]
pub struct Histogram {
    told: Told,
    number: usize,
}

impl Histogram {
    pub fn open(name: &str, help: &str, bounds: &[f64], labels: &[(String, String)]) -> Result<Histogram, String> {
        opening::with_told("metrics", |told| {
            let ascends =
                bounds.windows(2).all(|pair| pair[0] < pair[1]) && bounds.iter().all(|bound| bound.is_finite());
            if bounds.is_empty() || bounds.len() > BOUNDS_MAX || !ascends {
                return Err(format!("`{name}`: bounds that are not 1 to {BOUNDS_MAX} finite numbers, ascending"));
            }
            let new = Measured::Histogram { bounds: bounds.to_vec(), counts: vec![0; bounds.len() + 1], sum: 0.0 };
            let number = told.open_metric(name, help, labels, new)?;
            Ok(Histogram { told: told.clone(), number })
        })
    }

    pub fn observe(&self, values: &[f64]) {
        assert!(values.iter().all(|value| value.is_finite()), "fault: what is no number was observed: {values:?}");
        self.told.measure(self.number, |metric| {
            if let Measured::Histogram { bounds, counts, sum } = metric {
                for value in values {
                    counts[bounds.iter().take_while(|bound| *bound < value).count()] += 1;
                    *sum += value;
                }
            }
        });
    }
}
