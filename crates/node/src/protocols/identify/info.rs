//! The content of an identify message, after checks and with bounds.

use std::{io, time::Duration};

use conn_state::{Detail, is_plain};
use libp2p_core::{PeerRecord, SignedEnvelope};
use libp2p_identity::{Keypair, PeerId, PublicKey};
use multiaddr::{Multiaddr, Protocol};
use prost::Message as _;

use super::{
    SignatureBudget,
    wire::{self, EnvelopeHead, Message},
};
use crate::{address::zone, error::OpenError};

/// The most protocols that are kept per peer. Further protocols are ignored.
const MAX_PROTOCOLS: usize = 256;
/// The most listen addresses that are kept per peer. Further addresses are ignored.
const MAX_IDENTIFY_ADDRESSES: usize = 64;
/// The maximum length of a protocol's name, in bytes. Longer names are ignored.
const MAX_NAME: usize = 256;
/// The maximum length of an address, in bytes. Longer addresses are ignored.
const MAX_ADDRESS: usize = 512;

/// The payload type of a signed peer record (libp2p RFC 0003).
const PEER_RECORD: &[u8] = &[0x03, 0x01];

/// The content of a peer's identify message. Only the peer's id is proved; everything else is a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The peer. The handshake of the connection has proved its id.
    pub peer: PeerId,
    /// The name of the peer's program.
    pub agent: Detail,
    /// The protocol family that the peer claims to belong to.
    pub protocol_version: Detail,
    /// The protocols that the peer supports. Names with characters that are not printable are left out.
    pub protocols: Vec<String>,
    /// The peer's listen addresses. A valid signed record takes precedence. IPv6 link-local addresses and zones are left out,
    /// because they name an interface of the peer's machine.
    pub listen: Vec<Multiaddr>,
    /// Whether `listen` comes from a record that the peer signed.
    pub signed: bool,
    /// This node's address as the peer sees it.
    pub observed: Option<Multiaddr>,
}

/// The reason why identify failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentifyError {
    /// The stream could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream broke.
    #[error("the stream of identify broke")]
    Io(#[from] io::Error),
    /// The answer was empty.
    #[error("the identify message is empty")]
    Empty,
    /// The answer was too long.
    #[error("the identify message is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The answer was split over too many frames.
    #[error("the identify message has more than {limit} frames")]
    TooManyFrames {
        /// The limit.
        limit: usize,
    },
    /// The answer cannot be decoded.
    #[error("the identify message is malformed: {0}")]
    Malformed(String),
    /// The key in the message differs from the key that the handshake proved.
    #[error("the identify message names {found}, but the handshake proved {expected}")]
    WrongPeer {
        /// The peer that the handshake proved.
        expected: PeerId,
        /// The peer that the answer names.
        found: PeerId,
    },
    /// The peer did not answer in time.
    #[error("the peer sent no identify message within {} s", after.as_secs_f32())]
    TimedOut {
        /// The time limit.
        after: Duration,
    },
}

impl Info {
    /// Whether the peer supports a protocol.
    pub(crate) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|name| name == protocol)
    }

    /// Reads `message`. Fails if the message is about another peer than `peer`.
    pub(crate) fn decode(
        message: &Message,
        peer: PeerId,
        signatures: &SignatureBudget,
    ) -> Result<Self, IdentifyError> {
        if let Some(key) = &message.public_key {
            check_key(key, peer)?;
        }
        let signed = match &message.signed_peer_record {
            Some(envelope) => signed_addresses(envelope, peer, signatures)?,
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
                .filter(|name| is_name(name))
                .take(MAX_PROTOCOLS)
                .cloned()
                .collect(),
            listen,
            signed: signed.is_some(),
            observed: message.observed_addr.as_deref().and_then(observed),
        })
    }

    /// Returns the content after a push. A field that `update` leaves out keeps its value.
    pub(crate) fn updated_with(&self, update: Self) -> Self {
        let keep = |new: Detail, old: &Detail| if new.is_empty() { old.clone() } else { new };
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

/// This node's description of itself.
pub(crate) struct Description<'a> {
    pub(crate) keypair: &'a Keypair,
    pub(crate) agent: &'a str,
    pub(crate) protocol_version: &'a str,
    pub(crate) protocols: Vec<String>,
    pub(crate) listen: Vec<Multiaddr>,
}

