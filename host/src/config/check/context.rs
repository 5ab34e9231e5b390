//! What every check needs: where problems go, and the surroundings that a file may speak of.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::config::Environment;
use crate::config::code::{Code, Severity};
use crate::config::files::FileDigest;
use crate::config::report::Problem;
use crate::config::source::{Place, Sources};

/// Shared by all checks of a file.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    problems: &'a Problems,
    warns: bool,
    pub(super) environment: &'a dyn Environment,
    sources: &'a Sources,
}

/// Problems found so far.
#[derive(Default)]
pub(super) struct Problems {
    found: RefCell<Vec<Problem>>,
    secrets: RefCell<Vec<Place>>,
    read: RefCell<Vec<(PathBuf, FileDigest)>>,
}

/// What checks leave behind.
pub(super) struct Found {
    pub(super) problems: Vec<Problem>,
    /// Places that must not be shown.
    pub(super) secrets: Vec<Place>,
    /// Files that were read beside those of the configuration.
    pub(super) read: Vec<(PathBuf, FileDigest)>,
}

impl<'a> Context<'a> {
    pub(super) fn new(problems: &'a Problems, environment: &'a dyn Environment, sources: &'a Sources) -> Self {
        Self { problems, warns: true, environment, sources }
    }

    /// For what no pipeline uses: that it is unused is warning enough.
    pub(super) fn errors_only(self) -> Self {
        Self { warns: false, ..self }
    }

    pub(super) fn push(self, problem: Problem) {
        if self.warns || problem.code.severity() == Severity::Error {
            self.problems.found.borrow_mut().push(problem);
        }
    }

    /// Where relative paths start that stand at this place.
    pub(super) fn directory(self, place: Place) -> &'a Path {
        self.sources.of(place).directory()
    }

    /// Names of the files, by the numbers of places.
    pub(super) fn file_names(self) -> Vec<String> {
        self.sources.all().map(|source| source.name().to_owned()).collect()
    }

    /// Notes that a file decides what the configuration is.
    pub(super) fn note(self, path: PathBuf, digest: FileDigest) {
        self.problems.read.borrow_mut().push((path, digest));
    }

    /// Keeps a place of the file out of every message.
    pub(super) fn hide(self, place: Place) {
        self.problems.secrets.borrow_mut().push(place);
    }

    pub(super) fn tell(self, code: Code, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(Problem::new(code, place, message, help));
    }
}

impl Problems {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self { found: RefCell::new(problems), ..Self::default() }
    }

    /// Everything, less problems that only follow from another at the same place: what became of a `${...}` that could not be
    /// replaced, and the warning that an unset variable is empty where that is already an error.
    pub(super) fn finish(self) -> Found {
        let mut problems = self.found.into_inner();
        let places = |problems: &[Problem], wanted: &dyn Fn(Code) -> bool| -> HashSet<_> {
            problems.iter().filter(|problem| wanted(problem.code)).filter_map(|problem| problem.place).collect()
        };
        let is_reference = |code| matches!(code, Code::BadReference | Code::ReferenceScheme);
        let broken = places(&problems, &is_reference);
        let wrong = places(&problems, &|code: Code| code.severity() == Severity::Error);
        problems.retain(|problem| {
            problem.place.is_none_or(|place| match problem.code {
                Code::UnsetIsEmpty => !wrong.contains(&place),
                code => is_reference(code) || !broken.contains(&place),
            })
        });
        Found { problems, secrets: self.secrets.into_inner(), read: self.read.into_inner() }
    }
}

/// The candidate nearest to what was written, if it is near enough to be meant: a part of it in words, or few typos away.
pub(super) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = written.to_lowercase();
    let distance = |candidate: &str| {
        let words = candidate.strip_prefix(&lower).is_some_and(|rest| rest.starts_with('_'))
            || candidate.strip_suffix(&lower).is_some_and(|rest| rest.ends_with('_'));
        if words { 0 } else { strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()) }
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len().min(lower.len()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean "x"? valid: a, b, c`.
pub(super) fn suggest(written: &str, what: &str, candidates: &[&str]) -> String {
    let valid = match candidates {
        [] => format!("there are no {what} here"),
        _ => format!("valid {what}: {}", candidates.join(", ")),
    };
    match nearest(written, candidates.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"? {valid}"),
        None => valid,
    }
}
