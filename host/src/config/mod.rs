//! Configuration: the Collector's YAML shape, read with positions, checked whole, every error at once.

mod check;
pub mod code;
mod diff;
pub mod duration;
pub mod model;
mod parse;
mod report;
mod source;
mod substitute;
mod tree;

use std::fmt::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use self::code::Code;
pub use self::diff::{Change, ChangeKind, Diff, StageChange, diff};
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
    /// SHA-256 of the file's bytes, in hex. Values of environment variables are not in it.
    pub digest: String,
}

/// What a file may refer to beyond itself.
pub trait Environment {
    /// An environment variable that is set and is UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
    /// The address of a host name to listen on. It may block on the network.
    fn resolve(&self, host: &str, port: u16) -> Option<SocketAddr>;
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
    let name = path.display().to_string();
    let directory = path.parent().unwrap_or(Path::new(""));
    let bytes = read(path).map_err(|problem| alone(name.clone(), problem))?;
    match String::from_utf8(bytes) {
        Ok(text) => load_text(name, text, directory, environment),
        Err(error) => {
            let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
            let source = Source::new(name, valid);
            let place = source.place_at(source.text().len(), 1);
            let help = "save the file as UTF-8";
            let problem = Problem::new(Code::NotText, place, "the file is not UTF-8 text: a byte that is none", help);
            Err(Report::new(Arc::new(source), vec![problem]))
        }
    }
}

/// Checks a text as if it stood in a file `name`; relative paths in it start at `directory`.
pub fn load_text(
    name: String,
    text: String,
    directory: &Path,
    environment: &dyn Environment,
) -> Result<Loaded, Report> {
    let digest = hex_sha256(text.as_bytes());
    let source = Arc::new(Source::new(name, text));
    let mut problems = Vec::new();
    let Some(root) = parse::parse(&source, &|name| environment.variable(name), &mut problems) else {
        return Err(Report::new(source, problems));
    };
    let (config, problems, secrets) = check::check(&root, environment, directory, problems);
    let report = Report::with_secrets(source, problems, secrets);
    if report.has_errors() { Err(report) } else { Ok(Loaded { config, report, digest }) }
}

/// Reads a file that holds one value, such as a stage's new configuration, as JSON.
pub fn read_value(path: &Path) -> Result<serde_json::Value, Report> {
    let name = path.display().to_string();
    let bytes = read(path).map_err(|problem| alone(name.clone(), problem))?;
    let source = Arc::new(Source::new(name, String::from_utf8_lossy(&bytes).into_owned()));
    let mut problems = Vec::new();
    let root = parse::parse(&source, &|name| System.variable(name), &mut problems);
    match root {
        Some(root) if problems.iter().all(|problem| problem.code.severity() != code::Severity::Error) => {
            Ok(serde_json::to_value(&root).unwrap_or_default())
        }
        _ => Err(Report::new(source, problems)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| {
        let message = format!("the file cannot be read: {}", error.kind());
        Problem::new(Code::Unreadable, None, message, "check the path and its permissions")
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("the file is larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(Problem::new(Code::TooLarge, None, message, "check the path; no configuration needs such size"));
    }
    Ok(bytes)
}

fn alone(name: String, problem: Problem) -> Report {
    Report::new(Arc::new(Source::new(name, String::new())), vec![problem])
}

fn hex_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
