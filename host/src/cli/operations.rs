//! `sluicebox operations`: what takes long in a running engine, followed and cancelled.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;

use crate::cli::call::{Admin, delete, get, printable, tell, wait};
use crate::cli::exit;
use crate::cli::generations::date;
use crate::cli::operate::{Followed, follow, state_name};
use crate::cli::output::Output;
use crate::control::operations::{OperationState, Progress};

/// Arguments of `operations`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox operations\n  sluicebox operations 7 --watch\n  sluicebox operations 7 --cancel"
)]
pub struct OperationsArgs {
    /// This one alone.
    id: Option<u64>,
    /// Follow it to its end; exit 6 if it fails or is cancelled.
    #[arg(long, requires = "id", conflicts_with = "cancel")]
    watch: bool,
    /// Have it end: what served before serves.
    #[arg(long, requires = "id")]
    cancel: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, Deserialize)]
struct Answer {
    operations: Vec<Progress>,
}

/// Lists, follows or cancels.
pub fn run(args: &OperationsArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match args.id {
        Some(id) if args.watch => watch(args, id, out),
        Some(id) => one(args, id, out),
        None => list(args, out),
    }
}

fn list(args: &OperationsArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let answer = match wait(get(&args.admin, "/v1/operations"))?.of_question() {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    if args.output == Output::Json {
        writeln!(out, "{answer:#}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let Answer { operations } = serde_json::from_value(answer).context("the engine's answer is not of this version")?;
    if operations.is_empty() {
        writeln!(out, "nothing is under way, and nothing was")?;
    }
    operations.iter().try_for_each(|progress| writeln!(out, "{}", line(progress)))?;
    Ok(ExitCode::SUCCESS)
}

fn one(args: &OperationsArgs, id: u64, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/operations/{id}");
    let asked = async { if args.cancel { delete(&args.admin, &path).await } else { get(&args.admin, &path).await } };
    let answer = match wait(asked)?.of_question() {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    let progress: Progress =
        serde_json::from_value(answer.clone()).context("the engine's answer is not of this version")?;
    match args.output {
        Output::Json => writeln!(out, "{answer:#}")?,
        Output::Human => whole(&progress, out)?,
    }
    // Too late: it had ended otherwise.
    let is_late = args.cancel && matches!(progress.state, OperationState::Succeeded | OperationState::Failed);
    Ok(if is_late { ExitCode::from(exit::FAILED) } else { ExitCode::SUCCESS })
}

fn watch(args: &OperationsArgs, id: u64, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut written = Ok(());
    let mut shown = 0;
    let mut told = |progress: &Progress| {
        written = std::mem::replace(&mut written, Ok(())).and_then(|()| match args.output {
            Output::Json => writeln!(out, "{}", serde_json::to_string(progress).unwrap_or_default()),
            Output::Human => {
                let new = progress.steps.iter().skip(shown);
                shown = progress.steps.len();
                new.clone().try_for_each(|step| writeln!(out, "  {}", printable(&step.step)))
            }
        });
    };
    let followed = wait(follow(&args.admin, id, &mut told))?;
    written?;
    let Followed::Ended(progress) = followed else { return Ok(ExitCode::from(exit::UNREACHABLE)) };
    if args.output == Output::Human {
        writeln!(out, "{}", line(&progress))?;
        if progress.state != OperationState::Succeeded
            && let Some(refusal) = progress.result.and_then(|result| serde_json::from_value(result).ok())
        {
            tell(&refusal);
        }
    }
    let is_done = progress.state == OperationState::Succeeded;
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::from(exit::SWAP_REFUSED) })
}

fn whole(progress: &Progress, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", line(progress))?;
    for step in &progress.steps {
        writeln!(out, "  {}  {}", date(step.began_unix), printable(&step.step))?;
    }
    if !progress.numbers.is_null() {
        writeln!(out, "  {}", progress.numbers)?;
    }
    Ok(())
}

/// `7  swap of filter/health  running: build  by api (root)  since ...`.
fn line(progress: &Progress) -> String {
    let Progress { id, kind, stage, who, began_unix, state, steps, .. } = progress;
    let of = stage.as_ref().map_or_else(String::new, |stage| format!(" of {stage}"));
    let step = steps.last().filter(|_| *state == OperationState::Running);
    let step = step.map_or_else(String::new, |step| format!(": {}", step.step));
    let (state, since) = (state_name(*state), date(*began_unix));
    printable(&format!("{id}  {kind}{of}  {state}{step}  by {who}  since {since}"))
}
