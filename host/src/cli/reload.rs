//! `sluicebox reload`: a thin call of the admin API.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use http::StatusCode;
use serde_json::Value;

use crate::admin::ReloadRequest;
use crate::cli::call::{Answered, print_swapped, wait};
use crate::cli::exit;
use crate::cli::live::Live;
use crate::cli::operate::operate;

/// Arguments of `reload`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  sluicebox reload\n  sluicebox reload --force")]
pub struct ReloadArgs {
    /// Stages that were swapped return to what the file says. Without it, a file that says something new of such a stage is refused.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    live: Live,
}

/// Has the engine read its file again and prints what changed; exit 3 if the file is not valid, 6 if it is refused.
pub fn run(args: &ReloadArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let request = ReloadRequest { force: args.force };
    let answer = match wait(operate(&args.live.admin, "/v1/reload", &request))? {
        Answered::Refused(StatusCode::BAD_REQUEST) => return Ok(ExitCode::from(exit::CONFIG)),
        answered => match answered.of_change() {
            Ok(answer) => answer,
            Err(code) => return Ok(code),
        },
    };
    args.live.print(&answer, out, for_people).map(|()| ExitCode::SUCCESS)
}

fn for_people(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let list = |key: &str| answer.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for change in list("changes").iter().filter_map(Value::as_str) {
        writeln!(out, "{change}")?;
    }
    for one in list("swapped") {
        print_swapped(one, out)?;
    }
    if list("changes").is_empty() && list("swapped").is_empty() {
        writeln!(out, "the file was read again: nothing differs")?;
    }
    Ok(())
}
