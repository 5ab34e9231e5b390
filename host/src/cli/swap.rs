//! `sluicebox swap`: a thin call of the admin API.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::admin::SwapRequest;
use crate::cli::call::{print_swapped, printable, wait};
use crate::cli::exit;
use crate::cli::live::Live;
use crate::cli::operate::operate;
use crate::cli::trial::{CareArgs, print_trials, read_config, upload};

/// Arguments of `swap`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox swap wasm/mine build/mine.wasm\n  sluicebox swap filter/health --config new-rules.yaml --write\n  \
                  sluicebox swap redaction/pii --config stricter.yaml --shadow 10m --canary 5% --hold 2m\n  \
                  sluicebox swap wasm/mine build/mine.wasm --dry-run"
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
    care: CareArgs,
    /// Build and probe it, print what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
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
    let config = match read_config(args.config.as_deref()) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let (stage, write, care) = (args.stage.clone(), args.write, args.care.request());
    let mut request = SwapRequest { stage, config, write, care, ..SwapRequest::default() };
    if args.write {
        let absolute = |path: &PathBuf| std::path::absolute(path).with_context(|| path.display().to_string());
        request.path = args.component.as_ref().map(absolute).transpose()?;
        request.text = args.config.as_deref().map(read_text).transpose()?;
    }
    let admin = &args.live.admin;
    request.digest = match upload(admin, args.component.as_ref()).await? {
        Ok(digest) => digest,
        Err(code) => return Ok(code),
    };
    let path = if args.dry_run { "/v1/swap?dry_run=true" } else { "/v1/swap" };
    let answer = match operate(admin, path, &request).await?.of_change() {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    if args.dry_run {
        args.live.print(&answer, out, print_plan)?;
        return Ok(if is(&answer, "is_refused") { ExitCode::from(exit::SWAP_REFUSED) } else { ExitCode::SUCCESS });
    }
    let for_people = |answer: &Value, out: &mut dyn Write| {
        if args.care.takes_time() {
            print_trials(answer.get("trials"), out)?;
        }
        print_swapped(answer, out)?;
        for overruled in answer.get("overruled").and_then(Value::as_array).into_iter().flatten() {
            writeln!(out, "forced, although: {}", printable(overruled.as_str().unwrap_or_default()))?;
        }
        if answer.get("drained") != Some(&Value::Bool(true)) {
            writeln!(out, "the old generation still has a batch; it ends with it")?;
        }
        writeln!(out, "undo: sluicebox rollback {}", args.stage)
    };
    args.live.print(&answer, out, for_people).map(|()| ExitCode::SUCCESS)
}

/// What would be done, or why it would be refused.
fn print_plan(plan: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let digest = |which: &str| {
        let version = plan.get(which);
        let of = |key: &str| version.and_then(|version| version.get(key));
        let digest = of("digest").and_then(Value::as_str).unwrap_or_default();
        let number = of("generation").and_then(Value::as_u64).unwrap_or_default();
        format!("generation {number} sha256:{}", printable(digest.get(..12).unwrap_or(digest)))
    };
    let changes = [("component", is(plan, "component_changes")), ("configuration", is(plan, "config_changes"))];
    let changes: Vec<_> = changes.iter().filter(|(_, changes)| *changes).map(|(what, _)| *what).collect();
    let changes = if changes.is_empty() { "nothing: new instances of the same".to_owned() } else { changes.join(", ") };
    let steps: Vec<_> = plan.get("steps").and_then(Value::as_array).into_iter().flatten().collect();
    let steps = steps.iter().filter_map(|step| step.as_str()).collect::<Vec<_>>().join(" -> ");
    writeln!(out, "plan: {} -> {}\nchanges: {changes}", digest("serving"), digest("candidate"))?;
    print_trials(plan.get("probe").map(|probe| Value::from(vec![probe.clone()])).as_ref(), out)?;
    if is(plan, "is_refused") {
        let probe = plan.get("probe").and_then(|probe| probe.get("findings")).and_then(Value::as_array);
        for finding in probe.into_iter().flatten() {
            writeln!(out, "refused at probe: {}", printable(finding.as_str().unwrap_or_default()))?;
        }
        return writeln!(out, "nothing was changed");
    }
    writeln!(out, "then: {steps}\nnothing was changed: it was built, configured and probed, and given up")
}

fn is(answer: &Value, key: &str) -> bool {
    answer.get(key) == Some(&Value::Bool(true))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
