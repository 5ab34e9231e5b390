//! What the demo shows: what goes in, what is dropped by which rule, what comes out.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::backend::Backend;
use crate::signal::Signal;

const GET_BOUND: Duration = Duration::from_secs(5);

/// The engine's counts of one signal, and the backend's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Items received.
    pub(super) received: u64,
    /// Items dropped, by `stage: rule`.
    pub(super) dropped: BTreeMap<String, u64>,
    /// Items at the backend.
    pub(super) arrived: u64,
}

/// All signals, in the order of [`Signal::ALL`].
pub(super) type Table = [Counts; 3];

/// Reads the engine's `/metrics` and the backend's counts.
pub(super) async fn read(metrics: SocketAddr, backend: &Backend) -> Result<Table> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let text = tokio::time::timeout(GET_BOUND, async {
        let response = client.get(format!("http://{metrics}/metrics").parse()?).await?;
        ensure!(response.status().is_success(), "{}", response.status());
        anyhow::Ok(response.into_body().collect().await?.to_bytes())
    });
    let text = text.await.context("no answer in time").flatten().context("read the engine's /metrics")?;
    let text = std::str::from_utf8(&text)?;
    Ok(Signal::ALL.map(|signal| counts(text, signal, backend.items(signal))))
}

fn counts(text: &str, signal: Signal, arrived: u64) -> Counts {
    let mut counts = Counts { arrived, ..Counts::default() };
    for line in text.lines() {
        let Some((name, labels)) = line.split_once('{') else { continue };
        if label(labels, "signal").as_deref() != Some(signal.as_str()) {
            continue;
        }
        let value = labels.rsplit(' ').next().and_then(|v| v.parse::<f64>().ok()).unwrap_or_default() as u64;
        match name {
            "sluicebox_receiver_received_items_total" => counts.received += value,
            "sluicebox_pipeline_dropped_items_total" if value > 0 => {
                let stage = label(labels, "stage").unwrap_or_default();
                let rule = label(labels, "rule").filter(|rule| !rule.is_empty());
                let reason = rule.or_else(|| label(labels, "reason")).unwrap_or_default();
                *counts.dropped.entry(format!("{stage}: {reason}")).or_default() += value;
            }
            _ => {}
        }
    }
    counts
}

/// A label's value, unescaped.
fn label(labels: &str, key: &str) -> Option<String> {
    let start = format!("{key}=\"");
    let at = labels.match_indices(&start).find(|(at, _)| *at == 0 || labels[..*at].ends_with(','))?.0;
    let mut value = String::new();
    let mut chars = labels[at + start.len()..].chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
}

/// The table as lines; rates are over `since` the table before.
pub(super) fn table(now: &Table, before: &Table, since: Duration) -> Vec<String> {
    let mut lines = vec![format!("{:<12} {:>10} {:>12} {:>12} {:>12}", "", "in per s", "in", "dropped", "at backend")];
    for ((signal, now), before) in Signal::ALL.into_iter().zip(now).zip(before) {
        let rate = (now.received.saturating_sub(before.received)) as f64 / since.as_secs_f64().max(0.001);
        let dropped: u64 = now.dropped.values().sum();
        lines.push(format!(
            "{:<12} {rate:>10.0} {:>12} {:>12} {:>12}",
            signal.items(),
            grouped(now.received),
            grouped(dropped),
            grouped(now.arrived)
        ));
    }
    let drops = now.iter().flat_map(|counts| &counts.dropped);
    lines.extend(drops.map(|(rule, count)| format!("  {:>10} dropped by {rule}", grouped(*count))));
    lines
}

/// The same as one line, for logs.
pub(super) fn line(now: &Table, elapsed: Duration) -> String {
    let signals: Vec<_> = Signal::ALL
        .into_iter()
        .zip(now)
        .map(|(signal, counts)| {
            let drops: Vec<_> =
                counts.dropped.iter().map(|(rule, count)| format!(", {} dropped by {rule}", grouped(*count))).collect();
            format!(
                "{}: {} in{}, {} at the backend",
                signal.items(),
                grouped(counts.received),
                drops.concat(),
                grouped(counts.arrived)
            )
        })
        .collect();
    format!("{:>4.0}s  {}", elapsed.as_secs_f64(), signals.join(" | "))
}

/// Draws over what was drawn before.
pub(super) fn redraw(out: &mut dyn Write, lines: &[String], drawn: &mut usize) -> Result<()> {
    if *drawn > 0 {
        // ECMA-48: cursor up, erase to the end of the screen.
        write!(out, "\x1b[{drawn}A\x1b[J")?;
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    *drawn = lines.len();
    Ok(out.flush()?)
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Metrics;

    #[test]
    fn counts_come_from_the_engines_own_text() {
        let metrics = Metrics::new();
        metrics.receiver("otlp", Signal::Traces).received.inc_by(1200);
        metrics.receiver("otlp", Signal::Logs).received.inc_by(5);
        let rule = "attributes[\"http.route\"] == \"/health\"";
        metrics.dropped("traces", Signal::Traces, "filter/health", rule, "rule", true).inc_by(200);
        let counts = counts(&metrics.text(), Signal::Traces, 1000);
        let name = format!("filter/health: {rule}");
        assert_eq!(counts, Counts { received: 1200, dropped: BTreeMap::from([(name, 200)]), arrived: 1000 });
        let text = line(&[counts, Counts::default(), Counts::default()], Duration::from_secs(5));
        assert!(text.starts_with("   5s  spans: 1,200 in, 200 dropped by filter/health: attributes"), "{text}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
