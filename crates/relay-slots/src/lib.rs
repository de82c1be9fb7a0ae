//! Keeps the slots and circuits of a circuit relay, which never leak and never exceed their caps.
//!
//! ```text
//!                handle_reserve                    handle_disconnected, or no answer
//!  connected ───────────────────► active ◄──────────────────────────────► grace
//!                 (Admission)      │  ▲          handle_connected            │
//!                        heartbeat ▼  │ handle_alive                        │
//!                                probing ── no answer ──────────────────────►│
//!                                                                            │
//!  free ◄── expiry in any state ─── handle_release ─── end of the grace ─────┘
//!
//!  handle_connect ─► opening ─► open ─► ended     (a circuit, carried by the connections of its two ends)
//!
//!  Table ──► Event    (probe, silent, freed, circuit ended) ──► the host
//!
//!  hop stream ──► Server ──► answer, stop stream ──► splice      Client ──► ask, granted, renewed, lost, replaced
//! ```
//!
//! A *slot* is a relay's promise to forward circuits to one peer; the circuit relay v2 spec calls it a reservation. A
//! *circuit* is a stream from a source through the relay to a destination that holds a slot. *Hop* is the protocol
//! between a peer and the relay. *Stop* is the protocol between the relay and a circuit's destination. The *grace* is
//! the time for which the relay keeps the slot of a peer that has disconnected.
//!
//! [`Table`] is the core, for any type of peer id. [`Server`] and [`Client`] are the two ends of circuit relay v2
//! without I/O, and [`wire`] has their messages and vouchers. With the feature `tokio`, the module `driver` runs both
//! ends over tokio streams, `splice` forwards the bytes of a circuit, and `MeteredStream` ends a limited circuit at the
//! limit. With the feature `serde`, [`Terms`] and [`Slot`] can be written and read as JSON.
//!
//! # Invariants
//!
//! - No admitted request ever exceeds a cap. Lowering a cap evicts nobody.
//! - The table never refuses a renewal because it is full. If the caps leave no room at the new address, the slot is
//!   still counted at the old address. If a peer renews too often, the table refuses the renewal, and the peer keeps its
//!   slot.
//! - The table checks everything before it changes anything, so that a refused request changes nothing.
//! - The slot of a peer is free after the grace, whether the peer disconnected or fell silent. When all peers have left
//!   and their rates have recovered, the table is empty ([`Usage::is_empty`]).
//! - The core reads no clock and opens no socket: the host passes `now`. No operation iterates over all slots.
//!
//! # Limitations
//!
//! - Only the heartbeat detects a peer that vanished silently. The table keeps the slot of such a peer for up to
//!   [`TableConfig::heartbeat`] + [`TableConfig::answer`] + [`TableConfig::grace`] after its last sign of life.
//! - The host must limit the number of connections per peer. Each connection takes about 60 bytes in the table.
//! - The table uses and stores only the first 64 bits of an IPv6 address.
//! - The table frees the memory of its slots, connections or circuits when the last slot, connection or circuit is
//!   gone.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use relay_slots::{Caps, ConnectionId, Origin, Table, TableConfig};
//!
//! let now = Instant::now();
//! let mut table = Table::new(now, 7, Caps::default().with_slots(1), TableConfig::default());
//! let (alice, bob) = (ConnectionId(1), ConnectionId(2));
//! table.handle_connected(now, alice, &"alice", Origin::Local);
//! table.handle_connected(now, bob, &"bob", Origin::Local);
//!
//! table.handle_reserve(now, alice).unwrap();
//! let refusal = table.handle_reserve(now, bob).unwrap_err();
//! assert_eq!(refusal.to_string(), "1 slots are held, which is the limit");
//! assert!(table.handle_reserve(now, alice).unwrap().renewed, "a holder is never refused");
//!
//! table.handle_disconnected(now, alice);
//! let later = now + Duration::from_secs(61);
//! assert!(table.handle_reserve(later, bob).is_ok(), "the grace is over");
//! ```

