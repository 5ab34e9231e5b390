//! What a component says: lines in the engine's log, so many in a second, and the last ones for whoever asks why it faulted.
//!
//! Texts come from configurations and code, of calls there are numbers only (`imports/logging.rs`): no line carries telemetry.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::bindings::logging::Severity;
use crate::observe::guests::LogCounts;

/// Longest line, in characters.
pub(super) const LINE_CHARS_MAX: usize = 1024;
/// Lines that come with a fault.
const TAIL_LINES_MAX: usize = 16;
/// Longest text of them all, in characters: a fault is a line of the log, too.
const TAIL_CHARS_MAX: usize = 4096;
/// Numbers from here on, and below its inverse, are written with an exponent.
const PLAIN_NUMBER_MAX: f64 = 1e15;

/// Whose lines they are, and how many of them there may be.
#[derive(Debug, Default)]
pub(super) struct LogOf {
    stage: String,
    generation: u64,
    counts: Arc<LogCounts>,
    /// Of all instances together: one that is made after a fault has no more lines than the one before.
    lines_per_second: u32,
    rate: Mutex<LineRate>,
}

impl LogOf {
    /// With so many lines in a second for each of so many instances.
    pub(super) fn new(
        stage: &str,
        generation: u64,
        counts: Arc<LogCounts>,
        lines_per_second: u32,
        instances: usize,
    ) -> Self {
        let instances = u32::try_from(instances.max(1)).unwrap_or(u32::MAX);
        let lines_per_second = lines_per_second.saturating_mul(instances);
        Self { stage: stage.to_owned(), generation, counts, lines_per_second, rate: Mutex::default() }
    }

    fn admit(&self) -> bool {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.admit(self.lines_per_second, Instant::now())
    }
}

/// The lines of one instance.
#[derive(Debug, Default)]
pub(super) struct Logbook {
    tail: VecDeque<String>,
    /// Left out since the last line that was written.
    left_out: u64,
    /// Lines are not written: those of calls that do not count, and what another instance has said already.
    pub(super) is_quiet: bool,
}

