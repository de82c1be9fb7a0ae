//! Noise: payloads that lie, frames that are too long, data that was tampered with.

use prost::Message;
use snow::{Builder, HandshakeState, TransportState};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};
use transport_tcp::{CloseReason, Connection, Keypair, NoiseError, Security, UpgradeError};

use crate::support::{Node, PATIENCE, agree, pipe, propose};

#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    identity_sig: Option<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    extensions: Option<Extensions>,
}

#[derive(Clone, PartialEq, Message)]
struct Extensions {
    #[prost(string, repeated, tag = "2")]
    stream_muxers: Vec<String>,
}

fn builder() -> Builder<'static> {
    Builder::new("Noise_XX_25519_ChaChaPoly_SHA256".parse().unwrap())
}

fn honest(identity: &Keypair, static_key: &[u8]) -> Payload {
    let signed = [b"noise-libp2p-static-key:", static_key].concat();
    Payload {
        identity_key: Some(identity.public().encode_protobuf()),
        identity_sig: Some(identity.sign(&signed).unwrap()),
        extensions: Some(Extensions {
            stream_muxers: vec!["/yamux/1.0.0".into()],
        }),
    }
}

async fn send(io: &mut DuplexStream, message: &[u8]) {
    // The victim may have hung up.
    let _ = io.write_u16(message.len() as u16).await;
    let _ = io.write_all(message).await;
}

async fn receive(io: &mut DuplexStream) -> Vec<u8> {
    let length = io.read_u16().await.unwrap();
    let mut message = vec![0; length.into()];
    io.read_exact(&mut message).await.unwrap();
    message
}

/// The handshake as an initiator whose payload is what `payload` makes of its static key.
async fn initiate(io: &mut DuplexStream, payload: impl FnOnce(&[u8]) -> Vec<u8>) -> HandshakeState {
    propose(io, "/noise").await;
    let key = builder().generate_keypair().unwrap();
    let mut state = builder()
        .local_private_key(&key.private)
        .unwrap()
        .build_initiator()
        .unwrap();
    let mut buffer = vec![0; 65535];
    let n = state.write_message(&[], &mut buffer).unwrap();
    send(io, &buffer[..n]).await;
    let answer = receive(io).await;
    state.read_message(&answer, &mut buffer).unwrap();
    let n = state
        .write_message(&payload(&key.public), &mut buffer)
        .unwrap();
    send(io, &buffer[..n]).await;
    state
}

async fn refused(payload: impl FnOnce(&[u8]) -> Vec<u8>) -> NoiseError {
    let victim = Node::over(Security::Noise);
    let (mut near, far) = pipe();
    let (result, _) = tokio::join!(victim.inbound(far), initiate(&mut near, payload));
    match result.unwrap_err() {
        UpgradeError::Noise(error) => error,
        other => panic!("{other}"),
    }
}

async fn attacked(victim: &Node) -> (DuplexStream, TransportState, Connection) {
    let (mut near, far) = pipe();
    let identity = Keypair::generate_ed25519();
    let payload = |key: &[u8]| honest(&identity, key).encode_to_vec();
    let (connection, state) = tokio::join!(victim.inbound(far), initiate(&mut near, payload));
    let connection = connection.unwrap();
    assert_eq!(connection.peer(), identity.public().to_peer_id());
    (near, state.into_transport_mode().unwrap(), connection)
}

#[tokio::test]
async fn an_identity_signature_that_does_not_hold_is_refused() {
    let identity = Keypair::generate_ed25519();
    let error = refused(|key| {
        let mut payload = honest(&identity, key);
        payload.identity_sig.as_mut().unwrap()[0] ^= 1;
        payload.encode_to_vec()
    });
    assert!(matches!(error.await, NoiseError::BadSignature));
}

#[tokio::test]
async fn an_identity_that_signed_another_static_key_is_refused() {
    let victim = Keypair::generate_ed25519();
    let error = refused(|_| honest(&victim, &[7; 32]).encode_to_vec());
    assert!(matches!(error.await, NoiseError::BadSignature));
}

#[tokio::test]
async fn a_payload_that_was_good_before_is_refused_with_another_static_key() {
    let victim = Node::over(Security::Noise);
    let owner = Keypair::generate_ed25519();
    let mut seen = Vec::new();
    let (mut near, far) = pipe();
    let payload = |key: &[u8]| {
        seen = honest(&owner, key).encode_to_vec();
        seen.clone()
    };
    let (connection, _) = tokio::join!(victim.inbound(far), initiate(&mut near, payload));
    assert_eq!(connection.unwrap().peer(), owner.public().to_peer_id());
    let (mut near, far) = pipe();
    let replay = |_: &[u8]| seen;
    let (result, _) = tokio::join!(victim.inbound(far), initiate(&mut near, replay));
    let refused = matches!(result, Err(UpgradeError::Noise(NoiseError::BadSignature)));
    assert!(refused, "a replayed proof was believed");
}

