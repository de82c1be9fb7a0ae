//! The lock that allows only one process per data directory.
//!
//! A process locks the directory itself and the file `lock`. A read-only directory can be locked, too. The file contains the
//! number of the process. One of the two locks suffices, because some network file systems lock only files that are open for
//! writing.
//!
//! A user who can open a file can lock it. The file therefore has mode 0600. The lock on a directory that other users can read
//! proves nothing, so it counts only if there is no file to lock.

use std::{
    fs::{File, Metadata, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::private_file;

/// The name of the file that a running node locks in its data directory.
const NAME: &str = "lock";

/// The maximum length of the file, in bytes.
const MAX_LENGTH: u64 = 32;

/// The maximum number of bytes that are read of the kernel's list of locks. Each lock of any user takes a line.
const MAX_LOCKS: u64 = 1 << 20;

/// The lock on a data directory. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    directory: Option<File>,
    #[allow(dead_code, reason = "an open file keeps its lock")]
    file: Option<File>,
    has_file: bool,
}

/// The result of [`Lock::take`].
#[derive(Debug)]
pub(super) enum Taken {
    Locked(Lock),
    /// Another process has locked the directory.
    ByOther {
        /// The number of the process, if the file tells it and the kernel confirms it.
        process: Option<u32>,
        /// The locked file or directory, if other users could open it. The other process may belong to one of them.
        open_to_others: Option<PathBuf>,
    },
}

/// The opened file `lock`.
struct LockFile {
    file: File,
    is_writable: bool,
    /// Whether other users could open the file until now.
    was_open_to_others: bool,
}

impl Lock {
    /// Locks the directory.
    ///
    /// # Errors
    ///
    /// Something else has the name of the file, the file belongs to another user, or neither the directory nor the file can be
    /// locked.
    pub(super) fn take(data_dir: &Path) -> io::Result<Taken> {
        let path = Self::path(data_dir);
        let directory = File::open(data_dir)?;
        let is_private = !is_open_to_others(&directory.metadata()?, 0o044);
        let directory = locked(directory);
        // The directory comes first, and the file is not touched, so that of two nodes that start at the same time one succeeds.
        if is_private && matches!(directory, Ok(None)) {
            return Ok(Taken::ByOther {
                process: holder(&path),
                open_to_others: None,
            });
        }
        let opened = match open(&path) {
            Ok(opened) => opened,
            Err(error) if private_file::is_refused(&error) => {
                return Ok(match directory? {
                    Some(directory) => Taken::Locked(Self {
                        directory: Some(directory),
                        file: None,
                        has_file: false,
                    }),
                    None => Taken::ByOther {
                        process: None,
                        open_to_others: Some(data_dir.to_owned()),
                    },
                });
            }
            Err(error) => return Err(error),
        };
        let Some(mut file) = locked(opened.file)? else {
            return Ok(Taken::ByOther {
                process: holder(&path),
                open_to_others: opened.was_open_to_others.then_some(path),
            });
        };
        if opened.is_writable {
            // The number only helps the user. The lock works without it.
            let text = format!("{}\n", std::process::id());
            let _ = file
                .set_len(0)
                .and_then(|()| file.write_all(text.as_bytes()));
        }
        Ok(Taken::Locked(Self {
            directory: directory.ok().flatten(),
            file: Some(file),
            has_file: opened.is_writable,
        }))
    }

    /// Whether the file could be written.
    pub(super) fn has_file(&self) -> bool {
        self.has_file
    }

    /// Whether the directory itself is locked, too. If not, other users can read the directory and one process has locked it: a
    /// process of another user, or a node that cannot write to the directory.
    pub(super) fn has_directory(&self) -> bool {
        self.directory.is_some()
    }

    pub(super) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(NAME)
    }
}

/// Opens the file, creates it if it does not exist, and takes it from other users. In a read-only directory, the file is opened for
/// reading.
fn open(path: &Path) -> io::Result<LockFile> {
    // The error of `open` itself would neither mention the symbolic link nor help the user.
    if let Ok(found) = path.symlink_metadata()
        && !found.is_file()
    {
        return Err(private_file::in_the_way(&found));
    }
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut writing = File::options();
    writing.write(true).create(true).truncate(false);
    let opened = writing.mode(0o600).custom_flags(flags).open(path);
    let (file, is_writable) = match opened {
        Ok(file) => (file, true),
        Err(error) if private_file::is_refused(&error) => {
            let mut reading = File::options();
            let opened = reading.read(true).custom_flags(flags).open(path);
            (opened.map_err(|_| error)?, false)
        }
        Err(error) => return Err(error),
    };
    let was_open_to_others = is_open_to_others(&file.metadata()?, 0o066);
    if is_writable && was_open_to_others {
        let private = file.set_permissions(Permissions::from_mode(0o600));
        private.map_err(|_| {
            io::Error::other("the file belongs to another user, who can lock it; remove it")
        })?;
    }
    Ok(LockFile {
        file,
        is_writable,
        was_open_to_others,
    })
}

/// Whether other users have one of these permissions.
fn is_open_to_others(found: &Metadata, permissions: u32) -> bool {
    found.permissions().mode() & permissions != 0
}

