//! `sluicebox rollback`: a thin call of the admin API.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use crate::admin::RollbackRequest;
use crate::cli::call::{post_json, print_swapped, wait};
use crate::cli::live::Live;

/// Arguments of `rollback`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  sluicebox rollback filter/health\n  sluicebox rollback filter/health --to 3")]
pub struct RollbackArgs {
    /// The stage, as in the file: filter/health.
    stage: String,
    /// The generation to return to; the one that served before if this is not given. `sluicebox generations` lists them.
    #[arg(long, value_name = "GENERATION")]
    to: Option<u64>,
    #[command(flatten)]
    live: Live,
}

/// Returns to an earlier generation and prints it; exit 6 if what served still serves.
pub fn run(args: &RollbackArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let request = RollbackRequest { stage: args.stage.clone(), to: args.to };
    match wait(post_json(&args.live.admin, "/v1/rollback", &request))?.of_change() {
        Ok(answer) => args.live.print(&answer, out, print_swapped).map(|()| ExitCode::SUCCESS),
        Err(code) => Ok(code),
    }
}