impl Logbook {
    pub(super) fn write(&mut self, of: &LogOf, severity: Severity, text: &str) {
        let line = printable_line(text);
        if !self.is_quiet {
            if of.admit() {
                of.counts.written.fetch_add(1, Ordering::Relaxed);
                told(of, severity, &line, std::mem::take(&mut self.left_out));
            } else {
                self.left_out = self.left_out.saturating_add(1);
                of.counts.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
        if self.tail.len() == TAIL_LINES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last lines as the end of a fault's message; nothing if there are none.
    pub(super) fn tail(&self) -> String {
        let mut chars = 0;
        let fits = |line: &&String| {
            chars += line.chars().count();
            chars <= TAIL_CHARS_MAX
        };
        let shown: Vec<&str> = self.tail.iter().rev().take_while(fits).map(String::as_str).collect();
        if shown.is_empty() {
            return String::new();
        }
        let shown: Vec<&str> = shown.into_iter().rev().collect();
        format!("; it had said: {}", shown.join(" | "))
    }
}

fn told(of: &LogOf, severity: Severity, line: &str, left_out: u64) {
    let LogOf { stage, generation, .. } = of;
    let left_out = (left_out > 0).then_some(left_out);
    match severity {
        Severity::Debug => tracing::debug!(stage, generation, left_out, "component: {line}"),
        Severity::Info => tracing::info!(stage, generation, left_out, "component: {line}"),
        Severity::Warn => tracing::warn!(stage, generation, left_out, "component: {line}"),
        Severity::Error => tracing::error!(stage, generation, left_out, "component: {line}"),
    }
}

/// One line that is fit for a terminal: whatever moves the cursor, colours or reorders text is escaped, and the rest cut off.
pub(super) fn printable_line(text: &str) -> String {
    let mut line = String::new();
    let mut chars = 0;
    for c in text.chars() {
        let escaped: usize = if is_harmless(c) { 1 } else { c.escape_default().count() };
        chars += escaped;
        if chars > LINE_CHARS_MAX {
            line.push_str(" ...");
            break;
        }
        if is_harmless(c) { line.push(c) } else { line.extend(c.escape_default()) }
    }
    line
}

/// No control character, no line or paragraph separator, nothing that sets the direction of text (Unicode, UAX 9).
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

/// A number as a line has it; integers without a point.
pub(super) fn write_number(out: &mut String, number: f64) {
    let size = number.abs();
    let is_usual = (1.0 / PLAIN_NUMBER_MAX..PLAIN_NUMBER_MAX).contains(&size);
    let is_plain = is_usual || size == 0.0 || !number.is_finite();
    // Writing to a String cannot fail.
    let _infallible = if is_plain { write!(out, "{number}") } else { write!(out, "{number:e}") };
}

/// Lets so many lines through in a second, which may come at once.
#[derive(Debug, Default)]
struct LineRate {
    /// None before the first line.
    left: Option<(f64, Instant)>,
}

impl LineRate {
    fn admit(&mut self, per_second: u32, now: Instant) -> bool {
        let per_second = f64::from(per_second);
        let left = self.left.map_or(per_second, |(left, at)| {
            let since = now.saturating_duration_since(at).as_secs_f64();
            (left + since * per_second).min(per_second)
        });
        let is_admitted = left >= 1.0;
        self.left = Some((if is_admitted { left - 1.0 } else { left }, now));
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_lines_in_a_second() {
        let start = Instant::now();
        let mut rate = LineRate::default();
        let mut admitted = |milliseconds: u64, asked: usize| {
            let now = start + Duration::from_millis(milliseconds);
            (0..asked).filter(|_| rate.admit(10, now)).count()
        };
        assert_eq!(
            [admitted(0, 25), admitted(50, 3), admitted(100, 3), admitted(1100, 25), admitted(90_000, 25)],
            [10, 0, 1, 10, 10]
        );
        let mut none = LineRate::default();
        assert!((0..100).all(|second| !none.admit(0, start + Duration::from_secs(second))));
    }

    #[test]
    fn the_last_lines_come_with_a_fault() {
        let (mut book, of) = (Logbook { is_quiet: true, ..Logbook::default() }, LogOf::default());
        assert_eq!(book.tail(), "");
        (0..20).for_each(|n| book.write(&of, Severity::Info, &format!("line {n}")));
        let tail = book.tail();
        assert!(tail.starts_with("; it had said: line 4 | line 5 |") && tail.ends_with(" | line 19"), "{tail}");
        (0..20).for_each(|_| book.write(&of, Severity::Info, &"x".repeat(2000)));
        assert!(book.tail().chars().count() <= TAIL_CHARS_MAX + 100, "{}", book.tail().len());
        assert_eq!((of.counts.written.load(Ordering::Relaxed), of.counts.left_out.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let of = LogOf::new("wasm/test", 1, Arc::default(), 1, 3);
        // A new instance after each line.
        (0..8).for_each(|_| Logbook::default().write(&of, Severity::Debug, "x"));
        assert_eq!((of.counts.written.load(Ordering::Relaxed), of.counts.left_out.load(Ordering::Relaxed)), (3, 5));
    }

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        assert_eq!(printable_line("häuser \u{1b}[31mred\r\nnext\u{202e}"), "häuser \\u{1b}[31mred\\r\\nnext\\u{202e}");
        assert_eq!(printable_line(&"x".repeat(2000)), format!("{} ...", "x".repeat(LINE_CHARS_MAX)));
        assert_eq!(printable_line(&"\u{1b}".repeat(2000)).chars().count(), LINE_CHARS_MAX / 6 * 6 + 4);
    }

    #[test]
    fn numbers_are_short() {
        let text = |number| {
            let mut text = String::new();
            write_number(&mut text, number);
            text
        };
        assert_eq!([3.0, -0.25, 0.0, 1e300, 123_456_789.0].map(text), ["3", "-0.25", "0", "1e300", "123456789"]);
        assert_eq!([f64::NAN, f64::NEG_INFINITY, 1e-300].map(text), ["NaN", "-inf", "1e-300"]);
        assert!(
            [f64::MAX, f64::MIN_POSITIVE, -1.0 / 3.0, 1e15 / 7.0].into_iter().all(|number| text(number).len() <= 25)
        );
    }
}