/// The file, with its lock. `None`: another process has locked it.
fn locked(file: File) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The number of the process that has locked the file: the number in the file, if the kernel says that this process has locked it.
/// A process that was killed leaves its number behind, and another process may have the number now.
fn holder(path: &Path) -> Option<u32> {
    let bytes = private_file::read(path, MAX_LENGTH).ok()?;
    let process = std::str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
    let inode = path.symlink_metadata().ok()?.ino();
    let mut locks = String::new();
    let list = File::open("/proc/locks").ok()?;
    list.take(MAX_LOCKS).read_to_string(&mut locks).ok()?;
    locks
        .lines()
        .any(|line| is_lock_of(line, process, inode))
        .then_some(process)
}

/// Whether a line of `/proc/locks` is about a lock of this process on a file with this inode number:
/// `5: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF`. The device is not compared, because some file systems report another number
/// there than in the file's metadata.
fn is_lock_of(line: &str, process: u32, inode: u64) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", holder, file, ..] = fields[..] else {
        return false;
    };
    let locked = file.rsplit(':').next().and_then(|inode| inode.parse().ok());
    holder.parse() == Ok(process) && locked == Some(inode)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn take(folder: &Path) -> Result<Lock, (Option<u32>, Option<PathBuf>)> {
        match Lock::take(folder).unwrap() {
            Taken::Locked(lock) => Ok(lock),
            Taken::ByOther {
                process,
                open_to_others,
            } => Err((process, open_to_others)),
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_lock_is_refused_with_the_process_of_the_first_until_the_first_is_dropped() {
        for directory in [0o700, 0o755] {
            let folder = tempfile::tempdir().unwrap();
            set_mode(folder.path(), directory);
            let path = Lock::path(folder.path());
            fs::write(&path, "a number that an earlier process has left, and more").unwrap();
            let lock = take(folder.path()).unwrap();
            assert!(lock.has_file() && lock.has_directory());
            let process = cfg!(target_os = "linux").then(std::process::id);
            assert_eq!(take(folder.path()).unwrap_err(), (process, None));
            fs::write(&path, "nonsense").unwrap();
            assert_eq!(take(folder.path()).unwrap_err(), (None, None));
            drop(lock);
            assert!(take(folder.path()).is_ok());
        }
    }

    #[test]
    fn either_of_the_two_locks_suffices() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o700);
        let directory = locked(File::open(folder.path()).unwrap()).unwrap();
        assert!(
            take(folder.path()).is_err(),
            "a read-only process has only this lock"
        );
        drop(directory);
        let opened = open(&Lock::path(folder.path())).unwrap();
        let file = locked(opened.file).unwrap();
        assert!(take(folder.path()).is_err());
        drop(file);
        assert!(take(folder.path()).is_ok());
    }

    #[test]
    fn a_number_that_a_killed_process_has_left_is_not_named() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o700);
        // This process is alive, but has not locked the file.
        let number = std::process::id().to_string();
        fs::write(Lock::path(folder.path()), number).unwrap();
        let _directory = locked(File::open(folder.path()).unwrap()).unwrap();
        assert_eq!(take(folder.path()).unwrap_err(), (None, None));
    }

    #[test]
    fn the_lock_of_another_user_on_a_readable_directory_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let _directory = locked(File::open(folder.path()).unwrap()).unwrap();
        let lock = take(folder.path()).unwrap();
        assert!(!lock.has_directory());
        assert!(take(folder.path()).is_err());
    }

    #[test]
    fn a_file_that_others_can_open_becomes_private_and_its_lock_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let path = Lock::path(folder.path());
        fs::write(&path, "").unwrap();
        set_mode(&path, 0o644);
        let stranger = locked(File::open(&path).unwrap()).unwrap();
        assert_eq!(take(folder.path()).unwrap_err(), (None, Some(path.clone())));
        assert_eq!(mode(&path), 0o600);
        drop(stranger);
        assert!(take(folder.path()).is_ok());
    }

    #[test]
    fn a_line_of_the_kernel_names_the_process_and_the_file() {
        let line = "1: FLOCK  ADVISORY  WRITE 12872 fe:00:7143448 0 EOF";
        assert!(is_lock_of(line, 12_872, 7_143_448));
        assert!(!is_lock_of(line, 12_873, 7_143_448));
        assert!(!is_lock_of(line, 12_872, 7_143_449));
        for other in [
            "1: -> FLOCK  ADVISORY  WRITE 12872 fe:00:7143448 0 EOF",
            "1: FLOCK  ADVISORY  READ 12872 fe:00:7143448 0 EOF",
            "1: POSIX  ADVISORY  WRITE 12872 fe:00:7143448 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 12872",
            "",
        ] {
            assert!(!is_lock_of(other, 12_872, 7_143_448), "{other}");
        }
    }

    #[test]
    fn the_lock_is_not_taken_through_a_symbolic_link() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        std::os::unix::fs::symlink(&target, Lock::path(folder.path())).unwrap();
        assert!(Lock::take(folder.path()).is_err());
        assert!(!target.exists());
    }

    #[test]
    fn no_other_user_can_open_and_lock_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = take(folder.path()).unwrap();
        assert_eq!(mode(&Lock::path(folder.path())), 0o600);
    }
}
