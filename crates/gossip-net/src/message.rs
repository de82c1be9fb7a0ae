//! The messages and reports of the membership and broadcast cores, which know peers only as handles.

use bytes::Bytes;

/// A message of the broadcast protocol names no peers, so the cores use the message of the wire.
pub(crate) use crate::wire::Gossip;
use crate::{event::DownCause, wire::Scope};

/// A message of the membership protocol. Unlike [`crate::wire::Swarm`], it names peers by their handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Swarm {
    Join,
    ForwardJoin {
        peer: u32,
        ttl: u16,
    },
    Shuffle {
        origin: u32,
        nodes: Vec<u32>,
        ttl: u16,
    },
    ShuffleReply {
        nodes: Vec<u32>,
    },
    Neighbor {
        high: bool,
    },
    Disconnect {
        alive: bool,
    },
}

/// A ShuffleReply that names other peers, and then a Disconnect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Goodbye {
    pub(crate) to: u32,
    pub(crate) nodes: Vec<u32>,
    pub(crate) alive: bool,
}

/// What a topic asks its host to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    Swarm(u32, Swarm),
    Gossip(u32, Gossip),
    /// The peer is told that it is no neighbour, if it has a link.
    Goodbye(Goodbye),
    Up(u32),
    Down(u32, DownCause),
    Received {
        from: u32,
        content: Bytes,
        scope: Scope,
    },
}
