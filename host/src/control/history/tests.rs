//! What is in memory and in the file after everything that can happen to either.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;
use crate::control::history::book::RECORDS_MAX;

const PORT: u16 = 1;

fn open(folder: &tempfile::TempDir) -> (Arc<History>, Metrics) {
    let metrics = Metrics::new();
    (History::open(Some(folder.path()), PORT, &metrics), metrics)
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join(format!("history-{PORT}.jsonl"))
}

fn serving(stage: &str, generation: u64) -> Entry {
    let replaces = generation.checked_sub(1).filter(|&before| before > 0);
    let identity = Identity { generation, digest: "d".repeat(64), config: "c".repeat(16), replaces, rollback_to: None };
    Entry { generation: Some(identity), ..Entry::of_stage(stage, "serving", &Who::Signal) }
}

fn results(history: &History, stage: &str) -> Vec<String> {
    let records = history.stages(Some(stage));
    records.iter().flat_map(|of| &of.generations).map(|record| record.result.clone()).collect()
}

async fn written(history: &History, entry: Entry) {
    history.note(&entry).wait().await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (history, metrics) = open(&folder);
    written(&history, serving("a", 1)).await;
    written(&history, serving("a", 2)).await;
    written(&history, Entry::of("pipeline \"traces/b\"", "added", &Who::Watch)).await;
    assert_eq!(results(&history, "a"), ["replaced", "serving"]);
    drop(history);
    let (again, _) = open(&folder);
    assert_eq!(results(&again, "a"), ["replaced", "ended"]);
    written(&again, serving("a", 1)).await;
    assert_eq!(results(&again, "a"), ["replaced", "ended", "serving"]);
    let of_this: Vec<_> = again.stages(None)[0].generations.iter().map(|record| record.of_this_process).collect();
    assert_eq!(of_this, [false, false, true]);
    let parts: Vec<_> = again.changes().into_iter().map(|change| change.part).collect();
    assert_eq!(parts, ["engine", "pipeline \"traces/b\"", "engine"]);
    assert_eq!(fs::metadata(file(&folder)).expect("there").permissions().mode() & 0o777, 0o600);
    let lines = fs::read_to_string(file(&folder)).expect("text");
    assert_eq!(lines.lines().count(), 6);
    assert!(lines.lines().all(|line| serde_json::from_str::<Entry>(line).is_ok()), "{lines}");
    assert_eq!(metrics.history_lost.get(), 0);
}

/// A process that is killed, or a full disk, leaves half a line.
#[tokio::test]
async fn half_a_line_costs_no_other() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let (history, _) = open(&folder);
    written(&history, serving("a", 1)).await;
    drop(history);
    let mut text = fs::read(file(&folder)).expect("there");
    text.truncate(text.len() - 20);
    fs::write(file(&folder), [text.as_slice(), b"\n\xff\xfe\n{\"time\":"].concat()).expect("written");
    fs::set_permissions(file(&folder), fs::Permissions::from_mode(0o644)).expect("changed");
    let (again, _) = open(&folder);
    written(&again, serving("a", 1)).await;
    drop(again);
    assert_eq!(fs::metadata(file(&folder)).expect("there").permissions().mode() & 0o777, 0o600);
    let (third, _) = open(&folder);
    assert_eq!(results(&third, "a"), ["ended"], "the whole line, not the torn one");
}

#[tokio::test]
async fn a_full_file_becomes_the_old_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let line = serde_json::to_string(&serving("old", 1)).expect("JSON") + "\n";
    let lines = usize::try_from(journal::FILE_BYTES_MAX).expect("fits") / line.len();
    fs::write(file(&folder), line.repeat(lines)).expect("written");
    let (history, _) = open(&folder);
    written(&history, serving("a", 1)).await;
    drop(history);
    let old = folder.path().join(format!("history-{PORT}.jsonl.1"));
    let count = |file: &std::path::Path| fs::read_to_string(file).expect("there").lines().count();
    assert!(fs::metadata(&old).expect("there").len() <= journal::FILE_BYTES_MAX);
    assert!((1..=2).contains(&count(&file(&folder))) && count(&old) + count(&file(&folder)) == lines + 2);
    let (again, _) = open(&folder);
    assert_eq!(again.stages(None).len(), 2, "the old file is read, too");
    assert_eq!(results(&again, "old").len(), RECORDS_MAX);
}

/// No folder, no right to write, no disk: everything goes on, and is counted.
#[tokio::test]
async fn what_cannot_be_written_is_counted_and_kept_in_memory() {
    let folder = tempfile::tempdir().expect("temporary folder");
    // A folder stands where the file would be: root may write anywhere else.
    fs::create_dir(file(&folder)).expect("made");
    let (history, metrics) = open(&folder);
    written(&history, serving("a", 1)).await;
    assert_eq!(results(&history, "a"), ["serving"]);
    assert_eq!(metrics.history_lost.get(), 2, "the start, too");
    fs::remove_dir(file(&folder)).expect("removed");
    written(&history, serving("a", 2)).await;
    assert_eq!((metrics.history_lost.get(), results(&history, "a").len()), (2, 2));
    assert_eq!(fs::read_to_string(file(&folder)).expect("there").lines().count(), 1, "it is tried again each time");
}

/// Nobody else's file is written to by a link.
#[tokio::test]
async fn links_are_not_followed() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let other = folder.path().join("other");
    fs::write(&other, "theirs").expect("written");
    std::os::unix::fs::symlink(&other, file(&folder)).expect("linked");
    let (history, metrics) = open(&folder);
    written(&history, serving("a", 1)).await;
    assert_eq!(fs::read_to_string(&other).expect("there"), "theirs");
    assert_eq!(metrics.history_lost.get(), 2);
}

#[test]
fn memory_is_bounded() {
    let history = History::in_memory();
    for number in 1..=2000 {
        drop(history.note(&serving("a", number)));
        drop(history.note(&serving(&format!("stage {number}"), 1)));
        drop(history.note(&Entry::of("pipeline \"x\"", "changed", &Who::Watch)));
    }
    let records = history.stages(Some("a")).remove(0).generations;
    assert_eq!((records.len(), records[0].generation), (RECORDS_MAX, Some(2000 - RECORDS_MAX as u64 + 1)));
    assert!(history.stages(None).len() <= 1024 && history.changes().len() <= 64);
    assert_eq!(history.serving("a").and_then(|record| record.generation), Some(2000));
}
