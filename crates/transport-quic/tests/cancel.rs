//! A dial or an accept that is dropped, wherever it stands, leaves nothing behind.
#![allow(clippy::unwrap_used)]

mod common;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{Node, localhost, within};
use transport_quic::{Config, DialOptions, Faults, Misbehaving, Resolver, Tuned};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Polls a fresh future at most `polls` times, then drops it.
async fn polled<F: Future>(future: F, polls: usize) {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(cx).map(drop)
    })
    .await
}

/// A path so slow that many a poll falls into the handshake.
fn slow() -> Arc<Misbehaving> {
    let faults = Faults::default().with_delay(Duration::from_millis(5), Duration::ZERO);
    Arc::new(Misbehaving::new(Arc::new(Tuned::default()), 3, faults))
}

/// One test, because file descriptors are counted for the whole process.
#[tokio::test]
async fn dropped_at_any_await_point_nothing_is_left() {
    // What were left would stay for longer than this test waits.
    let config = Config::default().with_idle_timeout(Duration::from_secs(300));
    let listener = Node::with_binder(config.clone(), slow());
    let config = config.with_handshake_timeout(Duration::from_millis(100));
    let dialer = Node::with_binder(config, slow());
    let echo = listener.echo();
    let nobody = std::net::UdpSocket::bind(localhost()).unwrap();
    let nowhere: SocketAddr = nobody.local_addr().unwrap();
    let before = descriptors();

    for to in [listener.address, nowhere] {
        for polls in 0..12 {
            within(polled(dialer.endpoint.dial(to, None), polls)).await;
        }
        for after in [0, 1, 3, 8, 12, 20] {
            let dial = dialer.endpoint.dial(to, None);
            let _ = tokio::time::timeout(Duration::from_millis(after), dial).await;
        }
    }
    // A name server that never answers.
    let resolver = Resolver::with_nameservers(&[nowhere]).unwrap();
    let options = DialOptions::default().with_resolver(resolver);
    let named = format!("/dns4/example.org/udp/{}/quic-v1", nowhere.port());
    let named = named.parse().unwrap();
    for after in [0, 1, 10] {
        let dial = dialer.endpoint.dial_multiaddr_with(&named, None, &options);
        let _ = tokio::time::timeout(Duration::from_millis(after), dial).await;
    }
    drop(options);
    common::until(|| dialer.endpoint.open_connections() == 0).await;
    common::until(|| listener.endpoint.open_connections() == 0).await;
    common::until(|| descriptors() == before).await;
    echo.abort();
    let _ = echo.await;

    for polls in 0..12 {
        let (dialed, ()) = tokio::join!(dialer.endpoint.dial(listener.address, None), async {
            let incoming = within(listener.endpoint.accept()).await.unwrap();
            polled(incoming.accept(), polls).await;
        });
        drop(dialed);
    }
    common::until(|| dialer.endpoint.open_connections() == 0).await;
    common::until(|| listener.endpoint.open_connections() == 0).await;
    assert_eq!(descriptors(), before);
}
