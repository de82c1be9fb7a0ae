//! Circuit relay v2 reservations and circuits that never leak and never exceed their caps.
//!
//! ```text
//!                handle_reserve                       handle_disconnected, or silent
//!  connected ───────────────────► active ◄──────────────────────────────► grace
//!                 (Admission)      │  ▲          handle_connected            │
//!                        heartbeat ▼  │ handle_alive                        │
//!                                probing ── no answer ──────────────────────►│
//!                                                                            │
//!  free ◄── expiry of any of them ── handle_release ── end of the grace ─────┘
//!
//!  handle_connect ─► opening ─► open ─► gone    (a circuit; both ends' connections carry it)
//!
//!  Table ──► Event   (probe, silent, freed, circuit ended) ─► the host
//!
//!  hop stream ─► Server ─► answer, stop stream ─► splice      Client ─► ask, granted, renewed, lost, replaced
//! ```
//!
//! [`Table`] is the core, for any kind of peer. [`Server`] and [`Client`] are the two ends of circuit relay v2 without
//! their streams, [`wire`] is its messages and vouchers, and the `driver` module and [`splice`] are what tokio adds.
//!
//! # Invariants
//!
//! - No cap is exceeded at any time by what was admitted under it. Lowering a cap evicts nobody.
//! - A renewal is never refused for lack of room or rate. If the address it comes from has no room, the slot goes on being
//!   counted where it was granted.
//! - Everything is checked before anything is changed, so that a refusal changes nothing.
//! - What a peer held is free again after the grace, whether it said good-bye, broke off or fell silent. When all have left
//!   and their rates have recovered, the table holds nothing: [`Usage::is_empty`].
//! - The core reads no clock and opens no socket: `now` comes in as an argument. No operation looks at all slots.
//!
//! # Limitations
//!
//! - A silent death is found by the heartbeat, so that a slot is held up to [`TableConfig::heartbeat`] +
//!   [`TableConfig::answer`] + [`TableConfig::grace`] longer than its peer lives.
//! - How many connections a peer may have is for the host to limit; here each costs 40 bytes.
//! - Of an IPv6 address the first 64 bits are looked at, and kept.
//! - A table's peak memory is given back when the last of its kind is gone, not before.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use relay_slots::{Caps, Origin, Table, TableConfig};
//!
//! let now = Instant::now();
//! let mut table = Table::new(now, 7, Caps::default().with_slots(1), TableConfig::default());
//! let alice = table.handle_connected(now, &"alice", Origin::Local);
//! let bob = table.handle_connected(now, &"bob", Origin::Local);
//!
//! table.handle_reserve(now, alice).unwrap();
//! let refusal = table.handle_reserve(now, bob).unwrap_err();
//! assert_eq!(refusal.to_string(), "1 slots are held, which is the limit");
//! assert!(table.handle_reserve(now, alice).unwrap().renewed, "there is always room for a holder");
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
mod server;
#[cfg(feature = "tokio")]
mod splice;
mod table;
pub mod wire;

pub use admission::{Caps, Connect, Held, Rate, Rates, Reserve};
pub use client::{Answer, Client, ClientConfig, ClientEvent, LostCause};
pub use config::TableConfig;
pub use error::{RateOf, Refusal, ReleaseError, Status};
pub use libp2p_identity::{Keypair, PeerId};
pub use multiaddr::Multiaddr;
pub use server::{HopAnswer, Server, StopAnswer};
#[cfg(feature = "tokio")]
pub use splice::{Meter, SpliceConfig, SpliceEnd, Way, splice};
pub use table::{
    CircuitId, ConnectionId, EndCause, Event, FreeCause, Granted, Opening, Origin, Scope,
    ScopeKind, SlotState, SlotView, Table, Usage,
};

/// Who may hold a slot or open a circuit. [`Caps`] is what a relay wants that has no opinion of its own.
///
/// It is asked before anything is changed and sees the counts as they are, without what is asked for. Its answer stands:
/// the table has no caps of its own.
pub trait Admission<Id> {
    /// Whether one more slot is granted. A slot that is renewed from another address is asked about as well, as if it were
    /// not held: "no" then only means that it goes on being counted where it was.
    ///
    /// # Errors
    ///
    /// Why not.
    fn reserve(&self, request: &Reserve<'_, Id>) -> Result<(), Refusal>;

    /// Whether one more circuit is opened.
    ///
    /// # Errors
    ///
    /// Why not.
    fn connect(&self, request: &Connect<'_, Id>) -> Result<(), Refusal>;

    /// How fast requests from `origin` may follow each other. Renewals are not counted.
    fn rates(&self, origin: Origin) -> Rates;

    /// Whether `peer` may go on holding a slot, asked when it renews it. If not it is told that it has no permission, and
    /// keeps the slot until that expires. Lack of room is no reason to say no here.
    fn may_renew(&self, peer: &Id) -> bool {
        let _ = peer;
        true
    }
}

/// The README's code compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