/// This node's description with its signed peer record. It is signed once and encoded for each peer.
pub(crate) struct SignedIdentify(Message);

impl Description<'_> {
    pub(crate) fn sign(self) -> SignedIdentify {
        let record = PeerRecord::new_interop(self.keypair, self.listen.clone());
        let record = record.map(|r| r.into_signed_envelope().into_protobuf_encoding());
        SignedIdentify(Message {
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

impl SignedIdentify {
    /// The encoded message for a peer whose address this node sees as `observed`. `None`: the node does not tell the address.
    pub(crate) fn encode_for(&self, observed: Option<&Multiaddr>) -> Vec<u8> {
        let mut message = self.0.clone();
        message.observed_addr = observed.map(Multiaddr::to_vec);
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

/// The addresses in a signed record. `None`: its kind is unknown, its signature is wrong, or the peer has used up its
/// `signatures`. A record of another peer is an attempt to impersonate that peer, even if its signature is correct.
fn signed_addresses(
    envelope: &[u8],
    expected: PeerId,
    signatures: &SignatureBudget,
) -> Result<Option<Vec<Multiaddr>>, IdentifyError> {
    let Ok(head) = EnvelopeHead::decode(envelope) else {
        return Ok(None);
    };
    let Ok(key) = PublicKey::try_decode_protobuf(&head.public_key) else {
        return Ok(None);
    };
    // A verification takes time, so only a signature by the peer's own key is verified.
    let found = key.to_peer_id();
    if found != expected {
        return Err(IdentifyError::WrongPeer { expected, found });
    }
    if !signatures.permits(expected, &key, head.public_key.len()) {
        return Ok(None);
    }
    let Ok(envelope) = SignedEnvelope::from_protobuf_encoding(envelope) else {
        return Ok(None);
    };
    let record = match head.payload_type == PEER_RECORD {
        true => PeerRecord::from_signed_envelope_interop(envelope),
        // By default, rust-libp2p signs under its own domain.
        false => PeerRecord::from_signed_envelope(envelope),
    };
    let Ok(record) = record else {
        return Ok(None);
    };
    let addresses = record.addresses().iter();
    let ours = addresses.filter(|address| is_usable(address) && is_of(address, expected));
    Ok(Some(ours.take(MAX_IDENTIFY_ADDRESSES).cloned().collect()))
}

fn parse_addresses(raw: &[Vec<u8>], peer: PeerId) -> Vec<Multiaddr> {
    let addresses = raw.iter().filter_map(|bytes| parse_address(bytes));
    addresses
        .filter(|address| is_of(address, peer))
        .take(MAX_IDENTIFY_ADDRESSES)
        .collect()
}

fn parse_address(bytes: &[u8]) -> Option<Multiaddr> {
    parse_any_address(bytes).filter(is_usable)
}

fn parse_any_address(bytes: &[u8]) -> Option<Multiaddr> {
    let fits = bytes.len() <= MAX_ADDRESS;
    fits.then(|| Multiaddr::try_from(bytes.to_vec()).ok())?
}

/// The address at which the peer sees this node. It may be link-local, because the peer may be on the same link, but the zone of
/// the peer means nothing here.
fn observed(bytes: &[u8]) -> Option<Multiaddr> {
    let address = parse_any_address(bytes)?;
    let is_zone = |part: Protocol<'_>| matches!(part, Protocol::Ip6zone(_));
    (!address.iter().any(is_zone)).then_some(address)
}

/// Whether the address is short enough and means something on this machine.
fn is_usable(address: &Multiaddr) -> bool {
    address.len() <= MAX_ADDRESS && !zone::is_bound_to_machine(address)
}

/// Whether the address may belong to the peer: it does not end in the id of another peer.
fn is_of(address: &Multiaddr, peer: PeerId) -> bool {
    match address.iter().last() {
        Some(Protocol::P2p(other)) => other == peer,
        _ => true,
    }
}

/// Whether this node accepts `name` as the name of a protocol: at most 256 bytes, and printable characters only.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME && is_plain(name)
}

fn text(raw: Option<&str>) -> Detail {
    raw.map(Detail::new).unwrap_or_default()
}
