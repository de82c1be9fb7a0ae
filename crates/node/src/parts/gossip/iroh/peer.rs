//! The address of a peer's iroh endpoint, as people write it.

use std::{fmt, net::SocketAddr, str::FromStr};

use gossip_net::{Id, IdError};
use libp2p_identity::PeerId;

use crate::parts::gossip::id::key_of;

/// A peer with the address of its iroh endpoint, written as `ENDPOINT_ID@IP:PORT`. The id is the peer's Ed25519 key as 64
/// hexadecimal digits, as iroh writes it, or a libp2p peer id with such a key.
///
/// ```
/// use node::IrohPeer;
///
/// let text = "5866666666666666666666666666666666666666666666666666666666666666@192.0.2.1:4079";
/// let peer: IrohPeer = text.parse()?;
/// assert_eq!(peer.address().port(), 4079);
/// assert_eq!(peer.to_string(), text);
/// # Ok::<(), node::IrohPeerError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IrohPeer {
    id: Id,
    address: SocketAddr,
}

/// Why a text is not the address of an iroh endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IrohPeerError {
    /// The text has no `@`.
    #[error("'{text}' has no '@': write ENDPOINT_ID@IP:PORT")]
    Form {
        /// The text.
        text: String,
    },
    /// The part before the `@` is not an id.
    #[error("'{text}' is neither an endpoint id, which has 64 hexadecimal digits, nor a peer id")]
    Id {
        /// The part before the `@`.
        text: String,
    },
    /// The id is not the id of an Ed25519 key.
    #[error("the id '{text}' cannot take part in gossip")]
    Key {
        /// The part before the `@`.
        text: String,
        /// What is wrong with the key.
        source: IdError,
    },
    /// The part after the `@` is not an address.
    #[error("'{text}' is not an IP address with a port, such as 192.0.2.1:4079")]
    Address {
        /// The part after the `@`.
        text: String,
    },
    /// No peer can be dialed at the address.
    #[error("no peer can be dialed at {address}: write an IP address of the peer and its port")]
    NotDialable {
        /// The address.
        address: SocketAddr,
    },
}

impl IrohPeer {
    /// The peer with this key and address.
    pub fn new(id: Id, address: SocketAddr) -> Self {
        Self { id, address }
    }

    /// The key of the peer, which iroh calls the endpoint id.
    pub fn id(&self) -> Id {
        self.id
    }

    /// The address of the peer's endpoint.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl FromStr for IrohPeer {
    type Err = IrohPeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || IrohPeerError::Form {
            text: text.to_owned(),
        };
        let (id, address) = text.trim().split_once('@').ok_or_else(form)?;
        let id = parse_id(id)?;
        let wrong = |_| IrohPeerError::Address {
            text: address.to_owned(),
        };
        let address = address.parse::<SocketAddr>().map_err(wrong)?;
        match is_dialable(&address) {
            true => Ok(Self { id, address }),
            false => Err(IrohPeerError::NotDialable { address }),
        }
    }
}

fn parse_id(text: &str) -> Result<Id, IrohPeerError> {
    let key = |source| IrohPeerError::Key {
        text: text.to_owned(),
        source,
    };
    if let Some(bytes) = hexadecimal(text) {
        return Id::from_bytes(bytes).map_err(key);
    }
    let unknown = |_| IrohPeerError::Id {
        text: text.to_owned(),
    };
    key_of(&text.parse::<PeerId>().map_err(unknown)?).map_err(key)
}

/// The bytes that 64 hexadecimal digits stand for.
fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Whether a packet can go to the address.
pub(super) fn is_dialable(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_broadcast = matches!(ip, std::net::IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
}

impl fmt::Display for IrohPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.address)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use libp2p_identity::Keypair;

    use super::*;

    /// The base point of the curve.
    const ID: &str = "5866666666666666666666666666666666666666666666666666666666666666";

    fn error(text: &str) -> String {
        let error = text.parse::<IrohPeer>().unwrap_err();
        crate::error::error_chain(&error)
    }

    #[test]
    fn an_endpoint_is_read_in_both_spellings_of_its_id() {
        let peer = Keypair::generate_ed25519().public().to_peer_id();
        let read: IrohPeer = format!("{peer}@[::1]:9").parse().unwrap();
        assert_eq!(read.id(), key_of(&peer).unwrap());
        let again: IrohPeer = read.to_string().parse().unwrap();
        assert_eq!(again, read);
        let upper = format!("{}@192.0.2.1:9", ID.to_uppercase());
        assert_eq!(
            upper.parse::<IrohPeer>().unwrap().to_string(),
            format!("{ID}@192.0.2.1:9")
        );
    }

    #[test]
    fn a_text_that_is_no_endpoint_is_refused_with_the_part_that_is_wrong() {
        let ecdsa = Keypair::generate_ecdsa().public().to_peer_id();
        for (text, expected) in [
            ("a", "'a' has no '@': write ENDPOINT_ID@IP:PORT"),
            (
                "a@192.0.2.1:9",
                "'a' is neither an endpoint id, which has 64 hexadecimal digits, nor a peer id",
            ),
            (
                &format!("{}@192.0.2.1:9", &ID[1..]),
                &format!(
                    "'{}' is neither an endpoint id, which has 64 hexadecimal digits, nor a peer id",
                    &ID[1..]
                ),
            ),
            (
                &format!("02{}@192.0.2.1:9", "00".repeat(31)),
                &format!(
                    "the id '02{}' cannot take part in gossip: the bytes are not a point of the curve Ed25519",
                    "00".repeat(31)
                ),
            ),
            (
                &format!("{ecdsa}@192.0.2.1:9"),
                &format!(
                    "the id '{ecdsa}' cannot take part in gossip: the peer id does not contain an Ed25519 key"
                ),
            ),
            (
                &format!("{ID}@192.0.2.1"),
                "'192.0.2.1' is not an IP address with a port, such as 192.0.2.1:4079",
            ),
            (
                &format!("{ID}@0.0.0.0:9"),
                "no peer can be dialed at 0.0.0.0:9: write an IP address of the peer and its port",
            ),
            (
                &format!("{ID}@192.0.2.1:0"),
                "no peer can be dialed at 192.0.2.1:0: write an IP address of the peer and its port",
            ),
        ] {
            assert_eq!(error(text), expected);
        }
    }

    #[test]
    fn packets_go_to_hosts_only() {
        for (text, expected) in [
            ("192.0.2.1:1", true),
            ("192.0.2.1:0", false),
            ("0.0.0.0:1", false),
            ("224.0.0.1:1", false),
            ("255.255.255.255:1", false),
            ("[::ffff:224.0.0.1]:1", false),
            ("[2001:db8::1]:1", true),
            ("[::]:1", false),
            ("[ff02::1]:1", false),
        ] {
            assert_eq!(is_dialable(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
