//! `sluicebox drain`: a running engine finishes what it has, and ends.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use crate::cli::call::{Admin, post_json, wait};
use crate::cli::exit;
use crate::cli::operate::{Followed, follow};
use crate::cli::output::Output;
use crate::cli::transport::connect;
use crate::control::operations::Progress;
use crate::control::{Drained, Left};

/// How long the process may stay after it said that it ends.
const GONE_MAX: Duration = Duration::from_secs(10);
const GONE_POLL: Duration = Duration::from_millis(20);

/// Arguments of `drain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  sluicebox drain && echo it is gone")]
pub struct DrainArgs {
    /// How to print what was left.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    admin: Admin,
}

/// Has the engine stop as SIGTERM does, and waits until it is gone; exit 1 if it could not send all that it had.
pub fn run(args: &DrainArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    wait(drain(args, out))
}

async fn drain(args: &DrainArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let begun = match post_json(&args.admin, "/v1/drain", &json!({})).await?.of_question() {
        Ok(begun) => begun,
        Err(code) => return Ok(code),
    };
    let begun: Progress = serde_json::from_value(begun).context("the engine's answer is no operation")?;
    let mut left = None;
    let mut told = |progress: &Progress| {
        let told = serde_json::from_value::<Left>(progress.numbers.clone()).ok();
        left = left.or(told);
    };
    let followed = follow(&args.admin, begun.id, &mut told).await?;
    until_gone(&args.admin).await;
    let drained = match followed {
        Followed::Ended(progress) => serde_json::from_value::<Drained>(progress.result.unwrap_or_default()).ok(),
        Followed::Lost => None,
    };
    let Some(drained) = drained else {
        anyhow::bail!("the engine ended without saying what it had left");
    };
    match args.output {
        Output::Json => writeln!(out, "{:#}", json!({ "left": left, "drained": drained }))?,
        Output::Human => for_people(left, drained, out)?,
    }
    Ok(if drained.dropped_items == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

fn for_people(left: Option<Left>, drained: Drained, out: &mut dyn Write) -> std::io::Result<()> {
    if let Some(Left { held_items, queued_items }) = left {
        writeln!(out, "when it began: {held_items} items in pipelines, {queued_items} in queues")?;
    }
    match drained.dropped_items {
        0 => writeln!(out, "the engine is gone; nothing was left"),
        items => writeln!(out, "the engine is gone; {items} items could not be sent in time and are lost"),
    }
}

async fn until_gone(admin: &Admin) {
    let gone = async {
        while connect(admin).await.is_ok() {
            tokio::time::sleep(GONE_POLL).await;
        }
    };
    // It may be slow to end; what it had is told anyhow.
    let _late = tokio::time::timeout(GONE_MAX, gone).await;
}
