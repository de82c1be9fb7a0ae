//! What identify says, checked and bounded.

use std::{io, time::Duration};

use libp2p_core::{PeerRecord, SignedEnvelope};
use libp2p_identity::{Keypair, PeerId, PublicKey};
use multiaddr::{Multiaddr, Protocol};

use super::wire::{self, Message};
use crate::OpenError;

/// Protocols kept of one peer; it may name more, they are passed over.
const MAX_PROTOCOLS: usize = 256;
/// Listen addresses kept of one peer.
const MAX_ADDRESSES: usize = 64;
/// Bytes of one protocol's name or one version, at most; a longer one is passed over.
const MAX_TEXT: usize = 256;
/// Bytes of one address, at most; a longer one is passed over.
const MAX_ADDRESS: usize = 512;

/// What a peer says of itself. Everything but the peer's id is a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The peer, as the connection's handshake proved.
    pub peer: PeerId,
    /// Its software.
    pub agent: String,
    /// The protocol family it claims to belong to.
    pub protocol_version: String,
    /// What it speaks.
    pub protocols: Vec<String>,
    /// Where it says it listens: out of its signed record if it sent a valid one.
    pub listen: Vec<Multiaddr>,
    /// Whether `listen` is out of a record that the peer signed.
    pub signed: bool,
    /// Our address as it sees it.
    pub observed: Option<Multiaddr>,
}

/// Why a peer's identify was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// No stream to ask on.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream broke.
    #[error("identify broke: {0}")]
    Io(#[from] io::Error),
    /// The peer said nothing.
    #[error("identify was empty")]
    Empty,
    /// The peer said too much.
    #[error("identify is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The peer split it over too many frames.
    #[error("identify is split over more than {limit} frames")]
    TooManyFrames {
        /// The limit.
        limit: usize,
    },
    /// The bytes make no sense.
    #[error("identify is malformed: {0}")]
    Malformed(String),
    /// The key in it is not the one the handshake proved.
    #[error("identify names {found}, the connection is with {expected}")]
    WrongPeer {
        /// Whom the connection is with.
        expected: PeerId,
        /// Whom the message names.
        found: PeerId,
    },
    /// The peer did not answer in time.
    #[error("identify was not answered within {} s", after.as_secs_f32())]
    TimedOut {
        /// The time it was given.
        after: Duration,
    },
}

impl Info {
    /// Takes what `message` says, once it is sure to be about `peer`.
    pub(crate) fn decode(message: &Message, peer: PeerId) -> Result<Self, IdentifyError> {
        if let Some(key) = &message.public_key {
            check_key(key, peer)?;
        }
        let signed = match &message.signed_peer_record {
            Some(envelope) => signed_addresses(envelope, peer)?,
            None => None,
        };
        let listen = match &signed {
            Some(addresses) => addresses.clone(),
            None => parse_addresses(&message.listen_addrs, peer),
        };
        let protocols = message.protocols.iter();
        Ok(Self {
            peer,
            agent: text(message.agent_version.as_deref()),
            protocol_version: text(message.protocol_version.as_deref()),
            protocols: protocols
                .filter(|name| name.len() <= MAX_TEXT)
                .take(MAX_PROTOCOLS)
                .cloned()
                .collect(),
            listen,
            signed: signed.is_some(),
            observed: message.observed_addr.as_deref().and_then(parse_address),
        })
    }

    /// What is known after a push: what `update` leaves out stays as it was.
    pub(crate) fn updated_with(&self, update: Self) -> Self {
        let keep = |new: String, old: &String| if new.is_empty() { old.clone() } else { new };
        let unsaid = update.listen.is_empty() && !update.signed;
        Self {
            peer: self.peer,
            agent: keep(update.agent, &self.agent),
            protocol_version: keep(update.protocol_version, &self.protocol_version),
            protocols: if update.protocols.is_empty() {
                self.protocols.clone()
            } else {
                update.protocols
            },
            signed: if unsaid { self.signed } else { update.signed },
            listen: if unsaid {
                self.listen.clone()
            } else {
                update.listen
            },
            observed: update.observed.or_else(|| self.observed.clone()),
        }
    }
}