mod admission;
mod client;
mod config;
#[cfg(feature = "tokio")]
pub mod driver;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod id;
mod meter;
#[cfg(feature = "tokio")]
mod metered;
mod scope;
mod server;
mod slot;
#[cfg(feature = "tokio")]
mod splice;
mod table;
mod terms;
pub mod wire;

pub use admission::{Caps, Connect, Held, Rate, Rates, Reserve};
pub use client::{Answer, AskError, Client, ClientConfig, ClientEvent, LostCause};
pub use config::TableConfig;
pub use error::{RateOf, Refusal, ReleaseError, Status};
pub use id::{CircuitId, ConnectionId};
pub use libp2p_identity::{Keypair, PeerId};
pub use meter::{Direction, Meter};
#[cfg(feature = "tokio")]
pub use metered::{Allowance, LimitReached, MeteredStream, Remaining};
pub use multiaddr::Multiaddr;
pub use scope::{Origin, Scope, ScopeKind};
pub use server::{Grant, Granting, HopAnswer, Server, StopAnswer};
pub use slot::Slot;
#[cfg(feature = "tokio")]
pub use splice::{SpliceConfig, SpliceEnd, splice};
pub use table::{EndCause, Event, FreeCause, Granted, Opening, SlotState, SlotView, Table, Usage};
pub use terms::{RateTerm, Terms, TermsError};

/// Decides which peers may hold a slot or open a circuit. [`Caps`] is the default rule.
///
/// The table asks these rules before it changes anything, and passes the counts without the request. The table itself has no
/// caps, so the answer is final.
///
/// A rule of your own can add to `Caps`:
///
/// ```
/// use relay_slots::{Admission, Caps, Connect, Origin, Refusal, Reserve};
///
/// struct Members {
///     caps: Caps,
///     names: Vec<String>,
/// }
///
/// impl Admission<String> for Members {
///     fn reserve(&self, request: &Reserve<'_, String>) -> Result<(), Refusal> {
///         if !self.names.contains(request.peer) {
///             return Err(Refusal::Denied { reason: "not a member" });
///         }
///         self.caps.reserve(request)
///     }
///
///     fn connect(&self, request: &Connect<'_, String>) -> Result<(), Refusal> {
///         self.caps.connect(request)
///     }
/// }
///
/// let caps = Caps::default().with_slots(10);
/// let rule = Members { caps, names: vec!["alice".into()] };
/// let request = |name: &str, slots| {
///     rule.reserve(&Reserve::new(&name.to_owned(), Origin::Local).with_slots(slots, 0))
/// };
/// assert!(request("alice", 9).is_ok());
/// assert_eq!(request("alice", 10), Err(Refusal::Slots { limit: 10 }));
/// assert_eq!(request("bob", 0), Err(Refusal::Denied { reason: "not a member" }));
/// ```
pub trait Admission<Id> {
    /// Whether one more slot is granted.
    ///
    /// The table also asks when a slot is renewed from another address, as if the peer did not hold the slot yet. In this case, a
    /// refusal only means that the slot is still counted at the old address.
    ///
    /// # Errors
    ///
    /// The reason for which the slot is refused.
    fn reserve(&self, request: &Reserve<'_, Id>) -> Result<(), Refusal>;

    /// Whether one more circuit is opened.
    ///
    /// # Errors
    ///
    /// The reason for which the circuit is refused.
    fn connect(&self, request: &Connect<'_, Id>) -> Result<(), Refusal>;

    /// The rates of requests by `peer` from `origin`. Renewals have their own rate. Default: the rates of [`Caps::default`].
    fn rates(&self, peer: &Id, origin: Origin) -> Rates {
        Caps::default().rates(peer, origin)
    }

    /// Whether `peer` may renew its slot. If not, the relay answers that permission is denied, and the slot stays until it
    /// expires. Do not refuse a renewal because the relay is full, because a peer that holds a slot relies on its renewal.
    fn may_renew(&self, peer: &Id) -> bool {
        let _ = peer;
        true
    }
}

/// The examples in the README run.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
