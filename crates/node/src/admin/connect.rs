//! The client: finds the node that runs with a data directory, and connects to the node's admin socket.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

use super::{
    listener::Endpoint,
    place::{self, Owners},
};

/// An error of [`connect`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No node runs with the data directory.
    #[error("no node runs with the data directory {}: {problem}", data_dir.display())]
    NotRunning {
        /// The directory.
        data_dir: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The socket, or a directory on the way to it, belongs to another user, who may have forged it.
    #[error("{} belongs to another user (id {owner}), who may have forged it; nothing was sent", path.display())]
    Stranger {
        /// The socket, file or directory.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// The socket cannot be found or reached.
    #[error("cannot reach the admin socket {}", path.display())]
    Unreachable {
        /// The socket, or the file that names it.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Connects to the admin socket of the node that runs with this data directory.
///
/// The data directory, the socket and the process that listens must belong to this user or to root. If this process
/// runs as root, they may also belong to the owner of the data directory.
///
/// # Errors
///
/// No node runs with the data directory, another user owns the socket, or the operating system refuses.
pub async fn connect(data_dir: &Path) -> Result<(UnixStream, Endpoint), ConnectError> {
    let not_running = |problem: String| ConnectError::NotRunning {
        data_dir: data_dir.to_owned(),
        problem,
    };
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ConnectError::Unreachable { path, source }
    };
    let entry = place::entry(data_dir);
    let missing = || not_running(format!("{} does not exist", entry.display()));
    // The listener chose the path from the directory's own name.
    let directory = match data_dir.canonicalize() {
        Ok(directory) => directory,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
        Err(error) => return Err(at(data_dir)(error)),
    };
    let socket = place::find(&directory).map_err(at(&entry))?;
    // A node with a read-only directory cannot create the entry there.
    let socket = socket.or_else(|| {
        let elsewhere = place::elsewhere(&directory);
        elsewhere.symlink_metadata().is_ok().then_some(elsewhere)
    });
    let socket = socket.ok_or_else(missing)?;
    let silent = || not_running(format!("nobody answers on {}", socket.display()));
    let owners = Owners::new(&directory).map_err(at(&directory))?;
    match owners.stranger(&directory, &socket) {
        Ok(None) => {}
        Ok(Some((path, owner))) => return Err(ConnectError::Stranger { path, owner }),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(silent()),
        Err(error) => return Err(at(&socket)(error)),
    }
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Err(silent()),
        Err(error) => return Err(at(&socket)(error)),
    };
    // The path may have changed since its owner was read. The kernel reports the user of the listening process.
    let listening = stream.peer_cred().map_err(at(&socket))?;
    if !owners.trust(listening.uid()) {
        let owner = listening.uid();
        let path = socket;
        return Err(ConnectError::Stranger { path, owner });
    }
    Ok((stream, Endpoint::Unix(socket)))
}
