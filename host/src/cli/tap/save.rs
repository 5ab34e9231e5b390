//! `--save`: what was shown, as a test case.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cli::complain;
use crate::compare::case::Case;
use crate::json;
use crate::signal::Signal;

/// Only its owner reads it: it holds telemetry.
const MODE: u32 = 0o600;

/// Writes the matches of the first one's signal as one case: all of their inputs, and all that was left of them. What the stage failed on
/// is not among them: nothing can be expected of it.
pub(super) fn save(file: &Path, force: bool, stage: &str, matches: &[Value]) -> anyhow::Result<()> {
    let requests = |found: &Value| Some((signal(found)?, found.get("input")?.clone(), found.get("expected")?.clone()));
    let found: Vec<(Signal, Value, Value)> = matches.iter().filter_map(requests).collect();
    let Some(&(signal, ..)) = found.first() else {
        complain(&format!("nothing was shown that could be saved, so {} was not written", file.display()));
        return Ok(());
    };
    // Requests that follow each other are one request.
    let (mut input, mut expected, mut records) = (Vec::new(), Vec::new(), 0);
    for (_, shown, left) in found.iter().filter(|(of, ..)| *of == signal) {
        input.extend(protobuf(signal, shown)?);
        expected.extend(protobuf(signal, left)?);
        records += 1;
    }
    let (input, expected) = (input.into(), Some(expected.into()));
    let case = Case { name: None, signal, stage: Some(stage.to_owned()), config: None, input, expected };
    write(file, force, &case.to_json().context("the case cannot be written as JSON")?)?;
    let of = if records < matches.len() { format!(" of {}", matches.len()) } else { String::new() };
    complain(&format!("saved {records}{of} to {}", file.display()));
    Ok(())
}

fn write(file: &Path, force: bool, text: &str) -> anyhow::Result<()> {
    let unwritten = || format!("{} cannot be written", file.display());
    if !force {
        let mut to = OpenOptions::new().write(true).create_new(true).mode(MODE).open(file).with_context(unwritten)?;
        return to.write_all(text.as_bytes()).with_context(unwritten);
    }
    // What is there may be readable by others: it is replaced, not written into.
    let Some(name) = file.file_name() else { bail!("{} is no file", file.display()) };
    let mut beside = name.to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = file.with_file_name(beside);
    let mut to = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside).with_context(unwritten)?;
    let written = to.write_all(text.as_bytes()).and_then(|()| std::fs::rename(&beside, file));
    if written.is_err() {
        // It holds telemetry.
        let _gone = std::fs::remove_file(&beside);
    }
    written.with_context(unwritten)
}

fn signal(found: &Value) -> Option<Signal> {
    let name = found.get("signal")?.as_str()?;
    Signal::ALL.into_iter().find(|signal| signal.as_str() == name)
}

fn protobuf(signal: Signal, request: &Value) -> anyhow::Result<Vec<u8>> {
    let request = json::to_protobuf(signal, &serde_json::to_vec(request)?);
    request.map_err(|error| anyhow::anyhow!("the engine's request cannot be read: {error}"))
}
