//! A proxy that says yes and has not connected us, or has connected us to somebody else.

use transport_tcp::{HttpConnect, Security, UpgradeError};

use super::*;

use crate::support::{
    Node,
    proxy::{Service, service},
};

/// Both kinds of proxy, which say yes to everything and then do `then`.
fn liars(then: &Service) -> [(&'static str, Arc<dyn Dialer>); 2] {
    let socks = {
        let then = then.clone();
        service(move |mut io: ByteStream| {
            let then = then.clone();
            async move {
                io.read_exact(&mut [0; 3]).await.unwrap();
                io.write_all(&[5, 0]).await.unwrap();
                io.read_exact(&mut [0; 4 + 1 + 14 + 2]).await.unwrap();
                let yes = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
                io.write_all(&yes).await.unwrap();
                then(io).await;
            }
        })
    };
    let http = {
        let then = then.clone();
        service(move |mut io: ByteStream| {
            let then = then.clone();
            async move {
                head(&mut io).await.unwrap();
                io.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                then(io).await;
            }
        })
    };
    let network = Network::default();
    network.add(PROXY, socks).add(FIRST, http);
    let socks = Socks5::new(at(PROXY)).through(network.clone());
    let http = HttpConnect::new(at(FIRST)).through(network);
    [("socks5", Arc::new(socks)), ("http", Arc::new(http))]
}

/// The dial succeeds; what becomes of the upgrade above it?
async fn upgrade(then: Service, security: Security) -> Vec<(&'static str, UpgradeError, Duration)> {
    let mut outcomes = Vec::new();
    for (name, dialer) in liars(&then) {
        let stream = attempt(&*dialer).await.outcome.unwrap();
        let victim = Node::over(security);
        let expected = Node::over(security).id();
        let begun = Instant::now();
        let outcome = victim.outbound(stream, Some(expected)).await;
        outcomes.push((name, outcome.unwrap_err(), begun.elapsed()));
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn yes_and_then_nothing_more_fails_the_upgrade() {
    for security in [Security::Tls, Security::Noise] {
        let closes = service(|io| async move { drop(io) });
        for (name, error, took) in upgrade(closes, security).await {
            use UpgradeError::{Negotiation, Noise, Tls};
            let typed = matches!(error, Negotiation { .. } | Tls(_) | Noise(_));
            assert!(typed && took == Duration::ZERO, "{name}: {error:?}");
        }
        let stalls = service(|io| async move {
            let _io = io;
            std::future::pending().await
        });
        for (name, error, took) in upgrade(stalls, security).await {
            let typed = matches!(error, UpgradeError::TimedOut { .. });
            let in_time = took <= Duration::from_secs(10);
            assert!(typed && in_time, "{name}: {error:?} after {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn yes_and_then_garbage_fails_the_upgrade() {
    for security in [Security::Tls, Security::Noise] {
        for garbage in [
            &b"<html>You are not logged in</html>\r\n"[..],
            &[0; 100_000],
            &[0xff; 100_000],
        ] {
            let garbage = garbage.to_vec();
            let babbles = service(move |mut io: ByteStream| {
                let garbage = garbage.clone();
                async move {
                    let _ = io.write_all(&garbage).await;
                    let _ = io.read_to_end(&mut Vec::new()).await;
                }
            });
            for (name, error, took) in upgrade(babbles, security).await {
                let typed = matches!(error, UpgradeError::Negotiation { .. });
                assert!(typed && took == Duration::ZERO, "{name}: {error:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn yes_and_then_somebody_else_fails_the_upgrade_by_identity() {
    for security in [Security::Tls, Security::Noise] {
        let stranger = Arc::new(Node::over(security));
        let id = stranger.id();
        let impersonates = service(move |io: ByteStream| {
            let stranger = stranger.clone();
            async move { drop(stranger.inbound(io).await) }
        });
        for (name, error, _) in upgrade(impersonates, security).await {
            let UpgradeError::WrongPeer { found, .. } = &error else {
                panic!("{name}: {error:?}");
            };
            assert_eq!(**found, id);
        }
    }
}
