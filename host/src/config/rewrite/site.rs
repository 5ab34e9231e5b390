//! The texts of a configuration and the way to a value in them, through the files that it leads to.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::edit::EditError;
use super::spans::{Shape, Spot, SpotEntry};
use crate::config::{Environment, FILE_BYTES_MAX, substitute};

/// Files that the way to one value may lead through.
const FILES_MAX: usize = 16;

/// A file of the configuration.
#[derive(Debug)]
pub(super) struct Document {
    /// As messages name it.
    pub(super) name: String,
    /// Without links.
    pub(super) canonical: PathBuf,
    /// Where relative paths start.
    pub(super) directory: PathBuf,
    pub(super) bytes: Vec<u8>,
    /// Without a byte-order mark.
    pub(super) text: String,
    root: Rc<Spot>,
}

/// A value, and what it is the value of.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) document: Rc<Document>,
    pub(super) spot: Rc<Spot>,
    /// Where its key stands; None of the whole of a file and of an item of a list.
    pub(super) key: Option<std::ops::Range<usize>>,
    /// Whether it stands within brackets.
    pub(super) is_in_flow: bool,
}

impl Document {
    pub(super) fn read(path: &Path, environment: &dyn Environment) -> Result<Rc<Self>, EditError> {
        let name = path.display().to_string();
        let failed = || EditError(format!("{name} cannot be read as YAML"));
        let bytes = environment.read(path, FILE_BYTES_MAX).map_err(|_| failed())?;
        let text = String::from_utf8(bytes.clone()).map_err(|_| failed())?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        let root = Rc::new(Spot::of(&text).ok_or_else(failed)?);
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Rc::new(Self { canonical: environment.canonical(path), name, directory, bytes, text, root }))
    }

    /// The number of bytes before a place in its line.
    pub(super) fn column(&self, at: usize) -> usize {
        at - self.line_start(at)
    }

    pub(super) fn line_start(&self, at: usize) -> usize {
        self.text.get(..at).and_then(|before| before.rfind(['\n', '\r'])).map_or(0, |line_break| line_break + 1)
    }

    /// Where the line of a place ends, before its break.
    pub(super) fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.find(['\n', '\r']).unwrap_or(rest.len())
    }

    /// `file:line` of a place.
    pub(super) fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or_default();
        format!("{}:{}", self.name, before.matches('\n').count() + 1)
    }

    pub(super) fn line_break(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }
}

impl Site {
    pub(super) fn root(document: Rc<Document>) -> Self {
        Self { spot: Rc::clone(&document.root), document, key: None, is_in_flow: false }
    }

    /// Where it stands, for people.
    pub(super) fn place(&self) -> String {
        self.document.place(self.spot.bytes.start)
    }

    /// The value itself, in the file that it stands in.
    pub(super) fn followed(self, environment: &dyn Environment) -> Result<Self, EditError> {
        let mut site = self;
        for _ in 0..FILES_MAX {
            let Shape::Scalar(text) = &site.spot.shape else { return Ok(site) };
            let Some(path) = substitute::whole_file(text) else { return Ok(site) };
            site = Self::root(Document::read(&site.document.directory.join(path), environment)?);
        }
        Err(EditError(format!("{} leads through too many files", site.place())))
    }

    pub(super) fn entry(&self, entry: &SpotEntry) -> Self {
        Self {
            document: Rc::clone(&self.document),
            spot: Rc::clone(&entry.value),
            key: Some(entry.key_bytes.clone()),
            is_in_flow: self.is_in_flow || self.spot.is_flow(),
        }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        Some(self.entry(self.spot.entry(key)?))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        let Shape::List { items, is_flow } = &self.spot.shape else { return Vec::new() };
        let item = |spot: &Rc<Spot>| Self {
            document: Rc::clone(&self.document),
            spot: Rc::clone(spot),
            key: None,
            is_in_flow: self.is_in_flow || *is_flow,
        };
        items.iter().map(item).collect()
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.spot.shape {
            Shape::Scalar(text) => Some(text),
            _ => None,
        }
    }
}
