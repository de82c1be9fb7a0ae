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
    let in_place = place::find(&directory).map_err(at(&entry))?;
    // A node with a read-only directory cannot create the entry there, and cannot remove the socket of a node that was killed.
    let elsewhere = place::elsewhere(&directory);
    let elsewhere = elsewhere.symlink_metadata().is_ok().then_some(elsewhere);
    let sockets = in_place.iter().chain(&elsewhere);
    let owners = Owners::new(&directory).map_err(at(&directory))?;
    let mut silent = None;
    for socket in sockets {
        match reach(owners, &directory, socket).await? {
            Some(stream) => return Ok((stream, Endpoint::Unix(socket.clone()))),
            None => silent = silent.or(Some(socket)),
        }
    }
    Err(match silent {
        Some(socket) => not_running(format!("nobody answers on {}", socket.display())),
        None => missing(),
    })
}

/// Connects to a socket whose owners are trusted. `None`: nobody listens there.
async fn reach(
    owners: Owners,
    directory: &Path,
    socket: &Path,
) -> Result<Option<UnixStream>, ConnectError> {
    let failed = |source| ConnectError::Unreachable {
        path: socket.to_owned(),
        source,
    };
    match owners.stranger(directory, socket) {
        Ok(None) => {}
        Ok(Some((path, owner))) => return Err(ConnectError::Stranger { path, owner }),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // The path may have changed since its owner was read. The kernel reports the user of the listening process.
    let listening = stream.peer_cred().map_err(failed)?;
    match owners.trust(listening.uid()) {
        true => Ok(Some(stream)),
        false => Err(ConnectError::Stranger {
            path: socket.to_owned(),
            owner: listening.uid(),
        }),
    }
}
