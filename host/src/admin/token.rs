//! The token that a mutation needs: made at the first start, readable by its owner only.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rand::RngCore;

const TOKEN_BYTES: usize = 32;
const FILE_BYTES_MAX: u64 = 1024;

/// Where the token lies: one file for each admin port, so that two engines of one user do not share it.
pub fn file(state: &Path, port: u16) -> PathBuf {
    state.join(format!("admin-{port}.token"))
}

/// `$SLUICEBOX_STATE_DIR`, `$XDG_STATE_HOME/sluicebox` or `~/.local/state/sluicebox`.
pub fn default_state_dir() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("SLUICEBOX_STATE_DIR")
        .or_else(|| set("XDG_STATE_HOME").map(|folder| folder.join("sluicebox")))
        .or_else(|| set("HOME").map(|home| home.join(".local/state/sluicebox")))
}

/// The token of the engine that listens here: the one of an earlier start, else a new one. None where it can be kept nowhere;
/// mutations are then refused.
pub fn make(state: Option<&Path>, listener: &tokio::net::TcpListener) -> Option<String> {
    let port = listener.local_addr().ok()?.port();
    let file = file(state?, port);
    read(&file).or_else(|| {
        write_new(&file)
            .inspect_err(|error| {
                tracing::warn!(%error, "no admin token can be kept in {}: swaps by command are refused", file.display());
            })
            .ok()
    })
}

/// The token in `file`, if there is one and nobody else can know it.
pub fn read(file: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(file).ok()?;
    let known = file.metadata().ok()?;
    if known.uid() != rustix::process::geteuid().as_raw() || known.mode() & 0o077 != 0 {
        return None;
    }
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let token = text.trim();
    (token.len() == TOKEN_BYTES * 2 && token.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| token.to_owned())
}

/// Compares without telling by its time how much agrees.
pub fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

fn write_new(file: &Path) -> std::io::Result<String> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut bytes = [0; TOKEN_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // A new file, readable by its owner only, then renamed: whatever lies at the name keeps nothing of it.
    let mut new = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
    writeln!(new, "{token}")?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_kept_and_private() {
        let state = tempfile::tempdir().expect("temporary folder");
        let path = file(&state.path().join("new"), 1);
        let token = write_new(&path).expect("written");
        assert_eq!(read(&path), Some(token.clone()));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(same(&token, &token) && !same(&token, &token[1..]) && !same(&token, &"0".repeat(64)));
    }

    #[test]
    fn a_token_that_others_can_read_is_replaced() {
        let state = tempfile::tempdir().expect("temporary folder");
        let path = file(state.path(), 1);
        let known = write_new(&path).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        assert_eq!(read(&path), None);
        let token = write_new(&path).expect("written");
        assert!(read(&path) == Some(token.clone()) && token != known);
    }
}
