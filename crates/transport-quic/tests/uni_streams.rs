//! Streams on which one side sends: their backpressure, and what a cancelled wait leaves behind.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{pair, pause, within};
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use transport_quic::{CloseCode, Config, Connection, Flavour, SendStream, StreamError};

/// The number of streams that each side allows the other.
const ALLOWED: u32 = 4;

fn raw() -> Config {
    Config::default()
        .with_max_inbound_streams(ALLOWED)
        .with_flavour(Flavour::RawPublicKey {
            alpn: vec![b"/test/1".to_vec()],
        })
}

/// Opens a stream and sends its number.
async fn numbered(connection: &Connection, number: u8) -> SendStream {
    let mut stream = within(connection.open_uni()).await.unwrap();
    stream.write_all(&[number]).await.unwrap();
    stream
}

/// Accepts a stream and returns its number.
async fn number_of_next(connection: &Connection) -> u8 {
    let mut stream = within(connection.accept_uni()).await.unwrap();
    within(stream.read_u8()).await.unwrap()
}

#[tokio::test]
async fn a_sender_waits_while_the_peer_allows_no_more_streams_and_a_cancelled_wait_opens_none() {
    let (_one, sender, _other, receiver) = pair(raw()).await;
    let mut open = Vec::new();
    for number in 0..ALLOWED as u8 {
        open.push(numbered(&sender, number).await);
    }
    for _ in 0..3 {
        let wait = tokio::time::timeout(Duration::from_millis(20), sender.open_uni());
        assert!(wait.await.is_err(), "the peer allows no more");
    }
    // The streams that the peer has read to their ends make room.
    for mut stream in open {
        stream.shutdown().await.unwrap();
    }
    for number in 0..ALLOWED as u8 {
        let mut stream = within(receiver.accept_uni()).await.unwrap();
        let mut read = Vec::new();
        within(stream.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, [number]);
    }
    // The cancelled waits have used up no permission: all streams can be opened again.
    let mut open = Vec::new();
    for number in 10..10 + ALLOWED as u8 {
        open.push(numbered(&sender, number).await);
        assert_eq!(number_of_next(&receiver).await, number);
    }
}

#[tokio::test]
async fn a_cancelled_accept_loses_no_stream() {
    let (_one, sender, _other, receiver) = pair(raw()).await;
    // The future waits for a stream, and is dropped before the stream arrives.
    assert!(receiver.accept_uni().now_or_never().is_none());
    let _first = numbered(&sender, 1).await;
    // The stream arrives while nobody waits.
    pause().await;
    let _second = numbered(&sender, 2).await;
    assert_eq!(number_of_next(&receiver).await, 1);
    assert_eq!(number_of_next(&receiver).await, 2);
}

#[tokio::test]
async fn a_stream_that_is_not_read_takes_no_more_than_its_window_and_delays_no_other_stream() {
    let config = raw().with_stream_window(16 << 10);
    let (_one, sender, _other, receiver) = pair(config).await;
    let mut unread = within(sender.open_uni()).await.unwrap();
    let piece = vec![7; 1 << 20];
    let write = tokio::time::timeout(Duration::from_millis(300), unread.write_all(&piece));
    assert!(write.await.is_err(), "the window of the stream is full");
    let _held = within(receiver.accept_uni()).await.unwrap();
    let _other_stream = numbered(&sender, 9).await;
    assert_eq!(number_of_next(&receiver).await, 9);
}

#[tokio::test]
async fn the_end_of_the_connection_ends_the_waits_for_streams() {
    let (_one, sender, _other, receiver) = pair(raw()).await;
    let mut open = Vec::new();
    for number in 0..ALLOWED as u8 {
        open.push(numbered(&sender, number).await);
    }
    let (refused, ()) = tokio::join!(within(sender.open_uni()), async {
        pause().await;
        receiver.abort(CloseCode::SHUTDOWN, "done");
    });
    assert!(matches!(refused, Err(StreamError::Closed(_))));
    assert!(within(receiver.accept_uni()).await.is_none());
}
