//! Tables for people, and values of answers as texts.

use std::io::{self, Write};

use serde_json::Value;

use crate::cli::call::printable;

/// Columns as wide as what is in them, indented by two; numbers to the right.
pub fn print<const COLUMNS: usize>(rows: &[[String; COLUMNS]], out: &mut dyn Write) -> io::Result<()> {
    print_cells(rows, out, cell_of)
}

/// The same with everything to the left.
pub fn print_texts<const COLUMNS: usize>(rows: &[[String; COLUMNS]], out: &mut dyn Write) -> io::Result<()> {
    print_cells(rows, out, |cell, width| format!("{:<width$}", printable(cell)))
}

fn print_cells<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    out: &mut dyn Write,
    cell_of: impl Fn(&str, usize) -> String,
) -> io::Result<()> {
    let widths = widths(rows);
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| cell_of(cell, width)).collect();
        writeln!(out, "  {}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn widths<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> [usize; COLUMNS] {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn cell_of(cell: &str, width: usize) -> String {
    let digits = cell.strip_suffix('B').map_or(cell, |size| size.trim_end_matches(['K', 'M', 'G', 'T', 'i', ' ']));
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '<'));
    if is_number { format!("{:>width$}", printable(cell)) } else { format!("{:<width$}", printable(cell)) }
}

/// A text of an answer; empty where there is none.
pub fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).map(printable).unwrap_or_default()
}

/// A list of an answer.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A number of an answer, by a JSON pointer; 0 where there is none.
pub fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_default()
}

/// A whole number of an answer, by a JSON pointer; 0 where there is none.
pub fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// `512 B`, `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let (mut scaled, mut unit) = (bytes as f64 / 1_024.0, 0);
    while scaled >= 1_024.0 && unit + 1 < units.len() {
        (scaled, unit) = (scaled / 1_024.0, unit + 1);
    }
    format!("{scaled:.1} {}", units.get(unit).copied().unwrap_or_default())
}

/// `1d 2h 3m 4s`, without what is 0 at its beginning.
pub fn duration(seconds: u64) -> String {
    let parts = [(seconds / 86_400, 'd'), (seconds / 3_600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let shown = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let parts: Vec<_> = parts.iter().skip(shown).map(|(count, unit)| format!("{count}{unit}")).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([0, 1_023, 1_024, 1_536 << 10].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 MiB"]);
        assert_eq!([0, 59, 3_600, 90_061].map(duration), ["0s", "59s", "1h 0m 0s", "1d 1h 1m 1s"]);
    }

    #[test]
    fn numbers_stand_to_the_right_and_nothing_steers_the_terminal() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let mut out = Vec::new();
        print(&[row("stage", "in/s"), row("a\u{1b}[31m", "7"), row("b", "<0.1")], &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  stage   in/s\n  a\u{fffd}[31m     7\n  b       <0.1\n");
    }
}
