//! `${file:PATH}`: a value that stands in a file of its own, read as YAML as if it had been written in place, or a text within another.
//!
//! The Collector's `file` provider, but: relative paths start at the file that names them, a file that holds nothing is an error (it
//! is often one that is half-written), one line break at the end is no part of a text, and what a file holds is not looked at again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Environment;
use super::code::Code;
use super::files::{self, Files};
use super::parse;
use super::report::Problem;
use super::source::{Place, Source};
use super::substitute::Named;
use super::tree::{Node, Substituted, Value, shortened};

/// Most files that a configuration includes.
pub const INCLUDED_FILES_MAX: usize = 64;
/// Most bytes of included files, counted each time that a file is named.
pub const INCLUDED_BYTES_MAX: u64 = 16 << 20;
/// How deep files include each other.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// Reads what a configuration includes, each file once.
pub(super) struct Loader<'a> {
    environment: &'a dyn Environment,
    files: Files,
    /// By the name that all ways to a file have in common.
    kept: HashMap<PathBuf, Kept>,
    /// Different files so far.
    included: usize,
    /// Bytes so far; see [`INCLUDED_BYTES_MAX`].
    bytes: u64,
    /// Files that are being read, outermost first.
    open: Vec<Open>,
    /// Of the files that hold lists and maps, in the order in which they are named.
    structure: Sha256,
    has_structure: bool,
    has_failed: bool,
}

/// A file that was read.
#[derive(Clone)]
struct Kept {
    content: Content,
    /// What naming it once more takes.
    bytes: u64,
}

/// What a file turned out to hold.
#[derive(Clone)]
enum Content {
    /// A list or a map; its places are in the file.
    Structure(Node),
    /// One value. It may be a secret, so messages about it point at who names the file.
    Single {
        value: Value,
        /// Before it was typed, without the line break at its end.
        text: String,
    },
    /// Nothing usable, which has been told.
    Failed,
}

struct Open {
    canonical: PathBuf,
    name: String,
}

