//! The output of a tracker: changes of a peer's state, and actions for the host.

use std::{fmt, time::Instant};

use crate::{Closing, ConnectionId, Detail, State};

/// A change of a peer's state.
///
/// The `from` of an event equals the `to` of the same peer's previous event, and its `number` is one higher. If the tracker has
/// forgotten a peer in between, the events of the peer continue with a higher number.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<Id> {
    /// The peer.
    pub peer: Id,
    /// The number of the event among the peer's events.
    pub number: u64,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// What happened to the connection.
    pub cause: Cause,
    /// The host's text about the event, if it has given one.
    pub detail: Option<Detail>,
    /// The connection whose change changed the peer's state.
    pub connection: ConnectionId,
    /// When it happened.
    pub at: Instant,
}

impl<Id> Event<Id> {
    /// An event without detail, for tests of code that receives events.
    pub fn new(
        (peer, number): (Id, u64),
        (from, to): (State, State),
        (connection, cause): (ConnectionId, Cause),
        at: Instant,
    ) -> Self {
        Self {
            peer,
            number,
            from,
            to,
            cause,
            detail: None,
            connection,
            at,
        }
    }
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// This host began to dial.
    Dialing,
    /// The handshake succeeded.
    Authenticated,
    /// The relay's limit was lifted.
    LimitLifted,
    /// A relay limits the connection from now on.
    LimitImposed,
    /// The connection is being drained because another one replaces it.
    Superseded,
    /// The connection is kept after all, because the connection that had replaced it broke.
    Resumed,
    /// The handshake showed another peer than the one that was dialed.
    OtherPeer,
    /// The connection is gone.
    Closed(Closing),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dialing => "dialing",
            Self::Authenticated => "authenticated",
            Self::LimitLifted => "limit lifted",
            Self::LimitImposed => "limit imposed",
            Self::Superseded => "superseded",
            Self::Resumed => "resumed",
            Self::OtherPeer => "another peer answered",
            Self::Closed(closing) => return closing.fmt(f),
        })
    }
}

/// An action for the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Cause an answer on this connection, for example with a ping, and report [`handle_alive`](crate::Tracker::handle_alive) as
    /// soon as anything arrives. Silence needs no report.
    Probe(ConnectionId),
    /// Open no more streams on this connection.
    Drain(ConnectionId),
    /// Keep this connection after all: streams may be opened on it again.
    Resume(ConnectionId),
    /// Close this connection, and report [`handle_closed`](crate::Tracker::handle_closed) when it is gone.
    Close(ConnectionId, Closing),
}
