//! Keys of the DHT as text.

use bootstrap::kad::MAX_PROVIDER_KEY;

use crate::peer_text::parse_peer_id;

/// The longest text of a CID. In some bases, the time to decode a text grows with the square of its length.
const MAX_CID: usize = 192;
/// The longest digest of a multihash, in bytes.
const MAX_DIGEST: u64 = 64;
/// The namespaces whose keys end in the bytes of a peer id.
const OF_PEERS: [&str; 2] = ["/pk/", "/ipns/"];

/// A text is not a CID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a CID: a CID usually begins with Qm or baf, and has 46 to 65 characters")]
#[non_exhaustive]
pub struct ContentKeyError {
    /// The first 80 characters of the text.
    pub text: String,
}

/// The key of a value. A text such as `/app/name` stands for its bytes. In `/pk/PEER` and `/ipns/PEER`, the peer id may have any
/// spelling and stands for its binary form, as other programs write these keys.
///
/// ```
/// assert_eq!(node::value_key("/app/name"), b"/app/name");
/// assert_eq!(node::value_key("/pk/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA").len(), 4 + 38);
/// ```
pub fn value_key(text: &str) -> Vec<u8> {
    for namespace in OF_PEERS {
        let peer = text.strip_prefix(namespace).and_then(parse_peer_id);
        if let Some(peer) = peer {
            return [namespace.as_bytes(), &peer.to_bytes()].concat();
        }
    }
    text.as_bytes().to_vec()
}

/// The key of the providers of some content: the multihash in its CID. CIDs that differ only in their version, their codec or
/// their base have the same key.
///
/// # Errors
///
/// The text is not a CID.
///
/// ```
/// let old = node::content_key("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG").unwrap();
/// let new = node::content_key("bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34").unwrap();
/// assert_eq!(old, new);
/// ```
pub fn content_key(text: &str) -> Result<Vec<u8>, ContentKeyError> {
    let key = (text.len() <= MAX_CID).then(|| of_old(text).or_else(|| of_new(text)));
    key.flatten().ok_or_else(|| ContentKeyError {
        text: text.chars().take(80).collect(),
    })
}

/// The multihash of a CID of version 0, which is the text of a SHA-256 multihash in base58.
fn of_old(text: &str) -> Option<Vec<u8>> {
    let is_old = text.len() == 46 && text.starts_with("Qm");
    let (_, bytes) = multibase::decode(format!("z{}", is_old.then_some(text)?)).ok()?;
    is_multihash(&bytes).then_some(bytes)
}

/// The multihash of a CID of version 1, which follows the version and the codec.
fn of_new(text: &str) -> Option<Vec<u8>> {
    let (_, bytes) = multibase::decode(text).ok()?;
    let (version, rest) = unsigned_varint::decode::u64(&bytes).ok()?;
    let (_codec, multihash) = unsigned_varint::decode::u64(rest).ok()?;
    (version == 1 && is_multihash(multihash)).then(|| multihash.to_vec())
}

fn is_multihash(bytes: &[u8]) -> bool {
    let parts = unsigned_varint::decode::u64(bytes).and_then(|(_function, rest)| {
        let (length, digest) = unsigned_varint::decode::u64(rest)?;
        Ok((length, digest.len() as u64))
    });
    let is_whole =
        parts.is_ok_and(|(length, digest)| length == digest && (1..=MAX_DIGEST).contains(&length));
    is_whole && bytes.len() <= MAX_PROVIDER_KEY
}

/// The bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    let pairs = digits.chunks_exact(2);
    Some(pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

    use super::*;

    #[test]
    fn every_spelling_of_a_cid_has_the_same_key_and_other_texts_have_none() {
        let (old, new) = (
            "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
            "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34",
        );
        let key = content_key(old).unwrap();
        assert_eq!((key[..2].to_vec(), key.len()), (vec![0x12, 0x20], 34));
        assert_eq!(content_key(new).unwrap(), key);
        let raw = multibase::encode(
            multibase::Base::Base16Lower,
            [&[0x01, 0x55][..], &key].concat(),
        );
        assert_eq!(content_key(&raw).unwrap(), key);
        let cut = &raw[..raw.len() - 2];
        let long = format!("z{}", "1".repeat(200_000));
        for wrong in [
            "",
            "b",
            "nonsense",
            "/ipfs/Qm",
            &old[..45],
            &new[..40],
            cut,
            &long,
        ] {
            assert!(content_key(wrong).is_err(), "{wrong}");
        }
        assert_eq!(content_key(&long).unwrap_err().text.len(), 80);
    }

    #[test]
    fn a_key_of_a_peer_has_the_binary_id_and_any_other_key_has_the_bytes_of_its_text() {
        let peer = libp2p_identity::PeerId::random();
        let binary = [b"/pk/", &peer.to_bytes()[..]].concat();
        assert_eq!(value_key(&format!("/pk/{peer}")), binary);
        assert_eq!(value_key("/pk/nobody"), b"/pk/nobody");
        assert_eq!(value_key(&peer.to_string()), peer.to_string().into_bytes());
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        let bytes = [0x00, 0x7f, 0xff];
        assert_eq!(hex(&bytes), "007fff");
        assert_eq!(unhex("007fFF").unwrap(), bytes);
        assert!(unhex("").unwrap().is_empty());
        for wrong in ["0", "0g", "é0", "0x00"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
