//! `sluicebox shadow`: compares a candidate with what serves, and changes nothing.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::admin::ShadowRequest;
use crate::cli::call::{Admin, wait};
use crate::cli::operate::operate;
use crate::cli::output::Output;
use crate::cli::trial::{percent, print_trial, read_config, time, upload};
use crate::control::trials::ShadowReport;

/// Arguments of `shadow`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox shadow filter/health --config new-rules.yaml --for 2m\n  sluicebox shadow wasm/mine build/mine.wasm --percent 50% --for 30s"
)]
pub struct ShadowArgs {
    /// The stage, as in the file: filter/health.
    stage: String,
    /// The candidate's component; the serving one if this is not given.
    component: Option<PathBuf>,
    /// The candidate's configuration (its block alone, YAML or JSON); the serving one if this is not given.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The share of what comes in that it sees.
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    percent: f64,
    /// For how long.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = time)]
    lasts: String,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    admin: Admin,
}

/// Compares for as long as is asked for and prints what was found; exit 6 if the candidate is worse, or the shadow did not come to its end.
pub fn run(args: &ShadowArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if args.component.is_none() && args.config.is_none() {
        bail!("nothing to compare: name a component, --config FILE, or both");
    }
    wait(shadow(args, out))
}

async fn shadow(args: &ShadowArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let config = match read_config(args.config.as_deref()) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let digest = match upload(&args.admin, args.component.as_ref()).await? {
        Ok(digest) => digest,
        Err(code) => return Ok(code),
    };
    let (stage, lasts) = (args.stage.clone(), Some(args.lasts.clone()));
    let request = ShadowRequest { stage, digest, config, percent: Some(args.percent), lasts };
    let answer = match operate(&args.admin, "/v1/shadow", &request).await?.of_change() {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    let report: ShadowReport = serde_json::from_value(answer.clone()).context("the engine's answer cannot be read")?;
    match args.output {
        Output::Json => writeln!(out, "{answer:#}")?,
        Output::Human => {
            print_trial(&report.shadow, out)?;
            writeln!(out, "nothing was changed: what served serves")?;
        }
    }
    let is_worse = !report.shadow.findings.is_empty();
    Ok(if is_worse { ExitCode::from(crate::cli::exit::SWAP_REFUSED) } else { ExitCode::SUCCESS })
}
