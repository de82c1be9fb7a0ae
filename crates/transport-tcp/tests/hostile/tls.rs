//! TLS: certificates that no honest peer presents.

use std::time::{Duration, SystemTime};

use rcgen::{CustomExtension, date_time_ymd};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;
use transport_tcp::{Keypair, PeerId, Security, UpgradeError};

use crate::{
    forge::{Forge, der, huge_rsa, signed_key},
    support::{
        Node, PATIENCE, Presented, agree, certificate_of, client_config, pipe, propose,
        server_config, tls_connect,
    },
};

/// How much work the listener may do for one refusal. Client and listener share a thread; a busy machine does not add to it.
const MAX_WORK: Duration = Duration::from_secs(2);

/// The processor time of this thread.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// What a listener makes of a client that presents this.
async fn refused(presented: Option<Presented>) -> String {
    let victim = Node::over(Security::Tls);
    let (mut near, far) = pipe();
    let attack = async {
        propose(&mut near, "/tls/1.0.0").await;
        let config = client_config(presented, &["/yamux/1.0.0", "libp2p"]);
        // TLS 1.3: the client is done before the server has judged it.
        if let Ok(mut stream) = tls_connect(config, near).await {
            let _ = stream.read(&mut [0]).await;
        }
    };
    let attacked = timeout(PATIENCE, async {
        tokio::join!(victim.inbound(far), attack)
    });
    // The paused clock moves only if the refusal waits for a deadline.
    tokio::time::pause();
    let (begun, work) = (Instant::now(), worked());
    let error = attacked.await.expect("it ends").0.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::ZERO, "refusing waited");
    assert!(worked() - work < MAX_WORK, "refusing took long");
    tokio::time::resume();
    assert!(matches!(error, UpgradeError::Tls(_)), "{error}");
    crate::support::chain(&error)
}

#[tokio::test]
async fn a_forged_certificate_without_a_flaw_is_taken() {
    let victim = Node::over(Security::Tls);
    let (mut near, far) = pipe();
    let identity = Keypair::generate_ed25519();
    let presented = Forge::honest(&identity).presented();
    let attack = async {
        propose(&mut near, "/tls/1.0.0").await;
        tls_connect(client_config(Some(presented), &["/yamux/1.0.0"]), near)
            .await
            .unwrap()
    };
    let (connection, _stream) = tokio::join!(victim.inbound(far), attack);
    assert_eq!(connection.unwrap().peer(), identity.public().to_peer_id());
}

#[tokio::test]
async fn a_certificate_without_the_extension_is_refused() {
    refused(Some(Forge::new().presented())).await;
}

#[tokio::test]
async fn a_certificate_with_the_extension_twice_is_refused() {
    let identity = Keypair::generate_ed25519();
    let forge = Forge::honest(&identity);
    let again = forge.signed_key(&identity, &identity);
    refused(Some(forge.extended(again).presented())).await;
}

#[tokio::test]
async fn an_extension_that_is_no_signed_key_is_refused() {
    let identity = Keypair::generate_ed25519();
    let key = identity.public().encode_protobuf();
    for content in [
        vec![],
        vec![0xff; 40],
        der(0x30, &der(4, &key)),
        signed_key(&[], &[]),
        signed_key(b"no key", &[0; 64]),
        signed_key(&key, &[]),
    ] {
        refused(Some(Forge::new().extended(content).presented())).await;
    }
}

#[tokio::test]
async fn an_extension_signed_by_another_key_is_refused() {
    let (victim, attacker) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let forge = Forge::new();
    let content = forge.signed_key(&victim, &attacker);
    refused(Some(forge.extended(content).presented())).await;
}

#[tokio::test]
async fn an_extension_lifted_from_another_certificate_is_refused() {
    let victim = Keypair::generate_ed25519();
    let lifted = Forge::new().signed_key(&victim, &victim);
    refused(Some(Forge::new().extended(lifted).presented())).await;
}

/// Connects with this certificate, as an honest client would.
async fn presents(victim: &Node, presented: Presented) -> Result<PeerId, UpgradeError> {
    let (mut near, far) = pipe();
    let client = async {
        propose(&mut near, "/tls/1.0.0").await;
        tls_connect(client_config(Some(presented), &["/yamux/1.0.0"]), near).await
    };
    let (result, _client) = tokio::join!(victim.inbound(far), client);
    result.map(|connection| connection.peer())
}

#[tokio::test]
async fn a_certificate_whose_key_the_peer_does_not_hold_is_refused() {
    let owner = Keypair::generate_ed25519();
    let (stolen, key) = Forge::honest(&owner).finish();
    let thief = || Presented::new(vec![stolen.clone()], Forge::new().private());
    refused(Some(thief())).await;
    // Nor is it believed once its owner has been here.
    let victim = Node::over(Security::Tls);
    let presented = Presented::new(vec![stolen.clone()], key);
    let seen = presents(&victim, presented).await.unwrap();
    assert_eq!(seen, owner.public().to_peer_id());
    let error = presents(&victim, thief()).await.unwrap_err();
    assert!(matches!(error, UpgradeError::Tls(_)), "{error}");
}

