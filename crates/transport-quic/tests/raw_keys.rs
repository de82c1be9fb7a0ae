//! The flavour with raw public keys (RFC 7250), with itself and with plain quinn and rustls
//! set up as iroh sets them up.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Node, ask, foreign::Face, id, localhost, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport_quic::{
    AcceptError, BindError, CertificateError, Config, DialError, Endpoint, Flavour, Keypair,
};

const ALPN: &[u8] = b"/iroh-gossip/1";

fn raw(alpn: &[&[u8]]) -> Config {
    Config::default().with_flavour(Flavour::RawPublicKey {
        alpn: alpn.iter().map(|name| name.to_vec()).collect(),
    })
}

#[tokio::test]
async fn two_endpoints_authenticate_each_other_and_settle_on_a_protocol() {
    let (dialer, listener) = (
        Node::new(raw(&[b"/other/1", ALPN])),
        Node::new(raw(&[ALPN])),
    );
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, Some(listener.id()))).await;
    let dialed = dialed.unwrap();
    let accepted = within(accepted).await.unwrap();
    assert_eq!(accepted.peer(), dialer.id());
    assert_eq!(dialed.peer(), listener.id());
    assert_eq!(dialed.alpn().unwrap(), ALPN);
    assert_eq!(accepted.alpn().unwrap(), ALPN);
    tokio::spawn(common::echo_streams(accepted));
    assert_eq!(within(ask(&dialed, b"raw")).await.unwrap(), b"raw");
}

#[tokio::test]
async fn unidirectional_streams_pass() {
    let (dialer, listener) = (Node::new(raw(&[ALPN])), Node::new(raw(&[ALPN])));
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let dialed = dialed.unwrap();
    let accepted = within(accepted).await.unwrap();
    let mut sender = within(dialed.open_uni()).await.unwrap();
    sender.write_all(b"topic").await.unwrap();
    sender.shutdown().await.unwrap();
    let mut receiver = within(accepted.accept_uni()).await.unwrap();
    let mut heard = Vec::new();
    within(receiver.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"topic");
}

#[tokio::test]
async fn plain_quinn_with_raw_keys_dials_and_is_dialed() {
    let node = Node::new(raw(&[ALPN]));
    let foreign = Keypair::generate_ed25519();
    let face = Face::raw(&foreign, ALPN);

    let accepted = node.accept_one();
    let (_endpoint, connection) = face.dial(node.address).await;
    let connection = connection.unwrap();
    assert_eq!(within(accepted).await.unwrap().peer(), id(&foreign));
    let shown = connection.peer_identity().unwrap();
    let shown = shown
        .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
        .unwrap();
    let key = node.keypair.public().try_into_ed25519().unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0].len(), 44);
    assert!(shown[0].ends_with(&key.to_bytes()));

    let listener = face.endpoint();
    let address = listener.local_addr().unwrap();
    let accepted = tokio::spawn(async move { listener.accept().await.unwrap().await });
    let dialed = within(node.endpoint.dial(address, Some(id(&foreign)))).await;
    assert_eq!(dialed.unwrap().peer(), id(&foreign));
    within(accepted).await.unwrap().unwrap();
}

#[tokio::test]
async fn another_key_than_expected_is_refused_in_the_handshake() {
    let (dialer, listener) = (Node::new(raw(&[ALPN])), Node::new(raw(&[ALPN])));
    let _echo = listener.echo();
    let wanted = id(&Keypair::generate_ed25519());
    let failed = within(dialer.endpoint.dial(listener.address, Some(wanted))).await;
    match failed.unwrap_err() {
        DialError::WrongPeer {
            expected, found, ..
        } => assert_eq!((*expected, *found), (wanted, listener.id())),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_key_without_its_private_half_is_not_believed() {
    let node = Node::new(raw(&[ALPN]));
    let mut face = Face::raw(&Keypair::generate_ed25519(), ALPN);
    face.key = Face::raw(&Keypair::generate_ed25519(), ALPN).key;
    let (accepted, _foreign) = tokio::join!(
        async {
            let incoming = within(node.endpoint.accept()).await.unwrap();
            within(incoming.accept()).await
        },
        face.dial(node.address)
    );
    assert!(matches!(accepted, Err(AcceptError::Handshake { .. })));
}

#[tokio::test]
async fn what_is_not_an_ed25519_key_is_not_believed() {
    let node = Node::new(raw(&[ALPN]));
    let good = Face::raw(&Keypair::generate_ed25519(), ALPN);
    let mut longer = good.chain[0].to_vec();
    longer.push(0);
    for chain in [vec![longer.into()], vec![b"\x30\x00".to_vec().into()]] {
        let mut face = good.clone();
        face.chain = chain;
        let (accepted, _foreign) = tokio::join!(
            async {
                let incoming = within(node.endpoint.accept()).await.unwrap();
                within(incoming.accept()).await
            },
            face.dial(node.address)
        );
        match accepted {
            Err(AcceptError::Authentication {
                source: CertificateError::RawKey { .. },
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_dialer_without_a_key_is_refused() {
    let node = Node::new(raw(&[ALPN]));
    let mut face = Face::raw(&Keypair::generate_ed25519(), ALPN);
    face.anonymous = true;
    let (accepted, _foreign) = tokio::join!(
        async {
            let incoming = within(node.endpoint.accept()).await.unwrap();
            within(incoming.accept()).await
        },
        face.dial(node.address)
    );
    assert!(accepted.is_err(), "{accepted:?}");
}

#[tokio::test]
async fn the_two_flavours_refuse_each_other() {
    // The same protocol name, so that nothing but the kind of certificate differs.
    let raw = Node::new(raw(&[b"libp2p"]));
    let x509 = Node::new(Config::default());
    for (from, to) in [(&raw, &x509), (&x509, &raw)] {
        let (accepted, dialed) = tokio::join!(
            async {
                let incoming = within(to.endpoint.accept()).await.unwrap();
                within(incoming.accept()).await
            },
            within(from.endpoint.dial(to.address, None))
        );
        assert!(accepted.is_err());
        assert!(dialed.is_err());
    }
}

#[tokio::test]
async fn an_unknown_protocol_is_refused() {
    let (dialer, listener) = (Node::new(raw(&[b"/a/1"])), Node::new(raw(&[b"/b/1"])));
    let _echo = listener.echo();
    let failed = within(dialer.endpoint.dial(listener.address, None)).await;
    assert!(matches!(failed, Err(DialError::Handshake { .. })));
}

#[tokio::test]
async fn another_kind_of_identity_or_no_protocol_is_an_error_at_the_start() {
    let secp = Keypair::generate_secp256k1();
    let failed = Endpoint::bind(localhost(), &secp, raw(&[ALPN])).unwrap_err();
    assert!(matches!(failed, BindError::KeyType { .. }), "{failed}");
    let keypair = Keypair::generate_ed25519();
    let failed = Endpoint::bind(localhost(), &keypair, raw(&[])).unwrap_err();
    assert!(matches!(failed, BindError::Setting { .. }), "{failed}");
}
