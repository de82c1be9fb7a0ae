//! A graceful close delivers what was finished, and a stream tells when that has happened.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use transport_tcp::{ByteStream, CloseReason, Connection, Security, Stream};

use crate::support::{Node, PATIENCE, connected, raw_muxer};

/// Two ends over a socket: the dialer's and the listener's.
async fn over_tcp(security: Security) -> (Connection, Connection) {
    let (dialer, listener) = (Node::over(security), Node::over(security));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(socket.local_addr().unwrap()).await;
    let (far, _) = socket.accept().await.unwrap();
    let (near, far) = (ByteStream::from(near.unwrap()), ByteStream::from(far));
    let (dialed, accepted) = tokio::join!(dialer.outbound(near, None), listener.inbound(far));
    (dialed.unwrap(), accepted.unwrap())
}

/// Below the window of a new stream, so that nobody has to read for it to be written.
const FILE: usize = 200_000;

async fn finished(connection: &Connection, n: u8) -> Stream {
    let mut stream = connection.open().await.unwrap();
    stream.write_all(&vec![n; FILE]).await.unwrap();
    stream.shutdown().await.unwrap();
    stream
}

async fn arrives(connection: &Connection) -> u8 {
    let stream = timeout(PATIENCE, connection.accept()).await;
    let mut read = Vec::new();
    let mut stream = stream.unwrap().expect("a finished stream was lost");
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len(), FILE);
    read[0]
}

#[tokio::test]
async fn what_was_finished_arrives_whoever_drops_what_and_whatever_the_peer_sends() {
    for security in [Security::Tls, Security::Noise] {
        for round in 0..10 {
            let (dialed, accepted) = over_tcp(security).await;
            let busy = accepted.clone();
            // Bytes that are on their way when the socket closes would be answered with a reset.
            let sender = tokio::spawn(async move {
                let mut stream = busy.open().await.unwrap();
                while stream.write_all(&[0; 1000]).await.is_ok() {}
            });
            let mut other = timeout(PATIENCE, dialed.accept()).await.unwrap().unwrap();
            other.read_exact(&mut [0; 100]).await.unwrap();
            for n in 0..20 {
                drop(finished(&dialed, n).await);
            }
            drop(other);
            match round % 2 {
                0 => drop(dialed),
                _ => dialed.close(),
            }
            let mut all = Vec::new();
            for _ in 0..20 {
                all.push(arrives(&accepted).await);
            }
            all.sort_unstable();
            assert_eq!(all, (0..20).collect::<Vec<_>>());
            sender.abort();
        }
    }
}

#[tokio::test]
async fn closing_returns_at_once_and_those_who_wait_on_streams_are_answered_before_the_end() {
    let victim = Node::over(Security::Tls);
    let (attacker, connection) = raw_muxer(&victim, 1 << 20).await;
    let mut stream = connection.open().await.unwrap();
    stream.write_all(b"!").await.unwrap();
    connection.close();
    let error = timeout(PATIENCE, stream.read(&mut [0])).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    assert!(connection.accept().await.is_none());
    assert!(!connection.is_closed(), "the peer has not closed yet");
    drop(attacker);
    let reason = timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(matches!(reason, CloseReason::Local));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_close_is_left_at_the_deadline() {
    let victim = Node::over(Security::Tls);
    let (attacker, connection) = raw_muxer(&victim, 1 << 20).await;
    let begun = Instant::now();
    connection.close();
    connection.closed().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    drop(attacker);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_delivered_once_the_layer_below_has_taken_all_of_it() {
    let victim = Node::over(Security::Tls);
    let (mut attacker, connection) = raw_muxer(&victim, 4096).await;
    let mut stream = finished(&connection, 1).await;
    let waiting = timeout(PATIENCE, stream.wait_delivered()).await;
    assert!(waiting.is_err(), "nobody has read any of it");
    let mut read = vec![0; FILE];
    attacker.read_exact(&mut read).await.unwrap();
    let mut rest = vec![0; 4096];
    let reading = async { while attacker.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
    tokio::select! {
        delivered = timeout(PATIENCE, stream.wait_delivered()) => delivered.unwrap().unwrap(),
        () = reading => panic!("the connection ended"),
    }
    // And again.
    stream.wait_delivered().await.unwrap();
}

#[tokio::test]
async fn over_a_socket_delivered_means_acknowledged() {
    for security in [Security::Tls, Security::Noise] {
        let (dialed, accepted) = over_tcp(security).await;
        let mut stream = finished(&dialed, 7).await;
        let delivered = timeout(PATIENCE, stream.wait_delivered()).await;
        delivered.unwrap().unwrap();
        let info = dialed.link().unwrap().info();
        if let Ok(info) = info {
            assert!(info.acknowledged >= FILE as u64, "{info:?}");
        }
        // A peer that has it all may be gone the next moment.
        dialed.abort();
        assert_eq!(arrives(&accepted).await, 7);
    }
}

#[tokio::test]
async fn delivery_is_told_after_a_close_too() {
    let (dialed, accepted) = over_tcp(Security::Tls).await;
    let mut stream = finished(&dialed, 7).await;
    dialed.close();
    let delivered = timeout(PATIENCE, stream.wait_delivered()).await;
    delivered.unwrap().unwrap();
    assert_eq!(arrives(&accepted).await, 7);
    timeout(PATIENCE, dialed.closed()).await.unwrap();
    stream.wait_delivered().await.unwrap();
}

#[tokio::test]
async fn what_was_not_finished_or_not_sent_is_not_delivered() {
    let (dialed, _accepted) = connected(Default::default).await;
    let mut open = dialed.open().await.unwrap();
    open.write_all(b"!").await.unwrap();
    let error = open.wait_delivered().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let victim = Node::over(Security::Tls);
    let (attacker, connection) = raw_muxer(&victim, 4096).await;
    let mut stream = finished(&connection, 1).await;
    connection.abort();
    let error = timeout(PATIENCE, stream.wait_delivered()).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    drop(attacker);
}
