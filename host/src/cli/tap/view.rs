//! The lines of a tap, for people.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::call::printable;
use crate::cli::diff_view::{self, Colors};
use crate::scratch::tried::TriedField;

/// Longest value that is shown whole, in characters.
const VALUE_CHARS_MAX: usize = 200;

/// What was told already.
pub(super) struct View {
    stage: String,
    is_silent: bool,
}

impl View {
    pub(super) fn new() -> View {
        View { stage: String::new(), is_silent: true }
    }

    /// One line of the stream.
    pub(super) fn show(&mut self, said: &Value, out: &mut dyn Write) -> io::Result<()> {
        if let Some(tap) = said.get("tap") {
            return self.begin(tap, out);
        }
        if let Some(found) = said.get("match") {
            self.is_silent = false;
            return found_at(found, out);
        }
        if let Some(lost) = said.get("lost").filter(|_| said.get("end").is_none()) {
            return writeln!(out, "... {lost} came by too fast to be looked at");
        }
        if let Some(progress) = said.get("progress").filter(|_| self.is_silent) {
            let counts = counts(progress);
            return writeln!(out, "... {counts}");
        }
        match said.get("end").and_then(Value::as_str) {
            Some(reason) => writeln!(out, "{}; {}", ended(reason, &self.stage), counts(said)),
            None => Ok(()),
        }
    }

    fn begin(&mut self, tap: &Value, out: &mut dyn Write) -> io::Result<()> {
        self.stage = text(tap, "stage");
        let list = |key: &str| {
            let names = tap.get(key).and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(printable).collect::<Vec<_>>().join(", ")
        };
        let point = if text(tap, "kind") == "processor" { text(tap, "point") } else { text(tap, "kind") };
        writeln!(
            out,
            "tapping {} ({point}) in {}, data access {}",
            self.stage,
            list("pipelines"),
            text(tap, "data_access")
        )?;
        let withheld = list("withheld");
        if withheld.is_empty() {
            Ok(())
        } else {
            writeln!(out, "nothing is shown of {withheld}: it is not redacted there")
        }
    }
}

fn found_at(found: &Value, out: &mut dyn Write) -> io::Result<()> {
    let number = found.get("number").and_then(Value::as_u64).unwrap_or_default();
    write!(out, "\n#{number} {} {}", text(found, "pipeline"), text(found, "fate"))?;
    if let Some(rule) = found.get("rule").and_then(Value::as_str) {
        write!(out, " by {}", printable(rule))?;
    }
    if let Some(generation) = found.get("generation").and_then(Value::as_u64) {
        write!(out, ", generation {generation}")?;
    }
    if let Some(fault) = found.get("fault") {
        write!(out, ": {}: {}", text(fault, "kind"), text(fault, "message"))?;
    }
    writeln!(out)?;
    if let Some(unreadable) = found.get("unreadable").and_then(Value::as_str) {
        return writeln!(out, "  it cannot be decoded: {}", printable(unreadable));
    }
    match found.get("records").and_then(Value::as_array) {
        Some(records) => trace(found, records, out),
        None => record(found, out),
    }
}

/// Which record it is, and what changed of it; of one that did not change, all that it holds.
fn record(found: &Value, out: &mut dyn Write) -> io::Result<()> {
    let colors = Colors::of_stdout();
    let fields = found.get("before").or_else(|| found.get("after")).and_then(Value::as_object);
    writeln!(out, "  {}", diff_view::title(|path| fields?.get(path), colors))?;
    let changes = found.get("changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for change in changes {
        let (before, after) = (change.get("before").cloned(), change.get("after").cloned());
        diff_view::field(&TriedField { path: text(change, "path"), before, after }, colors, out)?;
    }
    if !changes.is_empty() {
        return Ok(());
    }
    let mut fields = fields.into_iter().flatten();
    fields.try_for_each(|(path, of)| writeln!(out, "    {} {}", printable(path), value(of)))
}

fn trace(found: &Value, records: &[Value], out: &mut dyn Write) -> io::Result<()> {
    let number = |key: &str| found.get(key).and_then(Value::as_u64).unwrap_or_default();
    write!(out, "  trace {}: {} spans, {} errors", text(found, "trace_id"), number("spans"), number("errors"))?;
    writeln!(out, ", {} ms, {}", number("duration_us") / 1_000, text(found, "trigger"))?;
    for span in records {
        let of = |key: &str| span.get(key).map(value).unwrap_or_default();
        let service = span.get("resource.attributes[\"service.name\"]").map(value).unwrap_or_default();
        writeln!(out, "    {} {service} {}", of("span.name"), of("span.kind"))?;
    }
    match number("records_left_out") {
        0 => Ok(()),
        more => writeln!(out, "    ... {more} more"),
    }
}

fn ended(reason: &str, stage: &str) -> String {
    match reason {
        "limit" => "as many as were asked for".to_owned(),
        "time" => "the time is over".to_owned(),
        "data_access" => "ended: the engine's file allows less than before".to_owned(),
        "stage_gone" => format!("ended: the engine's file has no {stage} any more"),
        "where_failed" => "ended: the condition could not be answered".to_owned(),
        other => printable(other),
    }
}

fn counts(said: &Value) -> String {
    let of = |key: &str| said.get(key).and_then(Value::as_u64).unwrap_or_default();
    let mut text = format!("{} seen, {} matched, {} shown", of("seen"), of("matched"), of("sent"));
    for (key, what) in [("lost", "came by too fast"), ("withheld", "batches withheld")] {
        if of(key) > 0 {
            text.push_str(&format!(", {} {what}", of(key)));
        }
    }
    text
}

fn text(of: &Value, key: &str) -> String {
    printable(of.get(key).and_then(Value::as_str).unwrap_or_default())
}

/// Must not steer the terminal, nor fill it.
fn value(value: &Value) -> String {
    let text = printable(&value.to_string());
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
