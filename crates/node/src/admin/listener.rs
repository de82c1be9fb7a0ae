//! The listeners of the admin endpoint: a Unix socket in the data directory, and TCP on request.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};

use super::{
    access::Access,
    host::HostName,
    lock::{Lock, Taken},
    place,
    token::Token,
};
use crate::private_file::{self, Temporary};

/// The number of connections that the kernel holds until the endpoint accepts them.
const BACKLOG: u32 = 128;

/// The mode of the socket. To connect, a user needs the permission to write.
const MODE: u32 = 0o600;

/// The address of an admin endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// An HTTP server on TCP.
    Tcp(SocketAddr),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// An error of [`Listener::unix`] or [`Listener::tcp`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process uses the data directory.
    #[error("another node{} runs with the data directory {}; stop that node or choose another data directory{}", of(*process), data_dir.display(), remedy(open_to_others.as_deref()))]
    InUse {
        /// The directory.
        data_dir: PathBuf,
        /// The number of the process, if it is known.
        process: Option<u32>,
        /// The locked file or directory, if other users could open it. The other process may then be no node.
        open_to_others: Option<PathBuf>,
    },
    /// Another process answers on the socket.
    #[error("another process answers on the admin socket {}; stop that process or choose another data directory", path.display())]
    Answered {
        /// The socket.
        path: PathBuf,
    },
    /// A file, a directory or the socket cannot be created.
    #[error("cannot create {}", path.display())]
    Create {
        /// The file, directory or socket.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The address cannot be bound.
    #[error("cannot serve the admin endpoint on {address}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
}

fn remedy(open_to_others: Option<&Path>) -> String {
    let remedy = |path: &Path| {
        let path = path.display();
        format!(
            "; if no node runs, a process of another user has locked {path}: stop that process, and keep other users out with chmod go-rwx {path}"
        )
    };
    open_to_others.map_or_else(String::new, remedy)
}

fn of(process: Option<u32>) -> String {
    process.map_or_else(String::new, |process| format!(" (process {process})"))
}

