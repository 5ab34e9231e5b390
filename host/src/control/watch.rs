//! `--watch`: notices that the config file, or a file that it includes or names, holds something else now.
//!
//! Contents decide, not events: an event (or a tick, where the file system sends none) only has the files read again. So
//! ConfigMap `..data` links, editors' renames and touches need no cases of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// A file counts as written when two readings this far apart agree.
const SETTLE: Duration = Duration::from_millis(250);
/// How often files are read although no event came: events get lost on some file systems.
const TICK_WITH_EVENTS: Duration = Duration::from_secs(2);
/// The same where there are no events at all.
const TICK_WITHOUT_EVENTS: Duration = Duration::from_millis(500);
/// Readings of a file that keeps changing before it is taken as it is.
const READINGS_MAX: u32 = 40;
/// Larger files are not read to be compared; see the limit on components.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What the watched files hold: a digest each; a file that is not there is not in it.
pub type Contents = BTreeMap<PathBuf, [u8; 32]>;
/// What files held when they were loaded; None where that could not be read.
pub type LoadedContents = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Watches a set of files.
#[derive(Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    seen: Contents,
    events: mpsc::Receiver<()>,
    /// Keeps `events` open where no watcher does, so that it is silent then.
    _no_events: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Starts watching, as [`Self::follow`] does.
    pub async fn start(files: Vec<PathBuf>, loaded: &LoadedContents) -> Self {
        let (sender, events) = mpsc::channel(1);
        let no_events = sender.clone();
        let on_event = move |event: notify::Result<Event>| {
            if event.as_ref().is_ok_and(only_reads) {
                return;
            }
            // One waiting event is as good as many.
            let _already_told = sender.try_send(());
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(|error| tracing::warn!(%error, "no file events here; files are polled"))
            .ok();
        let mut watch = Self { files: Vec::new(), seen: Contents::new(), events, _no_events: no_events, watcher };
        watch.follow(files, loaded).await;
        watch
    }

    /// Watches these files from now on. A change is what differs from what `loaded` says of a file that was not watched before, or else
    /// from what such a file holds now.
    pub async fn follow(&mut self, files: Vec<PathBuf>, loaded: &LoadedContents) {
        let new: Vec<_> = files.iter().filter(|file| !self.files.contains(file)).cloned().collect();
        // Where there is no folder yet there are no events either: the next reading finds what comes.
        for folder in new.iter().flat_map(|file| folders(file)).filter(|folder| folder.is_dir()) {
            let Some(watcher) = &mut self.watcher else { break };
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                tracing::warn!(%error, "no file events for {}; files are polled", folder.display());
                self.watcher = None;
            }
        }
        let (known, unknown): (Vec<_>, Vec<_>) = new.into_iter().partition(|file| loaded.contains_key(file));
        let as_loaded = known.into_iter().filter_map(|file| Some((loaded.get(&file).copied().flatten()?, file)));
        self.seen.extend(as_loaded.map(|(digest, file)| (file, digest)));
        self.seen.extend(contents(unknown).await);
        self.seen.retain(|file, _| files.contains(file));
        self.files = files;
    }

    /// What the files hold now is about to be loaded for another reason, so it is no change.
    pub async fn seen_now(&mut self) {
        self.seen.extend(contents(self.files.clone()).await);
    }

    /// Returns when some file holds something else than when this last returned, and has settled. Whether the change was any good is
    /// not asked: the same content is told once. A file that vanished has not changed: it may be halfway through a rename.
    pub async fn changed(&mut self) {
        loop {
            let tick = if self.watcher.is_some() { TICK_WITH_EVENTS } else { TICK_WITHOUT_EVENTS };
            // Both a tick and an event have the files read again.
            let _tick_or_event = tokio::time::timeout(tick, self.events.recv()).await;
            if !self.differs(&contents(self.files.clone()).await) {
                continue;
            }
            let settled = self.settled().await;
            if self.differs(&settled) {
                self.seen.extend(settled);
                return;
            }
        }
    }

    fn differs(&self, now: &Contents) -> bool {
        now.iter().any(|(file, digest)| self.seen.get(file) != Some(digest))
    }

    async fn settled(&self) -> Contents {
        let mut before = contents(self.files.clone()).await;
        for _ in 0..READINGS_MAX {
            tokio::time::sleep(SETTLE).await;
            let now = contents(self.files.clone()).await;
            if now == before {
                break;
            }
            before = now;
        }
        before
    }
}

