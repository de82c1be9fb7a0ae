//! The messages and reports of a topic's cores, which know peers only as handles.

use bytes::Bytes;

use crate::{
    MessageId,
    event::DownCause,
    wire::{IHave, Scope},
};

/// A message of the membership protocol.
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

/// A message of the broadcast protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gossip {
    Content {
        id: MessageId,
        content: Bytes,
        scope: Scope,
    },
    Prune,
    Graft {
        id: Option<MessageId>,
        round: u16,
    },
    IHave(Vec<IHave>),
}

/// What a topic wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Out {
    Swarm(u32, Swarm),
    Gossip(u32, Gossip),
    Up(u32),
    Down(u32, DownCause),
    Received {
        from: u32,
        content: Bytes,
        scope: Scope,
    },
}
