//! What a tracker reports: changes of a peer's state, and what the host has to do.

use std::{fmt, time::Instant};

use crate::{Closing, ConnectionId, Detail, State};

/// A change of a peer's state.
///
/// Each event's `from` is the `to` of the same peer's event before it, and its `number` is one more. A peer that the tracker
/// has forgotten meanwhile continues with a higher number.
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
    /// What the host said about it, if anything.
    pub detail: Option<Detail>,
    /// The connection whose change changed the peer's state.
    pub connection: ConnectionId,
    /// When it happened.
    pub at: Instant,
}

impl<Id> Event<Id> {
    /// An event without detail, for tests of code that is handed events.
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
    /// The connection is kept after all, because the one that had replaced it broke.
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

/// What the host has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Provoke an answer on this connection, by a ping for example, and report by
    /// [`handle_alive`](crate::Tracker::handle_alive) as soon as anything is received on it. Silence needs no report.
    Probe(ConnectionId),
    /// Open no more streams on this connection.
    Drain(ConnectionId),
    /// The connection is kept after all: streams may be opened on it again.
    Resume(ConnectionId),
    /// Close this connection, and report by [`handle_closed`](crate::Tracker::handle_closed) when it is gone.
    Close(ConnectionId, Closing),
}
