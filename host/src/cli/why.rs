//! `sluicebox why`: what a running engine's tail samplers know of a trace.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::admin::traces;
use crate::cli::call::printable;
use crate::cli::live::Live;
use crate::cli::output::Output;
use crate::cli::{complain, exit};

/// Arguments of `why`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox why 4bf92f3577b34da6a3ce929d0e0e4736\n  sluicebox why 4bf92f3577b34da6a3ce929d0e0e4736 --output json"
)]
pub struct WhyArgs {
    /// The trace's id: 32 hex digits.
    #[arg(value_parser = traces::trace_id)]
    trace_id: [u8; 16],
    /// As it was written before `--output json`.
    #[arg(long, hide = true)]
    json: bool,
    #[command(flatten)]
    live: Live,
}

/// What the admin API answers.
#[derive(Debug, Deserialize)]
struct Answer {
    trace_id: String,
    samplers: Vec<Known>,
}

/// What one tail sampler knows (`tail::explain::Explanation`).
#[derive(Debug, Deserialize)]
struct Known {
    sampler: String,
    state: String,
    policy: Option<String>,
    generation: Option<u64>,
    trigger: Option<String>,
    probability: Option<f64>,
    decided_unix_nano: Option<u64>,
    arrived_unix_nano: Option<u64>,
    spans: Option<u64>,
    late_spans: Option<u64>,
    due_unix_nano: Option<u64>,
}

/// Asks and prints; exit 1 if no tail sampler knows the trace.
pub fn run(args: &WhyArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let id = u128::from_be_bytes(args.trace_id);
    let answer = match args.live.ask(&format!("/v1/traces/{id:032x}"))? {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    let is_json = args.json || args.live.output == Output::Json;
    let known = if is_json { as_json(&answer, out)? } else { for_people(answer, out)? };
    Ok(if known { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn as_json(answer: &Value, out: &mut dyn Write) -> io::Result<bool> {
    writeln!(out, "{answer:#}")?;
    let samplers = answer.get("samplers").and_then(Value::as_array);
    Ok(samplers.is_some_and(|samplers| !samplers.is_empty()))
}

fn for_people(answer: Value, out: &mut dyn Write) -> anyhow::Result<bool> {
    let answer: Answer = serde_json::from_value(answer).context("the engine's answer is not of this version")?;
    if answer.samplers.is_empty() {
        complain(&format!(
            "error[E0508]: no tail sampler knows trace {}\n  help:   it never arrived, or its decision is forgotten: \
             \"decision_cache\" and \"num_traces\" say how many are remembered",
            answer.trace_id
        ));
        return Ok(false);
    }
    writeln!(out, "trace {}", answer.trace_id)?;
    for known in &answer.samplers {
        writeln!(out, "\n{}: {}", printable(&known.sampler), known.state())?;
        for (what, value) in known.lines() {
            writeln!(out, "  {what:<12} {value}")?;
        }
    }
    Ok(true)
}

impl Known {
    fn is_waiting(&self) -> bool {
        self.state == "waiting"
    }

    fn state(&self) -> String {
        if self.is_waiting() { "waiting for its decision".to_owned() } else { printable(&self.state) }
    }

    fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let policy = match (&self.policy, self.generation) {
            (Some(policy), Some(generation)) => Some(format!("{}, generation {generation}", printable(policy))),
            (Some(policy), None) => Some(printable(policy)),
            // Of old decisions nothing but the outcome is remembered.
            (None, _) => self.trigger.as_ref().map(|_| "none: no policy said anything".to_owned()),
        };
        let time = |nanos: Option<u64>| nanos.map(|nanos| self.time(nanos));
        [
            ("policy", policy),
            ("trigger", self.trigger.as_deref().map(printable)),
            ("probability", self.probability.map(short)),
            ("arrived", self.arrived_unix_nano.map(date)),
            ("due", time(self.due_unix_nano).map(|time| format!("{time} at the latest"))),
            ("decided", time(self.decided_unix_nano)),
            ("spans", self.spans.map(|spans| spans.to_string())),
            ("late spans", self.late_spans.filter(|&spans| spans > 0).map(|spans| spans.to_string())),
        ]
        .into_iter()
        .filter_map(|(what, value)| Some((what, value?)))
    }

    /// A time, and how long after the trace's arrival it is.
    fn time(&self, nanos: u64) -> String {
        match self.arrived_unix_nano.and_then(|arrived| nanos.checked_sub(arrived)) {
            Some(waited) => format!("{}, {:?} later", date(nanos), Duration::from_millis(waited / 1_000_000)),
            None => date(nanos),
        }
    }
}

/// Nanoseconds since 1970 reach to the year 2554.
fn date(unix_nano: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH.checked_add(Duration::from_nanos(unix_nano)).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// A probability comes from 56 bits: more digits than anybody wrote.
fn short(probability: f64) -> String {
    let rounded = (probability * 1e6).round() / 1e6;
    if rounded > 0.0 || probability <= 0.0 { rounded.to_string() } else { format!("{probability:.3e}") }
}
