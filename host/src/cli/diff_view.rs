//! What stages made of records, for people: a line for each record that was dropped or changed, and what changed as a diff.

use std::io::{self, IsTerminal as _, Write};

use serde_json::Value;

use crate::scratch::tried::{Tried, TriedCost, TriedDecision, TriedField, TriedRecord, TriedStep};

/// Longest value that is shown whole, in characters.
const VALUE_CHARS_MAX: usize = 200;
/// Longest title of a record, in characters.
const TITLE_CHARS_MAX: usize = 80;
/// Digits of a digest that are shown.
const DIGEST_CHARS: usize = 12;
/// Fields that name a record, and what of it they are.
const TITLES: [(&str, &str); 3] = [("span.name", "span"), ("log.body", "log"), ("metric.name", "metric")];
const IDS: [(&str, &str); 5] = [
    ("resource.attributes[\"service.name\"]", "service"),
    ("span.trace_id", "trace"),
    ("span.span_id", "span"),
    ("log.trace_id", "trace"),
    ("log.span_id", "span"),
];

/// Whether lines are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// They are.
    On,
    /// They are not.
    Off,
}

/// A colour of a terminal (ECMA-48, SGR).
#[derive(Clone, Copy)]
enum Color {
    Bold = 1,
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Colors {
    /// On a terminal, unless the user does not want any (no-color.org).
    pub fn of_stdout() -> Colors {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        if io::stdout().is_terminal() && !is_unwanted { Colors::On } else { Colors::Off }
    }

    fn paint(self, color: Color, text: &str) -> String {
        match self {
            Colors::On => format!("\x1b[{}m{text}\x1b[0m", color as u8),
            Colors::Off => text.to_owned(),
        }
    }
}

/// Shows what came of a try.
///
/// # Errors
/// Where it cannot be written.
pub fn show(tried: &Tried, colors: Colors, out: &mut dyn Write) -> io::Result<()> {
    for shown in &tried.steps {
        step(&tried.signal, shown, colors, out)?;
        writeln!(out)?;
    }
    for refused in &tried.refused {
        writeln!(out, "{}", colors.paint(Color::Red, &format!("senders are told: {}", harmless(refused))))?;
    }
    if tried.is_late {
        writeln!(out, "{}", colors.paint(Color::Red, "there was no time for all of it"))?;
    }
    let of_all = count(tried.records, item(&tried.signal));
    let summary = format!("{}: {} of {of_all} come out", harmless(&tried.name), tried.left);
    writeln!(out, "{}", colors.paint(Color::Bold, &summary))?;
    mismatches(tried, colors, out)
}

fn step(signal: &str, step: &TriedStep, colors: Colors, out: &mut dyn Write) -> io::Result<()> {
    let name = colors.paint(Color::Bold, &harmless(&step.name));
    match step.kind.as_str() {
        "sampler" => {
            let kept = step.decisions.iter().filter(|decision| decision.state == "kept").count();
            writeln!(out, "{name}: {} decided, {kept} kept", count(step.shown, "trace"))?;
            for decided in &step.decisions {
                decision(decided, colors, out)?;
            }
            more(step.decisions_left_out, out)?;
        }
        "policy" => writeln!(out, "{name} {}: {} judged", digest(step), count(step.shown, "trace"))?,
        "passed_through" => return writeln!(out, "{name}: nothing waits here"),
        _ => {
            let unjudged: u64 = step.faults.iter().map(|fault| fault.records).sum();
            let same = step.shown.saturating_sub(step.dropped + step.changed + unjudged);
            let counts = format!("{} dropped, {} changed, {same} unchanged", step.dropped, step.changed);
            writeln!(out, "{name} {}: {} shown, {counts}", digest(step), count(step.shown, item(signal)))?;
            for changed in &step.changes {
                record(changed, colors, out)?;
            }
            more(step.left_out, out)?;
            for (rule, places) in &step.edited_by_rule {
                writeln!(out, "  {} edited by {}", count(*places, "place"), harmless(rule))?;
            }
        }
    }
    for fault in &step.faults {
        let becomes = if fault.is_passed { "pass" } else { "go no further" };
        let head = format!("  fault ({}) on {}, which {becomes}", harmless(&fault.kind), fault.records);
        writeln!(out, "{}", colors.paint(Color::Red, &head))?;
        for line in fault.message.lines() {
            writeln!(out, "    {}", harmless(line))?;
        }
    }
    step.cost.map_or(Ok(()), |spent| cost(spent, colors, out))
}

fn record(record: &TriedRecord, colors: Colors, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "  #{} {}", record.row, title(|path| record.about.get(path), colors))?;
    match &record.dropped_by {
        Some(rule) if rule.is_empty() => writeln!(out, ": {}", colors.paint(Color::Red, "dropped")),
        Some(rule) => {
            writeln!(out, ": {}", colors.paint(Color::Red, &format!("dropped by {}", harmless(rule))))
        }
        None => {
            writeln!(out)?;
            record.fields.iter().try_for_each(|changed| field(changed, colors, out))
        }
    }
}

