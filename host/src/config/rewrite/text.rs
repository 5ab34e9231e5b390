//! Values as the text of a place: what was written, moved to its place, or what is made of the value.

use std::fmt::Write as _;

use serde_json::Value;

use super::spans::{Shape, Spot};

/// What is to stand at a place.
pub(super) struct NewText<'a> {
    /// JSON.
    pub(super) value: &'a Value,
    /// As its author wrote it, where that is known.
    pub(super) written: Option<&'a str>,
}

impl NewText<'_> {
    /// Lines for a block whose first line stands at the column `indent`, from 0; those after it are indented. The text is a block, or
    /// in flow style on lines of its own. `line_break` is that of the file.
    pub(super) fn block(&self, indent: usize, line_break: &str) -> String {
        match self.written.and_then(body) {
            Some(written) => indented(written, indent, line_break),
            None => {
                let mut lines = Vec::new();
                block_lines(self.value, &mut lines);
                indented(&lines.join("\n"), indent, line_break)
            }
        }
    }

    /// For a place within brackets; None where the author's text has references, which are lost with it.
    pub(super) fn flow(&self) -> Option<String> {
        match self.written {
            Some(written) if Spot::of(written).is_some_and(|spot| spot.is_flow()) && !written.contains('#') => {
                let lines: Vec<_> = written.trim().lines().map(str::trim).collect();
                Some(lines.join(" "))
            }
            Some(written) if written.contains("${") => None,
            _ => Some(flow(self.value)),
        }
    }

    /// The entries of a map, as lines of a block: those of the author's text, unless that is in brackets; empty if there are none. None
    /// where references would be lost.
    pub(super) fn block_entries(&self, indent: usize, line_break: &str) -> Option<String> {
        let is_block = |written: &str| Spot::of(written).is_some_and(|spot| spot.is_block()) && body(written).is_some();
        match self.written {
            Some(written) if is_block(written) => Some(self.block(indent, line_break)),
            Some(written) if written.contains("${") => None,
            _ if matches!(self.value, Value::Object(map) if map.is_empty()) => Some(String::new()),
            _ => Some(NewText { value: self.value, written: None }.block(indent, line_break)),
        }
    }

    /// The same for a map in brackets.
    pub(super) fn flow_entries(&self) -> Option<Vec<String>> {
        if self.written.is_some_and(|written| written.contains("${")) {
            return None;
        }
        let Value::Object(map) = self.value else { return None };
        Some(map.iter().map(|(key, value)| format!("{}: {}", key_text(key), flow(value))).collect())
    }

    /// Whether what [`Self::block`] gives can stand behind its key on the same line.
    pub(super) fn is_one_line_of_flow(&self) -> bool {
        let written_in_flow =
            |text: &str| Spot::of(text).is_some_and(|spot| spot.is_flow()) && text.trim().lines().count() == 1;
        match self.written {
            Some(written) => written_in_flow(written),
            None => matches!(self.value, Value::Object(map) if map.is_empty()) || !self.value.is_object(),
        }
    }
}

/// A scalar in quotes, for any place of a file: references are escaped.
pub(super) fn scalar(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // `$$` is a dollar sign, whatever follows.
            '$' => quoted.push_str("$$"),
            // What YAML 1.2.2, section 5.1, has as printable may stand as it is; separators of lines and marks may not be seen.
            ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..
                if !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') =>
            {
                quoted.push(c);
            }
            other => {
                let _infallible = write!(quoted, "\\U{:08x}", u32::from(other));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// As YAML in flow style, on one line.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<_> =
                map.iter().map(|(key, value)| format!("{}: {}", key_text(key), flow(value))).collect();
            if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => scalar(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// As YAML: maps in block style, a line for each key; all below lists of scalars.
fn block_lines(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                nested(&format!("{}:", key_text(key)), value, lines);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for item in items {
                let mut of_item = Vec::new();
                block_lines(item, &mut of_item);
                let mut of_item = of_item.into_iter();
                lines.extend(of_item.next().map(|first| format!("- {first}")));
                lines.extend(of_item.map(|line| format!("  {line}")));
            }
        }
        other => lines.push(flow(other)),
    }
}

fn nested(key: &str, value: &Value, lines: &mut Vec<String>) {
    let mut below = Vec::new();
    block_lines(value, &mut below);
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    };
    match (is_block, below.as_slice()) {
        (false, [one]) => lines.push(format!("{key} {one}")),
        _ => {
            lines.push(key.to_owned());
            lines.extend(below.into_iter().map(|line| format!("  {line}")));
        }
    }
}

/// Keys are not looked at for references; words are left without quotes.
fn key_text(key: &str) -> String {
    let is_word = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b'.'))
        && key.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && !matches!(key.to_ascii_lowercase().as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off");
    if is_word { key.to_owned() } else { scalar(key).replace("$$", "$") }
}

/// What stands in a text between blank lines; None where it has marks of a document, which cannot stand within another one.
fn body(written: &str) -> Option<&str> {
    let is_mark = |line: &str| line.starts_with("---") || line.starts_with("...") || line.starts_with('%');
    if written.lines().any(is_mark) {
        return None;
    }
    let is_block = Spot::of(written).is_some_and(|spot| !matches!(spot.shape, Shape::Alias));
    // The first line's indentation is part of how deep the others are.
    let first = written.lines().position(|line| !line.trim().is_empty())?;
    let start: usize = written.split_inclusive('\n').take(first).map(str::len).sum();
    is_block.then(|| written[start..].trim_end())
}

fn indented(text: &str, indent: usize, line_break: &str) -> String {
    let own = text.lines().map(|line| line.len() - line.trim_start_matches(' ').len()).next().unwrap_or(0);
    let mut moved = String::with_capacity(text.len() + 64);
    for (number, line) in text.lines().enumerate() {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        let line = &line[own.min(spaces)..];
        if number > 0 {
            moved.push_str(line_break);
            if !line.trim().is_empty() {
                moved.extend(std::iter::repeat_n(' ', indent));
            }
        }
        moved.push_str(line);
    }
    moved
}
