//! DCUtR: the exchange over a relayed connection after which both ends dial each other at the same moment, so that
//! their NATs let a direct connection through.
//!
//! [`Initiator`] is B of the spec, to whom the relayed connection came in. [`Responder`] is A, who dialed it. Neither
//! knows a socket, a clock or a multiaddr: bytes, `now` and a function that reads an address come in, [`Event`]s go out.
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
//! The text is the spec's of November 2025 (libp2p/specs, `relay/DCUtR.md`). Each attempt is on a stream of its own, as
//! go-, rust- and js-libp2p have it; the responder also takes a further CONNECT on the stream it knows, as older texts
//! of the spec have it.
//!
//! # What the host does
//!
//! After every call it drains `poll_event` to `None`, and it calls `handle_timeout` at the instant `poll_timeout`
//! names. A [`Event::Dial`] and an end each replace the dial before: cancel that one. At an end, close the stream after
//! [`Event::Succeeded`] and reset it after [`Event::Failed`].
//!
//! # Invariants
//!
//! - Exactly one [`Event::Succeeded`] or [`Event::Failed`], the last event of all, and it comes without the peer's
//!   help: nothing is waited for without a deadline.
//! - At most [`UpgradeConfig::max_attempts`] punches and one plain dial, each of at most
//!   [`UpgradeConfig::max_addresses`] addresses, all of which the host's function has passed.
//! - No more is kept of the peer's words than those addresses and one unfinished message, [`MAX_MESSAGE`] bytes.
//! - The two dials begin apart by no more than half the difference of the relay's two one-way latencies, as long as the
//!   round trip is one that is believed ([`UpgradeConfig::max_rtt`]).
//! - A message that breaks the order ends the upgrade. Only a failed dial leads to another attempt.
//!
//! # Limitations
//!
//! - B stays the server in every attempt, as the spec has it. go-libp2p before 0.41 had the roles the wrong way round,
//!   and its successor swaps them as B in its last attempt: over TCP, that one comes to nothing here.
//! - After an end the machine is of no more use. Whether the direct connection's loss is worth a new one, and whether a
//!   peer whose exchange broke may open another stream, is for the host to say.
//! - A peer chooses where B's packets of random bytes go: with the defaults that is 16 addresses, 3 times 10 s, one
//!   packet each 10 to 200 ms. A host that minds says [`Candidate::Unwanted`], or serves fewer relayed peers at a time.
//! - Addresses are not predicted; those that were observed are what is named.
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
pub use wire::{Decoder, Kind, MAX_MESSAGE, Message, PROTOCOL, WireError};

/// How long [`Role::Server`] waits between one UDP packet of random bytes and the next, drawn anew each time (the
/// spec's step 5).
pub const PUNCH_INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(200);

/// What there is for the host to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<A> {
    /// Open a stream on the relayed connection, for [`PROTOCOL`], and say `handle_stream_opened` or
    /// `handle_stream_closed`. Streams of earlier attempts are of no more use. Only an [`Initiator`] asks for this.
    OpenStream,
    /// Write these bytes to the stream, without delay: the peer's clock runs.
    Send(Vec<u8>),
    /// Dial, now. Any dial before this one is of no more use.
    Dial(Dial<A>),
    /// There is a direct connection. Cancel what is still being dialed, prefer the direct connection for every new
    /// stream, and close the relayed one after a grace period (step 6).
    Succeeded {
        /// The attempts it took; 0: no punch was needed.
        attempts: u8,
    },
    /// There is none, and this machine will not bring one about. The relayed connection stays as it is.
    Failed {
        /// The attempts begun.
        attempts: u8,
        /// What ended it.
        cause: UpgradeError,
    },
}

/// A dial to make.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dial<A> {
    /// Names this dial in `handle_dial_result`: 0 is the plain one, then one number each attempt.
    pub attempt: u8,
    /// What the two ends of the connection are to be.
    pub role: Role,
    /// The instant at which the other end dials too. The host is late by as much as this is past.
    pub at: Instant,
    /// Where to, in the order of the peer's preference. All of them at once: the moment is what counts.
    pub addresses: Vec<A>,
    /// Which of the peer's addresses are left out.
    pub skipped: Skipped,
}

/// What this end is to be, whichever end's packets get through first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A dial like any other, from any port, as the client.
    Plain,
    /// A's part. TCP: dial from the port that is listened on, and be the client of the handshake, of multistream-select
    /// and of the muxer, even if the connection opened simultaneously and nobody knows who dialed. QUIC: dial, on the
    /// socket that is listened on.
    Client,
    /// B's part. TCP: dial from the port that is listened on, and be the server of all that runs on it. QUIC: do not
    /// dial; send UDP packets of random bytes from the socket that is listened on, each [`PUNCH_INTERVAL`], and A's
    /// connection comes in.
    Server,
}

impl Role {
    /// Whether this end is the client of what runs on the connection.
    pub fn is_client(self) -> bool {
        self != Self::Server
    }

    /// Whether the other end dials at the same instant, so that the ports on both sides are what counts.
    pub fn is_simultaneous(self) -> bool {
        self != Self::Plain
    }
}

/// How a dial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DialResult {
    /// A direct connection to this very peer is established and authenticated.
    Connected,
    /// None of the addresses led to one.
    Failed,
}