/// A bound listener of the admin endpoint. Dropping it removes the files that it created.
#[derive(Debug)]
pub struct Listener {
    pub(super) endpoint: Endpoint,
    pub(super) socket: Socket,
    pub(super) access: Access,
    pub(super) files: Files,
    unsaved: Vec<PathBuf>,
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// The files of a listener. Dropping this removes them.
#[derive(Debug, Default)]
pub(super) struct Files {
    _socket: Option<Created>,
    _pointer: Option<Temporary>,
    _token: Option<Temporary>,
    /// The last field, so that the lock is released after the files are removed.
    _lock: Option<Lock>,
}

/// A socket with its device and inode numbers.
#[derive(Debug)]
struct Created {
    path: PathBuf,
    identity: (u64, u64),
}

/// Locks the data directory, whose path is canonical.
fn lock(data_dir: &Path) -> Result<Lock, BindError> {
    let taken = Lock::take(data_dir).map_err(|source| BindError::Create {
        path: Lock::path(data_dir),
        source,
    })?;
    match taken {
        Taken::Locked(lock) => Ok(lock),
        Taken::ByOther {
            process,
            open_to_others,
        } => Err(BindError::InUse {
            data_dir: data_dir.to_owned(),
            process,
            open_to_others,
        }),
    }
}

impl Listener {
    /// Creates the Unix socket of a data directory. Only this user can connect to it. The socket is in the data
    /// directory, or in the user's runtime directory if the path is longer than 107 bytes or the data directory is read-only.
    ///
    /// The socket of a node that was killed is replaced. The data directory is locked until the listener is dropped.
    ///
    /// # Errors
    ///
    /// Another process uses the data directory, something else has the socket's name, or the operating system refuses.
    pub async fn unix(data_dir: &Path) -> Result<Self, BindError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| BindError::Create { path, source }
        };
        // The name of the directory must not depend on how the user wrote it.
        let data_dir = &data_dir.canonicalize().map_err(at(data_dir))?;
        let lock = lock(data_dir)?;
        let mut unsaved = Vec::new();
        if !lock.has_file() {
            unsaved.push(Lock::path(data_dir));
        }
        if !lock.has_directory() {
            // Finds a node of this user that cannot write to the directory, and therefore has locked only the directory.
            clear(&place::elsewhere(data_dir)).await?;
        }
        let entry = place::entry(data_dir);
        let is_writable = match clear_entry(data_dir, &entry).await {
            Err(BindError::Create { source, .. }) if private_file::is_refused(&source) => false,
            cleared => cleared.map(|()| true)?,
        };
        let (_, is_too_long) = place::choose(data_dir).map_err(at(&entry))?;
        let in_place = match (is_writable && !is_too_long).then(|| create(&entry)) {
            Some(Err(error)) if private_file::is_refused(&error) => None,
            bound => bound.transpose().map_err(at(&entry))?,
        };
        let (path, (socket, created), pointer) = match in_place {
            Some(bound) => (entry, bound, None),
            None => {
                let path = place::elsewhere(data_dir);
                place::runtime_directory().map_err(at(&path))?;
                clear(&path).await?;
                let bound = create(&path).map_err(at(&path))?;
                let may_point = is_writable && is_too_long;
                let pointer = match may_point.then(|| place::point(data_dir, &path)) {
                    Some(Err(error)) if private_file::is_refused(&error) => None,
                    pointer => pointer.transpose().map_err(at(&entry))?,
                };
                if pointer.is_none() {
                    unsaved.push(entry);
                }
                (path, bound, pointer)
            }
        };
        Ok(Self {
            endpoint: Endpoint::Unix(path),
            socket: Socket::Unix(socket),
            access: Access::default(),
            files: Files {
                _socket: Some(created),
                _pointer: pointer,
                _lock: Some(lock),
                ..Files::default()
            },
            unsaved,
        })
    }

    /// Binds a TCP address, and writes a new token to the file `admin-token` of the data directory. A port of 0 stands
    /// for a free port.
    ///
    /// A request that changes something needs the token. Other requests need the token unless `open_reads` is true. The
    /// default of `open_reads` is true for a loopback address and false for any other address. The token and the
    /// answers are not encrypted. If the data directory is read-only, the token is not written, so no request can use it.
    ///
    /// The caller must hold the lock of the data directory, which is part of the listener of [`Listener::unix`].
    ///
    /// # Errors
    ///
    /// The operating system refuses the address or the file.
    pub async fn tcp(
        address: SocketAddr,
        open_reads: Option<bool>,
        data_dir: &Path,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError::Address { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let token = Token::random();
        let path = Token::path(data_dir);
        let (file, unsaved) = match token.write(data_dir) {
            Ok(file) => (Some(file), Vec::new()),
            Err(error) if private_file::is_refused(&error) => (None, vec![path]),
            Err(source) => return Err(BindError::Create { path, source }),
        };
        let is_loopback = address.ip().to_canonical().is_loopback();
        Ok(Self {
            endpoint: Endpoint::Tcp(address),
            socket: Socket::Tcp(socket),
            access: Access {
                token: Some(Arc::new(token)),
                open_reads: open_reads.unwrap_or(is_loopback),
                ..Access::default()
            },
            files: Files {
                _token: file,
                ..Files::default()
            },
            unsaved,
        })
    }

    /// Also answers requests whose `Host` header contains one of these names. A stranger must not control such a name, because
    /// the owner of a name can direct browsers to this endpoint.
    pub fn with_hosts(mut self, hosts: impl IntoIterator<Item = HostName>) -> Self {
        self.access.hosts = hosts.into_iter().collect();
        self
    }

    /// The files of the data directory that could not be written, because the directory is read-only.
    pub fn unsaved(&self) -> &[PathBuf] {
        &self.unsaved
    }

    /// The address of this listener.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Removes the socket, or the file that names a socket, of a node that was killed. The data directory is locked, so the node of a
/// socket elsewhere is gone.
async fn clear_entry(data_dir: &Path, entry: &Path) -> Result<(), BindError> {
    let at = |source| BindError::Create {
        path: entry.to_owned(),
        source,
    };
    match place::find(data_dir).map_err(at)? {
        Some(socket) if socket == entry => clear(entry).await,
        Some(_) => fs::remove_file(entry).map_err(at),
        None => Ok(()),
    }
}

/// Removes a socket on which nobody answers.
async fn clear(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Create {
        path: path.to_owned(),
        source,
    };
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(failed(private_file::in_the_way(&found)));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // The queue of a listener that does not accept is full.
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(failed(error)),
        _ => Err(BindError::Answered {
            path: path.to_owned(),
        }),
    }
}

/// Creates a socket that has its mode before anybody can connect.
fn create(path: &Path) -> io::Result<(UnixListener, Created)> {
    let socket = UnixSocket::new_stream()?;
    // Linux creates the file of the socket with this mode, so the file never has another mode.
    #[cfg(target_os = "linux")]
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_bits_truncate(MODE))?;
    socket.bind(path)?;
    let found = path.symlink_metadata()?;
    let created = Created {
        path: path.to_owned(),
        identity: (found.dev(), found.ino()),
    };
    // Elsewhere the mode is set between `bind` and `listen`: nobody can connect before `listen`.
    if found.permissions().mode() & 0o777 != MODE {
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    }
    Ok((socket.listen(BACKLOG)?, created))
}

impl Drop for Created {
    fn drop(&mut self) {
        let found = self.path.symlink_metadata();
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