#[tokio::test]
async fn a_payload_with_the_key_of_another_is_refused() {
    let (attacker, victim) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let error = refused(|key| {
        let mut payload = honest(&attacker, key);
        payload.identity_key = Some(victim.public().encode_protobuf());
        payload.encode_to_vec()
    });
    assert!(matches!(error.await, NoiseError::BadSignature));
}

#[tokio::test]
async fn a_signature_without_the_domain_prefix_is_refused() {
    let identity = Keypair::generate_ed25519();
    let error = refused(|key| {
        let mut payload = honest(&identity, key);
        payload.identity_sig = Some(identity.sign(key).unwrap());
        payload.encode_to_vec()
    });
    assert!(matches!(error.await, NoiseError::BadSignature));
}

#[tokio::test]
async fn a_payload_with_a_part_missing_is_refused() {
    let identity = Keypair::generate_ed25519();
    let error = refused(|key| {
        let payload = Payload {
            identity_key: None,
            ..honest(&identity, key)
        };
        payload.encode_to_vec()
    });
    assert!(matches!(error.await, NoiseError::BadIdentity));
    let error = refused(|key| {
        let payload = Payload {
            identity_sig: None,
            ..honest(&identity, key)
        };
        payload.encode_to_vec()
    });
    assert!(matches!(error.await, NoiseError::BadSignature));
    assert!(matches!(refused(|_| vec![]).await, NoiseError::BadIdentity));
    let garbage = refused(|_| vec![0xff; 100]).await;
    assert!(matches!(garbage, NoiseError::Payload(_)), "{garbage}");
}

#[tokio::test]
async fn a_peer_whose_muxers_do_not_include_ours_is_refused() {
    let identity = Keypair::generate_ed25519();
    let error = refused(|key| {
        let mut payload = honest(&identity, key);
        payload.extensions.as_mut().unwrap().stream_muxers = vec!["/mplex/6.7.0".into()];
        payload.encode_to_vec()
    });
    assert!(matches!(error.await, NoiseError::NoMuxer));
}

#[tokio::test]
async fn another_peer_than_the_expected_is_refused_before_we_show_who_we_are() {
    let victim = Node::over(Security::Noise);
    let expected = Keypair::generate_ed25519().public().to_peer_id();
    let impostor = Keypair::generate_ed25519();
    let (mut near, far) = pipe();
    let respond = async {
        agree(&mut near, "/noise").await;
        let key = builder().generate_keypair().unwrap();
        let builder = builder().local_private_key(&key.private).unwrap();
        let mut state = builder.build_responder().unwrap();
        let mut buffer = vec![0; 65535];
        state
            .read_message(&receive(&mut near).await, &mut buffer)
            .unwrap();
        let payload = honest(&impostor, &key.public).encode_to_vec();
        let n = state.write_message(&payload, &mut buffer).unwrap();
        send(&mut near, &buffer[..n]).await;
        let mut more = Vec::new();
        near.read_to_end(&mut more).await.unwrap();
        more
    };
    let (result, more) = tokio::join!(victim.outbound(far, Some(expected)), respond);
    match result.unwrap_err() {
        UpgradeError::WrongPeer {
            expected: wanted,
            found,
        } => {
            assert_eq!(*wanted, expected);
            assert_eq!(*found, impostor.public().to_peer_id());
        }
        other => panic!("{other}"),
    }
    assert!(more.is_empty(), "the third message was sent to an impostor");
}

#[tokio::test]
async fn the_peer_is_compared_before_its_signature_is_verified() {
    let victim = Node::over(Security::Noise);
    let expected = Keypair::generate_ed25519().public().to_peer_id();
    let impostor = Keypair::generate_ed25519();
    let (mut near, far) = pipe();
    let respond = async {
        agree(&mut near, "/noise").await;
        let key = builder().generate_keypair().unwrap();
        let builder = builder().local_private_key(&key.private).unwrap();
        let mut state = builder.build_responder().unwrap();
        let mut buffer = vec![0; 65535];
        state
            .read_message(&receive(&mut near).await, &mut buffer)
            .unwrap();
        let mut payload = honest(&impostor, &key.public);
        payload.identity_sig = Some(vec![0; 64]);
        let payload = payload.encode_to_vec();
        let n = state.write_message(&payload, &mut buffer).unwrap();
        send(&mut near, &buffer[..n]).await;
        near
    };
    let (result, _near) = tokio::join!(victim.outbound(far, Some(expected)), respond);
    // A verification would have found that the signature is wrong.
    let error = result.unwrap_err();
    assert!(matches!(error, UpgradeError::WrongPeer { .. }), "{error}");
}

