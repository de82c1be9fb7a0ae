//! What the kernel says of a connection, for as long as there is one.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use transport_tcp::{Bound, ByteStream, Dialer, Direct, DirectConfig, Link, Security, Uplink};

use crate::support::{Node, PATIENCE, proxy::context};

/// A stream and the other end of it, over which some bytes have gone both ways.
async fn pair(listener: &TcpListener, dialer: &dyn Dialer) -> (ByteStream, TcpStream) {
    let target = listener.local_addr().unwrap().into();
    let mut near = dialer.dial(&target, &context()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    for _ in 0..3 {
        near.write_all(b"ping").await.unwrap();
        far.read_exact(&mut [0; 4]).await.unwrap();
        far.write_all(b"pong").await.unwrap();
        near.read_exact(&mut [0; 4]).await.unwrap();
    }
    (near, far)
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// The kernel may take a moment to be done with a connection that was closed, and then says so.
async fn is_gone(link: Link) {
    let begun = std::time::Instant::now();
    loop {
        match link.info() {
            Err(error) => break assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
            Ok(info) => assert!(begun.elapsed() < PATIENCE, "still there: {info:?}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_live_connection_has_a_round_trip_seen_from_both_ends() {
    let listener = listener().await;
    let (near, far) = pair(&listener, &Direct::default()).await;
    let (near, far) = (near, ByteStream::from(far));
    for stream in [&near, &far] {
        let link = stream.link().unwrap();
        assert_eq!(Some(link.local()), stream.local_addr());
        assert_eq!(Some(link.remote()), stream.remote_addr());
        let info = link.info().unwrap();
        let sane = Duration::ZERO..Duration::from_secs(5);
        assert!(info.rtt > sane.start && info.rtt < sane.end, "{info:?}");
        assert!(info.rtt_variation < sane.end, "{info:?}");
        assert_eq!(info.retransmissions, 0);
    }
}

#[tokio::test]
async fn it_is_found_over_ipv6_and_through_a_socket_of_both_families() {
    let any = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0));
    if let Ok(listener) = TcpListener::bind(any).await {
        let (near, _far) = pair(&listener, &Direct::default()).await;
        assert!(near.link().unwrap().info().unwrap().rtt > Duration::ZERO);
    }
    let any = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], 0));
    if let Ok(listener) = TcpListener::bind(any).await {
        let target = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let dialer = Direct::default();
        let target = target.into();
        let context = context();
        let (near, far) = tokio::join!(dialer.dial(&target, &context), listener.accept());
        let far = ByteStream::from(far.unwrap().0);
        let mapped = far.link().unwrap();
        assert!(mapped.local().is_ipv6(), "{mapped:?}");
        assert!(mapped.info().unwrap().rtt > Duration::ZERO);
        drop(near);
    }
}

#[tokio::test]
async fn it_is_found_where_the_socket_is_bound_to_an_interface() {
    let listener = listener().await;
    let bound = Bound::new([Uplink::Interface("lo".into())], DirectConfig::default());
    let (near, _far) = pair(&listener, &bound).await;
    let link = near.link().unwrap();
    assert!(link.info().unwrap().rtt > Duration::ZERO);
    drop(near);
    drop(_far);
    is_gone(link).await;
}

#[tokio::test]
async fn once_it_is_closed_it_is_not_found_whoever_closed_first() {
    let listener = listener().await;
    for near_first in [true, false] {
        let (near, far) = pair(&listener, &Direct::default()).await;
        let far = ByteStream::from(far);
        let links = [near.link().unwrap(), far.link().unwrap()];
        let (first, second) = match near_first {
            true => (near, far),
            false => (far, near),
        };
        drop(first);
        let mut second = second;
        // The end has arrived, so that the second close is the last.
        assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
        drop(second);
        for link in links {
            is_gone(link).await;
        }
    }
    drop(listener);
}

#[tokio::test]
async fn a_connection_whose_end_was_said_by_one_side_only_is_still_one() {
    let listener = listener().await;
    let (mut near, mut far) = pair(&listener, &Direct::default()).await;
    near.shutdown().await.unwrap();
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    let far = ByteStream::from(far);
    for link in [near.link(), far.link()] {
        assert!(link.unwrap().info().unwrap().rtt > Duration::ZERO);
    }
}

#[tokio::test]
async fn an_upgraded_connection_has_the_link_of_its_socket() {
    for security in [Security::Tls, Security::Noise] {
        let (dialer, listener) = (Node::over(security), Node::over(security));
        let socket = self::listener().await;
        let (near, far) = pair(&socket, &Direct::default()).await;
        let link = near.link().unwrap();
        let (dialed, accepted) = tokio::join!(
            dialer.outbound(near, Some(listener.id())),
            listener.inbound(ByteStream::from(far)),
        );
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        assert_eq!(dialed.link(), Some(link));
        for connection in [&dialed, &accepted] {
            let info = connection.link().unwrap().info().unwrap();
            assert!(info.rtt > Duration::ZERO);
        }
        drop((dialed, accepted));
        is_gone(link).await;
    }
}

#[tokio::test]
async fn what_is_no_socket_has_no_link() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    assert_eq!(ByteStream::boxed(near).link(), None);
    drop(far);
    let (dialed, accepted) = crate::support::connected(Default::default).await;
    assert_eq!((dialed.link(), accepted.link()), (None, None));
}
