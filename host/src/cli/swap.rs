//! `sluicebox swap`: a thin call of the admin API.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::admin::SwapRequest;
use crate::cli::call::{post, print_swapped, wait};
use crate::cli::live::Live;
use crate::cli::operate::operate;
use crate::cli::{complain, exit};
use crate::config;

/// Arguments of `swap`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox swap wasm/mine build/mine.wasm\n  sluicebox swap filter/health --config new-rules.yaml --write"
)]
pub struct SwapArgs {
    /// The stage, as in the file: filter/health.
    stage: String,
    /// The new component; the serving one is kept if this is not given.
    component: Option<PathBuf>,
    /// The stage's new configuration (its block alone, YAML or JSON); the serving one is kept if this is not given.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Have the engine write it into its configuration file, too. Only the stage's block changes there; where that is not safe,
    /// nothing is swapped.
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    live: Live,
}

/// Swaps and prints the old and the new generation; exit 6 if the old one still serves.
pub fn run(args: &SwapArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if args.component.is_none() && args.config.is_none() {
        bail!("nothing to swap: name a component, --config FILE, or both");
    }
    wait(swap(args, out))
}

async fn swap(args: &SwapArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let config = match args.config.as_deref().map(config::read_value).transpose() {
        Ok(config) => config,
        Err(report) => {
            complain(&report.to_string());
            return Ok(ExitCode::from(exit::CONFIG));
        }
    };
    let mut request = SwapRequest { stage: args.stage.clone(), config, write: args.write, ..SwapRequest::default() };
    if args.write {
        let absolute = |path: &PathBuf| std::path::absolute(path).with_context(|| path.display().to_string());
        request.path = args.component.as_ref().map(absolute).transpose()?;
        request.text = args.config.as_deref().map(read_text).transpose()?;
    }
    if let Some(path) = &args.component {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        match post(&args.live.admin, "/v1/components", "application/wasm", bytes).await?.of_change() {
            Ok(answer) => request.digest = answer.get("digest").and_then(Value::as_str).map(str::to_owned),
            Err(code) => return Ok(code),
        }
    }
    let answer = match operate(&args.live.admin, "/v1/swap", &request).await?.of_change() {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    let for_people = |answer: &Value, out: &mut dyn Write| {
        print_swapped(answer, out)?;
        if answer.get("drained") != Some(&Value::Bool(true)) {
            writeln!(out, "the old generation still has a batch; it ends with it")?;
        }
        writeln!(out, "undo: sluicebox rollback {}", args.stage)
    };
    args.live.print(&answer, out, for_people).map(|()| ExitCode::SUCCESS)
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