/// Which record it is: what it is called, and its ids.
pub fn title<'a>(about: impl Fn(&str) -> Option<&'a Value>, colors: Colors) -> String {
    let named = TITLES.iter().find_map(|(path, what)| Some((what, about(path)?)));
    let mut title = named.map_or_else(
        || "record".to_owned(),
        |(what, name)| format!("{what} {}", shortened(&name.to_string(), TITLE_CHARS_MAX)),
    );
    for (path, name) in IDS {
        let Some(value) = about(path) else { continue };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        title.push(' ');
        title.push_str(&colors.paint(Color::Dim, &format!("{name}={}", shortened(&value, TITLE_CHARS_MAX))));
    }
    title
}

/// A changed field: what it was in a line of its own, and what it is.
///
/// # Errors
/// Where it cannot be written.
pub fn field(field: &TriedField, colors: Colors, out: &mut dyn Write) -> io::Result<()> {
    let path = harmless(&field.path);
    let line =
        |sign: char, value: &Value| format!("    {sign} {path} {}", shortened(&value.to_string(), VALUE_CHARS_MAX));
    if let Some(before) = &field.before {
        writeln!(out, "{}", colors.paint(Color::Red, &line('-', before)))?;
    }
    if let Some(after) = &field.after {
        writeln!(out, "{}", colors.paint(Color::Green, &line('+', after)))?;
    }
    Ok(())
}

fn decision(decision: &TriedDecision, colors: Colors, out: &mut dyn Write) -> io::Result<()> {
    let is_kept = decision.state == "kept";
    let (sign, color) = if is_kept { ('+', Color::Green) } else { ('-', Color::Red) };
    let by = match &decision.policy {
        Some(policy) => format!("by {}", harmless(policy)),
        None => "as no policy said anything".to_owned(),
    };
    let spans = decision.spans.map(|spans| count(spans, "span"));
    let probability = decision.probability.map(|probability| format!("probability {}", rounded(probability)));
    let trigger = decision.trigger.as_deref().map(harmless);
    let rest: Vec<_> = [spans, probability, trigger].into_iter().flatten().collect();
    let head = format!("  {sign} trace {} {} {by}", harmless(&decision.trace_id), harmless(&decision.state));
    writeln!(out, "{} ({})", colors.paint(color, &head), rest.join(", "))
}

fn mismatches(tried: &Tried, colors: Colors, out: &mut dyn Write) -> io::Result<()> {
    let Some(mismatches) = &tried.mismatches else { return Ok(()) };
    if mismatches.is_empty() {
        return writeln!(out, "{}", colors.paint(Color::Green, "as the case expects"));
    }
    writeln!(out, "{}", colors.paint(Color::Yellow, "not as the case expects (-: expected, +: came out):"))?;
    for mismatch in mismatches {
        match mismatch.record {
            Some(record) => writeln!(out, "  #{record}")?,
            None => writeln!(out, "  in number")?,
        }
        field(&mismatch.field, colors, out)?;
    }
    Ok(())
}

fn cost(cost: TriedCost, colors: Colors, out: &mut dyn Write) -> io::Result<()> {
    let millis = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
    let TriedCost { build_seconds, calls, call_seconds, memory_bytes } = cost;
    let kib = memory_bytes >> 10;
    let line = format!(
        "  cost: built in {}, {} in {}, {kib} KiB of memory",
        millis(build_seconds),
        count(calls, "call"),
        millis(call_seconds)
    );
    writeln!(out, "{}", colors.paint(Color::Dim, &line))
}

fn more(left_out: u64, out: &mut dyn Write) -> io::Result<()> {
    if left_out == 0 { Ok(()) } else { writeln!(out, "  ... and {left_out} more") }
}

fn digest(step: &TriedStep) -> String {
    let digest = step.digest.as_deref().map(harmless).unwrap_or_default();
    format!("(sha256:{})", digest.chars().take(DIGEST_CHARS).collect::<String>())
}

