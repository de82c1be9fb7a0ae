//! The messages between peers, for any type of peer id and address.

use std::time::Duration;

/// The longest value, in bytes.
pub const MAX_VALUE: usize = 10 * 1024;

/// The longest key of a value, in bytes.
pub const MAX_KEY: usize = 256;

/// The longest key of providers, in bytes. go-libp2p has the same limit.
pub const MAX_PROVIDER_KEY: usize = 80;

/// The number of addresses of a peer that the node keeps and passes on.
pub const MAX_ADDRESSES: usize = 8;

/// The longest accepted address, in bytes. Longer addresses are ignored.
pub const MAX_ADDRESS_BYTES: usize = 256;

/// A peer with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo<Id, A> {
    /// The peer.
    pub id: Id,
    /// Its addresses, the best one first.
    pub addresses: Vec<A>,
}

impl<Id, A> PeerInfo<Id, A> {
    /// A peer with its addresses.
    pub fn new(id: Id, addresses: Vec<A>) -> Self {
        Self { id, addresses }
    }
}

/// A value under its key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The key, such as `/pk/…`.
    pub key: Vec<u8>,
    /// The value, at most [`MAX_VALUE`] bytes.
    pub value: Vec<u8>,
    /// How much longer the value is valid, if its publisher says so. rust-libp2p sends this field, and other implementations do
    /// not.
    pub ttl: Option<Duration>,
}

impl Record {
    /// A value without a time to live.
    pub fn new(key: Vec<u8>, value: Vec<u8>) -> Self {
        let ttl = None;
        Self { key, value, ttl }
    }

    /// Whether the key and the value keep their limits.
    pub(crate) fn fits(&self) -> bool {
        !self.key.is_empty() && self.key.len() <= MAX_KEY && self.value.len() <= MAX_VALUE
    }
}

/// A question to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request<Id, A> {
    /// PING.
    Ping,
    /// FIND_NODE: which servers are nearest to the point of this key?
    FindNode {
        /// The bytes of a peer id, or any key.
        key: Vec<u8>,
    },
    /// GET_VALUE.
    GetValue {
        /// The key.
        key: Vec<u8>,
    },
    /// PUT_VALUE.
    PutValue {
        /// The value.
        record: Record,
    },
    /// GET_PROVIDERS.
    GetProviders {
        /// The key, which libp2p calls a CID.
        key: Vec<u8>,
    },
    /// ADD_PROVIDER. It has no answer.
    AddProvider {
        /// The key, which libp2p calls a CID.
        key: Vec<u8>,
        /// The providers. Servers ignore all but the sender.
        providers: Vec<PeerInfo<Id, A>>,
    },
}

impl<Id, A> Request<Id, A> {
    /// Whether the server answers. The requester of an ADD_PROVIDER reports an empty answer as soon as the request is sent.
    pub fn has_answer(&self) -> bool {
        !matches!(self, Self::AddProvider { .. })
    }
}

/// An answer of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response<Id, A> {
    /// PING. The host also reports this answer for an ADD_PROVIDER, to which a server sends no answer.
    Empty,
    /// FIND_NODE.
    FindNode {
        /// The peers nearest to the key that the server knows.
        closer: Vec<PeerInfo<Id, A>>,
    },
    /// GET_VALUE.
    GetValue {
        /// The value, if the server has it.
        record: Option<Record>,
        /// The peers nearest to the key that the server knows.
        closer: Vec<PeerInfo<Id, A>>,
    },
    /// PUT_VALUE: the stored value.
    PutValue {
        /// The value.
        record: Record,
    },
    /// GET_PROVIDERS.
    GetProviders {
        /// The providers of the key.
        providers: Vec<PeerInfo<Id, A>>,
        /// The peers nearest to the key that the server knows.
        closer: Vec<PeerInfo<Id, A>>,
    },
}
