//! The database file: opening it, reading all records, and writing some records. A damaged file is set aside.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError, backends::FileBackend,
};

use super::{StoreConfig, record::SavedPeer, select::select};
use crate::SourceError;

const PEERS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("peers");

/// A larger file is not this store's. A full store has less than 3 MiB.
const MAX_FILE: u64 = 32 << 20;

/// The most records that are read. A store of this crate never has as many.
const MAX_READ: usize = 4096;

/// The most files that are set aside. After that, the last one is replaced.
const MAX_ASIDE: usize = 8;

/// What the database may keep in memory, in bytes.
const CACHE: usize = 1 << 20;

pub(super) struct PeerFile {
    database: Database,
    config: StoreConfig,
}

/// Why the file could not be used.
enum Unusable {
    Damaged(String),
    Other(String),
}

impl PeerFile {
    /// Opens the file, or makes it. Returns the peers in it, and the problems. Without a file nothing is saved.
    pub(super) fn open(
        path: &Path,
        config: &StoreConfig,
        now: u64,
    ) -> (Option<Self>, Vec<SavedPeer>, Vec<SourceError>) {
        let mut problems = Vec::new();
        let store = |reason| SourceError::Store {
            path: path.to_path_buf(),
            reason,
        };
        for _ in 0..2 {
            match guarded(|| Self::try_open(path, config, now)) {
                Ok((file, peers, unreadable)) => {
                    if unreadable > 0 {
                        problems.push(SourceError::Records {
                            path: path.to_path_buf(),
                            records: unreadable,
                        });
                    }
                    return (Some(file), peers, problems);
                }
                Err(Unusable::Damaged(reason)) => match set_aside(path) {
                    Ok(aside) => {
                        let path = path.to_path_buf();
                        problems.push(SourceError::SetAside {
                            path,
                            aside,
                            reason,
                        });
                    }
                    Err(error) => {
                        problems.push(store(format!(
                            "it is damaged ({reason}) and cannot be moved: {error}"
                        )));
                        break;
                    }
                },
                Err(Unusable::Other(reason)) => {
                    problems.push(store(reason));
                    break;
                }
            }
        }
        (None, Vec::new(), problems)
    }

    fn try_open(
        path: &Path,
        config: &StoreConfig,
        now: u64,
    ) -> Result<(Self, Vec<SavedPeer>, usize), Unusable> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                return Err(Unusable::Other("it is not a regular file".into()));
            }
            Ok(metadata) if metadata.len() > MAX_FILE => {
                let reason = format!(
                    "it has {} bytes, more than any file of saved peers",
                    metadata.len()
                );
                return Err(Unusable::Damaged(reason));
            }
            _ => {}
        }
        let backend = FileBackend::new(open_private(path).map_err(redb::Error::Io)?)?;
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create_with_backend(backend)?;
        let file = Self {
            database,
            config: config.clone(),
        };
        let (peers, unreadable) = file.read(now)?;
        Ok((file, select(peers, config, now), unreadable))
    }

    /// All readable records, and how many others there are.
    fn read(&self, now: u64) -> Result<(Vec<SavedPeer>, usize), Unusable> {
        let transaction = self.database.begin_read().map_err(redb::Error::from)?;
        let table = match transaction.open_table(PEERS) {
            Err(TableError::TableDoesNotExist(_)) => return Ok((Vec::new(), 0)),
            table => table.map_err(redb::Error::from)?,
        };
        let (mut peers, mut unreadable) = (Vec::new(), 0);
        for row in table.iter().map_err(redb::Error::from)?.take(MAX_READ) {
            let (key, value) = row.map_err(redb::Error::from)?;
            match SavedPeer::decode(key.value(), value.value(), now) {
                Ok(peer) => peers.push(peer),
                Err(_) => unreadable += 1,
            }
        }
        Ok((peers, unreadable))
    }

    /// Writes peers and removes those that are no longer worth their place. The file is on the disk when this returns.
    pub(super) fn write(&self, peers: Vec<SavedPeer>, now: u64) -> Result<(), String> {
        guarded(|| self.try_write(&peers, now)).map_err(|unusable| match unusable {
            Unusable::Damaged(reason) | Unusable::Other(reason) => reason,
        })
    }

    fn try_write(&self, peers: &[SavedPeer], now: u64) -> Result<(), Unusable> {
        let transaction = self.database.begin_write().map_err(redb::Error::from)?;
        {
            let mut table = transaction.open_table(PEERS).map_err(redb::Error::from)?;
            let mut all = Vec::new();
            let mut keys = Vec::new();
            for row in table.iter().map_err(redb::Error::from)?.take(MAX_READ) {
                let (key, value) = row.map_err(redb::Error::from)?;
                keys.push(key.value().to_vec());
                all.extend(SavedPeer::decode(key.value(), value.value(), now));
            }
            for peer in peers {
                let mut peer = peer.clone();
                if let Some(at) = all.iter().position(|known| known.peer == peer.peer) {
                    peer.merge(&all.swap_remove(at));
                }
                all.push(peer);
            }
            let kept = select(all, &self.config, now);
            for key in keys
                .iter()
                .filter(|key| kept.iter().all(|peer| peer.peer.to_bytes() != **key))
            {
                table.remove(key.as_slice()).map_err(redb::Error::from)?;
            }
            for peer in &kept {
                let (key, value) = (peer.peer.to_bytes(), peer.encode());
                table
                    .insert(key.as_slice(), value.as_slice())
                    .map_err(redb::Error::from)?;
            }
        }
        transaction.commit().map_err(redb::Error::from)?;
        Ok(())
    }
}

/// Opens the file, or makes it, for this user only: permissions of others are taken away. A symbolic link is refused, because
/// its target may be another program's file.
fn open_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    #[cfg(target_os = "linux")]
    {
        let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    }
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            // A file system without permissions refuses this, and the file is of use there too.
            let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
        }
    }
    Ok(file)
}

/// A database that meets pages which cannot be may panic.
fn guarded<T>(call: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    let damaged = |_| Err(Unusable::Damaged("its pages contradict each other".into()));
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(damaged)
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |n: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(if n == 1 {
            ".damaged".to_owned()
        } else {
            format!(".damaged-{n}")
        });
        PathBuf::from(name)
    };
    let free = (1..MAX_ASIDE).map(name).find(|aside| !aside.exists());
    let aside = free.unwrap_or_else(|| name(MAX_ASIDE));
    fs::rename(path, &aside)?;
    Ok(aside)
}

impl From<DatabaseError> for Unusable {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => {
                Self::Other("another process, or another store of this process, uses it".into())
            }
            error => redb::Error::from(error).into(),
        }
    }
}

impl From<redb::Error> for Unusable {
    fn from(error: redb::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        let reason = error.to_string();
        match error {
            redb::Error::Io(io)
                if !matches!(io.kind(), InvalidData | InvalidInput | UnexpectedEof) =>
            {
                Self::Other(reason)
            }
            redb::Error::DatabaseAlreadyOpen
            | redb::Error::LockProtocolMismatch
            | redb::Error::UpgradeRequired(_) => Self::Other(reason),
            _ => Self::Damaged(reason),
        }
    }
}

impl From<StorageError> for Unusable {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}