#[tokio::test]
async fn a_certificate_that_was_good_before_is_refused_once_it_has_expired() {
    let victim = Node::over(Security::Tls);
    let mut forge = Forge::honest(&Keypair::generate_ed25519());
    forge.params.not_after = (SystemTime::now() + Duration::from_secs(3)).into();
    let (certificate, key) = forge.finish();
    let presented = || Presented::new(vec![certificate.clone()], key.clone_key());
    presents(&victim, presented()).await.unwrap();
    let expired = async { while presents(&victim, presented()).await.is_ok() {} };
    timeout(PATIENCE, expired)
        .await
        .expect("it is refused some time");
}

#[tokio::test]
async fn a_certificate_that_is_not_self_signed_is_refused() {
    let forge = Forge::honest(&Keypair::generate_ed25519());
    let issuer = Forge::new();
    let authority = issuer.params.self_signed(&issuer.key).unwrap();
    let params = forge.params.clone();
    let certificate = params
        .signed_by(&forge.key, &authority, &issuer.key)
        .unwrap();
    let presented = Presented::new(vec![certificate.into()], forge.private());
    refused(Some(presented)).await;
}

#[tokio::test]
async fn two_certificates_are_refused() {
    let (certificate, key) = Forge::honest(&Keypair::generate_ed25519()).finish();
    let presented = Presented::new(vec![certificate.clone(), certificate], key);
    let error = refused(Some(presented)).await;
    assert!(error.contains("expected one certificate, got 2"), "{error}");
}

#[tokio::test]
async fn no_certificate_is_refused() {
    refused(None).await;
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    for (from, to) in [(1999, 2001), (2150, 2160)] {
        let mut forge = Forge::honest(&Keypair::generate_ed25519());
        forge.params.not_before = date_time_ymd(from, 1, 1);
        forge.params.not_after = date_time_ymd(to, 1, 1);
        refused(Some(forge.presented())).await;
    }
}

#[tokio::test]
async fn an_unknown_critical_extension_is_refused_and_an_uncritical_one_is_not() {
    let unknown = |critical| {
        let mut forge = Forge::honest(&Keypair::generate_ed25519());
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(critical);
        forge.params.custom_extensions.push(extension);
        forge.presented()
    };
    refused(Some(unknown(true))).await;
    let victim = Node::over(Security::Tls);
    let (mut near, far) = pipe();
    let attack = async {
        propose(&mut near, "/tls/1.0.0").await;
        tls_connect(client_config(Some(unknown(false)), &["/yamux/1.0.0"]), near)
            .await
            .unwrap()
    };
    tokio::join!(victim.inbound(far), attack).0.unwrap();
}

#[tokio::test]
async fn an_rsa_certificate_of_16384_bits_is_refused() {
    let sha256_rsa = der(
        0x30,
        &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11, 5, 0],
    );
    let time = |text: &[u8]| der(0x18, text);
    let identity = Keypair::generate_ed25519();
    let signed = [&b"libp2p-tls-handshake:"[..], &huge_rsa()].concat();
    let content = signed_key(
        &identity.public().encode_protobuf(),
        &identity.sign(&signed).unwrap(),
    );
    let oid = [6, 10, 0x2b, 6, 1, 4, 1, 0x83, 0xa2, 0x5a, 1, 1];
    let extension = der(0x30, &[oid.to_vec(), der(4, &content)].concat());
    let body = [
        der(0xa0, &der(2, &[2])),
        der(2, &[1]),
        sha256_rsa.clone(),
        der(0x30, &[]),
        der(
            0x30,
            &[time(b"20000101000000Z"), time(b"40960101000000Z")].concat(),
        ),
        der(0x30, &[]),
        huge_rsa(),
        der(0xa3, &der(0x30, &extension)),
    ];
    let body = der(0x30, &body.concat());
    let signature = der(3, &[vec![0], vec![0x42; 2048]].concat());
    let certificate = der(0x30, &[body, sha256_rsa, signature].concat());
    let presented = Presented::new(vec![certificate.into()], Forge::new().private());
    let error = refused(Some(presented)).await;
    assert!(
        !error.contains("BadEncoding"),
        "it was not even read: {error}"
    );
}

#[tokio::test]
async fn an_rsa_identity_of_16384_bits_is_refused() {
    // protobuf: type RSA, then the key
    let length = huge_rsa().len();
    let varint = [(length & 127) as u8 | 128, (length >> 7) as u8];
    let key = [&[8, 0, 0x12][..], &varint, &huge_rsa()].concat();
    let forge = Forge::new().extended(signed_key(&key, &[0x42; 2048]));
    refused(Some(forge.presented())).await;
}

