//! The frames of `/iroh-gossip/1`. `/bowline/gossip/1` uses the same frames.
//!
//! A stream begins with a frame that holds the 32 bytes of its topic. Each further frame holds one [`Message`] in postcard's
//! format. A frame is its length as a big-endian u32, then its bytes. Bytes after the message are ignored.

mod addresses;
mod frame;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

pub use addresses::AddrInfo;
pub use frame::{Frames, put_frame, put_header};

use crate::{Id, MessageId, WireError};

/// The ALPN of iroh-gossip, and of Bowline's raw-key links to iroh.
pub const IROH_ALPN: &[u8] = b"/iroh-gossip/1";
/// The ALPN and the libp2p protocol of links between two Bowline peers.
pub const BOWLINE_ALPN: &[u8] = b"/bowline/gossip/1";

/// iroh-gossip sends no longer frame with its default settings, and accepts one byte more.
pub(crate) const MAX_IROH_FRAME: usize = 4095;
/// What a frame has in addition to the content of its message: two tags, the id, the length of the content, the scope and a
/// round below 128. A content of 16 KiB or more needs up to two bytes more.
pub(crate) const OVERHEAD: usize = 38;
/// The longest content of a message in the longest frame of iroh-gossip.
pub(crate) const MAX_IROH_CONTENT: usize = MAX_IROH_FRAME - OVERHEAD;
/// The highest round that is sent. A round up to 127 takes one byte, so a forwarded frame never grows.
pub(crate) const MAX_ROUND: u16 = 127;
/// The ids in one IHave. A full frame has 4,063 bytes.
pub(crate) const MAX_IHAVES: usize = 116;
/// How many peers of a Shuffle or ShuffleReply are kept. iroh-gossip names 8.
pub(crate) const MAX_NODES: usize = 32;
/// The longest peer data that is kept: a relay's URL and eight addresses of each kind.
pub(crate) const MAX_DATA: usize = 1024;

/// A message between two peers about one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A message of the membership protocol.
    Swarm(Swarm),
    /// A message of the broadcast protocol.
    Gossip(Gossip),
}

/// A message of the membership protocol, HyParView.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swarm {
    /// The sender wants to join the topic.
    Join(Option<PeerData>),
    /// A random walk on behalf of a peer that joins.
    ForwardJoin {
        /// The peer that joins.
        peer: PeerInfo,
        /// How many steps are left.
        ttl: u16,
    },
    /// Peers that the origin knows, in exchange for others.
    Shuffle {
        /// The peer that asks.
        origin: Id,
        /// Some of the peers that it knows.
        #[serde(deserialize_with = "first_nodes")]
        nodes: Vec<PeerInfo>,
        /// How many steps are left.
        ttl: u16,
    },
    /// The answer to a Shuffle.
    ShuffleReply {
        /// Some of the peers that the sender knows.
        #[serde(deserialize_with = "first_nodes")]
        nodes: Vec<PeerInfo>,
    },
    /// The sender wants to be a neighbour, or agrees to be one.
    Neighbor {
        /// Whether the receiver may refuse.
        priority: Priority,
        /// The addresses of the sender.
        data: Option<PeerData>,
    },
    /// The sender is no longer a neighbour.
    Disconnect {
        /// Whether the sender stays in the topic.
        alive: bool,
        /// Not used. iroh-gossip keeps the field for compatibility.
        respond: bool,
    },
}

/// Whether the receiver of a Neighbor may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// The sender has no neighbour.
    High,
    /// The sender has other neighbours.
    Low,
}

/// A message of the broadcast protocol, Plumtree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gossip {
    /// A message with its content.
    Content {
        /// The BLAKE3 hash of the content.
        id: MessageId,
        /// The content.
        content: Bytes,
        /// How far the message goes.
        scope: Scope,
    },
    /// The sender asks for ids instead of contents.
    Prune,
    /// The sender asks for contents again, and for the named message at once.
    Graft {
        /// The message that is missing.
        id: Option<MessageId>,
        /// The round of the IHave that named it.
        round: u16,
    },
    /// The ids of messages that the sender has.
    IHave(Vec<IHave>),
}

/// The range of a message, and the number of its hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// To all members of the topic, with the number of hops so far.
    Swarm(u16),
    /// To the neighbours of the publisher.
    Neighbors,
}

/// A message that the sender of an IHave has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IHave {
    /// The id of the message.
    pub id: MessageId,
    /// The round in which the sender received it.
    pub round: u16,
}

/// A peer with its known addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The id of the peer.
    pub id: Id,
    /// Its addresses.
    pub data: Option<PeerData>,
}

/// The addresses of a peer as opaque bytes. [`AddrInfo`] reads them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerData(pub Bytes);

impl Message {
    /// Decodes the bytes of one frame.
    ///
    /// # Errors
    ///
    /// The bytes are not a message, name an id off the curve, or have a message id that is not the hash of the content.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let (message, _) =
            postcard::take_from_bytes::<Self>(frame).map_err(|error| WireError::Malformed {
                reason: error.to_string(),
            })?;
        match &message {
            Self::Gossip(Gossip::Content { id, content, .. }) if MessageId::of(content) != *id => {
                Err(WireError::WrongId)
            }
            _ => Ok(message),
        }
    }

    /// Adds the frame of the message to `out`, with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_frame(out, |out| {
            let bytes = std::mem::take(out);
            // Writing to a vector cannot fail, and no type of this message has an unknown length.
            *out = postcard::to_extend(self, bytes).unwrap_or_default();
        });
    }

    /// Whether a frame can only hold a message of the broadcast protocol. Postcard also accepts longer forms of a tag, such as 80 00
    /// for 0, so the first byte does not identify all messages of the membership protocol.
    pub(crate) fn is_gossip(frame: &[u8]) -> bool {
        frame.first() == Some(&1)
    }
}

/// Decodes all peers, and keeps the first [`MAX_NODES`].
fn first_nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PeerInfo>, D::Error> {
    /// A peer that is skipped. Its id is not checked.
    #[derive(Deserialize)]
    struct Skipped<'a>(
        #[allow(dead_code)] [u8; 32],
        #[allow(dead_code)]
        #[serde(borrow)]
        Option<&'a [u8]>,
    );

    struct Nodes;
    impl<'de> Visitor<'de> for Nodes {
        type Value = Vec<PeerInfo>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of peers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut nodes = Vec::new();
            while nodes.len() < MAX_NODES
                && let Some(node) = seq.next_element()?
            {
                nodes.push(node);
            }
            if nodes.len() == MAX_NODES {
                while seq.next_element::<Skipped<'de>>()?.is_some() {}
            }
            Ok(nodes)
        }
    }
    deserializer.deserialize_seq(Nodes)
}
