//! `sluicebox status`: what runs, and how it fares.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::live::Live;
use crate::cli::table::{self, bytes, count, duration, list, number, text};
use crate::view::draw;

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  sluicebox status\n  sluicebox status --window 1m --output json")]
pub struct StatusArgs {
    /// Of which time rates are: 1s to 5m.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    window: String,
    #[command(flatten)]
    live: Live,
}

/// Asks and prints.
pub fn run(args: &StatusArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    args.live.show(&format!("/v1/status?window={}", percent(&args.window)), out, for_people)
}

/// A text within a query.
pub fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn for_people(status: &Value, out: &mut dyn Write) -> io::Result<()> {
    let ready = if status.get("ready") == Some(&Value::Bool(true)) { "ready" } else { "not ready" };
    let up = duration(count(status, "/uptime_seconds"));
    writeln!(out, "sluicebox {}, {}, {ready}, up {up}", text(status, "version"), text(status, "phase"))?;
    let memory = |key| bytes(count(status, &format!("/memory/{key}_bytes")));
    writeln!(out, "memory {} of {}, at most {} so far", memory("used"), memory("limit"), memory("high_water"))?;
    writeln!(out, "data access {}", text(status, "data_access"))?;
    writeln!(out, "\npipelines, in the last {:.1} s", number(status, "/window_seconds"))?;
    let rows: Vec<_> = list(status, "pipelines").iter().map(pipeline).collect();
    let headings = ["pipeline", "state", "in/s", "out/s", "dropped/s", "not intended/s", "inside"];
    table::print(&[vec![headings.map(str::to_owned)], rows].concat(), out)?;
    writeln!(out, "\nstages")?;
    let rows: Vec<_> = list(status, "stages").iter().map(stage).collect();
    let headings = ["stage", "state", "generation", "component", ""];
    table::print(&[vec![headings.map(str::to_owned)], rows].concat(), out)?;
    let operations = list(status, "operations");
    if !operations.is_empty() {
        writeln!(out, "\noperations")?;
        let row = |operation: &Value| {
            [
                count(operation, "/id").to_string(),
                text(operation, "kind"),
                text(operation, "stage"),
                text(operation, "who"),
            ]
        };
        table::print(&operations.iter().map(row).collect::<Vec<_>>(), out)?;
    }
    Ok(())
}

fn pipeline(pipeline: &Value) -> [String; 7] {
    let per_second = |key: &str| draw::number(number(pipeline, &format!("/{key}/per_second")));
    let is_ready = pipeline.get("ready") == Some(&Value::Bool(true));
    [
        text(pipeline, "pipeline"),
        if is_ready { "ready" } else { "not ready" }.to_owned(),
        per_second("items_in"),
        per_second("items_out"),
        per_second("dropped_intended"),
        per_second("dropped_unintended"),
        format!("{:.0}", number(pipeline, "/held").max(0.0)),
    ]
}

fn stage(stage: &Value) -> [String; 5] {
    let health = stage.get("health").cloned().unwrap_or_default();
    let digest = stage.pointer("/serving/digest").and_then(Value::as_str).unwrap_or_default();
    let drifted = stage.get("drifted") == Some(&Value::Bool(true));
    let reason = text(&health, "reason");
    let notes = [(drifted, "the file says otherwise".to_owned()), (!reason.is_empty(), reason.clone())];
    let notes: Vec<_> = notes.into_iter().filter_map(|(is, note)| is.then_some(note)).collect();
    [
        text(stage, "stage"),
        text(&health, "state"),
        count(stage, "/serving/generation").to_string(),
        format!("sha256:{}", digest.get(..12).unwrap_or(digest)),
        notes.join("; "),
    ]
}