/// Reading files to compare them makes events, too.
fn only_reads(event: &Event) -> bool {
    event.kind.is_access() && event.kind != EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// The folder that names the file, and the one it really lies in: ConfigMaps swap a link between the two.
fn folders(file: &Path) -> Vec<PathBuf> {
    let named = file.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let real = std::fs::canonicalize(file).ok().and_then(|file| file.parent().map(Path::to_path_buf));
    let mut folders: Vec<PathBuf> = named.map(Path::to_path_buf).into_iter().chain(real).collect();
    folders.dedup();
    folders
}

/// Reads the files, not on an I/O thread.
async fn contents(files: Vec<PathBuf>) -> Contents {
    let read = move || files.into_iter().filter_map(|file| Some((file.clone(), digest(&file)?))).collect();
    // A defect while reading is no change.
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

fn digest(file: &Path) -> Option<[u8; 32]> {
    if std::fs::metadata(file).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    Some(Sha256::digest(std::fs::read(file).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn changes(watch: &mut Watch) -> bool {
        tokio::time::timeout(PATIENCE, watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn a_write_and_a_rename_are_changes() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "a").expect("written");
        let mut watch = Watch::start(vec![file.clone()], &LoadedContents::new()).await;
        std::fs::write(&file, "b").expect("written");
        assert!(changes(&mut watch).await);
        let other = folder.path().join(".config.yaml.swp");
        std::fs::write(&other, "c").expect("written");
        std::fs::rename(&other, &file).expect("renamed");
        assert!(changes(&mut watch).await);
    }

    #[tokio::test]
    async fn a_configmap_link_that_is_swapped_is_a_change() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..v1", "a"), ("..v2", "b")] {
            std::fs::create_dir(at(version)).expect("made");
            std::fs::write(at(version).join("config.yaml"), text).expect("written");
        }
        std::os::unix::fs::symlink("..v1", at("..data")).expect("linked");
        std::os::unix::fs::symlink("..data/config.yaml", at("config.yaml")).expect("linked");
        let mut watch = Watch::start(vec![at("config.yaml")], &LoadedContents::new()).await;
        std::os::unix::fs::symlink("..v2", at("..tmp")).expect("linked");
        std::fs::rename(at("..tmp"), at("..data")).expect("renamed");
        assert!(changes(&mut watch).await);
    }

    #[tokio::test]
    async fn a_touch_and_a_vanished_file_are_no_changes() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "a").expect("written");
        let mut watch = Watch::start(vec![file.clone()], &LoadedContents::new()).await;
        std::fs::write(&file, "a").expect("written");
        assert!(!watch.differs(&contents(watch.files.clone()).await));
        std::fs::remove_file(&file).expect("removed");
        assert!(!watch.differs(&contents(watch.files.clone()).await));
        std::fs::write(&file, "b").expect("written");
        assert!(changes(&mut watch).await);
    }

    #[tokio::test]
    async fn without_events_files_are_read_now_and_then() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, "a").expect("written");
        let mut watch = Watch::start(vec![file.clone()], &LoadedContents::new()).await;
        watch.watcher = None;
        while watch.events.try_recv().is_ok() {}
        assert!(tokio::time::timeout(SETTLE, watch.events.recv()).await.is_err(), "silent, not closed");
        std::fs::write(&file, "b").expect("written");
        assert!(changes(&mut watch).await);
    }

    #[tokio::test]
    async fn a_change_is_told_once_and_the_way_back_is_another() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("config.yaml"), "a").expect("written");
        let mut watch = Watch::start(vec![at("config.yaml")], &LoadedContents::new()).await;
        std::fs::write(at("config.yaml"), "bad").expect("written");
        assert!(changes(&mut watch).await);
        assert!(!watch.differs(&contents(watch.files.clone()).await));
        std::fs::write(at("config.yaml"), "a").expect("written");
        assert!(changes(&mut watch).await);
        // A new file is followed from what it holds when it is named.
        std::fs::write(at("mine.wasm"), "1").expect("written");
        watch.follow(vec![at("config.yaml"), at("mine.wasm")], &LoadedContents::new()).await;
        std::fs::write(at("mine.wasm"), "2").expect("written");
        assert!(changes(&mut watch).await);
    }
    /// What changed between loading and watching, or was not there when it was loaded, is a change.
    #[tokio::test]
    async fn a_file_is_followed_from_what_was_loaded() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["same", "changed", "new"] {
            std::fs::write(at(name), name).expect("written");
        }
        let loaded = |name: &str, text: Option<&str>| (at(name), text.map(|text| Sha256::digest(text).into()));
        let loaded = [loaded("same", Some("same")), loaded("changed", Some("other")), loaded("new", None)];
        for (name, expected) in [("same", false), ("changed", true), ("new", true)] {
            let mut watch = Watch::start(vec![at(name)], &LoadedContents::from(loaded.clone())).await;
            assert_eq!(watch.differs(&contents(watch.files.clone()).await), expected, "{name}");
            if expected {
                assert!(changes(&mut watch).await);
            }
        }
    }
}
