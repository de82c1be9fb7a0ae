//! What a tracker says: what came about, and what it wants done.

use std::{fmt, sync::Arc, time::Instant};

use crate::{ConnectionId, State};

/// A peer's state changed.
///
/// Of one peer, each event's `from` is the `to` of the one before it, and its `number` is one more. A peer that was away
/// for so long that it was forgotten goes on with a higher number.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<Id> {
    /// Whose.
    pub peer: Id,
    /// Which event of this peer's it is.
    pub number: u64,
    /// What the state was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// What brought it about.
    pub cause: Cause,
    /// What the host said about it, if anything.
    pub detail: Option<Arc<str>>,
    /// The connection that brought it about.
    pub connection: ConnectionId,
    /// When.
    pub at: Instant,
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// We began to dial.
    Dialing,
    /// Its handshake ended well.
    Authenticated,
    /// Its relay's limit was lifted.
    LimitLifted,
    /// A relay limits it from now on.
    LimitImposed,
    /// It is being drained, for one that replaces it.
    Superseded,
    /// What replaced it broke before it was closed, so it is kept.
    Resumed,
    /// Another peer than the one dialed was there.
    OtherPeer,
    /// It is gone.
    Closed(Closing),
}

/// Why a connection is gone, or is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closing {
    /// The host closed it.
    Local,
    /// The peer closed it.
    Remote,
    /// It broke.
    Failed,
    /// Its handshake failed.
    Handshake,
    /// It was one too many.
    Refused,
    /// Another one to the same peer is kept.
    Superseded,
    /// It did not answer a probe, and a newer one is there.
    Unresponsive,
    /// It was transient for too long.
    TooLongTransient,
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
            Self::OtherPeer => "another peer was there",
            Self::Closed(closing) => return closing.fmt(f),
        })
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "closed by us",
            Self::Remote => "closed by the peer",
            Self::Failed => "broken",
            Self::Handshake => "handshake failed",
            Self::Refused => "refused",
            Self::Superseded => "superseded and drained",
            Self::Unresponsive => "unresponsive",
            Self::TooLongTransient => "transient for too long",
        })
    }
}

/// What the host is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Find out whether the other end still answers, and say so by
    /// [`handle_alive`](crate::Tracker::handle_alive). Silence needs no report.
    Probe(ConnectionId),
    /// Open no more streams on it.
    Drain(ConnectionId),
    /// It is kept after all: streams may be opened on it again.
    Resume(ConnectionId),
    /// Close it, and report by [`handle_closed`](crate::Tracker::handle_closed) when it is gone.
    Close(ConnectionId, Closing),
}
