//! Peers that are saved across restarts.

mod file;
mod record;
mod select;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use file::PeerFile;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
pub use record::SavedPeer;
use tokio::sync::{mpsc, oneshot};

use crate::SourceError;

/// How many reports wait for the disk. Further ones are dropped: their peers are reported again when they leave.
const WAITING: usize = 256;

/// The time between two writes, so that many peers that qualify at the same time cost few writes.
const PAUSE: Duration = Duration::from_millis(200);

/// The bounds of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreConfig {
    /// How many peers are saved. Default 256: many more than a node dials to join.
    pub max_peers: usize,
    /// How many peers of one IPv4 /24, IPv6 /48 or host name are saved. Four times as many may be in one IPv4 /16 or IPv6 /32.
    /// Default 4. Private addresses may take half of all places, and host names a quarter. The owner of a few networks therefore
    /// cannot take all places, even with false claims of long stays.
    pub max_per_subnet: usize,
    /// How long a peer stays saved after it was last seen. Default 90 days.
    pub max_age: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            max_peers: 256,
            max_per_subnet: 4,
            max_age: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

impl StoreConfig {
    /// Sets [`Self::max_peers`].
    pub fn with_max_peers(mut self, peers: usize) -> Self {
        self.max_peers = peers;
        self
    }

    /// Sets [`Self::max_per_subnet`].
    pub fn with_max_per_subnet(mut self, peers: usize) -> Self {
        self.max_per_subnet = peers;
        self
    }

    /// Sets [`Self::max_age`].
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }
}

/// Saves peers in a file. A thread writes, so that the disk delays nobody: a peer is on the disk within a second after
/// [`Store::save`].
///
/// If you drop the store, it writes the waiting peers in the background. [`Store::close`] waits until they are written. Only one
/// store can use a file at a time: close the store before you open the file again.
pub struct Store {
    reports: Option<SyncSender<SavedPeer>>,
    written: Option<oneshot::Receiver<()>>,
    path: PathBuf,
}

/// The peers that a store has loaded, and a channel for later problems of its writer.
#[derive(Debug)]
pub struct Loaded {
    pub(crate) peers: Vec<SavedPeer>,
    pub(crate) problems: Vec<SourceError>,
    pub(crate) failures: mpsc::Receiver<SourceError>,
}

impl Loaded {
    /// The problems of the opening, for a host that reports them at once. Otherwise the source reports them.
    pub fn take_problems(&mut self) -> Vec<SourceError> {
        std::mem::take(&mut self.problems)
    }

    /// The loaded peers, those that stayed longest first. A host with its own types of ids and addresses turns them into
    /// candidates of [`crate::Origin::Saved`] itself.
    pub fn peers(&self) -> &[SavedPeer] {
        &self.peers
    }
}

impl Store {
    /// Opens the file, or creates it, readable only for this user. A symbolic link is not followed. The call blocks for the time
    /// of a few reads. [`crate::sources::saved`] is the source of the loaded peers.
    ///
    /// A damaged file is set aside and a new one is begun. If the file cannot be used at all, the source reports why, and the
    /// store saves nothing.
    pub fn open(path: &Path, config: StoreConfig) -> (Self, Loaded) {
        let (file, peers, problems) = PeerFile::open(path, &config, unix_now());
        let (reports, receiver) = sync_channel(WAITING);
        let (failures, failed) = mpsc::channel(1);
        let (done, written) = oneshot::channel();
        let mut store = Self {
            reports: None,
            written: None,
            path: path.to_path_buf(),
        };
        let mut loaded = Loaded {
            peers,
            problems,
            failures: failed,
        };
        if let Some(file) = file {
            let path = store.path.clone();
            let writer = move || {
                write_all(&file, &receiver, &failures, &path);
                // Closes the database before the end is told.
                drop(file);
                let _ = done.send(());
            };
            match thread::Builder::new()
                .name("saved-peers".into())
                .spawn(writer)
            {
                Ok(_) => (store.reports, store.written) = (Some(reports), Some(written)),
                Err(error) => {
                    let (path, reason) = (store.path.clone(), format!("no thread for it: {error}"));
                    loaded.problems.push(SourceError::Store { path, reason });
                }
            }
        }
        (store, loaded)
    }

    /// Saves a peer whose connection has lasted: at [`crate::RejoinEvent::Lasted`] with the `address` and the `addresses` of the
    /// event, and at [`crate::RejoinEvent::Lost`] with the whole stay and no addresses. Without addresses, those that are saved
    /// already stay, and a new peer is not saved. Addresses with `/p2p/ID` or through a relay are not saved. Returns at once.
    pub fn save(&self, peer: PeerId, addresses: Vec<Multiaddr>, stayed: Duration) {
        if let Some(reports) = &self.reports {
            // If the disk is slower than the reports, the peer is saved when it is reported the next time.
            let _ = reports.try_send(SavedPeer::new(peer, addresses, unix_now(), stayed));
        }
    }

    /// Writes the waiting peers and closes the file, within this time. Returns whether all peers were written.
    pub async fn close(mut self, within: Duration) -> bool {
        self.reports = None;
        match self.written.take() {
            Some(written) => matches!(tokio::time::timeout(within, written).await, Ok(Ok(()))),
            None => true,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The thread: collects reports and writes them, until the store is dropped.
fn write_all(
    file: &PeerFile,
    reports: &Receiver<SavedPeer>,
    failures: &mpsc::Sender<SourceError>,
    path: &Path,
) {
    let mut failed = false;
    while let Ok(first) = reports.recv() {
        let mut batch = vec![first];
        let end = Instant::now() + PAUSE;
        // The pause gathers the reports that come together. It ends early when the store is closed.
        while batch.len() < WAITING
            && let Ok(report) = reports.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            batch.push(report);
        }
        match file.write(batch, unix_now()) {
            Ok(()) => failed = false,
            // A full disk is told once, until a write has succeeded.
            Err(reason) if !failed => {
                failed = true;
                let reason = format!("a peer could not be saved: {reason}");
                let path = path.to_path_buf();
                let _ = failures.try_send(SourceError::Store { path, reason });
            }
            Err(_) => {}
        }
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
