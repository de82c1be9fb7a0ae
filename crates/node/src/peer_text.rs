//! Peer ids and multiaddrs as text, in every spelling of libp2p's peer id specification.
//!
//! A peer id is the base58btc text of a multihash (`12D3…`, `Qm…`), or a CIDv1 with the codec `libp2p-key` in any base of
//! multibase (`bafz…`, `k51…`, `z5A…`). The parser of the crate `multiaddr` reads the first spelling only.

use std::borrow::Cow;

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

/// The version and the codec `libp2p-key` of a CID. The multihash follows them.
const LIBP2P_KEY: [u8; 2] = [0x01, 0x72];

/// The maximum length of a CID. In some bases, the time to decode a text grows with the square of its length.
const MAX_CID: usize = 128;

/// Reads a peer id in any spelling: base58btc (`12D3…`, `Qm…`) or a CID (`bafz…`, `k51…`, `z…`). `None`: the text is not a
/// peer id.
pub fn parse_peer_id(text: &str) -> Option<PeerId> {
    if text.len() > MAX_CID {
        return None;
    }
    text.parse().ok().or_else(|| of_cid(text))
}

/// Reads a multiaddr whose peer ids may have any spelling that [`parse_peer_id`] reads. The result prints them in base58btc.
///
/// # Errors
///
/// The text is not a multiaddr.
///
/// ```
/// let cid = "/dns4/a.example/tcp/1/p2p/bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
/// let address = node::parse_multiaddr(cid).unwrap();
/// assert_eq!(address.to_string(), "/dns4/a.example/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N");
/// ```
pub fn parse_multiaddr(text: &str) -> Result<Multiaddr, multiaddr::Error> {
    base58(text).parse()
}

fn of_cid(text: &str) -> Option<PeerId> {
    let (_, bytes) = multibase::decode(text).ok()?;
    PeerId::from_bytes(bytes.strip_prefix(&LIBP2P_KEY)?).ok()
}

/// The multiaddr with every CID behind `/p2p` or `/ipfs` in base58btc.
fn base58(text: &str) -> Cow<'_, str> {
    let is_id = |name: &str| matches!(name, "p2p" | "ipfs");
    let mut previous = "";
    let mut parts = Vec::new();
    let mut changed = false;
    for part in text.split('/') {
        let cid = (is_id(previous) && part.len() <= MAX_CID).then(|| of_cid(part));
        let peer = cid.flatten().map(|peer| Cow::Owned(peer.to_base58()));
        changed |= peer.is_some();
        parts.push(peer.unwrap_or(Cow::Borrowed(part)));
        previous = part;
    }
    match changed {
        true => Cow::Owned(parts.join("/")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use multibase::Base;

    use super::*;

    const ED25519: &str = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    const RSA: &str = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";

    fn cid(id: &str, base: Base) -> String {
        let id = id.parse::<PeerId>().unwrap().to_bytes();
        multibase::encode(base, [&LIBP2P_KEY[..], &id].concat())
    }

    #[test]
    fn every_spelling_of_the_specification_is_the_same_peer() {
        // The example of the specification.
        let example = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe";
        assert_eq!(parse_peer_id(example), RSA.parse().ok());
        for id in [ED25519, RSA] {
            let expected = id.parse().ok();
            assert_eq!(parse_peer_id(id), expected);
            for base in [
                Base::Base58Btc,
                Base::Base32Lower,
                Base::Base36Lower,
                Base::Base16Lower,
            ] {
                let text = cid(id, base);
                assert_eq!(parse_peer_id(&text), expected, "{text}");
                for protocol in ["p2p", "ipfs"] {
                    let address = format!("/dns4/p2p/tcp/1/{protocol}/{text}/p2p-circuit/p2p/{id}");
                    let plain = format!("/dns4/p2p/tcp/1/p2p/{id}/p2p-circuit/p2p/{id}");
                    assert_eq!(parse_multiaddr(&address).unwrap().to_string(), plain);
                }
            }
        }
    }

    #[test]
    fn a_cid_of_another_codec_and_an_overlong_cid_are_no_peer_id() {
        let id = ED25519.parse::<PeerId>().unwrap().to_bytes();
        let file = multibase::encode(Base::Base32Lower, [&[0x01, 0x70][..], &id].concat());
        let long = format!("z{}", "1".repeat(200_000));
        // A correct CID of 304 letters: only its length is wrong.
        let binary = cid(ED25519, Base::Base2);
        for text in [&file, &long, &binary, "", "b", "k", "nobody"] {
            assert_eq!(parse_peer_id(text), None);
            assert!(parse_multiaddr(&format!("/ip4/192.0.2.1/tcp/1/p2p/{text}")).is_err());
        }
    }
}
