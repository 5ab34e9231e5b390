//! Configuration: the Collector's YAML shape, read with positions, checked whole, every error at once.

pub mod certificate;
mod check;
pub mod code;
mod diff;
pub mod duration;
mod files;
mod include;
pub mod model;
mod parse;
mod replace;
mod report;
pub mod rewrite;
pub mod shown;
mod source;
mod substitute;
mod tree;

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

pub use self::check::STAGE_LIMITS_DEFAULT;
pub use self::diff::{Change, ChangeKind, Diff, StageChange, diff};
pub use self::files::{FileDigest, Files};
use self::include::Loader;
pub use self::replace::replaced;
pub use self::report::{PRINTED_MAX, Problem, Report};
pub use self::source::{Place, Source};

/// Largest file that is read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that can run.
#[derive(Debug)]
pub struct Loaded {
    /// What to run.
    pub config: model::Config,
    /// Warnings only.
    pub report: Report,
    /// SHA-256 of the file's bytes, in hex; if it includes files that hold lists or maps, of these bytes' digest and theirs. What may be
    /// a secret is not in it: environment variables, included files that hold one value, files of keys.
    pub digest: String,
}

/// What a file may refer to beyond itself.
pub trait Environment {
    /// An environment variable that is set and is UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
    /// The address of a host name to listen on. It may block on the network.
    fn resolve(&self, host: &str, port: u16) -> Option<SocketAddr>;

    /// At most the first `bytes_max` bytes of a file.
    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A path that all ways to a file have in common.
    fn canonical(&self, path: &Path) -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// The process's own surroundings.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Environment for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// IPv4 first, so that `localhost` is 127.0.0.1 on every machine.
    fn resolve(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().ok()?.collect();
        addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
    }
}

/// The sections of components and the types that work, in the order of a file.
pub fn supported_components() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    check::known::Group::ALL.into_iter().map(|group| (group.key(), group.supported()))
}

/// Reads and checks a file. The report of an error holds every error and warning of the file.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    load_in(path, &System)
}

/// As [`load`], with other surroundings than the process's.
pub fn load_in(path: &Path, environment: &dyn Environment) -> Result<Loaded, Report> {
    match main_file(path, environment) {
        Ok((files, digest)) => load_files(files, digest, environment.canonical(path), environment),
        Err(report) => Err(*report),
    }
}

/// Checks a text as if it stood in a file `name`; relative paths in it start at `directory`.
pub fn load_text(
    name: String,
    text: String,
    directory: &Path,
    environment: &dyn Environment,
) -> Result<Loaded, Report> {
    let digest = files::digest_of(text.as_bytes());
    let canonical = environment.canonical(&directory.join(&name));
    load_files(Files::new(Source::new(name, text, directory.to_owned())), digest, canonical, environment)
}

/// Reads a file that holds one value, such as a stage's new configuration, as JSON.
pub fn read_value(path: &Path) -> Result<serde_json::Value, Report> {
    let (files, _) = main_file(path, &System).map_err(|report| *report)?;
    let mut loader = Loader::new(files, &System, System.canonical(path));
    let mut problems = Vec::new();
    let root = parse::parse(&mut loader, &mut problems);
    let (files, _) = loader.finish();
    match root {
        Some(root) if problems.iter().all(|problem| problem.code.severity() != code::Severity::Error) => {
            Ok(serde_json::to_value(&root).unwrap_or_default())
        }
        _ => Err(Report::new(files, problems)),
    }
}

fn load_files(
    files: Files,
    digest: [u8; 32],
    canonical: PathBuf,
    environment: &dyn Environment,
) -> Result<Loaded, Report> {
    let mut loader = Loader::new(files, environment, canonical);
    let mut problems = Vec::new();
    let root = parse::parse(&mut loader, &mut problems);
    let (mut files, included) = loader.finish();
    let Some(root) = root else { return Err(Report::new(files, problems)) };
    let checked = check::check(&root, environment, files.sources(), problems);
    checked.read.into_iter().for_each(|(path, digest)| files.note(path, digest));
    let report = Report::with_secrets(files, checked.problems, checked.secrets);
    if report.has_errors() {
        return Err(report);
    }
    let digest = match included {
        None => digest,
        Some(included) => files::digest_of(&[digest, included].concat()),
    };
    Ok(Loaded { config: checked.config, report, digest: hex(&digest) })
}

/// The file that the user names, and its digest.
fn main_file(path: &Path, environment: &dyn Environment) -> Result<(Files, [u8; 32]), Box<Report>> {
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let files_of = |text: String, digest: FileDigest| {
        let mut files = Files::new(Source::new(path.display().to_string(), text, directory));
        files.note(path.to_owned(), digest);
        files
    };
    let bytes = match files::read(environment, path, None) {
        Ok(bytes) => bytes,
        Err(problem) => return Err(Box::new(Report::new(files_of(String::new(), None), vec![problem]))),
    };
    let digest = files::digest_of(&bytes);
    match files::text_of(bytes) {
        Ok(text) => Ok((files_of(text, Some(digest)), digest)),
        Err(text) => {
            let files = files_of(text, Some(digest));
            let problem = files::not_text(files.sources().main());
            Err(Box::new(Report::new(files, vec![problem])))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
