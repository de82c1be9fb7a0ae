//! The lock that allows only one process per data directory.
//!
//! A process locks the directory itself and the file `lock`. A read-only directory can be locked, too. The file tells others the
//! number of the process. One of the two locks suffices, because some network file systems lock only files that are open for
//! writing.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use crate::private_file;

/// The name of the file that a running node locks in its data directory.
const NAME: &str = "lock";

/// The maximum length of the file, in bytes.
const MAX_LENGTH: u64 = 32;

/// The lock on a data directory. The operating system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: Option<File>,
    file: Option<File>,
}

/// The result of [`Lock::take`].
#[derive(Debug)]
pub(super) enum Taken {
    Locked(Lock),
    /// Another process has locked the directory. Its number, if the file tells it.
    ByOther(Option<u32>),
}

impl Lock {
    /// Locks the directory.
    ///
    /// # Errors
    ///
    /// Something else has the name of the file, or neither the directory nor the file can be locked.
    pub(super) fn take(data_dir: &Path) -> io::Result<Taken> {
        let path = Self::path(data_dir);
        let directory = match locked(File::open(data_dir)?) {
            Ok(Some(directory)) => Ok(directory),
            Ok(None) => return Ok(Taken::ByOther(holder(&path))),
            Err(error) => Err(error),
        };
        let file = match open(&path) {
            Ok(file) => match locked(file)? {
                Some(file) => Some(file),
                None => return Ok(Taken::ByOther(holder(&path))),
            },
            Err(error) if private_file::is_refused(&error) && directory.is_ok() => None,
            Err(error) => return Err(error),
        };
        if let Some(mut file) = file.as_ref() {
            // The number only helps the user. The lock works without it.
            let text = format!("{}\n", std::process::id());
            let _ = file
                .set_len(0)
                .and_then(|()| file.write_all(text.as_bytes()));
        }
        Ok(Taken::Locked(Self {
            _directory: directory.ok(),
            file,
        }))
    }

    /// Whether the file could be written.
    pub(super) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(NAME)
    }
}

fn open(path: &Path) -> io::Result<File> {
    // The error of `open` itself would neither mention the symbolic link nor help the user.
    if let Ok(found) = path.symlink_metadata()
        && !found.is_file()
    {
        return Err(private_file::in_the_way(&found));
    }
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(false);
    options.mode(0o600).custom_flags(flags).open(path)
}

/// The file, with its lock. `None`: another process has locked it.
fn locked(file: File) -> io::Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The number of the process that holds the lock.
fn holder(path: &Path) -> Option<u32> {
    let bytes = private_file::read(path, MAX_LENGTH).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(folder: &Path) -> Result<Lock, Option<u32>> {
        match Lock::take(folder).unwrap() {
            Taken::Locked(lock) => Ok(lock),
            Taken::ByOther(process) => Err(process),
        }
    }

    #[test]
    fn a_second_lock_is_refused_with_the_process_of_the_first_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = Lock::path(folder.path());
        fs::write(&path, "a number that an earlier process has left, and more").unwrap();
        let lock = take(folder.path()).unwrap();
        assert!(lock.has_file());
        assert_eq!(take(folder.path()).unwrap_err(), Some(std::process::id()));
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(take(folder.path()).unwrap_err(), None);
        drop(lock);
        assert!(take(folder.path()).is_ok());
    }

    #[test]
    fn either_of_the_two_locks_suffices() {
        let folder = tempfile::tempdir().unwrap();
        let directory = locked(File::open(folder.path()).unwrap()).unwrap();
        assert!(
            take(folder.path()).is_err(),
            "a read-only process has only this lock"
        );
        drop(directory);
        let file = locked(open(&Lock::path(folder.path())).unwrap()).unwrap();
        assert!(take(folder.path()).is_err());
        drop(file);
        assert!(take(folder.path()).is_ok());
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
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let _lock = take(folder.path()).unwrap();
        let mode = Lock::path(folder.path()).metadata().unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}
