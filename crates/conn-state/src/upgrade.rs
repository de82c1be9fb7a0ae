//! DCUtR: two peers with a relayed connection dial each other at the same moment, so that their NATs let a direct connection
//! through. This module is the exchange before the dials.
//!
//! [`Initiator`] is B of the spec: the end that accepted the relayed connection. [`Responder`] is A: the end that dialed it. Both
//! are state machines without a socket, a clock or a multiaddr. The host passes in bytes, `now` and a function that reads an
//! address, and gets [`Event`]s.
//!
//! ```text
//!     A, Responder                  relay                   B, Initiator
//!          │ ═══════════════ relayed connection ═══════════════► │
//!          │ ◄─────────────── plain dial of A's public addresses │  attempt 0, if A advertises any
//!          │                                                     │
//!          │ ◄───────────────────── CONNECT ──────────────────── │ ┬ OpenStream, Send
//!          │ ────────────────────── CONNECT ───────────────────► │ ┴ round trip
//!          │ ◄────────────────────── SYNC ────────────────────── │ ┬ Send
//!          │                                                     │ ┴ half a round trip
//!   Client │ ────────────── both dial, at one instant ────────── │ Server
//!          │                                                     │
//!      Succeeded   or, after three attempts, each on a new stream, Failed
//! ```
//!
//! The spec is that of November 2025 (libp2p/specs, `relay/DCUtR.md`). Each attempt has a stream of its own, as in go-, rust- and
//! js-libp2p. The responder also accepts a further CONNECT on the same stream, as older versions of the spec have it.
//!
//! # What the host does
//!
//! After every call, the host drains `poll_event` to `None`. It calls `handle_timeout` at the instant that `poll_timeout` names. A
//! new [`Event::Dial`] and either end of the upgrade cancel the dial before. At the end, the host closes the stream after
//! [`Event::Succeeded`] and resets it after [`Event::Failed`].
//!
//! # Invariants
//!
//! - There is exactly one [`Event::Succeeded`] or [`Event::Failed`], and it is the last event. It needs no help from the peer,
//!   because every wait has a deadline.
//! - There are at most [`UpgradeConfig::max_attempts`] punches and one plain dial. Each dials at most
//!   [`UpgradeConfig::max_addresses`] addresses, and the host's function has accepted each of them.
//! - Of the peer's messages, only those addresses and one unfinished message of at most [`MAX_DCUTR_MESSAGE`] bytes are kept.
//! - The two dials start apart by at most half the difference between the relay's two one-way latencies, if the round trip is
//!   at most [`UpgradeConfig::max_rtt`].
//! - A message out of order ends the upgrade. Only a failed dial leads to another attempt.
//!
//! # Limitations
//!
//! - B is the server in every attempt, as the spec demands. go-libp2p before 0.41 reversed the roles, and later versions
//!   swap them as B in their last attempt. Over TCP, that attempt fails here.
//! - A machine serves one upgrade. The host decides whether to start another one after the direct connection is lost, and
//!   whether a peer may open another stream after a failed exchange.
//! - The peer chooses where B's packets of random bytes go. With the defaults that is 16 addresses, three times 10 s, and one
//!   packet each 10 to 200 ms. A host can answer [`Candidate::Unwanted`], or serve fewer relayed peers at a time.
//! - Addresses are not predicted. The machine names the addresses that the host observed.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use conn_state::upgrade::{Candidate, DialResult, Event, Initiator, Responder, Role, UpgradeConfig};
//!
//! // What these two hosts take for an address is any text.
//! let read = |bytes: &[u8]| match std::str::from_utf8(bytes) {
//!     Ok(text) => Candidate::Direct(text.to_owned()),
//!     Err(_) => Candidate::Undecodable,
//! };
//! let (start, latency) = (Instant::now(), Duration::from_millis(40));
//!
//! let mut b = Initiator::new(start, UpgradeConfig::default(), vec![b"B".to_vec()], vec![]);
//! assert_eq!(b.poll_event(), Some(Event::OpenStream));
//! b.handle_stream_opened(start);
//! let Some(Event::Send(connect)) = b.poll_event() else { panic!() };
//!
//! let mut a = Responder::new(start + latency, UpgradeConfig::default(), vec![b"A".to_vec()]);
//! a.handle_received(start + latency, &connect, read);
//! let Some(Event::Send(connect)) = a.poll_event() else { panic!() };
//!
//! b.handle_received(start + 2 * latency, &connect, read);
//! let Some(Event::Send(sync)) = b.poll_event() else { panic!() };
//! assert_eq!(b.poll_event(), None);
//!
//! let together = start + 3 * latency;
//! a.handle_received(together, &sync, read);
//! let Some(Event::Dial(dial)) = a.poll_event() else { panic!() };
//! assert_eq!((dial.at, dial.role, dial.addresses), (together, Role::Client, vec!["B".to_owned()]));
//!
//! assert_eq!(b.poll_timeout(), Some(together));
//! b.handle_timeout(together);
//! let Some(Event::Dial(dial)) = b.poll_event() else { panic!() };
//! assert_eq!((dial.at, dial.role, dial.addresses), (together, Role::Server, vec!["A".to_owned()]));
//!
//! b.handle_dial_result(together + latency, dial.attempt, DialResult::Connected);
//! assert_eq!(b.poll_event(), Some(Event::Succeeded { attempts: 1 }));
//! ```

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

