//! What a graceful end delivers.

use std::time::Duration;

use node::{Closing, Config, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::common::{QUIC, TCP, listen, node, wait, with, within};

const MEGABYTE: usize = 1 << 20;

#[tokio::test]
async fn a_finished_stream_is_delivered_though_the_node_or_the_connection_is_closed_at_once() {
    for transport in [TCP, QUIC] {
        for whole_node in [false, true] {
            let (here, there) = (node(), node());
            let mut streams = there.handle("/bulk/1", 4).unwrap();
            let address = listen(&there, transport).await;
            let connection = here.dial([address]).await.unwrap();
            let received = tokio::spawn(async move {
                let mut incoming = streams.next().await.unwrap();
                let mut bytes = Vec::new();
                let read = incoming.stream.read_to_end(&mut bytes).await;
                (read.is_ok(), bytes.len())
            });
            let (_, mut stream) = connection.open(&["/bulk/1"]).await.unwrap();
            // All of it is in this side's hands before the close; how much has left is up to the transport.
            let writing = async {
                stream.write_all(&vec![7; MEGABYTE]).await.unwrap();
                stream.shutdown().await.unwrap();
            };
            within(writing).await;
            drop(stream);
            match whole_node {
                true => within(here.shutdown()).await,
                false => connection.close(),
            }
            let outcome = within(received).await.unwrap();
            assert_eq!(
                outcome,
                (true, MEGABYTE),
                "{transport}, whole node: {whole_node}"
            );
            within(connection.closed()).await;
        }
    }
}

#[tokio::test]
async fn a_stream_says_when_the_other_end_has_everything() {
    for transport in [TCP, QUIC] {
        let (here, there) = (node(), node());
        let mut streams = there.handle("/bulk/1", 4).unwrap();
        let address = listen(&there, transport).await;
        let connection = here.dial([address]).await.unwrap();
        let (_, mut stream) = connection.open(&["/bulk/1"]).await.unwrap();
        let received = tokio::spawn(async move {
            let mut incoming = streams.next().await.unwrap();
            let mut bytes = Vec::new();
            incoming.stream.read_to_end(&mut bytes).await.unwrap();
            bytes.len()
        });
        stream.write_all(&vec![7; MEGABYTE]).await.unwrap();
        stream.shutdown().await.unwrap();
        within(stream.wait_delivered()).await.unwrap();
        connection.abort();
        assert_eq!(within(received).await.unwrap(), MEGABYTE, "{transport}");
        let (_, unfinished) = match here.dial([listen(&there, transport).await]).await {
            Ok(connection) => connection.open(&["/ipfs/id/1.0.0"]).await.unwrap(),
            Err(error) => panic!("{error}"),
        };
        assert!(
            within(unfinished.wait_delivered()).await.is_err(),
            "it was not shut down"
        );
    }
}

#[tokio::test]
async fn a_shutdown_with_a_peer_that_does_not_read_ends_in_time_and_says_why() {
    let config = Config::default().with_shutdown_timeout(Duration::from_millis(200));
    for transport in [TCP, QUIC] {
        let (here, there) = (with(config.clone()), node());
        let mut events = here.events();
        let mut streams = there.handle("/stuck/1", 4).unwrap();
        let address = listen(&there, transport).await;
        let connection = here.dial([address]).await.unwrap();
        let (_, mut stream) = connection.open(&["/stuck/1"]).await.unwrap();
        let _unread = within(streams.next()).await.unwrap();
        let writing = tokio::spawn(async move { stream.write_all(&vec![7; 64 << 20]).await });
        tokio::task::yield_now().await;
        within(here.shutdown()).await;
        assert!(within(writing).await.unwrap().is_err());
        let reason = wait(&mut events, |event| match event {
            Event::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
        assert_eq!(reason, Closing::Shutdown, "{transport}");
    }
}

#[tokio::test]
async fn a_shutdown_drops_handshakes_that_are_under_way() {
    let there = node();
    let address = listen(&there, TCP).await;
    let target = node::transport_tcp::Target::from_multiaddr(&address).unwrap();
    let alive = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = alive();
    let silent = std::net::TcpStream::connect(target.authority()).unwrap();
    within(async {
        while alive() == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(there.shutdown()).await;
    silent.set_nonblocking(true).unwrap();
    let read = std::io::Read::read(&mut &silent, &mut [0; 64]);
    assert!(
        !matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
        "the socket is still open"
    );
}
