//! Joins a peer-to-peer network, and rejoins it after a restart or after a loss of peers or of the network.
//!
//! ```text
//!  list, file, /dnsaddr, saved peers, LAN ── PeerSource ──► candidates ─┐
//!                                                                       ▼
//!  handle_connected, handle_disconnected ─────────────────────────►  Rejoin  ──► Dial, Abandon, State, Lasted ──► the host
//!  handle_answered, handle_failed, handle_changed ────────────────►     │
//!                                                                       └──► poll_timeout
//!
//!  Isolated ── a peer stays ────► Joining ── enough peers settle ──► Joined ◄──► Degraded
//!     ▲                                                                               │
//!     └──────────────────────── the last peer is gone ────────────────────────────────┘
//! ```
//!
//! A *candidate* is a peer that may be dialed, with its known addresses. A *source* names candidates. The *origin* of a candidate
//! is the kind of its source, which decides how far the candidate is trusted. A connection has *settled* after 3 s and has
//! *lasted* after 10 s. A peer is *lost* if its connection had lasted and is gone.
//!
//! [`Rejoin`] is the core, for any type of peer id and address. With the feature `tokio`, `Driver` runs the core and its
//! sources. [`sources`] has the sources for libp2p's peers. `Store` saves peers across restarts (feature `store`). `kad` is a
//! Kademlia DHT, as a source of peers and as a service (feature `kad`).
//!
//! # Invariants
//!
//! - The delay before a dial is uniform in (0, min(cap, base · 2ⁿ)], where n counts the dials of the peer since one of its
//!   connections lasted. Only a connection that lasts resets n.
//! - The cap is 1.5 s for 2 minutes after a loss, 10 s while no peer is connected, and 300 s otherwise. A bootstrap peer that
//!   many nodes have lost at the same moment is dialed at a random time within the cap.
//! - A dial in flight never delays the next one. The number of dials in flight is bounded, for each peer and in all, and the
//!   candidate that has waited longest is dialed first.
//! - At most 64 ordinary dials start at once, and then 20 per second. Dials of lost peers and of peers to keep do not wait for
//!   this pace: at most 16 peers count as lost, and the user names the peers to keep.
//! - A less trusted origin displaces no candidate and no address of a more trusted one. There is one exception: a peer that shows
//!   where it is now displaces the addresses that an earlier run has saved of the same peer, unless they have worked since.
//! - The core reads no clock and opens no socket: the host passes `now` and a seed.
//! - The memory and the packets that a source, a name server, a host on the LAN or a file can cause are bounded.
//!
//! # Limitations
//!
//! - The core dials nothing itself and does not check who answers. The host authenticates peers.
//! - Only candidates with a peer id are offered for a purpose ([`Rejoin::handle_wanted`]).
//! - A lost peer without a known address is not dialed. Report the addresses that a peer announces as candidates of
//!   [`Origin::Peer`] if a connection shows that the peer is there. Report its other addresses as [`Origin::Claimed`]: the core
//!   does not dial them at the quick pace, and they are never saved. With the feature `libp2p`, `announced` sorts the addresses.
//! - The LAN source does not use IPv6. It announces only addresses of the host's interfaces, and sends no goodbye packet when the
//!   node stops.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use bootstrap::{Candidate, Origin, Rejoin, RejoinConfig, RejoinEvent, State};
//!
//! let mut now = Instant::now();
//! let mut core = Rejoin::new(Some("alice"), 7, RejoinConfig::default());
//! core.handle_candidate(now, Candidate::new(Some("bob"), vec!["192.0.2.1:4077"], Origin::Saved));
//! let Some(RejoinEvent::Dial { attempt, .. }) = core.poll_event() else { panic!("bob is dialed at once") };
//! core.handle_answered(now, attempt, &"bob");
//! core.handle_connected(now, &"bob", Some("192.0.2.1:4077"));
//! now += Duration::from_secs(10);
//! core.handle_timeout(now);
//! assert_eq!(core.state(), State::Joined);
//!
//! // Bob is lost. The first delay is at most 0.25 s.
//! core.handle_disconnected(now, &"bob");
//! assert_eq!(core.state(), State::Isolated);
//! assert!(core.poll_timeout().unwrap() <= now + Duration::from_millis(250));
//! ```

#[cfg(feature = "libp2p")]
mod announced;
mod backoff;
mod candidate;
mod config;
#[cfg(feature = "tokio")]
mod driver;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
#[cfg(feature = "kad")]
pub mod kad;
mod rejoin;
mod resume;
pub mod sources;
#[cfg(feature = "store")]
mod store;

use std::task::{Context, Poll};

#[cfg(feature = "libp2p")]
pub use announced::announced;
pub use backoff::{Backoff, Jitter};
pub use candidate::{Candidate, Found, Need, Origin};
pub use config::RejoinConfig;
#[cfg(feature = "tokio")]
pub use driver::{Driver, DriverEvent, Handle, NotJoined};
pub use error::SourceError;
#[cfg(feature = "libp2p")]
pub use libp2p_identity::{self, PeerId};
#[cfg(feature = "libp2p")]
pub use multiaddr::{self, Multiaddr};
pub use rejoin::{AttemptId, CandidateView, Purpose, Reason, Rejoin, RejoinEvent, State, Status};
pub use resume::Resume;
#[cfg(feature = "tokio")]
pub use resume::time_asleep;
#[cfg(feature = "store")]
pub use store::{Loaded, SavedPeer, Store, StoreConfig};

/// Supplies candidate peers.
///
/// A source is polled like a stream. The driver polls it only when the core can take a finding, so a fast source cannot flood the
/// core. A source that is an async function is easier to write with `sources::Task` (feature `tokio`).
///
/// ```
/// use std::task::{Context, Poll};
/// use bootstrap::{Candidate, Found, Need, Origin, PeerSource};
///
/// /// Names one peer, when the node has none.
/// struct LastResort(Need);
///
/// impl PeerSource<&'static str, &'static str> for LastResort {
///     fn poll_found(&mut self, _: &mut Context<'_>) -> Poll<Option<Found<&'static str, &'static str>>> {
///         // The driver polls each source after it has told the need.
///         match std::mem::take(&mut self.0).isolated {
///             true => Poll::Ready(Some(Found::Candidate(Candidate::new(Some("bob"), vec!["192.0.2.1:4077"], Origin::Other)))),
///             false => Poll::Pending,
///         }
///     }
///
///     fn handle_need(&mut self, need: Need) {
///         self.0 = need;
///     }
/// }
///
/// let mut source = LastResort(Need::default());
/// let mut context = Context::from_waker(std::task::Waker::noop());
/// assert!(source.poll_found(&mut context).is_pending());
/// source.handle_need(Need::new(8, true));
/// assert!(source.poll_found(&mut context).is_ready());
/// ```
pub trait PeerSource<Id, A>: Send {
    /// The next finding. `None`: the source has no further findings, and is dropped.
    fn poll_found(&mut self, cx: &mut Context<'_>) -> Poll<Option<Found<Id, A>>>;

    /// The node needs more or fewer peers than before. `Driver` calls this method before the first poll and after each change of
    /// the need. The source is polled afterwards. Default: the need changes nothing.
    fn handle_need(&mut self, need: Need) {
        let _ = need;
    }

    /// The network has changed, or the host was asleep, so the source's knowledge may be out of date. The source is polled
    /// afterwards. Default: nothing happens.
    fn handle_changed(&mut self) {}
}

/// The examples in the README run.
#[cfg(all(doctest, feature = "store"))]
#[doc = include_str!("../README.md")]
struct Readme;