#[tokio::test]
async fn an_oversized_handshake_message_is_refused_unread() {
    for length in [8 * 1024 + 1, 65535] {
        let victim = Node::over(Security::Noise);
        let (mut near, far) = pipe();
        let attack = async {
            propose(&mut near, "/noise").await;
            near.write_u16(length).await.unwrap();
        };
        let (result, ()) = tokio::join!(victim.inbound(far), attack);
        let error = result.unwrap_err();
        let expected = format!(
            "the Noise handshake failed: handshake message of {length} bytes, over the limit of 8192"
        );
        assert_eq!(crate::support::chain(&error), expected);
    }
}

#[tokio::test]
async fn a_handshake_message_too_short_for_its_keys_is_refused() {
    for length in [0_u8, 1, 31] {
        let victim = Node::over(Security::Noise);
        let (mut near, far) = pipe();
        let attack = async {
            propose(&mut near, "/noise").await;
            send(&mut near, &vec![0; length.into()]).await;
        };
        let (result, ()) = tokio::join!(victim.inbound(far), attack);
        assert!(
            matches!(result, Err(UpgradeError::Noise(_))),
            "{length} bytes"
        );
    }
}

/// A yamux frame that opens stream 1.
const OPEN: [u8; 12] = [0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0];

fn sealed(state: &mut TransportState, text: &[u8]) -> Vec<u8> {
    let mut message = vec![0; text.len() + 16];
    state.write_message(text, &mut message).unwrap();
    message
}

#[tokio::test]
async fn genuine_data_is_taken() {
    let (mut near, mut state, connection) = attacked(&Node::over(Security::Noise)).await;
    send(&mut near, &sealed(&mut state, &[])).await;
    send(&mut near, &sealed(&mut state, &OPEN)).await;
    let accepted = timeout(PATIENCE, connection.accept()).await.unwrap();
    assert_eq!(accepted.unwrap().id(), 1);
}

#[tokio::test]
async fn tampered_data_ends_the_connection_and_what_follows_counts_for_nothing() {
    let (mut near, mut state, connection) = attacked(&Node::over(Security::Noise)).await;
    let genuine = sealed(&mut state, &OPEN);
    let mut forged = genuine.clone();
    forged[3] ^= 1;
    // Were the forged one passed over without counting it, the genuine one would open.
    send(&mut near, &forged).await;
    send(&mut near, &genuine).await;
    let reason = timeout(PATIENCE, connection.closed())
        .await
        .expect("it ends");
    assert!(matches!(reason, CloseReason::Failed(_)), "{reason}");
    assert!(
        connection.accept().await.is_none(),
        "the stream was opened all the same"
    );
}

#[tokio::test]
async fn a_message_shorter_than_its_tag_ends_the_connection() {
    for length in [0, 1, 15] {
        let (mut near, _, connection) = attacked(&Node::over(Security::Noise)).await;
        send(&mut near, &vec![0; length]).await;
        let reason = timeout(PATIENCE, connection.closed())
            .await
            .expect("it ends");
        assert!(
            matches!(reason, CloseReason::Failed(_)),
            "{length} bytes: {reason}"
        );
    }
}

#[tokio::test]
async fn a_stream_cut_off_within_a_message_is_an_error_and_not_an_end() {
    let (mut near, mut state, connection) = attacked(&Node::over(Security::Noise)).await;
    let message = sealed(&mut state, &OPEN);
    near.write_u16(message.len() as u16).await.unwrap();
    near.write_all(&message[..5]).await.unwrap();
    drop(near);
    let reason = timeout(PATIENCE, connection.closed())
        .await
        .expect("it ends");
    assert!(matches!(reason, CloseReason::Failed(_)), "{reason}");
}

#[tokio::test]
async fn every_handshake_of_an_identity_shows_the_one_static_key_that_was_made_for_it() {
    let victim = Node::over(Security::Noise);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let (mut near, far) = pipe();
        let identity = Keypair::generate_ed25519();
        let payload = |key: &[u8]| honest(&identity, key).encode_to_vec();
        let (accepted, state) = tokio::join!(victim.inbound(far), initiate(&mut near, payload));
        accepted.unwrap();
        seen.insert(state.get_remote_static().unwrap().to_vec());
    }
    assert_eq!(seen.len(), 1);
}
