//! `sluicebox generations`: what served at each stage, who brought it, and why it ended.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::cli::call::printable;
use crate::cli::live::Live;
use crate::cli::output::Output;
use crate::cli::table;

/// Arguments of `generations`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  sluicebox generations\n  sluicebox generations filter/health --output json")]
pub struct GenerationsArgs {
    /// Of this stage alone.
    stage: Option<String>,
    #[command(flatten)]
    live: Live,
}

/// What the admin API answers.
#[derive(Debug, Deserialize)]
struct Answer {
    stages: Vec<Stage>,
    changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
struct Stage {
    stage: String,
    generations: Vec<Record>,
}

/// `control::history::Record`.
#[derive(Debug, Deserialize)]
struct Record {
    generation: Option<u64>,
    digest: Option<String>,
    config: Option<String>,
    time: u64,
    who: String,
    result: String,
    why: Option<String>,
    rollback_to: Option<u64>,
    of_this_process: bool,
}

/// `control::history::Entry`.
#[derive(Debug, Deserialize)]
struct Change {
    time: u64,
    part: String,
    result: String,
    who: String,
}

const HEADINGS: [&str; 6] = ["generation", "component", "config", "since", "who", "result"];

/// Asks and prints, oldest first.
pub fn run(args: &GenerationsArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut path = "/v1/generations".to_owned();
    if let Some(stage) = &args.stage {
        path = format!("{path}?stage={}", utf8_percent_encode(stage, NON_ALPHANUMERIC));
    }
    let answer = match args.live.ask(&path)? {
        Ok(answer) => answer,
        Err(code) => return Ok(code),
    };
    match args.live.output {
        Output::Json => writeln!(out, "{answer:#}")?,
        Output::Human => {
            for_people(&serde_json::from_value(answer).context("the engine's answer is not of this version")?, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn for_people(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    for (number, Stage { stage, generations }) in answer.stages.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", printable(stage))?;
        let headings = HEADINGS.map(str::to_owned);
        table::print_texts(&[vec![headings], generations.iter().map(Record::row).collect()].concat(), out)?;
    }
    if !answer.changes.is_empty() {
        writeln!(out, "\nother changes")?;
        let row = |change: &Change| [date(change.time), change.who.clone(), change.part.clone(), change.result.clone()];
        table::print_texts(&answer.changes.iter().map(row).collect::<Vec<_>>(), out)?;
    }
    Ok(())
}

impl Record {
    fn row(&self) -> [String; 6] {
        let number = self.generation.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let number = if self.of_this_process { number } else { format!("({number})") };
        let result = match (&self.why, self.rollback_to) {
            (Some(why), _) => format!("{}: {why}", self.result),
            (None, Some(before)) => format!("{}: rollback to {before}", self.result),
            (None, None) => self.result.clone(),
        };
        let digest = self.digest.as_deref().unwrap_or("-");
        [
            number,
            digest.get(..12).unwrap_or(digest).to_owned(),
            self.config.clone().unwrap_or_else(|| "-".to_owned()),
            date(self.time),
            self.who.clone(),
            result,
        ]
    }
}

/// A time in words.
pub fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH))
}
