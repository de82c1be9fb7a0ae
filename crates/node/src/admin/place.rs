//! The admin socket of a data directory: its path and its owner.
//!
//! The socket is the entry `admin` of the data directory. If that path is too long for a socket, or the directory is read-only,
//! the socket is in the user's runtime directory. If the path is too long, `admin` is a file with the path of the socket. If the
//! directory is read-only, a client computes the path of the socket from the path of the data directory.

use std::{
    env,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use crate::private_file::{self, Temporary};

/// The name of the entry in the data directory.
const NAME: &str = "admin";

/// The maximum length of a socket's path in bytes: the system's `sun_path` less its final zero.
const MAX_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The maximum length of the file that names a socket.
const MAX_POINTER: u64 = 4096;

/// The start of the file that names a socket.
const SCHEME: &[u8] = b"unix:";

/// The entry of the data directory that is the socket or names it.
pub(super) fn entry(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// The path at which the node with this data directory must create its socket, and whether this path differs from the path of
/// the entry.
pub(super) fn choose(data_dir: &Path) -> io::Result<(PathBuf, bool)> {
    let entry = entry(data_dir);
    if fits(&entry) {
        return Ok((entry, false));
    }
    runtime_directory()?;
    let socket = elsewhere(data_dir);
    match fits(&socket) {
        true => Ok((socket, true)),
        false => Err(io::Error::other(format!(
            "its path and {} are both longer than {MAX_PATH} bytes; choose a shorter data directory",
            socket.display()
        ))),
    }
}

/// The path of the socket in the user's runtime directory.
pub(super) fn elsewhere(data_dir: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    data_dir.hash(&mut hasher);
    runtime_path().join(format!("{:016x}", hasher.finish()))
}

fn fits(socket: &Path) -> bool {
    socket.as_os_str().len() <= MAX_PATH
}

fn runtime_path() -> PathBuf {
    let given = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match given.filter(|given| given.is_absolute()) {
        Some(given) => given.join("bowline"),
        // Every user can create this name first, so its owner is checked.
        None => env::temp_dir().join(format!("bowline-{}", geteuid().as_raw())),
    }
}

/// Creates the directory of this user for sockets, which no other user can enter.
pub(super) fn runtime_directory() -> io::Result<()> {
    let path = runtime_path();
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let problem = format!("cannot create the directory {}: {error}", path.display());
            return Err(io::Error::new(error.kind(), problem));
        }
        _ => {}
    }
    let found = path.symlink_metadata()?;
    let is_private = found.is_dir()
        && found.uid() == geteuid().as_raw()
        && found.permissions().mode() & 0o077 == 0;
    match is_private {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{} must be a directory of this user with mode 0700; move it away, set XDG_RUNTIME_DIR or choose a shorter data directory",
            path.display()
        ))),
    }
}

/// The socket that the entry is or names. `None`: the entry does not exist.
///
/// # Errors
///
/// The entry is something else.
pub(super) fn find(data_dir: &Path) -> io::Result<Option<PathBuf>> {
    let entry = entry(data_dir);
    let found = match entry.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if found.file_type().is_socket() {
        return Ok(Some(entry));
    }
    let named = private_file::read(&entry, MAX_POINTER)?;
    match named.trim_ascii_end().strip_prefix(SCHEME) {
        Some(path) => Ok(Some(OsString::from_vec(path.to_vec()).into())),
        None => Err(private_file::in_the_way(&found)),
    }
}

/// Writes the entry that names a socket elsewhere.
pub(super) fn point(data_dir: &Path, socket: &Path) -> io::Result<Temporary> {
    let named = [SCHEME, socket.as_os_str().as_bytes(), b"\n"].concat();
    private_file::write_temporary(&entry(data_dir), &named)
}

/// The owners whose sockets a command connects to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners {
    this: u32,
    of_data_dir: u32,
}

impl Owners {
    pub(super) fn new(data_dir: &Path) -> io::Result<Self> {
        let (this, of_data_dir) = (geteuid().as_raw(), data_dir.metadata()?.uid());
        Ok(Self { this, of_data_dir })
    }

    /// This user and root are trusted. Root also trusts the owner of the data directory that it names, because a
    /// service has its own user.
    pub(super) fn trust(self, owner: u32) -> bool {
        owner == self.this || owner == 0 || (self.this == 0 && owner == self.of_data_dir)
    }

    /// Checks the data directory, the entry if there is one, the socket and the socket's directory. Returns the first path, with
    /// its owner, that belongs to somebody else.
    pub(super) fn stranger(
        self,
        data_dir: &Path,
        socket: &Path,
    ) -> io::Result<Option<(PathBuf, u32)>> {
        let entry = entry(data_dir);
        let directory = socket.parent().unwrap_or(data_dir);
        for path in [data_dir, &entry, directory, socket] {
            let owner = match path.symlink_metadata() {
                Ok(found) => found.uid(),
                Err(error) if error.kind() == io::ErrorKind::NotFound && path == entry => continue,
                Err(error) => return Err(error),
            };
            if !self.trust(owner) {
                return Ok(Some((path.to_owned(), owner)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_and_root_are_trusted_and_by_root_the_owner_of_the_data_directory() {
        let trust = |this, of_data_dir, owner| Owners { this, of_data_dir }.trust(owner);
        assert!(trust(1000, 1000, 1000) && trust(1000, 1000, 0));
        assert!(!trust(1000, 1001, 1001) && !trust(1000, 1000, 1001));
        assert!(trust(0, 1001, 1001) && !trust(0, 1001, 1002) && !trust(0, 0, 1001));
    }

    #[test]
    fn a_socket_is_in_the_data_directory_if_its_path_has_at_most_107_bytes() {
        let of_length = |length: usize| {
            let data_dir = PathBuf::from(format!("/{}", "d".repeat(length - "//admin".len())));
            assert_eq!(entry(&data_dir).as_os_str().len(), length);
            fits(&entry(&data_dir))
        };
        assert!(of_length(MAX_PATH));
        assert!(!of_length(MAX_PATH + 1));
    }
}
