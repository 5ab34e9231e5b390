//! Compiled code on disk, of our own compiler only: `<key>-<sha256 of the file>.cwasm` in a directory that nobody else can write.
//!
//! The key covers all that the code depends on. The checksum finds damage, not forgery: the directory's mode keeps others out, and who
//! is this user can do without the cache what it could do with it.

use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use wasmtime::Engine;

use super::component::hex;

/// Files kept; beyond that the oldest goes. A component takes 1 to 40 MiB.
const FILES_MAX: usize = 64;
/// Bytes of all of them: one component made to have much machine code could take hundreds of MiB.
const FILES_BYTES_MAX: u64 = 1 << 30;
const SUFFIX: &str = ".cwasm";
/// Files that are being written. One this old was left by a process that died.
const NEW_PREFIX: &str = ".new-";
const NEW_AGE_MAX: Duration = Duration::from_secs(3600);

/// A directory of compiled code.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Opens `dir`, made if it does not exist. A directory that others can write is refused.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let meta = fs::metadata(dir)?;
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} must belong to this user and be closed to all others (chmod 700)", dir.display()),
            ));
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// A new empty file in the directory, mode 0600.
    pub(super) fn new_file(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(NEW_PREFIX).tempfile_in(&self.dir)
    }

    /// The file of this key, if there is one and it is whole. A damaged one is removed.
    pub(super) fn get(&self, key: &str) -> Option<PathBuf> {
        let prefix = format!("{key}-");
        for entry in fs::read_dir(&self.dir).ok()?.flatten() {
            let name = entry.file_name();
            let Some(checksum) =
                name.to_str().and_then(|name| name.strip_prefix(&prefix)).and_then(|rest| rest.strip_suffix(SUFFIX))
            else {
                continue;
            };
            let path = entry.path();
            match File::open(&path).and_then(|mut file| checksum_of(&mut file)) {
                Ok(found) if found == checksum => return Some(path),
                _ => self.remove(&path),
            }
        }
        None
    }

    /// Puts a file in its place under this key, and says where that is.
    pub(super) fn put(&self, key: &str, mut file: NamedTempFile) -> io::Result<PathBuf> {
        file.as_file_mut().rewind()?;
        let checksum = checksum_of(file.as_file_mut())?;
        file.as_file().sync_all()?;
        let path = self.dir.join(format!("{key}-{checksum}{SUFFIX}"));
        file.persist(&path).map_err(|failed| failed.error)?;
        self.prune();
        Ok(path)
    }

    /// Removes a file that does not load. Mappings of it stay.
    pub(super) fn remove(&self, path: &Path) {
        // One that cannot be removed is met again next time.
        let _kept = fs::remove_file(path);
    }

    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        let mut files: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let Ok(modified) = meta.modified() else { continue };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(SUFFIX) {
                files.push((modified, entry.path(), meta.len()));
            } else if name.starts_with(NEW_PREFIX) && modified.elapsed().is_ok_and(|age| age > NEW_AGE_MAX) {
                self.remove(&entry.path());
            }
        }
        files.sort_unstable();
        let mut bytes = 0;
        for (number, (_, path, len)) in files.iter().rev().enumerate() {
            bytes += len;
            // The newest is about to be mapped, however large it is.
            if number > 0 && (number >= FILES_MAX || bytes > FILES_BYTES_MAX) {
                self.remove(path);
            }
        }
    }
}

/// What compiled code depends on: the component, and the engine's version, settings and CPU.
pub(super) fn key(digest: &str, engine: &Engine) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sha = Sha(Sha256::new());
    digest.hash(&mut sha);
    env!("CARGO_PKG_VERSION").hash(&mut sha);
    engine.precompile_compatibility_hash().hash(&mut sha);
    hex(&sha.0.finalize()[..16])
}

fn checksum_of(file: &mut File) -> io::Result<String> {
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&sha.finalize()));
        }
        sha.update(&buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn put(cache: &Cache, key: &str, text: &str) -> PathBuf {
        let mut file = cache.new_file().expect("creates");
        file.write_all(text.as_bytes()).expect("writes");
        cache.put(key, file).expect("puts")
    }

    #[test]
    fn keeps_files_and_refuses_damaged_ones() {
        let dir = tempfile::tempdir().expect("creates");
        let cache = Cache::open(&dir.path().join("a/b")).expect("opens");
        assert_eq!(cache.get("k"), None);
        let path = put(&cache, "k", "code");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
        assert_eq!(cache.get("k"), Some(path.clone()));
        assert_eq!(cache.get("other"), None);
        fs::write(&path, "evil").expect("writes");
        assert_eq!(cache.get("k"), None);
        assert!(!path.exists(), "a damaged file is removed");
    }

    #[test]
    fn keeps_a_bounded_number_of_files() {
        let dir = tempfile::tempdir().expect("creates");
        let cache = Cache::open(&dir.path().join("cache")).expect("opens");
        for n in 0..FILES_MAX + 3 {
            put(&cache, &format!("k{n}"), "code");
        }
        let left = || fs::read_dir(dir.path().join("cache")).expect("reads").count();
        assert_eq!(left(), FILES_MAX);

        let (_, abandoned) = cache.new_file().expect("creates").keep().expect("keeps");
        put(&cache, "k", "code");
        assert_eq!(left(), FILES_MAX + 1, "it may be in use");
        let file = File::options().append(true).open(&abandoned).expect("opens");
        file.set_modified(SystemTime::now() - 2 * NEW_AGE_MAX).expect("sets");
        put(&cache, "l", "code");
        assert_eq!(left(), FILES_MAX);
    }

    #[test]
    fn keeps_a_bounded_number_of_bytes() {
        let dir = tempfile::tempdir().expect("creates");
        let cache = Cache::open(&dir.path().join("cache")).expect("opens");
        let paths = ["oldest", "older"].map(|key| put(&cache, key, "code"));
        for (age, path) in [2, 1].into_iter().zip(&paths) {
            let file = File::options().write(true).open(path).expect("opens");
            // Sparse, so that it takes no space.
            file.set_len(FILES_BYTES_MAX / 3 * 2).expect("grows");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("sets");
        }
        let newest = put(&cache, "newest", "code");
        assert_eq!([&paths[0], &paths[1], &newest].map(|path| path.exists()), [false, true, true]);
    }

    #[test]
    fn refuses_a_directory_open_to_others() {
        let dir = tempfile::tempdir().expect("creates");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changes");
        assert!(Cache::open(dir.path()).is_err());
    }

    #[test]
    fn the_key_covers_component_and_cpu() {
        let native = crate::wasm::engine::engine(crate::wasm::Cpu::Native).expect("builds");
        let baseline = crate::wasm::engine::engine(crate::wasm::Cpu::Baseline).expect("builds");
        assert_eq!(key("a", &native), key("a", &native));
        assert_ne!(key("a", &native), key("b", &native));
        assert_ne!(key("a", &native), key("a", &baseline));
    }
}
