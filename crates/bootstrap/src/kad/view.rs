//! The events and outcomes that the core returns to its host.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::message::{PeerInfo, Record, Request};

/// A query of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub(crate) u64);

/// A request that the host sends to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event for the host. Some events ask the host to act, and the others only inform it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KadEvent<Id, A> {
    /// Send a request over a connection to `peer`, and dial the peer if there is none. Call [`super::Kad::handle_started`] when
    /// the dial or the stream begins. Until then, the request is in your queue. No query gives up a peer because of the time in
    /// the queue. The core ends the request at `until`, or when its query ends. Report the outcome with
    /// [`super::Kad::handle_response`] or [`super::Kad::handle_failed`].
    Send {
        /// The request.
        request: RequestId,
        /// The peer.
        peer: Id,
        /// At most 8 addresses at which the peer may be reached.
        addresses: Vec<A>,
        /// The message to send.
        message: Request<Id, A>,
        /// The deadline, unless [`super::Kad::handle_started`] returns a later one. At the deadline, the core reports
        /// [`KadEvent::Cancel`].
        until: Instant,
    },
    /// The core no longer waits for the answer to a request. Reset its stream.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// The routing table has too few peers. Connect to peers that may be servers, such as bootstrap peers. The core repeats this
    /// event until the table has enough peers, with pauses of up to 30 s.
    Join,
    /// A peer has entered the routing table.
    Entered {
        /// The peer.
        peer: Id,
    },
    /// A peer has left the routing table.
    Left {
        /// The peer.
        peer: Id,
    },
    /// Announce the protocol and answer requests, or stop doing so.
    Serve(bool),
    /// A query of the host has ended.
    Done {
        /// The query.
        query: QueryId,
        /// Its outcome.
        result: Result<Outcome<Id, A>, QueryError>,
    },
}

/// The outcome of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<Id, A> {
    /// The servers nearest to a key.
    Closest {
        /// At most k servers that have answered, the nearest first.
        peers: Vec<PeerInfo<Id, A>>,
        /// How many answers led to the nearest peer.
        hops: u32,
        /// How many requests were sent.
        requests: usize,
    },
    /// The peer that the query looked for.
    Found {
        /// The peer with its addresses.
        peer: PeerInfo<Id, A>,
        /// Whether the peer itself was reached. Otherwise only other peers have named the addresses.
        reached: bool,
    },
    /// The best valid value that was found.
    Value {
        /// The value.
        record: Record,
        /// How many peers have returned it.
        holders: usize,
    },
    /// A value or a provider was stored at other peers.
    Stored {
        /// How many peers have confirmed it. ADD_PROVIDER is confirmed once it is sent.
        stored: usize,
        /// How many peers were asked to store it.
        asked: usize,
    },
    /// The providers of a key.
    Providers {
        /// At least one provider.
        providers: Vec<PeerInfo<Id, A>>,
    },
}

/// Why a query has failed, or was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No peer has answered in time.
    #[error("no peer of the DHT answered within {0:?}")]
    NoPeers(Duration),
    /// The peers nearest to the key do not have the value, the providers or the peer.
    #[error("none of the {asked} asked peers has it")]
    NotFound {
        /// How many peers have answered.
        asked: usize,
    },
    /// No peer has confirmed the value.
    #[error("none of the {asked} nearest peers has stored it")]
    NotStored {
        /// How many peers were asked to store it.
        asked: usize,
    },
    /// The key is empty or longer than the limit.
    #[error("the key has {length} bytes; 1 to {limit} are allowed")]
    KeyLength {
        /// The length, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The value is longer than [`super::MAX_VALUE`].
    #[error("the value has {length} bytes, and the limit is {}", super::MAX_VALUE)]
    ValueLength {
        /// The length, in bytes.
        length: usize,
    },
    /// No namespace is known for the key, or its validator refuses the value.
    #[error("the key is in no known namespace, or the value is not valid in it")]
    Invalid,
    /// This node publishes or keeps a better value of the key.
    #[error("this node knows a better value of the key")]
    Worse,
    /// Too many queries are running.
    #[error("{limit} queries are running already")]
    TooMany {
        /// [`super::KadConfig::max_queries`].
        limit: usize,
    },
    /// Too many keys are published.
    #[error("{limit} keys are published already")]
    TooManyPublished {
        /// [`super::KadConfig::max_published`].
        limit: usize,
    },
    /// A provider needs an address at which it can be reached.
    #[error("this node has no address that others could dial")]
    NoAddress,
    /// The host has ended the query.
    #[error("the query was stopped")]
    Stopped,
}

/// Why the host has no answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The peer was not reached, or its connection was lost.
    Unreachable,
    /// The peer was reached, but does not speak the protocol.
    Unsupported,
    /// The peer has reset the stream, or its answer is invalid.
    Refused,
}
