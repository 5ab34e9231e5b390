//! `sluicebox tap`: what a stage is shown and what it makes of it, as it happens.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use http::{Method, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use serde_json::{Value, json};

use crate::cli::call::{Admin, Answered, Opened, open, request, wait};
use crate::cli::tap::view::View;
use crate::cli::{complain, exit};
use crate::tap::{TapOnly, TapPoint, TapRequest};

mod save;
mod view;

/// Longest line: a record is at most a request, which JSON makes a few times larger.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Of matches that are kept, to be printed as one document or saved.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// Arguments of `tap`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Telemetry is shown only as far as `admin.data_access` in the engine's file allows: off, redacted (behind the last stage that edits) or full.

Examples:
  sluicebox tap filter/health --only dropped
  sluicebox tap redaction --where 'span.attributes[\"http.route\"] == \"/login\"' --limit 5
  sluicebox tap redaction --only changed --save case.json && sluicebox try redaction --input case.json
  sluicebox tap tail_sampling --only dropped --for 2m --output ndjson | jq .match.rule")]
pub struct TapArgs {
    /// A stage, or a tail_sampling processor: then traces are shown as they are decided.
    stage: String,
    /// Show what the stage is shown.
    #[arg(long, conflicts_with_all = ["after", "diff"])]
    before: bool,
    /// Show what the stage leaves.
    #[arg(long, conflicts_with = "diff")]
    after: bool,
    /// Show both, and what is different; the default.
    #[arg(long)]
    diff: bool,
    /// Show only what this became of.
    #[arg(long, value_enum, value_name = "FATE")]
    only: Option<Only>,
    /// Show only records that this is true of: an OTTL condition as in the filter processor.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Only in this pipeline.
    #[arg(long)]
    pipeline: Option<String>,
    /// Only traces, metrics or logs.
    #[arg(long)]
    signal: Option<String>,
    /// End after so many matches.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Show a sample where there are more matches than this in a second; the first is always shown.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 10)]
    rate: u32,
    /// End after so long, such as 30s or 5m.
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = seconds)]
    duration: u32,
    /// Write what was shown to a file that only you can read: a test case for `try`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["before", "after"])]
    save: Option<PathBuf>,
    /// Let --save replace a file that is there.
    #[arg(long, requires = "save")]
    force: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    admin: Admin,
}

/// `--only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    /// The stage dropped it, or voted to.
    Dropped,
    /// It goes on with other values.
    Changed,
    /// The stage failed on it.
    Faulted,
}

/// `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people, as it comes.
    #[default]
    Human,
    /// One JSON document at the end.
    Json,
    /// The lines of the admin API, as they come.
    Ndjson,
}

/// What has come so far.
#[derive(Default)]
struct Come {
    tap: Value,
    /// Kept where they are needed at the end.
    matches: Vec<Value>,
    kept_bytes: usize,
    end: Option<Value>,
}

/// Shows it until it ends; exit 1 where the engine ends it before its time.
pub fn run(args: &TapArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if let Some(file) = args.save.as_ref().filter(|file| !args.force && file.exists()) {
        complain(&format!(
            "error[E0541]: {} is there already\n  help:   name another file, or use --force",
            file.display()
        ));
        return Ok(ExitCode::from(exit::FAILED));
    }
    let come = match wait(follow(args, out))? {
        Ok(come) => come,
        Err(code) => return Ok(code),
    };
    if args.output == Form::Json {
        writeln!(out, "{:#}", json!({ "tap": come.tap, "matches": come.matches, "end": come.end }))?;
    }
    if let Some(file) = &args.save {
        save::save(file, args.force, &args.stage, &come.matches)?;
    }
    let reason = come.end.as_ref().and_then(|end| end.get("end")?.as_str());
    let is_as_asked = matches!(reason, Some("limit" | "time" | "hung_up") | None);
    Ok(if is_as_asked { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

/// Reads the stream to its end, or until it is interrupted.
async fn follow(args: &TapArgs, out: &mut dyn Write) -> anyhow::Result<Result<Come, ExitCode>> {
    let body = serde_json::to_vec(&args.request())?;
    let request = request(Method::POST, "/v1/taps").header(header::CONTENT_TYPE, "application/json");
    let response = match open(&args.admin, request.body(Full::new(Bytes::from(body)))?).await? {
        Opened::Yes(response) => response,
        Opened::No(Answered::Unreachable) => return Ok(Err(ExitCode::from(exit::UNREACHABLE))),
        Opened::No(_) => return Ok(Err(ExitCode::from(exit::FAILED))),
    };
    let mut lines = Lines { body: response.into_body(), text: Vec::new() };
    let (mut come, mut view) = (Come::default(), View::new());
    let keeps = args.save.is_some() || args.output == Form::Json;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            _ = &mut interrupted => None,
        };
        let Some(line) = line else { break };
        match args.output {
            Form::Ndjson => out.write_all(&line)?,
            Form::Human => view.show(&serde_json::from_slice(&line).context("the engine's line is not JSON")?, out)?,
            Form::Json => {}
        }
        out.flush()?;
        if !come.take(&line, keeps)? {
            complain("error[E0542]: more was shown than can be kept; the rest is left out");
            break;
        }
    }
    Ok(Ok(come))
}

impl TapArgs {
    fn request(&self) -> TapRequest {
        TapRequest {
            stage: self.stage.clone(),
            pipeline: self.pipeline.clone(),
            point: match (self.before, self.after) {
                (true, _) => TapPoint::Before,
                (_, true) => TapPoint::After,
                (false, false) => TapPoint::Diff,
            },
            only: self.only.map(|only| match only {
                Only::Dropped => TapOnly::Dropped,
                Only::Changed => TapOnly::Changed,
                Only::Faulted => TapOnly::Faulted,
            }),
            condition: self.condition.clone(),
            signal: self.signal.clone(),
            limit: self.limit,
            rate_per_second: self.rate,
            seconds: self.duration,
            requests: self.save.is_some(),
        }
    }
}

impl Come {
    /// Remembers a line; false where there is no room for it.
    fn take(&mut self, line: &[u8], keeps: bool) -> anyhow::Result<bool> {
        let mut said: Value = serde_json::from_slice(line).context("the engine's line is not JSON")?;
        if let Some(found) = said.get_mut("match") {
            if keeps {
                self.kept_bytes = self.kept_bytes.saturating_add(line.len());
                self.matches.push(found.take());
            }
        } else if let Some(tap) = said.get_mut("tap") {
            self.tap = tap.take();
        } else if said.get("end").is_some() {
            self.end = Some(said);
        }
        Ok(self.kept_bytes <= KEPT_BYTES_MAX)
    }
}

/// Lines of a body, each with its line feed.
struct Lines {
    body: Incoming,
    text: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let rest = self.text.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.text, rest)));
            }
            anyhow::ensure!(self.text.len() <= LINE_BYTES_MAX, "the engine's line is too long");
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.context("the engine's answer broke off")?;
            if let Ok(data) = frame.into_data() {
                self.text.extend_from_slice(&data);
            }
        }
    }
}

/// A duration, as the whole seconds that the API takes.
fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "s" | "" => 1,
        "m" => 60,
        _ => return Err("write 30s or 5m".to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| "write 30s or 5m".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "that is too long".to_owned())
}
