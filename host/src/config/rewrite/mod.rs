//! Has a configuration file say what serves at one stage: an edit of its text, by positions, in the file in which the value really stands.
//!
//! Nothing but the stage's own block changes: comments, order and quoting elsewhere stay byte by byte. What comes of the edit is
//! loaded before anything is written, and must differ in nothing else from what the files say now. What cannot be edited safely is refused.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::edit::{EditError, Edits};
use super::model::{Component, Config, Stage};
use super::{Environment, Loaded, diff, load_in};

mod edit;
mod site;
mod spans;
mod text;

/// What is to be written.
#[derive(Debug)]
pub struct Rewritten {
    /// What the files say once it is.
    pub config: Config,
    files: Vec<Edited>,
}

/// A file with another text.
#[derive(Debug)]
struct Edited {
    /// Without links.
    path: PathBuf,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// A file that cannot be made to say what serves. No text of it is quoted.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The engine was started otherwise.
    #[error("this engine follows no file")]
    NoFile,
    /// Nobody says where a component that was sent lies.
    #[error("the component that serves was sent over the admin API: say in which file it lies")]
    NoPath,
    /// A file that is to be named holds something else than what was sent.
    #[error("{} does not hold the component that serves", path.display())]
    OtherComponent {
        /// The file.
        path: PathBuf,
    },
    /// What the files say now cannot be used, or is not there.
    #[error("the file as it is now is not valid: `sluicebox validate` says why")]
    Invalid,
    /// The stage is not there, or is what cannot be written.
    #[error("{0}")]
    Unsafe(String),
    /// The edit would have another effect than wanted.
    #[error("{0}; write it by hand, and reload")]
    OtherEffect(&'static str),
    /// Somebody else wrote at the same time.
    #[error("{} was changed meanwhile: try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Plans to have `file`, or what it includes, say `stage`: its configuration, in the words of `text` if that is given, and its
/// component, of which the digest is given.
///
/// # Errors
/// See [`RewriteError`].
pub fn rewrite(
    file: &Path,
    environment: &dyn Environment,
    stage: &Stage,
    digest: &str,
    text: Option<&str>,
) -> Result<Rewritten, RewriteError> {
    let now = load_in(file, environment).map_err(|_told_by_validate| RewriteError::Invalid)?.config;
    let gone = || RewriteError::Unsafe(format!("the file as it is now has no stage \"{}\"", stage.name));
    let filed = now.stages.iter().find(|filed| filed.name == stage.name).ok_or_else(gone)?;
    let mut edits = Edits::new(file, environment);
    edit_stage(&mut edits, filed, stage, digest, text).map_err(|EditError(why)| RewriteError::Unsafe(why))?;
    let files: Vec<_> = edits.finish().into_iter().map(|(path, old, new)| Edited { path, old, new }).collect();
    let edited = Overlay { files: &files, under: environment };
    let Ok(Loaded { config, .. }) = load_in(file, &edited) else {
        return Err(RewriteError::OtherEffect("the file would not be valid with it"));
    };
    let changes = diff(&now, &config);
    if !changes.others.is_empty() || changes.stages.iter().any(|change| change.name != stage.name) {
        return Err(RewriteError::OtherEffect("it would change other parts, which share what it changes"));
    }
    let written = config.stages.iter().find(|written| written.name == stage.name).ok_or_else(gone)?;
    if !is_same(written, stage, environment) {
        return Err(RewriteError::OtherEffect("the file would not say what serves"));
    }
    Ok(Rewritten { config, files })
}

fn edit_stage(
    edits: &mut Edits<'_>,
    filed: &Stage,
    stage: &Stage,
    digest: &str,
    text: Option<&str>,
) -> Result<(), EditError> {
    if (&filed.keys, filed.limits, filed.on_fault) != (&stage.keys, stage.limits, stage.on_fault) {
        return Err(EditError("it serves with other keys, limits or on_fault than the file says".to_owned()));
    }
    let is_same_component = component_path(filed, edits.environment) == component_path(stage, edits.environment)
        && matches!(filed.component, Component::Bundled(_)) == matches!(stage.component, Component::Bundled(_));
    let pin = match &filed.component {
        Component::File { sha256, .. } => sha256.as_deref(),
        Component::Bundled(_) | Component::Uploaded(_) => None,
    };
    if !is_same_component || pin.is_some_and(|pin| pin != digest) {
        edits.component(stage, digest)?;
    }
    let (said, wanted) = (json(&filed.config), json(&stage.config));
    if said != wanted {
        edits.config(stage, &wanted, text)?;
    }
    Ok(())
}

impl Rewritten {
    /// Writes the files: each beside its place, then renamed onto it, with its mode and owner. The configuration file itself is the
    /// last one.
    ///
    /// # Errors
    /// See [`RewriteError`]; nothing was written if only one file is to be.
    pub fn write(&self) -> Result<(), RewriteError> {
        for Edited { path, old, new } in &self.files {
            let failed = |source| RewriteError::Write { path: path.clone(), source };
            if std::fs::read(path).map_err(failed)? != *old {
                return Err(RewriteError::Changed { path: path.clone() });
            }
            replace(path, new).map_err(failed)?;
        }
        Ok(())
    }
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let known = std::fs::metadata(path)?;
    let mut beside = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    beside.write_all(text)?;
    let written = beside.as_file().metadata()?;
    if (written.uid(), written.gid()) != (known.uid(), known.gid()) {
        fchown(beside.as_file(), Some(known.uid()), Some(known.gid()))?;
    }
    beside.as_file().set_permissions(std::fs::Permissions::from_mode(known.mode() & 0o7777))?;
    beside.as_file().sync_all()?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Whether a stage of the file is what serves. A component may be named by another path to the same file.
fn is_same(written: &Stage, stage: &Stage, environment: &dyn Environment) -> bool {
    json(&written.config) == json(&stage.config)
        && component_path(written, environment) == component_path(stage, environment)
        && (&written.keys, written.limits, written.on_fault) == (&stage.keys, stage.limits, stage.on_fault)
}

fn component_path(stage: &Stage, environment: &dyn Environment) -> Option<PathBuf> {
    match &stage.component {
        Component::File { path, .. } => Some(environment.canonical(path)),
        Component::Bundled(_) | Component::Uploaded(_) => None,
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// The files as they will be.
struct Overlay<'a> {
    files: &'a [Edited],
    under: &'a dyn Environment,
}

impl Environment for Overlay<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.under.variable(name)
    }

    fn resolve(&self, host: &str, port: u16) -> Option<SocketAddr> {
        self.under.resolve(host, port)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let canonical = self.canonical(path);
        match self.files.iter().find(|edited| edited.path == canonical) {
            Some(edited) => {
                let end = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(edited.new.len());
                Ok(edited.new.get(..end).unwrap_or_default().to_vec())
            }
            None => self.under.read(path, bytes_max),
        }
    }

    fn canonical(&self, path: &Path) -> PathBuf {
        self.under.canonical(path)
    }
}

#[cfg(test)]
mod tests;
