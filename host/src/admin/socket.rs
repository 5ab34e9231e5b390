//! The admin API's Unix socket: beside the token, for the engine's own user and for root. The kernel says who asks (unix(7), SO_PEERCRED).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};

use super::access::Peer;

/// Names of users are looked for in so much of it.
const PASSWD_BYTES_MAX: u64 = 1 << 20;

/// Where it lies: one for each admin port.
pub fn file(state: &Path, port: u16) -> PathBuf {
    state.join(format!("admin-{port}.sock"))
}

/// A socket that listens, and that is gone with this.
#[derive(Debug)]
pub struct Bound {
    path: PathBuf,
}

/// Listens there. What an engine that crashed left there goes: no other engine has this port now.
///
/// # Errors
/// The folder cannot be written to, something else lies there, or the path is longer than a socket's may be (108 bytes).
pub fn bind(path: &Path) -> io::Result<(UnixListener, Bound)> {
    match fs::symlink_metadata(path) {
        Ok(known) if known.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok((listener, Bound { path: path.to_owned() }))
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Somebody may have cleaned up before.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Who is at the other end.
pub(super) async fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let uid = stream.peer_cred()?.uid();
    Ok(Peer::User { uid, name: name_of(uid).await })
}

/// passwd(5): name, password, number. Users that come from elsewhere are told by their number.
async fn name_of(uid: u32) -> Option<String> {
    let mut text = String::new();
    let file = tokio::fs::File::open("/etc/passwd").await.ok()?;
    file.take(PASSWD_BYTES_MAX).read_to_string(&mut text).await.ok()?;
    let name = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    };
    text.lines().find_map(name)
}
