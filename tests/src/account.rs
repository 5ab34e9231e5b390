//! Reads `/metrics` and checks the account: nothing that came in may be without a place.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};

/// What every item went through, from `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// An equation of the account that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// `receiver otlp, traces: received 10 = accepted 8 + refused 1`.
    pub equation: String,
}

impl Metrics {
    /// Parses the Prometheus text format (OpenMetrics 1.0); exemplars and timestamps are not read.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).with_context(|| format!("metrics line: {line}")));
        Ok(Self { samples: samples.collect::<Result<_>>()? })
    }

    /// The sum of all samples of `name` that have all these labels. Counters are named without `_total`, all without `sluicebox_`.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.of(name)
            .filter(|s| labels.iter().all(|(key, value)| s.labels.get(*key).is_some_and(|v| v == value)))
            .map(|s| s.value.max(0.0) as u64)
            .sum()
    }

    /// True if any sample of `name` has these labels.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.of(name).any(|s| labels.iter().all(|(key, value)| s.labels.get(*key).is_some_and(|v| v == value)))
    }

    /// The account of every receiver, pipeline and exporter, exact when nothing is in motion:
    /// received = accepted + refused; accepted = dropped + held + handed over; handed over = sent + rejected + dropped + queued.
    pub fn imbalances(&self) -> Vec<Imbalance> {
        let mut found = Vec::new();
        let tables: [(&str, &str, &[&str]); 3] = [
            ("receiver", "received", &["accepted", "refused"]),
            ("pipeline", "accepted", &["dropped", "held", "handed_over"]),
            ("exporter", "handed_over", &["sent", "rejected", "dropped", "queued"]),
        ];
        for (part, whole, pieces) in tables {
            for (name, signal) in self.parts(part) {
                let count = |what: &str| {
                    self.sum(&format!("{part}_{what}_items"), &[(part, name.as_str()), ("signal", signal.as_str())])
                };
                let total = count(whole);
                if total != pieces.iter().map(|piece| count(piece)).sum::<u64>() {
                    let right: Vec<_> = pieces.iter().map(|p| format!("{p} {}", count(p))).collect();
                    let equation = format!("{part} {name}, {signal}: {whole} {total} = {}", right.join(" + "));
                    found.push(Imbalance { equation });
                }
            }
        }
        found
    }

    /// True if nothing is held or queued anywhere.
    pub fn at_rest(&self) -> bool {
        self.sum("pipeline_held_items", &[]) == 0 && self.sum("exporter_queued_items", &[]) == 0
    }

    fn of(&self, name: &str) -> impl Iterator<Item = &Sample> {
        let full = format!("sluicebox_{name}");
        self.samples.iter().filter(move |s| s.name.strip_suffix("_total").unwrap_or(&s.name) == full)
    }

    /// Every (name, signal) of which any metric of the part speaks.
    fn parts(&self, part: &str) -> Vec<(String, String)> {
        let prefix = format!("sluicebox_{part}_");
        let of_part = self.samples.iter().filter(|s| s.name.starts_with(&prefix) && s.name.contains("_items"));
        let mut parts: Vec<_> =
            of_part.filter_map(|s| Some((s.labels.get(part)?.clone(), s.labels.get("signal")?.clone()))).collect();
        parts.sort_unstable();
        parts.dedup();
        parts
    }
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.equation)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = match line.find('{') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => {
            let (name, value) = line.split_once(' ')?;
            return Some(Sample { name: name.to_owned(), labels: BTreeMap::new(), value: number(value)? });
        }
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    while !rest.starts_with('}') {
        let (key, after) = rest.trim_start_matches(',').split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(key.to_owned(), value);
        rest = after;
    }
    Some(Sample { name: name.to_owned(), labels, value: number(rest.get(1..)?)? })
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            _ => value.push(c),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use sluicebox::signal::Signal;

    use super::*;

    #[test]
    fn what_the_engine_writes_is_read_and_balanced() {
        let engine = sluicebox::observe::metrics::Metrics::new();
        let receiver = engine.receiver("otlp", Signal::Traces);
        receiver.received.inc_by(10);
        receiver.accepted.inc_by(8);
        let pipeline = engine.pipeline("traces", Signal::Traces);
        pipeline.accepted.inc_by(8);
        pipeline.held.set(1);
        pipeline.handed_over.inc_by(4);
        engine.dropped("traces", Signal::Traces, "filter", "span[0] \"x\"", "rule", true).inc_by(3);

        let metrics = Metrics::parse(&engine.text()).unwrap();
        assert_eq!(metrics.sum("pipeline_dropped_items", &[("rule", "span[0] \"x\"")]), 3);
        let wrong = metrics.imbalances();
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].equation, "receiver otlp, traces: received 10 = accepted 8 + refused 0");

        receiver.refused.inc_by(2);
        let metrics = Metrics::parse(&engine.text()).unwrap();
        assert_eq!(metrics.imbalances(), []);
        assert!(!metrics.at_rest());
    }
}
