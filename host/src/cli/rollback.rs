//! `sluicebox rollback`: a thin call of the admin API.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use crate::admin::RollbackRequest;
use crate::cli::call::{Admin, post_json, print_swapped, wait};

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
    admin: Admin,
}

/// Returns to an earlier generation and prints it; exit 6 if what served still serves.
pub fn run(args: &RollbackArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let request = RollbackRequest { stage: args.stage.clone(), to: args.to };
    match wait(post_json(&args.admin, "/v1/rollback", &request))?.of_change() {
        Ok(answer) => print_swapped(&answer, out).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Err(code) => Ok(code),
    }
}
