//! What `swap` and `shadow` have in common: how much, for how long, and what was found.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::admin::CareRequest;
use crate::cli::call::{Admin, post, printable};
use crate::cli::{complain, exit};
use crate::config::{self, duration};
use crate::control::trials::{SideReport, TrialReport};
use crate::pipeline::canary::SHARE_PERCENT_MAX;

/// Edits that are printed of each trial; there may be hundreds.
const EDITS_SHOWN_MAX: usize = 20;

/// How a candidate is tried before it serves.
#[derive(Clone, Debug, Args)]
pub struct CareArgs {
    /// First compare it with what serves on copies of what comes in, for so long: 10m.
    #[arg(long, value_name = "TIME", value_parser = time)]
    shadow: Option<String>,
    /// Then have it judge this share of what comes in, and return to what served before by itself if it is worse: 5%.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    canary: Option<f64>,
    /// For so long, then it serves: 2m if this is not given.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "canary")]
    hold: Option<String>,
    /// Have it serve whatever its own cases and the guards say.
    #[arg(long)]
    force: bool,
}

impl CareArgs {
    /// What the admin API is asked for.
    pub fn request(&self) -> CareRequest {
        let CareArgs { shadow, canary, hold, force } = self.clone();
        CareRequest { shadow, shadow_percent: None, canary_percent: canary, hold, force }
    }

    /// Whether its numbers are worth printing.
    pub fn takes_time(&self) -> bool {
        self.shadow.is_some() || self.canary.is_some()
    }
}

/// `5%` or `5`.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent: f64 = number.parse().map_err(|_| format!("{text:?} is no percentage, such as 5%"))?;
    let is_share = percent > 0.0 && percent <= SHARE_PERCENT_MAX;
    is_share.then_some(percent).ok_or_else(|| format!("a share is above 0 % and at most {SHARE_PERCENT_MAX} %"))
}

/// `10m`; the engine bounds it.
pub fn time(text: &str) -> Result<String, String> {
    duration::parse(text).map(|_| text.to_owned()).map_err(|error| format!("it {}", error.what()))
}

/// The stage's new configuration, as JSON; exit 3 if it is none.
pub fn read_config(path: Option<&Path>) -> Result<Option<Value>, ExitCode> {
    path.map(config::read_value).transpose().map_err(|report| {
        complain(&report.to_string());
        ExitCode::from(exit::CONFIG)
    })
}

/// Sends a component; its digest.
pub async fn upload(admin: &Admin, path: Option<&PathBuf>) -> anyhow::Result<Result<Option<String>, ExitCode>> {
    let Some(path) = path else { return Ok(Ok(None)) };
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let answer = post(admin, "/v1/components", "application/wasm", bytes).await?.of_change();
    Ok(answer.map(|answer| answer.get("digest").and_then(Value::as_str).map(str::to_owned)))
}

/// Prints what was found by trials that saw anything.
pub fn print_trials(trials: Option<&Value>, out: &mut dyn Write) -> io::Result<()> {
    let trials = trials.cloned().and_then(|trials| serde_json::from_value::<Vec<TrialReport>>(trials).ok());
    for report in trials.unwrap_or_default() {
        if report.step != "probe" || report.candidate.batches > 0 {
            print_trial(&report, out)?;
        }
    }
    Ok(())
}

/// Both sides, and in what the candidate is worse.
pub fn print_trial(report: &TrialReport, out: &mut dyn Write) -> io::Result<()> {
    let TrialReport { step, seconds, percent, skipped, serving, candidate, different, findings } = report;
    match step.as_str() {
        "probe" => writeln!(out, "{step}: both judged the last {} batches", candidate.batches)?,
        _ => writeln!(out, "{step}: {percent} % for {seconds:.1} s, {skipped} batches skipped")?,
    }
    let side = |name: &str, side: &SideReport| {
        let SideReport { batches, faults, records, dropped, .. } = side;
        format!("  {name:<9} {batches} batches, {faults} faults, {records} records, {dropped} dropped")
    };
    writeln!(out, "{}\n{}", side("serving", serving), side("candidate", candidate))?;
    for (what, before) in serving.edits.iter().take(EDITS_SHOWN_MAX) {
        let now = candidate.edits.get(what).copied().unwrap_or_default();
        writeln!(out, "  edits of {}: {before} by what serves, {now} by the candidate", printable(what))?;
    }
    if different.compared > 0 {
        let only = (different.dropped_by_serving_only, different.dropped_by_candidate_only);
        let (fields, compared) = (different.fields, different.compared);
        writeln!(
            out,
            "  {fields} of {compared} records differ; dropped by what serves only {}, by the candidate only {}",
            only.0, only.1
        )?;
    }
    for (field, count) in different.by_field.iter().take(EDITS_SHOWN_MAX) {
        writeln!(out, "    {}: {count}", printable(field))?;
    }
    findings.iter().try_for_each(|finding| writeln!(out, "  worse: {}", printable(finding)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_up_to_half() {
        for (text, expected) in [("5%", Some(5.0)), ("0.1%", Some(0.1)), ("50", Some(50.0)), ("5 %", Some(5.0))] {
            assert_eq!(percent(text).ok(), expected, "{text}");
        }
        for text in ["0", "0%", "51%", "-1%", "x", "", "nan", "inf%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