/// What a record of a signal is called.
fn item(signal: &str) -> &'static str {
    match signal {
        "traces" => "span",
        "metrics" => "data point",
        _ => "log record",
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A probability comes from 56 bits: more digits than anybody wrote.
fn rounded(probability: f64) -> f64 {
    (probability * 1e6).round() / 1e6
}

fn shortened(text: &str, chars_max: usize) -> String {
    let text = harmless(text);
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// What telemetry holds must not steer the terminal: nothing that moves the cursor, colours or reorders text gets there.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if steers { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::scratch::tried::{TriedFault, TriedMismatch, TriedVote};

    fn about(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
        pairs.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect()
    }

    fn tried() -> Tried {
        let name = "GET \u{1b}[31m/users\u{202e}";
        let changed = TriedRecord {
            row: 1,
            about: about(&[("span.name", json!(name)), ("span.trace_id", json!("ab12"))]),
            dropped_by: None,
            fields: vec![
                TriedField {
                    path: "span.name".to_owned(),
                    before: Some(json!(name)),
                    after: Some(json!("GET /users")),
                },
                TriedField { path: "span.attributes[\"\n\"]".to_owned(), before: Some(json!(null)), after: None },
                TriedField { path: "span.x".to_owned(), before: None, after: Some(json!("y".repeat(1000))) },
            ],
        };
        let dropped = TriedRecord {
            row: 2,
            about: about(&[("span.name", json!("GET /health"))]),
            dropped_by: Some("health".to_owned()),
            fields: Vec::new(),
        };
        let stage = TriedStep {
            name: "filter/a".to_owned(),
            kind: "stage".to_owned(),
            digest: Some("0123456789abcdef".to_owned()),
            cost: Some(TriedCost { build_seconds: 0.25, calls: 2, call_seconds: 0.001, memory_bytes: 2048 }),
            shown: 9,
            dropped: 1,
            changed: 2,
            edited_by_rule: BTreeMap::from([("mail".to_owned(), 3)]),
            changes: vec![changed, dropped],
            left_out: 1,
            faults: vec![TriedFault {
                kind: "trap".to_owned(),
                message: "unreachable\n0: main".to_owned(),
                is_passed: false,
                records: 4,
            }],
            ..TriedStep::default()
        };
        let decision = |trace: &str, state: &str, policy: Option<&str>| TriedDecision {
            trace_id: trace.to_owned(),
            state: state.to_owned(),
            policy: policy.map(str::to_owned),
            trigger: Some("decision_wait".to_owned()),
            probability: policy.map(|_| 0.1),
            spans: Some(3),
            votes: vec![TriedVote::default()],
        };
        let sampler = TriedStep {
            name: "tail_sampling".to_owned(),
            kind: "sampler".to_owned(),
            shown: 2,
            decisions: vec![decision("aa", "kept", Some("errors")), decision("bb", "dropped", None)],
            ..TriedStep::default()
        };
        let batch = TriedStep { name: "batch".to_owned(), kind: "passed_through".to_owned(), ..TriedStep::default() };
        Tried {
            name: "traces".to_owned(),
            signal: "traces".to_owned(),
            records: 9,
            left: 4,
            steps: vec![stage, batch, sampler],
            refused: vec!["4 rejected: they fault".to_owned()],
            mismatches: Some(vec![TriedMismatch {
                record: Some(0),
                field: TriedField { path: "span.kind".to_owned(), before: Some(json!(1)), after: Some(json!(2)) },
            }]),
            ..Tried::default()
        }
    }

    fn shown(tried: &Tried, colors: Colors) -> String {
        let mut out = Vec::new();
        show(tried, colors, &mut out).expect("into memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_view_is_as_it_was_agreed() {
        let expected = format!(
            "\
filter/a (sha256:0123456789ab): 9 spans shown, 1 dropped, 2 changed, 2 unchanged
  #1 span \"GET \\u001b[31m/users\\u{{202e}}\" trace=ab12
    - span.name \"GET \\u001b[31m/users\\u{{202e}}\"
    + span.name \"GET /users\"
    - span.attributes[\"\\n\"] null
    + span.x \"{}...
  #2 span \"GET /health\": dropped by health
  ... and 1 more
  3 places edited by mail
  fault (trap) on 4, which go no further
    unreachable
    0: main
  cost: built in 250.00 ms, 2 calls in 1.00 ms, 2 KiB of memory

batch: nothing waits here

tail_sampling: 2 traces decided, 1 kept
  + trace aa kept by errors (3 spans, probability 0.1, decision_wait)
  - trace bb dropped as no policy said anything (3 spans, decision_wait)

senders are told: 4 rejected: they fault
traces: 4 of 9 spans come out
not as the case expects (-: expected, +: came out):
  #0
    - span.kind 1
    + span.kind 2
",
            "y".repeat(VALUE_CHARS_MAX - 1)
        );
        assert_eq!(shown(&tried(), Colors::Off), expected);
    }

    #[test]
    fn colours_are_all_that_is_added_and_nothing_else_steers_the_terminal() {
        let colored = shown(&tried(), Colors::On);
        let mut plain = String::new();
        let mut rest = colored.as_str();
        while let Some(at) = rest.find('\u{1b}') {
            plain.push_str(&rest[..at]);
            let end = rest[at..].find('m').expect("an SGR sequence ends") + at;
            assert!(rest[at + 2..end].chars().all(|c| c.is_ascii_digit()), "{:?}", &rest[at..=end]);
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        assert_ne!(plain, colored);
        assert_eq!(plain, shown(&tried(), Colors::Off));
        assert!(plain.chars().all(|c| c == '\n' || !c.is_control()));
    }
}
