//! The key file: one private key in libp2p's protobuf encoding. Only its owner can read it.
//!
//! An existing file is never overwritten, whatever its content.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use libp2p_identity::{DecodingError, Keypair};
use zeroize::Zeroizing;

use crate::private_file;

/// The maximum length of a key file. An Ed25519 key takes 68 bytes, and an RSA key takes a few thousand.
const MAX_LENGTH: u64 = 64 * 1024;

/// An error of [`load`] or [`create`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read the key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file holds no valid key.
    #[error("the key file {} holds no valid key ({reason}); the file was not changed", path.display())]
    Corrupted {
        /// The file.
        path: PathBuf,
        /// The fault in the content.
        reason: String,
    },
    /// The file exists already.
    #[error("the key file {} exists already; the file was not changed", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write the key file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The key cannot be encoded.
    #[error("cannot encode the key")]
    Encode(#[from] DecodingError),
}

/// Reads the key in `path`.
///
/// # Errors
///
/// [`KeyFileError::Read`] or [`KeyFileError::Corrupted`].
pub fn load(path: &Path) -> Result<Keypair, KeyFileError> {
    let read = |source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let corrupted = |reason: String| KeyFileError::Corrupted {
        path: path.to_owned(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(read)?;
    // Reading a pipe could wait forever, and reading a device could have no end.
    if !metadata.is_file() {
        return Err(read(io::Error::other("it is not a file")));
    }
    let length = metadata.len().min(MAX_LENGTH) as usize;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    let file = File::open(path).map_err(read)?;
    let length = file.take(MAX_LENGTH + 1).read_to_end(&mut bytes);
    if length.map_err(read)? as u64 > MAX_LENGTH {
        let problem = format!("the file is longer than {MAX_LENGTH} bytes");
        return Err(corrupted(problem));
    }
    if bytes.is_empty() {
        return Err(corrupted("the file is empty".to_owned()));
    }
    let keypair = Keypair::from_protobuf_encoding(&bytes);
    let keypair = keypair.map_err(|error| corrupted(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        tracing::warn!(%path, "other users can read or write the key file: run chmod 600 on it");
    }
    Ok(keypair)
}

/// Writes `keypair` to `path`, which must not exist. Creates the directory if needed, with mode 0700.
///
/// The file appears only when it is complete.
///
/// # Errors
///
/// [`KeyFileError::Exists`], [`KeyFileError::Write`] or [`KeyFileError::Encode`].
pub fn create(path: &Path, keypair: &Keypair) -> Result<(), KeyFileError> {
    let bytes = Zeroizing::new(keypair.to_protobuf_encoding()?);
    let write = |source| KeyFileError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        private_file::create_directory(folder).map_err(write)?;
    }
    private_file::create(path, &bytes).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists {
            path: path.to_owned(),
        },
        _ => write(source),
    })
}

/// Reads the key in `path`, or creates a new Ed25519 key there. The flag is true if the key is new.
///
/// # Errors
///
/// Those of [`load`] and [`create`].
pub fn load_or_create(path: &Path) -> Result<(Keypair, bool), KeyFileError> {
    match load(path) {
        Ok(keypair) => Ok((keypair, false)),
        Err(KeyFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let keypair = Keypair::generate_ed25519();
            match create(path, &keypair) {
                Ok(()) => Ok((keypair, true)),
                // Another process created the file first: its key is the identity.
                Err(KeyFileError::Exists { .. }) => Ok((load(path)?, false)),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/identity.key");
        let (made, new) = load_or_create(&path).unwrap();
        assert!(new);
        let (read, new) = load_or_create(&path).unwrap();
        assert!(!new);
        assert_eq!(made.public(), read.public());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "the draft is gone");
    }

    #[test]
    fn a_corrupted_truncated_empty_or_oversized_file_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let key = Keypair::generate_ed25519().to_protobuf_encoding().unwrap();
        let long = vec![0; MAX_LENGTH as usize + 1];
        for content in [&b"garbage"[..], &key[..key.len() - 1], b"", &long] {
            fs::write(&path, content).unwrap();
            let error = load_or_create(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Corrupted { .. }), "{error}");
            assert!(error.to_string().contains("identity.key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn creating_never_overwrites_and_a_directory_is_not_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        fs::write(&path, "mine").unwrap();
        let error = create(&path, &Keypair::generate_ed25519()).unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let error = load_or_create(folder.path()).unwrap_err();
        assert!(matches!(error, KeyFileError::Read { .. }), "{error}");
    }
}
