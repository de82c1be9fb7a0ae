//! Round trips over every combination, and what the stages report.

use std::{sync::Mutex, time::Duration};

use libp2p_identity::Keypair;
use snow::Builder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::{TcpListener, TcpStream},
};
use transport_tcp::{Connection, Security, Stage, UpgradeConfig, UpgradeSetupError, Upgrader};

use crate::support::{
    Node, agree, certificate_of, client_config, connected, pipe, propose, server_config,
    tls_connect,
};

/// Echoes 1 MiB both ways at once on one stream that `from` opens.
async fn round_trip(from: &Connection, to: &Connection) {
    let sent: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let talk = async {
        let (mut read, mut write) = tokio::io::split(from.open().await.unwrap());
        let say = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let (_, n) = tokio::join!(say, read.read_to_end(&mut heard));
        n.unwrap();
        heard
    };
    let echo = async {
        let (mut read, mut write) = tokio::io::split(to.accept().await.unwrap());
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let (heard, ()) = tokio::join!(talk, echo);
    assert!(heard == sent, "{} bytes came back, or others", heard.len());
}

#[tokio::test]
async fn bytes_go_both_ways_over_tls_and_noise_whoever_opens() {
    for (security, via) in [
        (Security::Tls, "tcp/tls/yamux"),
        (Security::Noise, "tcp/noise/yamux"),
    ] {
        let config = || UpgradeConfig::default().with_security([security]);
        let (dialed, accepted) = connected(config).await;
        assert_eq!((dialed.via(), accepted.via()), (via, via));
        assert_eq!(dialed.security(), security);
        assert_eq!(dialed.muxer(), "/yamux/1.0.0");
        round_trip(&dialed, &accepted).await;
        round_trip(&accepted, &dialed).await;
    }
}

#[tokio::test]
async fn bytes_go_both_ways_through_a_pipe_of_a_few_bytes() {
    for security in [Security::Tls, Security::Noise] {
        let (dialer, listener) = (Node::over(security), Node::over(security));
        // It must hold a negotiation's two messages: both ends write before they read.
        let (near, far) = duplex(41);
        let (dialed, accepted) = tokio::join!(dialer.outbound(near, None), listener.inbound(far));
        round_trip(&dialed.unwrap(), &accepted.unwrap()).await;
    }
}

#[tokio::test]
async fn bytes_go_both_ways_over_a_socket_and_many_streams_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for security in [Security::Tls, Security::Noise] {
        let (one, two) = (Node::over(security), Node::over(security));
        let dial = async {
            one.outbound(TcpStream::connect(address).await.unwrap(), None)
                .await
        };
        let accept = async { two.inbound(listener.accept().await.unwrap().0).await };
        let (dialed, accepted) = tokio::join!(dial, accept);
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        assert_eq!((dialed.peer(), accepted.peer()), (two.id(), one.id()));
        let trips = (0..20).map(|n| match n % 2 {
            0 => round_trip(&dialed, &accepted),
            _ => round_trip(&accepted, &dialed),
        });
        futures::future::join_all(trips).await;
    }
}

#[tokio::test]
async fn the_dialers_first_choice_wins() {
    let config = |order: [Security; 2]| move || UpgradeConfig::default().with_security(order);
    let (dialed, _) = connected(config([Security::Tls, Security::Noise])).await;
    assert_eq!(dialed.security(), Security::Tls);
    let (dialed, _) = connected(config([Security::Noise, Security::Tls])).await;
    assert_eq!(dialed.security(), Security::Noise);
}

#[tokio::test]
async fn the_second_choice_is_taken_where_the_first_is_refused() {
    let (dialer, listener) = (
        Node::new(UpgradeConfig::default()),
        Node::over(Security::Noise),
    );
    let (near, far) = pipe();
    let (dialed, accepted) = tokio::join!(dialer.outbound(near, None), listener.inbound(far));
    let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
    assert_eq!(dialed.security(), Security::Noise);
    round_trip(&dialed, &accepted).await;
}

#[tokio::test(start_paused = true)]
async fn stages_come_in_order_with_rising_times() {
    for security in [Security::Tls, Security::Noise] {
        let (dialer, listener) = (Node::over(security), Node::over(security));
        let (near, far) = pipe();
        let (dialed, heard) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let mut tell_dialed = |stage| dialed.lock().unwrap().push(stage);
        let mut tell_heard = |stage| heard.lock().unwrap().push(stage);
        let (one, two) = tokio::join!(
            dialer
                .upgrader
                .outbound(near, Some(listener.id()), &mut tell_dialed),
            listener.upgrader.inbound(far, &mut tell_heard),
        );
        one.unwrap();
        two.unwrap();
        for (stages, other) in [(&dialed, listener.id()), (&heard, dialer.id())] {
            let zero = Duration::ZERO;
            let expected = [
                Stage::Negotiated {
                    security,
                    elapsed: zero,
                },
                Stage::Secured {
                    peer: other,
                    security,
                    elapsed: zero,
                },
                Stage::Muxed {
                    early: true,
                    elapsed: zero,
                },
            ];
            // TLS does not pause: with a paused clock every stage takes no time at all.
            assert_eq!(*stages.lock().unwrap(), expected);
        }
    }
}

