//! The records in memory, made of entries: those of earlier processes from the file, then each as it comes.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::{Entry, Identity};

/// Records of a stage, the oldest goes first.
pub(super) const RECORDS_MAX: usize = 64;
/// Stages; that which has not changed for longest goes first.
const STAGES_MAX: usize = 1024;
/// Of changes of other parts.
const CHANGES_MAX: usize = 64;
/// Result of what serves.
pub(super) const SERVING: &str = "serving";
const REPLACED: &str = "replaced";
const ROLLED_BACK: &str = "rolled back";
const REMOVED: &str = "removed";
const ENDED: &str = "ended";
const STARTED: &str = "started";

/// A generation of a stage, or a candidate that never served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Record {
    /// Its number; a candidate has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// SHA-256 of its component, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Hash of its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// When it began to serve, or was refused, in seconds since 1970.
    pub time: u64,
    /// Who asked for it.
    pub who: String,
    /// `serving`, `replaced`, `rolled back`, `refused at <step>`, `removed`; `ended` with its process.
    pub result: String,
    /// When it ended, in seconds since 1970; unknown of one that ended with its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The generation that serves again by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// True of the process that runs: numbers of earlier ones mean nothing to it.
    pub of_this_process: bool,
}

/// A stage's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct StageRecords {
    /// Its name.
    pub stage: String,
    /// Oldest first.
    pub generations: Vec<Record>,
}

/// Bounded in every direction.
#[derive(Debug, Default)]
pub(super) struct Book {
    stages: BTreeMap<String, OfStage>,
    /// Entries so far.
    noted: u64,
    changes: VecDeque<Entry>,
}

#[derive(Debug, Default)]
struct OfStage {
    records: VecDeque<Record>,
    /// The number of its last entry.
    changed: u64,
}

impl Book {
    pub(super) fn note(&mut self, entry: &Entry) {
        self.noted += 1;
        match &entry.stage {
            Some(stage) => self.note_of_stage(stage.clone(), entry),
            None => {
                if entry.result.starts_with(STARTED) {
                    self.end_process();
                }
                push(&mut self.changes, entry.clone(), CHANGES_MAX);
            }
        }
    }

    pub(super) fn stages(&self, only: Option<&str>) -> Vec<StageRecords> {
        let wanted = self.stages.iter().filter(|(stage, _)| only.is_none_or(|only| *stage == only));
        let records = |(stage, of_stage): (&String, &OfStage)| StageRecords {
            stage: stage.clone(),
            generations: of_stage.records.iter().cloned().collect(),
        };
        wanted.map(records).collect()
    }

    pub(super) fn changes(&self) -> Vec<Entry> {
        self.changes.iter().cloned().collect()
    }

    pub(super) fn serving(&self, stage: &str) -> Option<&Record> {
        self.stages.get(stage)?.records.iter().rev().find(|record| record.result == SERVING)
    }

    fn note_of_stage(&mut self, stage: String, entry: &Entry) {
        if !self.stages.contains_key(&stage) && self.stages.len() >= STAGES_MAX {
            let oldest = self.stages.iter().min_by_key(|(_, known)| known.changed).map(|(stage, _)| stage.clone());
            oldest.iter().for_each(|stage| {
                self.stages.remove(stage);
            });
        }
        let OfStage { records, changed } = self.stages.entry(stage).or_default();
        *changed = self.noted;
        let ends = match (&entry.generation, entry.result.as_str()) {
            (Some(Identity { generation, rollback_to: Some(target), .. }), _) => {
                Some((ROLLED_BACK, format!("rollback to {target}, as {generation}")))
            }
            (Some(Identity { generation, .. }), _) => Some((REPLACED, format!("replaced by {generation}"))),
            (None, REMOVED) => Some((REMOVED, "the file no longer has it".to_owned())),
            // A candidate that was refused ends nothing.
            (None, _) => None,
        };
        if let Some((result, why)) = ends {
            records.iter_mut().filter(|record| record.result == SERVING).for_each(|record| {
                (record.result, record.ended, record.why) = (result.to_owned(), Some(entry.time), Some(why.clone()));
            });
        }
        if entry.result != REMOVED {
            push(records, Record::of(entry), RECORDS_MAX);
        }
    }

    /// What served in a process that is no more.
    fn end_process(&mut self) {
        for record in self.stages.values_mut().flat_map(|of_stage| &mut of_stage.records) {
            if record.result == SERVING {
                (record.result, record.why) = (ENDED.to_owned(), Some("the process ended".to_owned()));
            }
            record.of_this_process = false;
        }
    }
}

impl Record {
    fn of(entry: &Entry) -> Self {
        let identity = entry.generation.as_ref();
        Self {
            generation: identity.map(|identity| identity.generation),
            digest: identity.map(|identity| identity.digest.clone()),
            config: identity.map(|identity| identity.config.clone()),
            time: entry.time,
            who: entry.who.clone(),
            result: entry.result.clone(),
            ended: None,
            why: None,
            rollback_to: identity.and_then(|identity| identity.rollback_to),
            of_this_process: true,
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, one: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(one);
}
