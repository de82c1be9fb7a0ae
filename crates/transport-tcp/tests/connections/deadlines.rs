//! Each stage has a deadline of its own, which no amount of trickling moves.

use std::{future::Future, time::Duration};

use libp2p_identity::Keypair;
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};
use transport_tcp::{Connection, Security, Step, UpgradeConfig, UpgradeError};

use crate::support::{
    MULTISTREAM, Node, agree, certificate_of, client_config, line, pipe, propose, tls_connect,
};

const NEGOTIATE: Duration = Duration::from_secs(3);
const SECURE: Duration = Duration::from_secs(7);
const MUX: Duration = Duration::from_secs(4);

fn node(security: impl IntoIterator<Item = Security>) -> Node {
    let config = UpgradeConfig::default()
        .with_security(security)
        .with_negotiate_timeout(NEGOTIATE)
        .with_secure_timeout(SECURE)
        .with_mux_timeout(MUX);
    Node::new(config)
}

/// The upgrade must run into this stage's deadline, and `peer` may take `slack` before the stage
/// begins.
async fn runs_out(
    upgrade: impl Future<Output = Result<Connection, UpgradeError>>,
    peer: impl Future<Output = DuplexStream>,
    expected: Step,
    after: Duration,
) {
    let begun = Instant::now();
    let peer = async {
        let _held = peer.await;
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = upgrade => result,
        () = peer => unreachable!(),
    };
    match result.unwrap_err() {
        UpgradeError::TimedOut { stage, limit } => {
            assert_eq!(stage, expected);
            assert_eq!(begun.elapsed(), after, "the deadline is {limit:?}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_runs_into_the_negotiations_deadline() {
    for security in [Security::Tls, Security::Noise] {
        let victim = node([security]);
        let (near, far) = pipe();
        runs_out(
            victim.inbound(far),
            async { near },
            Step::Negotiate,
            NEGOTIATE,
        )
        .await;
    }
    let victim = node([Security::Tls, Security::Noise]);
    let (near, far) = pipe();
    let dial = victim.outbound(far, None);
    runs_out(dial, async { near }, Step::Negotiate, NEGOTIATE).await;
}

#[tokio::test(start_paused = true)]
async fn a_trickle_does_not_move_the_negotiations_deadline() {
    let victim = node([Security::Tls]);
    let (mut near, far) = pipe();
    let trickle = async {
        for byte in [line(MULTISTREAM), line("/x").repeat(100)].concat() {
            near.write_all(&[byte]).await.unwrap();
            sleep(Duration::from_millis(500)).await;
        }
        near
    };
    runs_out(victim.inbound(far), trickle, Step::Negotiate, NEGOTIATE).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_silent_after_the_negotiation_runs_into_the_handshakes_deadline() {
    for (security, protocol) in [(Security::Tls, "/tls/1.0.0"), (Security::Noise, "/noise")] {
        let victim = node([security]);
        let (mut near, far) = pipe();
        let slow = async {
            // A stage's time is its own: what the one before it took does not count.
            sleep(Duration::from_secs(2)).await;
            propose(&mut near, protocol).await;
            near
        };
        let after = Duration::from_secs(2) + SECURE;
        runs_out(victim.inbound(far), slow, Step::Secure, after).await;

        let (mut near, far) = pipe();
        let silent = async {
            agree(&mut near, protocol).await;
            near
        };
        runs_out(victim.outbound(far, None), silent, Step::Secure, SECURE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_trickle_does_not_move_the_handshakes_deadline() {
    // The beginnings of a TLS record and of a Noise message that are announced as long.
    for (security, protocol, begin) in [
        (Security::Tls, "/tls/1.0.0", &[22, 3, 1, 0x20, 0][..]),
        (Security::Noise, "/noise", &[0x10, 0]),
    ] {
        let victim = node([security]);
        let (mut near, far) = pipe();
        let trickle = async {
            propose(&mut near, protocol).await;
            near.write_all(begin).await.unwrap();
            for _ in 0..1000 {
                near.write_all(&[1]).await.unwrap();
                sleep(Duration::from_secs(1)).await;
            }
            near
        };
        runs_out(victim.inbound(far), trickle, Step::Secure, SECURE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_silent_after_the_handshake_runs_into_the_muxers_deadline() {
    let victim = node([Security::Tls]);
    let (mut near, far) = pipe();
    let client = async {
        propose(&mut near, "/tls/1.0.0").await;
        let presented = certificate_of(&Keypair::generate_ed25519());
        let mut stream = tls_connect(client_config(Some(presented), &["libp2p"]), near)
            .await
            .unwrap();
        stream.flush().await.unwrap();
        stream.into_inner().0
    };
    runs_out(victim.inbound(far), client, Step::Mux, MUX).await;
}