/// What the last stage said, with a victim that listens or dials; and its connection.
async fn early(
    run: impl AsyncFnOnce(&mut (dyn FnMut(Stage) + Send)) -> Connection,
) -> (bool, Connection) {
    let mut last = None;
    let connection = run(&mut |stage| last = Some(stage)).await;
    match last {
        Some(Stage::Muxed { early, .. }) => (early, connection),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tls_client_that_offers_no_muxer_negotiates_it_late() {
    for (alpn, settled) in [
        (&["/yamux/1.0.0", "libp2p"][..], true),
        (&["libp2p"], false),
        (&["/mplex/6.7.0", "libp2p"], false),
        (&[], false),
    ] {
        let victim = Node::over(Security::Tls);
        let (mut near, far) = pipe();
        let client = async {
            propose(&mut near, "/tls/1.0.0").await;
            let presented = certificate_of(&Keypair::generate_ed25519());
            let config = client_config(Some(presented), alpn);
            let mut stream = tls_connect(config, near).await.unwrap();
            if !settled {
                propose(&mut stream, "/yamux/1.0.0").await;
            }
            stream
        };
        let listen = early(async |stages| victim.upgrader.inbound(far, stages).await.unwrap());
        let ((early, _connection), _stream) = tokio::join!(listen, client);
        assert_eq!(early, settled, "with {alpn:?}");
    }
}

#[tokio::test]
async fn a_tls_server_that_knows_no_muxer_negotiates_it_late() {
    for (alpn, settled) in [
        (&["/yamux/1.0.0", "libp2p"][..], true),
        (&["libp2p"], false),
        (&[], false),
    ] {
        let victim = Node::over(Security::Tls);
        let (mut near, far) = pipe();
        let server = async {
            agree(&mut near, "/tls/1.0.0").await;
            let config = server_config(certificate_of(&Keypair::generate_ed25519()), alpn);
            let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
            let mut stream = acceptor.accept(near).await.unwrap();
            if !settled {
                agree(&mut stream, "/yamux/1.0.0").await;
                stream.flush().await.unwrap();
            }
            stream
        };
        let dial = early(async |stages| victim.upgrader.outbound(far, None, stages).await.unwrap());
        let ((early, _connection), _stream) = tokio::join!(dial, server);
        assert_eq!(early, settled, "with {alpn:?}");
    }
}

#[tokio::test]
async fn a_noise_initiator_without_the_extension_negotiates_the_muxer_late() {
    let victim = Node::over(Security::Noise);
    let (mut near, far) = pipe();
    let client = async {
        propose(&mut near, "/noise").await;
        let builder = || Builder::new("Noise_XX_25519_ChaChaPoly_SHA256".parse().unwrap());
        let key = builder().generate_keypair().unwrap();
        let mut state = builder()
            .local_private_key(&key.private)
            .unwrap()
            .build_initiator()
            .unwrap();
        let identity = Keypair::generate_ed25519();
        let public = identity.public().encode_protobuf();
        let signed = [b"noise-libp2p-static-key:", &key.public[..]].concat();
        let signature = identity.sign(&signed).unwrap();
        // protobuf by hand: fields 1 and 2, and no extensions
        let payload = [
            &[0x0a, public.len() as u8][..],
            &public,
            &[0x12, signature.len() as u8],
            &signature,
        ];
        let mut buffer = vec![0; 65535];
        for (send, payload) in [(true, vec![]), (false, vec![]), (true, payload.concat())] {
            if send {
                let n = state.write_message(&payload, &mut buffer).unwrap();
                near.write_u16(n as u16).await.unwrap();
                near.write_all(&buffer[..n]).await.unwrap();
            } else {
                let mut message = vec![0; near.read_u16().await.unwrap().into()];
                near.read_exact(&mut message).await.unwrap();
                state.read_message(&message, &mut buffer).unwrap();
            }
        }
        let mut state = state.into_transport_mode().unwrap();
        for text in ["/multistream/1.0.0\n", "/yamux/1.0.0\n"] {
            let line = [&[text.len() as u8], text.as_bytes()].concat();
            let n = state.write_message(&line, &mut buffer).unwrap();
            near.write_u16(n as u16).await.unwrap();
            near.write_all(&buffer[..n]).await.unwrap();
            let mut message = vec![0; near.read_u16().await.unwrap().into()];
            near.read_exact(&mut message).await.unwrap();
            let n = state.read_message(&message, &mut buffer).unwrap();
            assert_eq!(buffer[..n], line);
        }
        near
    };
    let listen = early(async |stages| victim.upgrader.inbound(far, stages).await.unwrap());
    let ((early, _connection), _near) = tokio::join!(listen, client);
    assert!(!early);
}

#[tokio::test]
async fn every_kind_of_identity_is_taken() {
    let rsa = include_bytes!("rsa-2048.pk8");
    for security in [Security::Tls, Security::Noise] {
        for identity in [
            Keypair::generate_ecdsa(),
            Keypair::generate_secp256k1(),
            Keypair::rsa_from_pkcs8(&mut rsa.to_vec()).unwrap(),
        ] {
            let config = UpgradeConfig::default().with_security([security]);
            let dialer = Upgrader::new(&identity, config).unwrap();
            let listener = Node::over(security);
            let (near, far) = pipe();
            let mut ignore = |_| ();
            let (dialed, accepted) = tokio::join!(
                dialer.outbound(near, Some(listener.id()), &mut ignore),
                listener.inbound(far),
            );
            dialed.unwrap();
            assert_eq!(accepted.unwrap().peer(), identity.public().to_peer_id());
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let identity = Keypair::generate_ed25519();
    let refused = |config| Upgrader::new(&identity, config).unwrap_err();
    assert!(matches!(
        refused(UpgradeConfig::default().with_security([])),
        UpgradeSetupError::NoSecurity
    ));
    for streams in [0, usize::MAX] {
        let error = refused(UpgradeConfig::default().with_max_streams(streams));
        assert_eq!(
            error.to_string(),
            format!("max_streams of {streams} is out of range")
        );
    }
    let most = UpgradeConfig::default().with_max_streams(u32::MAX as usize / 2);
    Upgrader::new(&identity, most).unwrap();
}
