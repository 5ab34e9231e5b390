//! What changed, when, by whom and with what result: the last records of each stage in memory, every entry in a file that outlives
//! the process.
//!
//! Neither holds configurations, keys or texts of components: only names of the file, digests and steps.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use self::book::Book;
pub use self::book::{Record, StageRecords};
use self::journal::Journal;
use crate::config::model::Stage;
use crate::control::who::Who;
use crate::observe::metrics::{Counter, Metrics};
use crate::pipeline::stage::Generation;

mod book;
mod hash;
mod journal;

pub use self::hash::config_hash;

/// How long an answer waits for its entry to be in the file.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(1);

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub time: u64,
    /// What it is about, as messages name it: `engine`, `file`, `stage "filter/health"`, `pipeline "traces"`.
    pub part: String,
    /// What became of it: `started`, `serving`, `added`, `changed`, `removed`, `refused at configure`.
    pub result: String,
    /// Who asked for it; see [`Who`].
    pub who: String,
    /// Of a stage: its name as the file has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// What guards said of it, and whoever asked overruled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<String>,
    /// Of a stage that serves something new.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Identity>,
}

/// What serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Counts from 1 for each stage since the process was started.
    pub generation: u64,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Of the configuration; see [`config_hash`].
    pub config: String,
    /// The generation that served before, of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<u64>,
    /// The generation that serves again under this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
}

/// Keeps entries.
pub struct History {
    book: Mutex<Book>,
    journal: Option<Journal>,
}

/// That an entry is on its way to the file.
#[must_use = "whoever answers for a change waits until it is written"]
pub struct Written(Option<tokio::sync::oneshot::Receiver<()>>);

impl History {
    /// Goes on with the history of engines whose admin API had this port, and notes a start. Without a folder, or where nothing can be
    /// written, it is kept in memory only.
    pub fn open(state: Option<&Path>, port: u16, metrics: &Metrics) -> Arc<Self> {
        let lost = metrics.history_lost.clone();
        let file = state.map(|folder| folder.join(format!("history-{port}.jsonl")));
        let mut book = Book::default();
        if let Some(file) = &file {
            journal::last_lines(file).iter().filter_map(|line| serde_json::from_str(line).ok()).for_each(|entry| {
                book.note(&entry);
            });
        }
        let journal = file.and_then(|file| Journal::start(file, lost));
        let history = Arc::new(Self { book: Mutex::new(book), journal });
        let version = concat!("started version ", env!("CARGO_PKG_VERSION"));
        // Nobody is answered for it.
        drop(history.note(&Entry::of("engine", version, &Who::Start)));
        history
    }

    /// Without a file.
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self { book: Mutex::default(), journal: None })
    }

    /// Adds an entry. What is not about a stage's generations is kept in memory, too, as one of the last changes.
    pub fn note(&self, entry: &Entry) -> Written {
        // The lock is held while the entry is handed on, so that the file has the order of the memory.
        let mut book = self.book();
        book.note(entry);
        Written(self.journal.as_ref().and_then(|journal| journal.append(entry)))
    }

    /// The records of every stage, or of one; oldest first.
    pub fn stages(&self, only: Option<&str>) -> Vec<StageRecords> {
        self.book().stages(only)
    }

    /// The last changes of other parts, oldest first.
    pub fn changes(&self) -> Vec<Entry> {
        self.book().changes()
    }

    /// Who brought what serves at a stage, and when.
    pub fn serving(&self, stage: &str) -> Option<Record> {
        self.book().serving(stage).cloned()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Something that happened now to a part of the file, named as messages do: `receiver "otlp"`.
    pub fn of(part: &str, result: &str, who: &Who) -> Self {
        let (part, result, who) = (part.to_owned(), result.to_owned(), who.to_string());
        Self { time: unix_seconds(), part, result, who, stage: None, forced: None, generation: None }
    }

    /// Something that happened to a stage: `removed`, `refused at link`.
    pub fn of_stage(stage: &str, result: &str, who: &Who) -> Self {
        Self { stage: Some(stage.to_owned()), ..Self::of(&format!("stage \"{stage}\""), result, who) }
    }

    /// A generation that serves from now on, made from `stage`.
    pub fn serving(generation: &dyn Generation, stage: &Stage, replaces: Option<u64>, who: &Who) -> Self {
        let identity = Identity {
            generation: generation.number(),
            digest: generation.digest().to_owned(),
            config: config_hash(&stage.config),
            replaces,
            rollback_to: None,
        };
        Self { generation: Some(identity), ..Self::of_stage(&stage.name, book::SERVING, who) }
    }

    /// The same, that served before under another number.
    pub(super) fn rolled_back_to(mut self, number: u64) -> Self {
        if let Some(identity) = &mut self.generation {
            identity.rollback_to = Some(number);
        }
        self
    }
}

impl Written {
    /// Waits until the entry is in the file, or could not be written, or it takes too long: a history never holds up a change.
    pub async fn wait(self) {
        if let Some(written) = self.0 {
            let _written_or_late = tokio::time::timeout(WRITE_WAIT_MAX, written).await;
        }
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("has_file", &self.journal.is_some()).finish_non_exhaustive()
    }
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// For what counts entries that could not be written.
pub(super) type Lost = Counter;

#[cfg(test)]
mod tests;
