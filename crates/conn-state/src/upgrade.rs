//! DCUtR, libp2p's protocol for hole punching. Two peers with a relayed connection dial each other at the same moment, so that
//! their NATs let a direct connection through. This module implements the exchange of messages before the dials.
//!
//! [`Initiator`] is B of the spec: the end that accepted the relayed connection. [`Responder`] is A: the end that dialed the
//! relayed connection. Both are state machines that use no socket, no clock and no multiaddr. The host passes bytes, `now` and a
//! function that reads an address, and receives [`Event`]s.
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
//! js-libp2p. The responder also accepts a further CONNECT on the same stream, which older versions of the spec require.
//!
//! # What the host does
//!
//! After every call, the host calls `poll_event` until it returns `None`. It calls `handle_timeout` at the time that
//! `poll_timeout` returns. The host cancels a dial when the next [`Event::Dial`] arrives, and when the upgrade ends. At the end,
//! the host closes the stream after [`Event::Succeeded`] and resets it after [`Event::Failed`].
//!
//! # Invariants
//!
//! - There is exactly one [`Event::Succeeded`] or [`Event::Failed`], and it is the last event. This does not depend on the peer,
//!   because every wait has a deadline.
//! - There are at most [`UpgradeConfig::max_attempts`] punches and one plain dial. Each of these dials at most
//!   [`UpgradeConfig::max_addresses`] addresses, and the host's function has accepted each address.
//! - A machine keeps only these addresses of the peer's messages, and one unfinished message of at most [`MAX_DCUTR_MESSAGE`]
//!   bytes.
//! - If the round trip takes at most [`UpgradeConfig::max_rtt`], the time between the starts of the two dials is at most half the
//!   difference between the relay's latencies in the two directions.
//! - A message out of order ends the upgrade. Only a failed dial leads to another attempt.
//!
//! # Limitations
//!
//! - B is the server in every attempt, as the spec demands. go-libp2p before 0.41 reversed the roles, and later versions
//!   swap them as B in their last attempt. Over TCP, that attempt fails here.
//! - A machine serves one upgrade. The host decides whether to start another one after the direct connection is lost, and
//!   whether a peer may open another stream after a failed exchange.
//! - The peer chooses the destinations of B's packets of random bytes. With the defaults, these are 16 addresses, each of which
//!   gets one packet per 10 to 200 ms, for three times 10 s. To limit this, a host can answer [`Candidate::Unwanted`], or serve
//!   fewer relayed peers at the same time.
//! - The machine does not predict addresses. It names the addresses that the host has observed.
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

/// The range of the random pauses between two UDP packets of random bytes that [`Role::Server`] sends (step 5 of the spec).
pub const PUNCH_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(200);

/// An action for the host. Carry out the actions in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<A> {
    /// Open a stream on the relayed connection, for [`PROTOCOL`], and report `handle_stream_opened` or
    /// `handle_stream_closed`. Streams of earlier attempts are no longer needed. Only an [`Initiator`] asks for this.
    OpenStream,
    /// Write these bytes to the stream without delay, because the peer measures the time.
    Send(Vec<u8>),
    /// Dial now. Cancel any earlier dial.
    Dial(Dial<A>),
    /// There is a direct connection. Cancel the running dials, use the direct connection for every new stream, and close the
    /// relayed connection after a grace period (step 6 of the spec).
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

/// A dial that the host makes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dial<A> {
    /// The number of this dial, for `handle_dial_result`. The plain dial is 0, and each attempt has the next number.
    pub attempt: u8,
    /// The role of this end.
    pub role: Role,
    /// The time at which the other end dials, too. If this time is past, the host is late.
    pub at: Instant,
    /// The addresses, in the order of the peer's preference. Dial all of them at once, because both ends must dial at the same
    /// moment.
    pub addresses: Vec<A>,
    /// How many of the peer's addresses are left out, and why.
    pub skipped: Skipped,
}

/// The role of this end. It does not depend on which end's packets arrive first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// An ordinary dial, from any port, as the client.
    Plain,
    /// A's role. TCP: dial from the listening port, and be the client of the handshake, of multistream-select and of the
    /// muxer, even if both ends opened the connection simultaneously. QUIC: dial on the listening socket.
    Client,
    /// B's role. TCP: dial from the listening port, and be the server of all protocols on the connection. QUIC: do not dial. Send
    /// UDP packets of random bytes from the listening socket, with pauses of [`PUNCH_INTERVAL`], and accept A's connection.
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
    /// No address led to a direct connection.
    Failed,
}