/// A file's bytes, if it may be read here.
struct Fetched {
    canonical: PathBuf,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl<'a> Loader<'a> {
    /// For a main file, whose canonical path is known.
    pub(super) fn new(files: Files, environment: &'a dyn Environment, canonical: PathBuf) -> Self {
        let name = files.sources().main().name().to_owned();
        let open = vec![Open { canonical, name }];
        let (structure, has_structure, has_failed) = (Sha256::new(), false, false);
        let kept = HashMap::new();
        Self { environment, files, kept, included: 0, bytes: 0, open, structure, has_structure, has_failed }
    }

    /// What was read, and the digest of all included structure; None if there is none.
    pub(super) fn finish(self) -> (Files, Option<[u8; 32]>) {
        (self.files, self.has_structure.then(|| self.structure.finalize().into()))
    }

    /// True if some file could not be included, which has been told: the tree is not what was meant.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The main file.
    pub(super) fn main(&self) -> Arc<Source> {
        Arc::clone(self.files.sources().main())
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.environment.variable(name)
    }

    /// What stands in place of a `${file:path}` of `from`, of which the places of the reference and of its scalar are given. None if there
    /// is nothing, which has been told.
    pub(super) fn node(
        &mut self,
        path: &str,
        from: &Source,
        (place, whole): (Place, Place),
        problems: &mut Vec<Problem>,
    ) -> Option<Node> {
        let content = match self.fetch(path, from, place) {
            Ok(Fetch::Known(content)) => content,
            Ok(Fetch::New(fetched)) => self.read_in(fetched, problems),
            Err(problem) => {
                problems.push(problem);
                Content::Failed
            }
        };
        match content {
            Content::Structure(node) => Some(node),
            Content::Single { value, text } => {
                let written = format!("${{file:{path}}}");
                let substituted = Substituted { place: whole, written, text, unset: None, from_file: true };
                Some(Node { value, place, substituted: Some(Box::new(substituted)) })
            }
            Content::Failed => {
                self.has_failed = true;
                None
            }
        }
    }

    /// The text of a file that is named within a text.
    fn text(&mut self, path: &str, from: &Source, place: Place, problems: &mut Vec<Problem>) -> Option<String> {
        let text = self.read_text(path, from, place).map_err(|problem| problems.push(problem)).ok();
        self.has_failed |= text.is_none();
        text
    }

    fn read_text(&mut self, path: &str, from: &Source, place: Place) -> Result<String, Problem> {
        let path = resolve(path, from, place)?;
        let bytes = self.read(&path, place)?;
        let text = files::text_of(bytes).map_err(|_| {
            let message = format!("file \"{}\" is not UTF-8 text", path.display());
            Problem::new(Code::NotText, place, message, "save the file as UTF-8")
        })?;
        Ok(without_line_break(&text).to_owned())
    }

    fn fetch(&mut self, path: &str, from: &Source, place: Place) -> Result<Fetch, Problem> {
        let path = resolve(path, from, place)?;
        let canonical = self.environment.canonical(&path);
        if let Some(first) = self.open.iter().position(|open| open.canonical == canonical) {
            let chain: Vec<_> = self.open[first..].iter().map(|open| open.name.as_str()).collect();
            let chain = format!("{} -> {}", chain.join(" -> "), path.display());
            let message = format!("file \"{}\" includes itself", path.display());
            return Err(Problem::new(Code::IncludeCycle, place, message, "remove one of the references").detail(chain));
        }
        if let Some(kept) = self.kept.get(&canonical) {
            self.bytes = self.bytes.saturating_add(kept.bytes);
            self.check_bytes(place)?;
            return Ok(Fetch::Known(self.kept.get(&canonical).map_or(Content::Failed, |kept| kept.content.clone())));
        }
        if self.open.len() > INCLUDE_DEPTH_MAX {
            let message = format!("files include each other deeper than {INCLUDE_DEPTH_MAX}");
            return Err(Problem::new(Code::TooDeep, place, message, "include them from fewer levels"));
        }
        let bytes = self.read(&path, place)?;
        Ok(Fetch::New(Fetched { canonical, path, bytes }))
    }

    /// Reads a file and notes that, within the limit on their number.
    fn read(&mut self, path: &Path, place: Place) -> Result<Vec<u8>, Problem> {
        self.check_bytes(place)?;
        if !self.files.read().contains_key(path) {
            if self.included >= INCLUDED_FILES_MAX {
                let message = format!("more than {INCLUDED_FILES_MAX} files are included");
                return Err(Problem::new(Code::TooManyFiles, place, message, "put some of them together"));
            }
            self.included += 1;
        }
        let read = files::read(self.environment, path, Some(place));
        self.files.note(path.to_owned(), read.as_ref().ok().map(|bytes| files::digest_of(bytes)));
        let read = read?;
        self.bytes = self.bytes.saturating_add(read.len() as u64);
        self.check_bytes(place)?;
        Ok(read)
    }

    fn check_bytes(&self, place: Place) -> Result<(), Problem> {
        if self.bytes <= INCLUDED_BYTES_MAX {
            return Ok(());
        }
        let message = format!("more than {} MiB are included, repeated files counted again", INCLUDED_BYTES_MAX >> 20);
        Err(Problem::new(Code::TooManyFiles, place, message, "include less, or large files less often"))
    }

    fn read_in(&mut self, Fetched { canonical, path, bytes }: Fetched, problems: &mut Vec<Problem>) -> Content {
        let digest = files::digest_of(&bytes);
        // What it includes itself is counted while it is read.
        let before = self.bytes.saturating_sub(bytes.len() as u64);
        let text = files::text_of(bytes);
        let is_text = text.is_ok();
        let (Ok(text) | Err(text)) = text;
        let name = path.display().to_string();
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let source = self.files.sources_mut().add(Source::new(name.clone(), text, directory));
        let content = if is_text {
            self.open.push(Open { canonical: canonical.clone(), name });
            let content = self.parsed(&source, problems);
            self.open.pop();
            content
        } else {
            problems.push(files::not_text(&source));
            Content::Failed
        };
        if matches!(content, Content::Structure(_)) {
            self.structure.update(digest);
            self.has_structure = true;
        }
        let bytes = self.bytes.saturating_sub(before);
        self.kept.insert(canonical, Kept { content: content.clone(), bytes });
        content
    }

    fn parsed(&mut self, source: &Source, problems: &mut Vec<Problem>) -> Content {
        let mut found = Vec::new();
        let root = parse::included(source, self, &mut found);
        let text = without_line_break(source.text());
        match root {
            None if is_single_line(text) && found.iter().all(|problem| is_of_form(problem.code)) => {
                // A token need not be YAML: the Collector takes it as it is, too.
                Content::Single { value: Value::Text(text.to_owned()), text: text.to_owned() }
            }
            None => {
                problems.append(&mut found);
                Content::Failed
            }
            Some(node) => {
                problems.append(&mut found);
                match node.value {
                    Value::List(_) | Value::Map(_) => Content::Structure(node),
                    value => {
                        let text = node.substituted.map_or_else(|| text.trim().to_owned(), |inner| inner.text);
                        Content::Single { value, text }
                    }
                }
            }
        }
    }
}

enum Fetch {
    Known(Content),
    New(Fetched),
}

/// A loader as references of one file see it.
pub(super) struct Within<'l, 'a> {
    pub(super) loader: &'l mut Loader<'a>,
    pub(super) source: &'l Source,
}

impl Named for Within<'_, '_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.loader.variable(name)
    }

    fn text(&mut self, path: &str, place: Place, problems: &mut Vec<Problem>) -> Option<String> {
        self.loader.text(path, self.source, place, problems)
    }
}

/// Relative paths start at the file that names them.
fn resolve(path: &str, from: &Source, place: Place) -> Result<PathBuf, Problem> {
    let bad = |what: &str, help: &str| Err(Problem::new(Code::BadReference, place, what, help));
    if path.trim().is_empty() {
        return bad("\"${file:}\" names no file", "write \"${file:rules.yaml}\"");
    }
    if path.contains("${") {
        let what = format!("the path \"{}\" holds a reference", shortened(path));
        return bad(&what, "write the path out, or set a variable to all of the value");
    }
    Ok(from.directory().join(path))
}

/// YAML of one line that is meant to be structure says so with its first character.
fn is_single_line(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains(['\n', '\r']) && !text.trim_start().starts_with(['{', '['])
}

/// Errors that a text which is no YAML gives.
fn is_of_form(code: Code) -> bool {
    matches!(code, Code::Syntax | Code::UnusableYaml)
}

fn without_line_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests;
