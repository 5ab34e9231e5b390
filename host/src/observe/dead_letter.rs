//! The dead letter: a file that tells what stages could not judge, by ids, sizes and faults; one JSON object per line. Telemetry itself is
//! in it only where the file asks for it, and only as it is behind all editing stages.
//!
//! One thread writes it, from a bounded queue: what does not fit, or cannot be written, is counted and left out. When the file has half of
//! what it may hold, it takes the name of the one before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::fs::OFlags;
use serde::Serialize;

use super::metrics::{Counter, Metrics};
use super::throttle::Throttle;
use crate::signal::Signal;

/// Entries that wait to be written.
const ENTRIES_MAX: usize = 256;
/// Records whose ids an entry tells.
pub const IDS_MAX: usize = 64;
/// Longest telemetry of an entry, as OTLP protobuf: so much may wait with each entry.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Between two log lines on what cannot be written.
const LOG_INTERVAL: Duration = Duration::from_secs(30);
/// How long a stop waits for what is to be written.
const STOP_MAX: Duration = Duration::from_secs(1);

/// OTLP protobuf of a signal as OTLP/JSON, if it is valid.
pub type ToJson = fn(Signal, &[u8]) -> Option<Vec<u8>>;

/// Where entries go.
#[derive(Debug)]
pub struct DeadLetters {
    /// None once it ends.
    entries: Option<Sender<Entry>>,
    ended: Receiver<()>,
    queue_full: Counter,
    with_payload: bool,
}

/// What a stage could not judge.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at_unix_milli: u64,
    /// Of which pipeline.
    pub pipeline: String,
    /// By which stage.
    pub stage: String,
    /// By which generation of it.
    pub generation: u64,
    /// SHA-256 of its component, in hex.
    pub digest: String,
    /// The class of its fault.
    pub fault: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// Its signal.
    pub signal: &'static str,
    /// Spans, data points or log records; traces where a policy failed.
    pub items: u64,
    /// Bytes of them as they came, or of the request that they stood in.
    pub bytes: u64,
    /// Ids of the first [`IDS_MAX`] records that have valid ones.
    pub ids: Vec<Id>,
    /// Telemetry as OTLP protobuf, written as OTLP/JSON.
    #[serde(skip)]
    pub payload: Option<(Signal, Vec<u8>)>,
}

/// Ids of a record, in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Id {
    /// Its trace.
    pub trace_id: String,
    /// Its span; empty where a whole trace is meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub span_id: String,
}

/// What became of what was not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its sender was told to send it again, or a tail sampler tries it again.
    Retry,
    /// Its sender was told that it is not taken.
    Rejected,
    /// It went on.
    Passed,
    /// A tail sampler's fallback decided.
    Fallback,
}

/// The thread's belongings.
struct Writer {
    path: PathBuf,
    /// Of the file before it takes another name.
    bytes_max: u64,
    to_json: ToJson,
    written: Counter,
    unwritable: Counter,
    too_large: Counter,
    lines: Throttle,
}

impl DeadLetters {
    /// Starts the thread that writes to `path`; that file and the one before it hold at most `bytes_max` together.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        path: PathBuf,
        bytes_max: u64,
        with_payload: bool,
        to_json: ToJson,
        metrics: &Metrics,
    ) -> io::Result<DeadLetters> {
        let (entries, waiting) = bounded(ENTRIES_MAX);
        // Nothing is ever sent: it is gone when the thread is.
        let (ending, ended) = bounded::<()>(0);
        let writer = Writer {
            path,
            bytes_max: bytes_max / 2,
            to_json,
            written: metrics.dead_letter_entries.clone(),
            unwritable: metrics.dead_letter_left_out("unwritable"),
            too_large: metrics.dead_letter_left_out("too_large"),
            lines: Throttle::new(LOG_INTERVAL),
        };
        std::thread::Builder::new().name("dead-letter".to_owned()).spawn(move || {
            let _ending = ending;
            writer.work(&waiting);
        })?;
        let queue_full = metrics.dead_letter_left_out("queue_full");
        Ok(DeadLetters { entries: Some(entries), ended, queue_full, with_payload })
    }

    /// Has an entry written, soon; one that finds no room is counted and left out.
    pub fn put(&self, entry: Entry) {
        let sent = self.entries.as_ref().is_some_and(|entries| entries.try_send(entry).is_ok());
        if !sent {
            self.queue_full.inc();
        }
    }

    /// Whether telemetry is asked for.
    pub fn with_payload(&self) -> bool {
        self.with_payload
    }

    /// For [`Entry::at_unix_milli`].
    pub fn now_unix_milli() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        self.entries = None;
        if self.ended.recv_timeout(STOP_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the dead letter was not written in time");
        }
    }
}

impl Writer {
    fn work(&self, entries: &Receiver<Entry>) {
        while let Ok(entry) = entries.recv() {
            let Some(line) = self.line(&entry) else {
                self.too_large.inc();
                continue;
            };
            match self.append(&line) {
                Ok(()) => drop(self.written.inc()),
                Err(error) => {
                    if let Some(left_out) = self.lines.admit() {
                        let path = self.path.display();
                        tracing::warn!(%path, %error, left_out, "the dead letter cannot be written; it is tried again with the next entry");
                    }
                    self.unwritable.inc();
                }
            }
        }
    }

    /// None if it is longer than a whole file may be.
    fn line(&self, entry: &Entry) -> Option<Vec<u8>> {
        let mut line = serde_json::to_vec(entry).ok()?;
        if let Some(json) = entry.payload.as_ref().and_then(|(signal, body)| (self.to_json)(*signal, body)) {
            // The object goes on.
            line.pop();
            line.extend_from_slice(b",\"payload\":");
            line.extend(json);
            line.push(b'}');
        }
        line.push(b'\n');
        (line.len() as u64 <= self.bytes_max).then_some(line)
    }

    /// Opened each time: whoever moves it away or makes room is not waited for, and faults are rare.
    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut file = open(&self.path)?;
        if file.metadata()?.len().saturating_add(line.len() as u64) > self.bytes_max {
            fs::rename(&self.path, before(&self.path))?;
            file = open(&self.path)?;
        }
        file.write_all(line)
    }
}

/// The name of the file before this one.
fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// A regular file that only its owner may read, made if there is none.
fn open(path: &Path) -> io::Result<File> {
    // A link could lead anywhere, and a pipe would block.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    let known = file.metadata()?;
    if !known.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    if known.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's file"));
    }
    if known.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
