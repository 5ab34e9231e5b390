//! `sluicebox pause` and `sluicebox resume`: a stage that is not called for a while.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::admin::{PauseRequest, ResumeRequest};
use crate::cli::call::{post_json, printable, wait};
use crate::cli::live::Live;
use crate::cli::table::{list, text};
use crate::config::duration;

/// Arguments of `pause`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  sluicebox pause filter/health --for 10m\n  sluicebox resume filter/health")]
pub struct PauseArgs {
    /// The stage, as in the file: filter/health.
    stage: String,
    /// Resume it by itself after this time, such as 90s or 10m; without it, it stays paused until it is resumed.
    #[arg(long = "for", value_name = "TIME", value_parser = whole_seconds)]
    length: Option<u64>,
    /// Also a stage that edits and has `on_fault: pass`: what it would have removed goes out.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    live: Live,
}

/// Arguments of `resume`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  sluicebox resume filter/health")]
pub struct ResumeArgs {
    /// The stage, as in the file: filter/health.
    stage: String,
    #[command(flatten)]
    live: Live,
}

/// Pauses, and says what that does.
pub fn pause(args: &PauseArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let request = PauseRequest { stage: args.stage.clone(), seconds: args.length, force: args.force };
    match wait(post_json(&args.live.admin, "/v1/pause", &request))?.of_question() {
        Ok(paused) => args.live.print(&paused, out, |paused, out| paused_for_people(paused, out))?,
        Err(code) => return Ok(code),
    }
    Ok(ExitCode::SUCCESS)
}

/// Resumes.
pub fn resume(args: &ResumeArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let request = ResumeRequest { stage: args.stage.clone() };
    match wait(post_json(&args.live.admin, "/v1/resume", &request))?.of_question() {
        Ok(resumed) => args.live.print(&resumed, out, |resumed, out| {
            let was_paused = resumed.get("was_paused") == Some(&Value::Bool(true));
            let said = if was_paused { "is called again" } else { "was not paused" };
            writeln!(out, "{}: {said}", text(resumed, "stage"))
        })?,
        Err(code) => return Ok(code),
    }
    Ok(ExitCode::SUCCESS)
}

fn paused_for_people(paused: &Value, out: &mut dyn Write) -> io::Result<()> {
    let stage = text(paused, "stage");
    let pipelines: Vec<_> = list(paused, "pipelines").iter().filter_map(Value::as_str).collect();
    writeln!(out, "{stage}: paused in {}", printable(&pipelines.join(", ")))?;
    writeln!(out, "{}", text(paused, "effect"))?;
    match paused.get("until_unix").and_then(Value::as_u64) {
        Some(until) => writeln!(out, "until {}", crate::cli::generations::date(until))?,
        None => writeln!(out, "until it is resumed")?,
    }
    writeln!(out, "undo: sluicebox resume {stage}")
}

fn whole_seconds(text: &str) -> Result<u64, String> {
    duration::parse(text).map(|length| length.as_secs()).map_err(|error| format!("it {}", error.what()))
}