mod candidates;
mod config;
mod error;
mod exchange;
mod initiator;
mod responder;
#[cfg(test)]
mod tests;
mod wire;

pub use candidates::{Candidate, Skipped};
pub use config::UpgradeConfig;
pub use error::{Step, UpgradeError};
pub use initiator::Initiator;
pub use responder::Responder;
pub use wire::{Decoder, Kind, MAX_DCUTR_MESSAGE, Message, PROTOCOL, WireError};

/// The pause of [`Role::Server`] between two UDP packets of random bytes, drawn anew each time (the spec's step 5).
pub const PUNCH_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(200);

/// What the host has to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<A> {
    /// Open a stream on the relayed connection, for [`PROTOCOL`], and report `handle_stream_opened` or
    /// `handle_stream_closed`. Streams of earlier attempts are no longer needed. Only an [`Initiator`] asks for this.
    OpenStream,
    /// Write these bytes to the stream, without delay: the peer's clock runs.
    Send(Vec<u8>),
    /// Dial now. Cancel any dial before this one.
    Dial(Dial<A>),
    /// There is a direct connection. Cancel the dials that are still under way, prefer the direct connection for every new
    /// stream, and close the relayed one after a grace period (step 6).
    Succeeded {
        /// The number of attempts; 0 if no punch was needed.
        attempts: u8,
    },
    /// There is no direct connection, and this machine makes no further attempt. The relayed connection stays as it is.
    Failed {
        /// The number of attempts that began.
        attempts: u8,
        /// What ended the upgrade.
        cause: UpgradeError,
    },
}

/// A dial to make.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dial<A> {
    /// The number of this dial, for `handle_dial_result`. The plain dial is 0, and each attempt has the next number.
    pub attempt: u8,
    /// The role of this end.
    pub role: Role,
    /// The instant at which the other end dials too. If it is past, the host is late by that much.
    pub at: Instant,
    /// The addresses, in the order of the peer's preference. Dial all of them at once, because the moment counts.
    pub addresses: Vec<A>,
    /// How many of the peer's addresses are left out, and why.
    pub skipped: Skipped,
}

/// The role of this end, whichever end's packets get through first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// An ordinary dial, from any port, as the client.
    Plain,
    /// A's role. TCP: dial from the listening port, and be the client of the handshake, of multistream-select and of the
    /// muxer, even if both ends opened the connection simultaneously. QUIC: dial on the listening socket.
    Client,
    /// B's role. TCP: dial from the listening port, and be the server of all that runs on the connection. QUIC: do not dial.
    /// Send a UDP packet of random bytes from the listening socket each [`PUNCH_INTERVAL`]; A's connection comes in.
    Server,
}

impl Role {
    /// Whether this end is the client of the protocols that run on the connection.
    pub fn is_client(self) -> bool {
        self != Self::Server
    }

    /// Whether the other end dials at the same instant, so that the ports on both sides matter.
    pub fn is_simultaneous(self) -> bool {
        self != Self::Plain
    }
}

/// How a dial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialResult {
    /// A direct connection to this peer is established and authenticated.
    Connected,
    /// No address led to one.
    Failed,
}