#[tokio::test]
async fn an_honest_rsa_or_ecdsa_or_secp256k1_identity_is_taken() {
    let identities = [Keypair::generate_ecdsa(), Keypair::generate_secp256k1()];
    for identity in identities {
        let victim = Node::over(Security::Tls);
        let (mut near, far) = pipe();
        let attack = async {
            propose(&mut near, "/tls/1.0.0").await;
            let config = client_config(Some(certificate_of(&identity)), &["libp2p"]);
            let mut stream = tls_connect(config, near).await.unwrap();
            propose(&mut stream, "/yamux/1.0.0").await;
            stream
        };
        let (connection, _stream) = tokio::join!(victim.inbound(far), attack);
        assert_eq!(connection.unwrap().peer(), identity.public().to_peer_id());
    }
}

#[tokio::test]
async fn a_tls_1_2_client_is_refused() {
    let suites = [0xc0, 0x2b, 0xc0, 0x2f, 0xcc, 0xa9];
    let groups = [0, 10, 0, 4, 0, 2, 0, 29];
    let algorithms = [0, 13, 0, 6, 0, 4, 4, 3, 8, 4];
    let extensions = [&groups[..], &algorithms].concat();
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend([0, suites.len() as u8]);
    hello.extend(suites);
    hello.extend([1, 0]);
    hello.extend([0, extensions.len() as u8]);
    hello.extend(extensions);
    let message = [vec![1, 0, 0, hello.len() as u8], hello].concat();
    let record = [vec![22, 3, 1, 0, message.len() as u8], message].concat();

    let victim = Node::over(Security::Tls);
    let (mut near, far) = pipe();
    let attack = async {
        propose(&mut near, "/tls/1.0.0").await;
        near.write_all(&record).await.unwrap();
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (result, answer) = tokio::join!(victim.inbound(far), attack);
    let error = result.unwrap_err();
    assert!(
        crate::support::chain(&error).contains("peer is incompatible"),
        "{error}"
    );
    // A fatal alert: protocol version.
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70]);
}

#[tokio::test]
async fn another_server_than_the_expected_is_refused_inside_the_handshake() {
    let victim = Node::over(Security::Tls);
    let expected = Keypair::generate_ed25519().public().to_peer_id();
    let impostor = Keypair::generate_ed25519();
    let (mut near, far) = pipe();
    let respond = async {
        agree(&mut near, "/tls/1.0.0").await;
        let config = server_config(certificate_of(&impostor), &["/yamux/1.0.0"]);
        TlsAcceptor::from(std::sync::Arc::new(config))
            .accept(near)
            .await
            .map(drop)
    };
    let (result, served) = tokio::join!(victim.outbound(far, Some(expected)), respond);
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
    assert!(served.is_err(), "the impostor was served");
}

#[tokio::test]
async fn the_peer_is_compared_before_its_signature_is_verified() {
    let victim = Node::over(Security::Tls);
    let expected = Keypair::generate_ed25519().public().to_peer_id();
    let (impostor, other) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let forge = Forge::new();
    let content = forge.signed_key(&impostor, &other);
    let presented = forge.extended(content).presented();
    let (mut near, far) = pipe();
    let respond = async {
        agree(&mut near, "/tls/1.0.0").await;
        let config = server_config(presented, &["/yamux/1.0.0"]);
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        let _ = acceptor.accept(near).await;
    };
    let (result, ()) = tokio::join!(victim.outbound(far, Some(expected)), respond);
    // A verification would have found that the signature is wrong.
    let error = result.unwrap_err();
    assert!(matches!(error, UpgradeError::WrongPeer { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_wants_no_certificate_gets_a_connection_only_if_it_is_the_expected_peer() {
    let victim = Node::over(Security::Tls);
    let identity = Keypair::generate_ed25519();
    let (mut near, far) = pipe();
    let respond = async {
        agree(&mut near, "/tls/1.0.0").await;
        let config = server_config(certificate_of(&identity), &["/yamux/1.0.0"]);
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        acceptor.accept(near).await.unwrap()
    };
    let expected = identity.public().to_peer_id();
    let (result, _stream) = tokio::join!(victim.outbound(far, Some(expected)), respond);
    assert_eq!(result.unwrap().peer(), expected);
}

#[tokio::test]
async fn every_handshake_of_an_identity_shows_the_one_certificate_that_was_made_for_it() {
    let victim = Node::over(Security::Tls);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let (mut near, far) = pipe();
        let attack = async {
            propose(&mut near, "/tls/1.0.0").await;
            let own = certificate_of(&Keypair::generate_ed25519());
            let config = client_config(Some(own), &["/yamux/1.0.0"]);
            tls_connect(config, near).await.unwrap()
        };
        let (stream, accepted) = tokio::join!(attack, victim.inbound(far));
        accepted.unwrap();
        seen.insert(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec());
    }
    assert_eq!(seen.len(), 1);
}
