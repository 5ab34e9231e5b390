//! What a failed guest call is called, and what may be said of it.

use std::borrow::Cow;
use std::fmt::Write as _;

use wasmtime::{Trap, WasmBacktrace};

use super::limits::Denied;
use crate::pipeline::stage::{Fault, FaultKind};

/// Longest name of a Wasm function that is shown.
const FRAME_CHARS_MAX: usize = 96;
/// Wasm frames that are shown.
const FRAMES_SHOWN_MAX: usize = 4;

/// A host call that the guest should not have made. Texts never hold what the guest passed: it may be telemetry.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misuse {
    #[error("{0}")]
    BadOutput(Cow<'static, str>),
    #[error("{0}")]
    Budget(Cow<'static, str>),
    /// Not the guest's fault: the batch's own bytes cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// A guest's bad output.
pub(super) fn bad_output(text: impl Into<Cow<'static, str>>) -> wasmtime::Error {
    wasmtime::Error::new(Misuse::BadOutput(text.into()))
}

/// A spent budget.
pub(super) fn over_budget(text: impl Into<Cow<'static, str>>) -> wasmtime::Error {
    wasmtime::Error::new(Misuse::Budget(text.into()))
}

/// Bytes of the batch that cannot be read.
pub(super) fn malformed(what: impl std::fmt::Display) -> Fault {
    Fault { kind: FaultKind::Malformed, message: what.to_string() }
}

/// Classifies what a guest call ended with. `denied` tells whether it was refused memory on its way there.
pub(super) fn classify(error: &wasmtime::Error, denied: Option<Denied>) -> Fault {
    let misuse = error.downcast_ref::<Misuse>();
    if let Some(denied @ Denied::Process) = denied
        && !matches!(misuse, Some(Misuse::Unreadable(_)))
    {
        // Whatever it came to then, the guest is not to blame, and no record is.
        return Fault { kind: denied.kind(), message: format!("{}{}", denied.text(), frames(error)) };
    }
    if let Some(misuse) = misuse {
        let kind = match misuse {
            Misuse::BadOutput(_) => FaultKind::BadOutput,
            Misuse::Budget(_) => FaultKind::HostCallBudget,
            Misuse::Unreadable(_) => return malformed(misuse),
        };
        return Fault { kind, message: format!("{misuse}{}", frames(error)) };
    }
    if let Some(denied) = denied {
        return Fault { kind: denied.kind(), message: format!("{}{}", denied.text(), frames(error)) };
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            Fault { kind: FaultKind::Deadline, message: format!("stopped at its deadline{}", frames(error)) }
        }
        Some(trap) => Fault { kind: FaultKind::Trap, message: format!("{trap}{}", frames(error)) },
        None => of_component_runtime(error),
    }
}

/// Of errors that have no public type: what wasmtime says when a guest's pointers, handles, strings or amounts are not right.
fn of_component_runtime(error: &wasmtime::Error) -> Fault {
    let root = error.root_cause().to_string();
    let says = |text| root.contains(text);
    let kind = if says("fuel allocated for hostcalls") || says("handle limit exceeded") {
        FaultKind::HostCallBudget
    } else if says("resource limit exceeded") {
        FaultKind::Memory
    } else {
        FaultKind::BadOutput
    };
    Fault { kind, message: format!("{root}{}", frames(error)) }
}

impl Denied {
    pub(super) fn kind(self) -> FaultKind {
        match self {
            Denied::Process => FaultKind::ProcessMemory,
            Denied::Instance | Denied::Tables => FaultKind::Memory,
        }
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Denied::Instance => "more memory than `limits.memory_mib` allows",
            Denied::Process => "more memory than is left of the process's budget",
            Denied::Tables => "larger tables than any component may have",
        }
    }
}

/// Control characters, and those that break lines or turn the direction of text round (Unicode Standard Annex 9, "Directional Formatting
/// Characters"): what is read would not be what stands there.
pub(super) fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// ` (in a <- b <- c)`, innermost first: names of the component's own functions.
fn frames(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let mut text = String::new();
    for frame in trace.frames().iter().filter(|frame| frame.func_name().is_some()).take(FRAMES_SHOWN_MAX) {
        let name = frame.func_name().unwrap_or_default();
        let name: String = name.chars().filter(|&c| !is_steering(c)).take(FRAME_CHARS_MAX).collect();
        let arrow = if text.is_empty() { " (in " } else { " <- " };
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{arrow}{name}");
    }
    if !text.is_empty() {
        text.push(')');
    }
    text
}

/// A guest's own text made fit for a log line or a terminal: bounded, what steers either is escaped, and further lines are indented, so
/// that none of them looks like a line of ours.
pub(super) fn printable(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for c in text.trim().chars().take(chars_max) {
        match c {
            '\n' => out.push_str("\n  "),
            c if is_steering(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    if text.trim().chars().nth(chars_max).is_some() {
        out.push_str(" ...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_texts_are_bounded_and_escaped() {
        assert_eq!(printable("plain", 10), "plain");
        assert_eq!(printable("\u{1b}[31mred\n", 100), "\\u{1b}[31mred");
        assert_eq!(printable("a\nERROR b\r\u{202e}c", 100), "a\n  ERROR b\\u{d}\\u{202e}c");
        assert_eq!(printable(&"x".repeat(11), 10), "xxxxxxxxxx ...");
    }

    #[test]
    fn misuse_keeps_its_kind_and_traps_after_a_refusal_are_memory() {
        assert_eq!(classify(&bad_output("no"), None).kind, FaultKind::BadOutput);
        assert_eq!(classify(&over_budget("no"), None).kind, FaultKind::HostCallBudget);
        let unreadable = wasmtime::Error::new(Misuse::Unreadable("no".to_owned()));
        assert_eq!(classify(&unreadable, Some(Denied::Instance)).kind, FaultKind::Malformed);
        let trap = || wasmtime::Error::from(Trap::UnreachableCodeReached);
        assert_eq!(classify(&trap(), None).kind, FaultKind::Trap);
        assert_eq!(classify(&trap(), Some(Denied::Process)).kind, FaultKind::ProcessMemory);
        assert_eq!(classify(&bad_output("no"), Some(Denied::Process)).kind, FaultKind::ProcessMemory);
        assert_eq!(classify(&unreadable, Some(Denied::Process)).kind, FaultKind::Malformed);
        assert_eq!(classify(&trap(), Some(Denied::Instance)).kind, FaultKind::Memory);
        assert_eq!(classify(&Trap::Interrupt.into(), None).kind, FaultKind::Deadline);
    }
}
