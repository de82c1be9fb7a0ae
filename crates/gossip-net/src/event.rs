//! The events that a topic reports to its subscribers.

use std::fmt;

use bytes::Bytes;

use crate::{Id, wire::Scope};

/// Why a peer is no longer a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DownCause {
    /// This node made room for another peer. Do not join again, because the node has enough neighbours.
    Evicted,
    /// The neighbour made room for another peer. The node replaces it by itself.
    EvictedByPeer,
    /// The neighbour, or this node, has left the topic.
    Left,
    /// The neighbour has not answered.
    TimedOut,
    /// The neighbour does not read what is sent to it.
    Stalled,
    /// The neighbour sent too many invalid messages.
    Invalid,
    /// The link to the neighbour is gone.
    Transport,
}

impl fmt::Display for DownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evicted => "evicted",
            Self::EvictedByPeer => "evicted by the peer",
            Self::Left => "left",
            Self::TimedOut => "timed out",
            Self::Stalled => "does not read",
            Self::Invalid => "sent invalid messages",
            Self::Transport => "the link is gone",
        })
    }
}

/// A message that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The content.
    pub content: Bytes,
    /// The neighbour that sent it, which may not be its author.
    pub via: Id,
    /// The peers for which the message is meant. If the message is meant for the whole topic, the scope contains the number of
    /// hops without the last hop.
    pub scope: Scope,
}

impl Received {
    /// The number of links over which the message has come, according to the peers on its path.
    pub fn hops(&self) -> u32 {
        match self.scope {
            Scope::Swarm(round) => u32::from(round) + 1,
            Scope::Neighbors => 1,
        }
    }
}

/// An event in a topic. The events of different peers have no order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node has its first neighbour, for the first time or again.
    Joined,
    /// A peer is a neighbour now.
    NeighborUp(Id),
    /// A peer is no longer a neighbour.
    NeighborDown(Id, DownCause),
    /// A message has arrived.
    Received(Received),
    /// The subscriber has fallen behind, and has missed this many events.
    Lagged(u64),
}
