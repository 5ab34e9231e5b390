//! `sluicebox graph`: what flows where, of a file or of a running engine.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::cli::live::Live;
use crate::cli::output::Output;
use crate::cli::status::percent;
use crate::cli::{complain, exit};
use crate::config;
use crate::view::Graph;
use crate::view::draw;

/// Arguments of `graph`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sluicebox graph --config examples/quickstart/sluicebox.yaml\n  sluicebox graph --live --format dot | dot -Tsvg > graph.svg"
)]
pub struct GraphArgs {
    /// Of this file, without a running engine.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["live", "window"])]
    config: Option<PathBuf>,
    /// In which language to draw it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// With rates, and what is dropped.
    #[arg(long = "live")]
    live: bool,
    /// With `--live`: of which time rates are, 1s to 5m.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    window: String,
    #[command(flatten)]
    engine: Live,
}

/// `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A flowchart for Markdown pages.
    #[default]
    Mermaid,
    /// For Graphviz.
    Dot,
    /// What the admin API says; the same as `--output json`.
    Json,
}

/// Draws it; exit 3 where the file is not valid.
pub fn run(args: &GraphArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let graph = match &args.config {
        Some(file) => match config::load(file) {
            Ok(loaded) => Graph::of(&loaded.config),
            Err(report) => {
                complain(&report.to_string());
                return Ok(ExitCode::from(exit::CONFIG));
            }
        },
        None => match args.engine.ask(&format!("/v1/graph?window={}", percent(&args.window)))? {
            Ok(answer) => {
                let graph: Graph =
                    serde_json::from_value(answer).context("the engine's answer is not of this version")?;
                if args.live { graph } else { graph.without_rates() }
            }
            Err(code) => return Ok(code),
        },
    };
    match args.format {
        _ if args.engine.output == Output::Json => writeln!(out, "{:#}", serde_json::to_value(&graph)?)?,
        Format::Json => writeln!(out, "{:#}", serde_json::to_value(&graph)?)?,
        Format::Mermaid => write!(out, "{}", draw::mermaid(&graph))?,
        Format::Dot => write!(out, "{}", draw::dot(&graph))?,
    }
    Ok(ExitCode::SUCCESS)
}