/// What this node says of itself.
pub(crate) struct Ours<'a> {
    pub(crate) keypair: &'a Keypair,
    pub(crate) agent: &'a str,
    pub(crate) protocol_version: &'a str,
    pub(crate) protocols: Vec<String>,
    pub(crate) listen: Vec<Multiaddr>,
}

/// The same, signed once and ready for any number of peers.
pub(crate) struct Said(Message);

impl Ours<'_> {
    pub(crate) fn sign(self) -> Said {
        let record = PeerRecord::new_interop(self.keypair, self.listen.clone());
        let record = record.map(|r| r.into_signed_envelope().into_protobuf_encoding());
        Said(Message {
            public_key: Some(self.keypair.public().encode_protobuf()),
            listen_addrs: self.listen.iter().map(Multiaddr::to_vec).collect(),
            protocols: self.protocols,
            observed_addr: None,
            protocol_version: Some(self.protocol_version.to_owned()),
            agent_version: Some(self.agent.to_owned()),
            signed_peer_record: record.ok(),
        })
    }
}

impl Said {
    /// The frames to send to a peer that we see at `observed`.
    pub(crate) fn encode_for(&self, observed: &Multiaddr) -> Vec<u8> {
        let mut message = self.0.clone();
        message.observed_addr = Some(observed.to_vec());
        wire::encode(message)
    }
}

fn check_key(key: &[u8], expected: PeerId) -> Result<(), IdentifyError> {
    let key = PublicKey::try_decode_protobuf(key)
        .map_err(|error| IdentifyError::Malformed(format!("public key: {error}")))?;
    let found = key.to_peer_id();
    if found == expected {
        Ok(())
    } else {
        Err(IdentifyError::WrongPeer { expected, found })
    }
}

/// The addresses in a signed record, or `None` if it is of a kind we do not know. A valid record of somebody else is an
/// attempt to be taken for him.
fn signed_addresses(
    envelope: &[u8],
    expected: PeerId,
) -> Result<Option<Vec<Multiaddr>>, IdentifyError> {
    let Ok(envelope) = SignedEnvelope::from_protobuf_encoding(envelope) else {
        return Ok(None);
    };
    // rust-libp2p signs under a domain of its own unless told otherwise.
    let record = PeerRecord::from_signed_envelope_interop(envelope.clone())
        .or_else(|_| PeerRecord::from_signed_envelope(envelope));
    let Ok(record) = record else {
        return Ok(None);
    };
    let found = record.peer_id();
    if found != expected {
        return Err(IdentifyError::WrongPeer { expected, found });
    }
    let addresses = record.addresses().iter();
    let ours = addresses.filter(|address| address.len() <= MAX_ADDRESS && is_of(address, expected));
    Ok(Some(ours.take(MAX_ADDRESSES).cloned().collect()))
}

fn parse_addresses(raw: &[Vec<u8>], peer: PeerId) -> Vec<Multiaddr> {
    let addresses = raw.iter().filter_map(|bytes| parse_address(bytes));
    addresses
        .filter(|address| is_of(address, peer))
        .take(MAX_ADDRESSES)
        .collect()
}

fn parse_address(bytes: &[u8]) -> Option<Multiaddr> {
    if bytes.len() > MAX_ADDRESS {
        return None;
    }
    Multiaddr::try_from(bytes.to_vec()).ok()
}

/// An address that ends in another peer's id is not this peer's.
fn is_of(address: &Multiaddr, peer: PeerId) -> bool {
    match address.iter().last() {
        Some(Protocol::P2p(other)) => other == peer,
        _ => true,
    }
}

fn text(raw: Option<&str>) -> String {
    match raw {
        Some(text) if text.len() <= MAX_TEXT => text.chars().filter(|c| !c.is_control()).collect(),
        _ => String::new(),
    }
}
