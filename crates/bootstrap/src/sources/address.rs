//! The address of a peer, as users and DNS records write it.

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use crate::{Candidate, Origin};

/// The longest address that is read, in bytes of its text.
const MAX_TEXT: usize = 1024;

/// The reason why a text is not the address of a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is not a multiaddr.
    #[error("not a multiaddr, such as /ip4/192.0.2.1/tcp/4077/p2p/12D3KooW…")]
    Multiaddr(#[source] multiaddr::Error),
    /// The text is longer than any address.
    #[error("longer than {MAX_TEXT} bytes")]
    TooLong,
    /// The text names a peer and no address, or nothing at all.
    #[error("names no address at which the peer could be dialed")]
    NoAddress,
}

/// Reads a multiaddr. A `/p2p/ID` at its end names the peer and is not part of the candidate's address. Addresses with and
/// without the id are therefore equal.
///
/// # Errors
///
/// The text is not a multiaddr, or names no address.
pub fn parse_peer(
    text: &str,
    origin: Origin,
) -> Result<Candidate<PeerId, Multiaddr>, AddressError> {
    if text.len() > MAX_TEXT {
        return Err(AddressError::TooLong);
    }
    let address = text.parse().map_err(AddressError::Multiaddr)?;
    let (peer, address) = split(address);
    if address.is_empty() {
        return Err(AddressError::NoAddress);
    }
    Ok(Candidate::new(peer, vec![address], origin))
}

/// The peer at the end of an address, and the address without it.
pub(crate) fn split(mut address: Multiaddr) -> (Option<PeerId>, Multiaddr) {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            address.pop();
            (Some(peer), address)
        }
        _ => (None, address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf";

    #[test]
    fn the_peer_at_the_end_is_split_off_and_a_relay_in_the_middle_is_not() {
        let read = |text: &str| parse_peer(text, Origin::List);
        let candidate = read(&format!("/ip4/192.0.2.1/tcp/4077/p2p/{ID}")).unwrap();
        assert_eq!(candidate.peer.unwrap().to_string(), ID);
        assert_eq!(
            candidate.addresses,
            ["/ip4/192.0.2.1/tcp/4077".parse().unwrap()]
        );
        let circuit = format!("/ip4/192.0.2.1/tcp/4077/p2p/{ID}/p2p-circuit");
        assert_eq!(read(&circuit).unwrap().peer, None);
        assert!(read("/ip4/192.0.2.1/tcp/4077").unwrap().peer.is_none());
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let refused = |text: &str| parse_peer(text, Origin::List).unwrap_err().to_string();
        let no_address = "names no address at which the peer could be dialed";
        assert_eq!(refused(&format!("/p2p/{ID}")), no_address);
        assert_eq!(refused(""), no_address);
        assert_eq!(refused(&"/tcp/1".repeat(300)), "longer than 1024 bytes");
        assert!(refused("192.0.2.1:4077").starts_with("not a multiaddr"));
    }
}
