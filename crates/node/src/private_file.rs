//! Files and directories that only their owner can use.
//!
//! A file appears, or replaces an older file, only when it is complete. A write creates a new file in the same directory and then
//! renames it, so a write never follows a symbolic link.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

/// Writes a file that must not exist. After the return, the file survives a crash of the machine.
///
/// # Errors
///
/// The path exists, even as a symbolic link, or the operating system refuses.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Ok(found) = path.symlink_metadata() {
        return Err(in_the_way(&found));
    }
    let draft = draft(path, bytes)?;
    draft.as_file().sync_all()?;
    draft.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(directory(path))?.sync_all()
}

/// A file of the running process. Dropping this removes the file.
#[derive(Debug)]
pub(crate) struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a file that exists while the process runs. Replaces a file of an earlier process.
///
/// # Errors
///
/// The path exists and is not a file, or the operating system refuses.
pub(crate) fn write_temporary(path: &Path, bytes: &[u8]) -> io::Result<Temporary> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => return Err(in_the_way(&found)),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let draft = draft(path, bytes)?;
    draft.persist(path).map_err(|error| error.error)?;
    Ok(Temporary(path.to_owned()))
}

/// Reads a file of at most `limit` bytes. Does not follow a symbolic link.
///
/// # Errors
///
/// The path is not a file, the file is longer, or the operating system refuses.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let found = path.symlink_metadata()?;
    if !found.is_file() {
        return Err(in_the_way(&found));
    }
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = options.read(true).custom_flags(flags).open(path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 <= limit {
        true => Ok(bytes),
        false => Err(io::Error::other(format!(
            "the file is longer than {limit} bytes"
        ))),
    }
}

/// Creates a directory and its parents, unless they exist.
///
/// # Errors
///
/// The operating system refuses.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Whether the error means that this process cannot write here: the file system is read-only, or the permissions forbid it.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::PermissionDenied,
    ];
    kinds.contains(&error.kind())
}

/// The error for something that must be moved away before a file can be written or read.
pub(crate) fn in_the_way(found: &Metadata) -> io::Error {
    let kind = found.file_type();
    let what = match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a directory",
        () if kind.is_socket() => "a socket",
        () if kind.is_file() => "another file",
        () => "a device or a pipe",
    };
    let problem = format!("{what} is in the way; move it away");
    io::Error::new(io::ErrorKind::AlreadyExists, problem)
}

/// A new file with mode 0600 in the directory of `path`. Dropping it removes it.
fn draft(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut draft = tempfile::Builder::new()
        .prefix(".bowline-")
        .tempfile_in(directory(path))?;
    draft.write_all(bytes)?;
    Ok(draft)
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_written_file_is_its_owners_alone_and_leaves_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        create(&path, b"one").unwrap();
        let temporary = write_temporary(&path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"two");
        assert!(read(&path, 2).is_err());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(temporary);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_is_written_or_read_through_a_symbolic_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        for exists in [true, false] {
            if exists {
                fs::write(&target, "theirs").unwrap();
            }
            symlink(&target, &link).unwrap();
            let errors = [
                create(&link, b"x").unwrap_err(),
                write_temporary(&link, b"x").unwrap_err(),
                read(&link, 100).unwrap_err(),
            ];
            for error in &errors {
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
            }
            assert!(errors[1].to_string().contains("symbolic link"));
            assert!(link.is_symlink());
            assert_eq!(fs::read(&target).ok(), exists.then(|| b"theirs".to_vec()));
            fs::remove_file(&link).unwrap();
            let _ = fs::remove_file(&target);
        }
    }
}
