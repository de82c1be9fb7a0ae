//! Entry points for the fuzz targets: the decoders of this crate that read bytes from strangers. An
//! input on which one of them panics is a finding.

use multiaddr::{Multiaddr, Protocol};
use rustls::pki_types::CertificateDer;

use crate::{
    address::{self, Host},
    known::Known,
    raw, verifier,
};

/// An address, once as a multiaddr's bytes and once as text.
pub fn socket_addr(data: &[u8]) {
    let bytes = Multiaddr::try_from(data.to_vec());
    let text = std::str::from_utf8(data).map(str::parse::<Multiaddr>);
    for given in bytes.into_iter().chain(text.into_iter().flatten()) {
        let parsed = address::socket_addr(&given);
        let Ok(target) = address::target(&given) else {
            assert!(parsed.is_err(), "a socket address without a target");
            continue;
        };
        match (target.host, parsed) {
            (Host::Ip(_), Ok((socket, peer))) => {
                let again = address::multiaddr_of(socket);
                let again = match peer {
                    Some(peer) => again.with(Protocol::P2p(peer)),
                    None => again,
                };
                assert_eq!(again, given, "lost something");
            }
            (Host::Name(..), Err(_)) => {}
            // The zone is the name of an interface, or its index.
            (Host::Ip6Zone(ip, _), Ok((socket, _))) => assert_eq!(socket.ip(), ip),
            (Host::Ip6Zone(..), Err(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The bytes that a peer presents as its raw public key.
pub fn raw_key(data: &[u8]) {
    if raw::decode(data).is_some() {
        let (_, key) = data.split_last_chunk().expect("44 bytes");
        assert_eq!(raw::encode(key), data, "lost something");
    }
}

/// The bytes that a peer presents as its certificate.
pub fn certificate(data: &[u8]) {
    let _ = verifier::libp2p(&CertificateDer::from(data), None, &Known::default());
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;
    use proptest::prelude::*;

    #[test]
    fn what_is_well_formed_passes() {
        super::socket_addr(b"/ip6/::1/udp/4001/quic-v1");
        super::socket_addr(b"/dns/example.org/udp/4001/quic-v1");
        let keypair = Keypair::generate_ed25519();
        let key = keypair.public().try_into_ed25519().unwrap();
        super::raw_key(&crate::raw::encode(&key.to_bytes()));
        let (certificate, _) = libp2p_tls::certificate::generate(&keypair).unwrap();
        super::certificate(&certificate);
    }

    proptest! {
        #[test]
        fn a_certificate_with_a_byte_changed_is_read_to_the_end(at in 0..400usize, to: u8) {
            let keypair = Keypair::generate_ed25519();
            let (certificate, _) = libp2p_tls::certificate::generate(&keypair).unwrap();
            let mut bytes = certificate.to_vec();
            let at = at % bytes.len();
            bytes[at] = to;
            super::certificate(&bytes);
        }

        #[test]
        fn any_bytes_do(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            super::socket_addr(&bytes);
            super::raw_key(&bytes);
            super::certificate(&bytes);
        }
    }
}
