//! `sluicebox limits`: every limit, what is used of it, and what happens when it is reached.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::cli::live::Live;
use crate::cli::table::{self, bytes, list, text};

/// Arguments of `limits`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox limits\n  sluicebox limits --output json | jq '.limits[] | select(.reached > 0)'"
)]
pub struct LimitsArgs {
    #[command(flatten)]
    live: Live,
}

/// Asks and prints.
pub fn run(args: &LimitsArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    args.live.show("/v1/limits", out, for_people)
}

fn for_people(answer: &Value, out: &mut dyn Write) -> io::Result<()> {
    let mut last = String::new();
    for limits in list(answer, "limits").chunk_by(|one, next| text(one, "of") == text(next, "of")) {
        let of = limits.first().map(|limit| text(limit, "of")).unwrap_or_default();
        if !std::mem::replace(&mut last, of.clone()).is_empty() {
            writeln!(out)?;
        }
        writeln!(out, "{of}")?;
        let headings = ["limit", "at most", "used", "high water", "reached", "when reached"].map(str::to_owned);
        table::print(&[vec![headings], limits.iter().map(row).collect()].concat(), out)?;
    }
    Ok(())
}

fn row(limit: &Value) -> [String; 6] {
    let name = text(limit, "limit");
    let shown = |key: &str| match limit.get(key).and_then(Value::as_u64) {
        Some(amount) if name.ends_with("_bytes") => bytes(amount),
        Some(u64::MAX) | None => "-".to_owned(),
        Some(amount) => amount.to_string(),
    };
    let reached =
        limit.get("reached").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |count| count.to_string());
    [name.clone(), shown("max"), shown("used"), shown("high_water"), reached, text(limit, "then")]
}
