//! What is wrong with a file: all of it at once, for people and for programs.

use std::fmt::{self, Write as _};

use serde_json::json;

use super::code::{Code, Severity};
use super::files::Files;
use super::source::{Place, Source, Sources};

/// Most errors, and most warnings, that one report prints.
pub const PRINTED_MAX: usize = 20;
/// Longest stretch of a source line that is shown, in characters.
const LINE_SHOWN_CHARS_MAX: usize = 160;
/// What is kept of a longer line before the caret.
const LINE_SHOWN_CHARS_BEFORE: usize = 60;

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub code: Code,
    /// Where; None = the file as a whole.
    pub place: Option<Place>,
    /// What, in one line: lower case, no full stop, names the object and its kind.
    pub message: String,
    /// Facts, in one line.
    pub detail: Option<String>,
    /// One action.
    pub help: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(
        code: Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { code, place: place.into(), message: message.into(), detail: None, help: help.into() }
    }

    /// Adds facts.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// All problems of a file and of those that it includes, sorted by file and line.
#[derive(Clone, Debug)]
pub struct Report {
    files: Files,
    problems: Vec<Problem>,
    /// Values that are never shown, such as those of headers.
    secrets: Vec<Place>,
}

impl Report {
    /// Sorts by place; a problem told twice, as an alias does, is told once.
    pub(super) fn new(files: Files, problems: Vec<Problem>) -> Self {
        Self::with_secrets(files, problems, Vec::new())
    }

    /// As [`Self::new`], with places of the files that are never shown.
    pub(super) fn with_secrets(files: Files, mut problems: Vec<Problem>, secrets: Vec<Place>) -> Self {
        problems.sort_by(|a, b| (a.place, a.code, &a.message).cmp(&(b.place, b.code, &b.message)));
        problems.dedup();
        Self { files, problems, secrets }
    }

    /// All problems.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The file that it is about.
    pub fn source(&self) -> &Source {
        self.sources().main()
    }

    /// The file in which a place is: the one that it is about, or one that this includes.
    pub fn source_of(&self, place: Place) -> &Source {
        self.sources().of(place)
    }

    /// Every file besides components that decides what the configuration is: itself, what it includes, and files of keys; those that could not be read too.
    pub fn files(&self) -> &Files {
        &self.files
    }

    fn sources(&self) -> &Sources {
        self.files.sources()
    }

    /// True if nothing can start.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many problems of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.problems.iter().filter(|problem| problem.code.severity() == severity).count()
    }

    /// Adds what was found later, such as by loading the components that the file names.
    pub fn extend(self, more: impl IntoIterator<Item = Problem>) -> Self {
        let problems = self.problems.into_iter().chain(more).collect();
        Self::with_secrets(self.files, problems, self.secrets)
    }

    /// One problem of the same file, without the others.
    #[must_use]
    pub fn only(self, problem: Problem) -> Self {
        Self::with_secrets(self.files, vec![problem], self.secrets)
    }

    /// For programs: every problem, none left out.
    pub fn to_json(&self) -> serde_json::Value {
        let problems: Vec<_> = self
            .problems
            .iter()
            .map(|problem| {
                json!({
                    "code": problem.code.as_str(),
                    "severity": problem.code.severity().as_str(),
                    "message": problem.message,
                    "file": problem.place.map_or(self.source(), |place| self.source_of(place)).name(),
                    "line": problem.place.map(|place| place.line),
                    "column": problem.place.map(|place| place.column),
                    "end_column": problem.place.map(|place| place.end_column),
                    "detail": problem.detail,
                    "help": problem.help,
                })
            })
            .collect();
        json!({
            "file": self.source().name(),
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "problems": problems,
        })
    }

    /// A line with every secret in it replaced by asterisks, character by character.
    fn masked(&self, place: Place) -> String {
        let text = self.source_of(place).line(place.line);
        let same_line = |secret: &&Place| (secret.file, secret.line) == (place.file, place.line);
        let on_line: Vec<_> = self.secrets.iter().filter(same_line).collect();
        let hidden = |column: u32| on_line.iter().any(|secret| (secret.column..secret.end_column).contains(&column));
        text.chars().zip(1..).map(|(c, column)| if hidden(column) { '*' } else { c }).collect()
    }

    fn render_problem(&self, problem: &Problem, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "{}[{}]: {}",
            problem.code.severity().as_str(),
            problem.code.as_str(),
            printable(&problem.message)
        )?;
        match problem.place {
            None => writeln!(out, "  --> {}", self.source().name())?,
            Some(place) => {
                let file = self.source_of(place).name();
                writeln!(out, "  --> {file}:{}:{}", place.line, place.column)?;
                let (text, before, width) = excerpt(&self.masked(place), place);
                let number = format!("   | {:>2} | ", place.line);
                writeln!(out, "{number}{text}")?;
                writeln!(out, "   |{:indent$}{}", "", "^".repeat(width), indent = number.len() - 4 + before)?;
            }
        }
        if let Some(detail) = &problem.detail {
            // A component's own message may show a place in its configuration, in lines of its own.
            for (number, line) in detail.lines().enumerate() {
                writeln!(out, "  {:<7} {}", if number == 0 { "detail:" } else { "" }, printable(line))?;
            }
        }
        writeln!(out, "  help:   {}", printable(&problem.help))
    }
}

/// Errors and warnings with a blank line between them, then the counts.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = [0_usize; 2];
        let mut out = String::new();
        for problem in &self.problems {
            let shown = &mut shown[problem.code.severity() as usize];
            if *shown < PRINTED_MAX {
                *shown += 1;
                self.render_problem(problem, &mut out)?;
                out.push('\n');
            }
        }
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let hidden = self.problems.len() - shown[0] - shown[1];
        if !self.problems.is_empty() {
            write!(out, "{}: {}, {}", self.source().name(), counted(errors, "error"), counted(warnings, "warning"))?;
            if hidden > 0 {
                write!(out, " ({hidden} not shown)")?;
            }
            out.push('\n');
        }
        f.write_str(&out)
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The shown stretch of a line, how many characters of it stand before the caret, and how wide the caret is.
fn excerpt(line: &str, place: Place) -> (String, usize, usize) {
    let before = place.column as usize - 1;
    let width = ((place.end_column - place.column) as usize).max(1);
    let chars = line.chars().count();
    if chars <= LINE_SHOWN_CHARS_MAX {
        return (printable(line), before, width);
    }
    let skipped = before.saturating_sub(LINE_SHOWN_CHARS_BEFORE);
    let mut shown: String = line.chars().skip(skipped).take(LINE_SHOWN_CHARS_MAX).collect();
    if skipped + LINE_SHOWN_CHARS_MAX < chars {
        shown.push('…');
    }
    let (prefix, before) = if skipped > 0 { ("…", before - skipped + 1) } else { ("", before) };
    (format!("{prefix}{}", printable(&shown)), before, width.min(LINE_SHOWN_CHARS_MAX - LINE_SHOWN_CHARS_BEFORE))
}

/// One character for one: a file must not steer the terminal, and carets must stay aligned.
fn printable(text: &str) -> String {
    let replace = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(replace).collect()
}
