//! The errors: one enum per operation.

use std::io;

/// Why bytes are not the id of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The peer's key has another type. Gossip needs Ed25519 keys.
    #[error("the peer id does not contain an Ed25519 key")]
    NotEd25519,
    /// The bytes are not an Ed25519 public key.
    #[error("the bytes are not a point of the curve Ed25519")]
    NotOnCurve,
}

/// Why a frame is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The frame is longer than the limit.
    #[error("a frame of {length} bytes exceeds the limit of {limit}")]
    TooLong {
        /// The length that the frame claims.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The first frame of a stream is not the id of a topic.
    #[error("the header of a stream has {length} bytes instead of 32")]
    Header {
        /// The length of the first frame.
        length: usize,
    },
    /// The frame is not a message.
    #[error("a frame is not a gossip message: {reason}")]
    Malformed {
        /// The message of the decoder.
        reason: String,
    },
    /// The id of a message is not the hash of its content.
    #[error("the id of a message is not the hash of its content")]
    WrongId,
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The content is longer than `Config::max_message_size`.
    #[error("a message of {length} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// The length of the content.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A neighbour's queue has no room for own messages. `publish` waits for room, and `try_publish` does not.
    #[error("the queue of a neighbour is full")]
    Busy,
    /// The topic has seen a message with the same content within `BroadcastConfig::id_retention`.
    #[error("the topic has seen a message with the same content a short time ago")]
    Duplicate,
    /// The topic had no neighbour by the deadline.
    #[error("the topic has no neighbour")]
    NoNeighbour,
    /// The node has left the topic, or has shut down.
    #[error("the node has left the topic")]
    Left,
}

/// Why a topic was not joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// No peer became a neighbour by the deadline.
    #[error("no peer of the topic became a neighbour in time")]
    TimedOut,
    /// The node already takes part in `Config::max_topics` topics.
    #[error("the node already takes part in {limit} topics")]
    TooManyTopics {
        /// The limit.
        limit: usize,
    },
    /// The node has left the topic, or has shut down.
    #[error("the node has left the topic")]
    Left,
}

/// Why a link was not opened or does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer cannot be reached.
    #[error("the peer cannot be reached: {reason}")]
    Unreachable {
        /// What the host says.
        reason: String,
    },
    /// The deadline has passed.
    #[error("the link was not opened in time")]
    TimedOut,
    /// The host refuses the peer: its key has another type, or a rule forbids it.
    #[error("the host refuses the peer: {reason}")]
    Refused {
        /// What the host says.
        reason: String,
    },
    /// The link is closed.
    #[error("the link is closed")]
    Closed,
    /// The transport failed.
    #[error("the transport failed")]
    Io(#[from] io::Error),
}
