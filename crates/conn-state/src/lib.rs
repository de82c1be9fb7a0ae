//! Who is connected, how well, and in what order that came about.
//!
//! ```text
//!  handle_inbound ─► handshaking ─┬─► limited ◄─► established ─► draining ─► closed
//!  handle_dialing ─►              │      (a relay's)                │
//!                                 └─► closed                        └─► established again, if what replaced it broke
//!
//!  any established ─► Connected    else any handshaking or limited ─► Transient    else NotConnected
//!
//!  Tracker ──► Event   (peer, number, from, to, cause, connection, time) ─► SharedTracker ─► Subscription, queries
//!          └─► Action  (probe, drain, resume, close) ─► the host
//!  Limits  ──► whether one more connection is admitted at all
//! ```
//!
//! # Invariants
//!
//! - Of one peer no event is missing, out of order or there twice: each one's `from` is the `to` of the one before.
//! - A snapshot and the events after it are one: nothing lies between them, nothing is in both.
//! - A subscriber that does not read delays nobody: it misses events, is told how many, and gets a new snapshot.
//! - The core reads no clock and opens no socket: `now` comes in as an argument. It decides what is to be closed and never
//!   closes anything.
//! - Everything is checked before anything is changed, so that an error changes nothing.
//! - What is remembered is bounded: [`TrackerConfig::history`] events, the peers in them, the peers with a connection, and
//!   [`LimitsConfig::max_tracked_addresses`] addresses.
//!
//! # Limitations
//!
//! - An inbound connection has no peer, and so no state, before its handshake ends.
//! - Two ends decide alike which of two connections stays only if both follow [`Recommended`]. With another stack the
//!   connections that it keeps are kept by us until they are drained.
//! - An answer that takes longer than [`Policy::probe`] counts as none. On so slow a path two hosts may give up both of two
//!   connections; both then know that there is none.
//! - Peers are at most 2³² − 1, and a peer's events are kept only as long as those of all peers leave room.
//!
//! ```
//! use std::time::Instant;
//! use conn_state::{Closing, Recommended, Route, State, Tracker, TrackerConfig};
//!
//! let now = Instant::now();
//! let mut tracker = Tracker::new(now, "alice", Recommended::default(), TrackerConfig::default());
//! let connection = tracker.handle_dialing(now, Some(&"bob")).unwrap();
//! assert!(tracker.state(&"bob").is_transient());
//! tracker.handle_authenticated(now, connection, &"bob", Route::Direct).unwrap();
//! assert_eq!(tracker.state(&"bob"), State::Connected);
//! tracker.handle_closed(now, connection, Closing::Remote, None).unwrap();
//!
//! let story: Vec<_> = tracker.history(&"bob").iter().map(|event| event.to.to_string()).collect();
//! assert_eq!(story, ["transient (handshaking)", "connected", "not connected"]);
//! ```

mod config;
#[cfg(feature = "tokio")]
mod driver;
mod error;
mod event;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod history;
mod limits;
mod phase;
mod policy;
mod prefix;
mod shared;
mod snapshot;
mod subscription;
mod sync;
mod table;
mod tracker;
pub mod upgrade;
mod when_connected;

use std::time::Duration;

pub use config::LimitsConfig;
#[cfg(feature = "tokio")]
pub use driver::WaitError;
pub use error::{Refused, TrackError};
pub use event::{Action, Cause, Closing, Event};
pub use limits::Limits;
pub use phase::{ConnectionId, ConnectionInfo, Direction, Limit, Phase, Reason, Route, State};
pub use policy::{Contender, Contest, Recommended, Verdict};
pub use prefix::Prefix;
pub use shared::SharedTracker;
pub use snapshot::{PeerSnapshot, Snapshot};
pub use subscription::{Subscription, Update};
pub use tracker::{Tracker, TrackerConfig};
pub use when_connected::WhenConnected;

/// What the host may decide otherwise. [`Recommended`] says what is decided if it does not care.
///
/// `Id` names a peer. A policy has no state and no side: asked the same, it answers the same.
pub trait Policy<Id>: Send + Sync {
    /// Whether a connection that came up over `route` counts as [`Phase::Established`] or as [`Phase::Limited`]. Other
    /// phases count as established.
    fn phase(&self, route: Route) -> Phase;

    /// How long a connection may be transient for this reason; then the host is told to close it.
    fn max_age(&self, reason: Reason) -> Option<Duration>;

    /// How many connections may be transient at once.
    fn max_transient(&self) -> usize;

    /// How many of one peer may be.
    fn max_transient_per_peer(&self) -> usize;

    /// Which of two connections to one peer stays.
    fn arbitrate(&self, contest: &Contest<'_, Id>) -> Verdict;

    /// How long a probe may stay unanswered until the new connection takes the old one's place.
    fn probe(&self) -> Duration;

    /// How long the old one may then go on being silent until it is closed. If it does answer, the two are judged again.
    fn patience(&self) -> Duration;

    /// How long nothing must go on over a drained connection until it is closed.
    fn quiet(&self) -> Duration;

    /// After how long a drained connection is closed, whatever goes on over it.
    fn drain(&self) -> Duration;
}

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
