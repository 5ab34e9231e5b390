//! The history's file: append only, one line for each entry, written by a thread of its own so that no disk holds up a change.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::OFlags;
use tokio::sync::oneshot;

use super::{Entry, Lost};
use crate::observe::throttle::Throttle;

/// A larger file is renamed to `.1`, in place of the last one.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;
/// What is read of earlier processes, from the end.
const READ_BYTES_MAX: u64 = 256 << 10;
/// Entries that wait for the disk; more are lost and counted.
const WAITING_MAX: usize = 256;
/// Between two log lines on what cannot be written.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Owner only: it says who changed what.
const MODE: u32 = 0o600;

/// The way to the thread that writes.
pub(super) struct Journal {
    lines: Sender<Line>,
    lost: Lost,
}

struct Line {
    /// With its line break.
    text: Vec<u8>,
    written: oneshot::Sender<()>,
}

struct Writer {
    file: PathBuf,
    lost: Lost,
    complaints: Throttle,
}

impl Journal {
    /// None where no thread can be started, which is told.
    pub(super) fn start(file: PathBuf, lost: Lost) -> Option<Self> {
        let (lines, waiting) = bounded(WAITING_MAX);
        let writer = Writer { file, lost: lost.clone(), complaints: Throttle::new(LOG_INTERVAL) };
        let spawned = thread::Builder::new().name("history".to_owned()).spawn(move || writer.write_all(&waiting));
        match spawned {
            Ok(_) => Some(Self { lines, lost }),
            Err(error) => {
                tracing::warn!(%error, "the history is kept in memory only");
                None
            }
        }
    }

    /// None where it is lost, which is counted.
    pub(super) fn append(&self, entry: &Entry) -> Option<oneshot::Receiver<()>> {
        let mut text = serde_json::to_vec(entry).ok()?;
        text.push(b'\n');
        let (written, until_written) = oneshot::channel();
        if self.lines.try_send(Line { text, written }).is_err() {
            self.lost.inc();
            return None;
        }
        Some(until_written)
    }
}

impl Writer {
    fn write_all(&self, lines: &Receiver<Line>) {
        while let Ok(Line { text, written }) = lines.recv() {
            let appended = append(&self.file, &text);
            if appended.is_err() {
                self.lost.inc();
            }
            // The process may be killed from here on. Whoever waited may have left.
            let _left = written.send(());
            match appended {
                // So that the machine may lose power, too; nobody waits for that.
                Ok(file) if lines.is_empty() => self.told(file.sync_data()),
                Ok(_) => {}
                Err(error) => self.told(Err(error)),
            }
        }
    }

    fn told(&self, result: io::Result<()>) {
        if let Err(error) = result
            && let Some(left_out) = self.complaints.admit()
        {
            let file = self.file.display();
            tracing::warn!(%error, left_out, "the history cannot be written to {file}: changes go on without it");
        }
    }
}

/// Appends a line by one write. The file is opened for each: lines are rare, and it may have been moved away or made readable.
fn append(path: &Path, line: &[u8]) -> io::Result<File> {
    let mut file = open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > 0 && bytes + line.len() as u64 > FILE_BYTES_MAX {
        fs::rename(path, old(path))?;
        file = open(path)?;
    }
    if ends_within_a_line(&file)? {
        // A process was killed, or a disk was full, in the middle of a line: it must not spoil this one.
        file.write_all(b"\n")?;
    }
    file.write_all(line)?;
    Ok(file)
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).append(true).create(true).mode(MODE).custom_flags(no_follow).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

fn ends_within_a_line(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// Where a full file goes.
fn old(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// The last lines of what earlier processes wrote, oldest first; none where nothing can be read. Lines may be damaged.
pub(super) fn last_lines(path: &Path) -> Vec<String> {
    let newest = last_bytes(path, READ_BYTES_MAX);
    let left = READ_BYTES_MAX.saturating_sub(newest.len() as u64);
    let older = if left > 0 { last_bytes(&old(path), left) } else { Vec::new() };
    let lines = |bytes: Vec<u8>| -> Vec<String> {
        bytes.split(|&byte| byte == b'\n').filter_map(|line| String::from_utf8(line.to_vec()).ok()).collect()
    };
    lines(older).into_iter().chain(lines(newest)).filter(|line| !line.is_empty()).collect()
}

fn last_bytes(path: &Path, bytes_max: u64) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(bytes_max);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}
