//! Joining the network, and rejoining it after a loss.

mod backoff;
mod candidate;
mod config;
#[cfg(feature = "tokio")]
mod driver;
mod error;
mod rejoin;
mod resume;
pub mod sources;
#[cfg(feature = "store")]
mod store;

use std::task::{Context, Poll};

pub use backoff::{Backoff, Jitter};
pub use candidate::{Candidate, Found, Need, Origin};
pub use config::RejoinConfig;
#[cfg(feature = "tokio")]
pub use driver::{Driver, DriverEvent, Handle, NotJoined};
pub use error::SourceError;
#[cfg(feature = "libp2p")]
pub use libp2p_identity::PeerId;
#[cfg(feature = "libp2p")]
pub use multiaddr::Multiaddr;
pub use rejoin::{AttemptId, CandidateView, Purpose, Reason, Rejoin, RejoinEvent, State, Status};
pub use resume::Resume;
#[cfg(feature = "tokio")]
pub use resume::time_asleep;
#[cfg(feature = "store")]
pub use store::{SavedPeer, Store, StoreConfig};

/// Supplies candidate peers.
pub trait PeerSource<Id, A>: Send {
    /// The next finding. `None`: the source has named all that it ever will, and is dropped.
    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found<Id, A>>>;

    /// The node needs more or fewer peers than before.
    fn handle_need(&mut self, need: Need) {
        let _ = need;
    }

    /// The network has changed, or the host was asleep: what the source knows may be out of date.
    fn handle_changed(&mut self) {}
}
