//! The ids of peers, topics and messages. Each is 32 bytes on the wire.

use std::fmt;

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::IdError;

/// The id of a peer: an Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 32]);

/// The id of a topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId([u8; 32]);

/// The id of a message: the BLAKE3 hash of its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId([u8; 32]);

/// What precedes the 32 bytes of an Ed25519 key in a libp2p peer id: an identity multihash of 36 bytes, the key type 1 and
/// the length 32.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl Id {
    /// The id with these bytes.
    ///
    /// # Errors
    ///
    /// The bytes are not a point of the curve. iroh stops reading a stream that names such an id.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, IdError> {
        match VerifyingKey::from_bytes(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(IdError::NotOnCurve),
        }
    }

    /// The id of a libp2p peer, from the bytes of its peer id.
    ///
    /// # Errors
    ///
    /// The peer's key is not an Ed25519 key, or not a point of the curve.
    pub fn from_peer_id(bytes: &[u8]) -> Result<Self, IdError> {
        let key = bytes.strip_prefix(&PEER_ID_PREFIX);
        let key = key.and_then(|key| key.try_into().ok());
        Self::from_bytes(key.ok_or(IdError::NotEd25519)?)
    }

    /// The bytes of the libp2p peer id with the same key.
    pub fn to_peer_id(self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// The 32 bytes of the key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key, for verifying a signature.
    #[cfg(feature = "signed")]
    pub(crate) fn key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(&self.0).ok()
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(<[u8; 32]>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl TopicId {
    /// The topic with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The topic of a name: 64 hexadecimal digits are the id itself, and any other name is hashed with BLAKE3.
    ///
    /// The name is not a secret: anyone who guesses it can join the topic.
    pub fn from_name(name: &str) -> Self {
        let mut bytes = [0; 32];
        let is_hex = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Self(*blake3::hash(name.as_bytes()).as_bytes());
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&name[2 * at..2 * at + 2], 16).unwrap_or_default();
        }
        Self(bytes)
    }

    /// The 32 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl MessageId {
    /// The id of a message with this content.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }

    /// The message id with these bytes. The bytes are not checked.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! shown_in_hex {
    ($($name:ident)*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(&self.0[..5], f)
            }
        }
    )*};
}
shown_in_hex!(Id TopicId MessageId);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The base point of the curve: a valid id.
    pub(crate) fn base_point() -> Id {
        let mut point = [0x66; 32];
        point[0] = 0x58;
        Id::from_bytes(point).unwrap()
    }

    /// The smallest y that is no coordinate of a point.
    fn off_the_curve() -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0] = 2;
        bytes
    }

    #[test]
    fn an_id_off_the_curve_is_refused() {
        assert_eq!(Id::from_bytes(off_the_curve()), Err(IdError::NotOnCurve));
        let point = *base_point().as_bytes();
        assert!(Id::from_bytes(point).is_ok(), "the base point");
    }

    #[test]
    fn only_the_peer_id_of_an_ed25519_key_is_an_id() {
        let id = base_point();
        assert_eq!(Id::from_peer_id(&id.to_peer_id()), Ok(id));
        assert_eq!(
            Id::from_peer_id(&[0x12, 0x20, 1, 2]),
            Err(IdError::NotEd25519),
            "a hashed key"
        );
        assert_eq!(
            Id::from_peer_id(&id.to_peer_id()[..37]),
            Err(IdError::NotEd25519)
        );
    }

    #[test]
    fn sixty_four_hex_digits_are_a_topic_and_any_other_name_is_hashed() {
        let digits = "0123456789abcdefABCDEF00112233445566778899aabbccddeeff0011223344";
        assert_eq!(
            TopicId::from_name(digits).as_bytes()[..3],
            [0x01, 0x23, 0x45]
        );
        let hashed = TopicId::from_name(&digits[1..]);
        assert_eq!(
            hashed.as_bytes(),
            blake3::hash(&digits.as_bytes()[1..]).as_bytes()
        );
        assert_eq!(
            TopicId::from_name("é".repeat(32).as_str()).as_bytes().len(),
            32
        );
    }
}
