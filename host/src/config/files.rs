//! The files that a configuration is made of, and reading them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::code::Code;
use super::report::Problem;
use super::source::{Place, Source, Sources};
use super::{Environment, FILE_BYTES_MAX};

/// SHA-256 of a file's bytes; None where it could not be read.
pub type FileDigest = Option<[u8; 32]>;

/// Texts of the files of a configuration, and what was read for it.
#[derive(Clone)]
pub struct Files {
    sources: Sources,
    /// In the order of paths. Files of keys are in it too, so it is not printed.
    read: BTreeMap<PathBuf, FileDigest>,
}

impl Files {
    /// A text alone.
    pub(super) fn new(main: Source) -> Self {
        Self { sources: Sources::new(main), read: BTreeMap::new() }
    }

    /// Every file that was read, and its digest.
    pub fn read(&self) -> &BTreeMap<PathBuf, FileDigest> {
        &self.read
    }

    /// Texts by place.
    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    pub(super) fn sources_mut(&mut self) -> &mut Sources {
        &mut self.sources
    }

    /// Notes that a file was read.
    pub(super) fn note(&mut self, path: PathBuf, digest: FileDigest) {
        self.read.insert(path, digest);
    }
}

/// Without texts and digests: files may hold secrets.
impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.read.keys()).finish()
    }
}

/// SHA-256.
pub(super) fn digest_of(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Reads a file of a configuration. `place` is where it is named, None for the one that the user named.
pub(super) fn read(environment: &dyn Environment, path: &Path, place: Option<Place>) -> Result<Vec<u8>, Problem> {
    let named = match place {
        Some(_) => format!("file \"{}\"", path.display()),
        None => "the file".to_owned(),
    };
    let bytes = environment.read(path, FILE_BYTES_MAX + 1).map_err(|error| {
        let message = format!("{named} cannot be read: {}", error.kind());
        Problem::new(Code::Unreadable, place, message, "check the path and its permissions")
    })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("{named} is larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(Problem::new(Code::TooLarge, place, message, "check the path; no configuration needs such size"));
    }
    Ok(bytes)
}

/// The text of a file's bytes. If they are no text, the text before the first byte that is none.
pub(super) fn text_of(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned()
    })
}

/// That a file is no text; `source` holds what of it is one.
pub(super) fn not_text(source: &Source) -> Problem {
    let place = source.place_at(source.text().len(), 1);
    Problem::new(Code::NotText, place, "the file is not UTF-8 text: a byte that is none", "save the file as UTF-8")
}
