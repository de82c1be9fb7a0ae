//! What was finished is delivered, however the connection is let go.
#![allow(clippy::unwrap_used)]

mod common;

use std::{io::ErrorKind, sync::Arc, time::Duration};

use common::{Node, pair, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};
use transport_quic::{
    CloseCode, CloseReason, Config, Connection, FaultControl, Faults, Misbehaving, Stream,
    StreamError, Tuned,
};

const MEGABYTE: usize = 1 << 20;

/// Sends one MiB on a new stream and finishes it.
async fn finished(connection: &Connection) -> Stream {
    let mut stream = connection.open().await.unwrap();
    stream.write_all(&vec![7; MEGABYTE]).await.unwrap();
    stream.flush().await.unwrap();
    stream.shutdown().await.unwrap();
    stream
}

/// Reads the next stream to its end.
async fn received(connection: &Connection) -> usize {
    let mut stream = within(connection.accept()).await.expect("a stream");
    let mut data = Vec::new();
    within(stream.read_to_end(&mut data)).await.unwrap();
    data.len()
}

#[tokio::test]
async fn everything_arrives_although_the_stream_and_the_connection_are_dropped() {
    for _ in 0..9 {
        let (_d, dialed, _l, accepted) = pair(Config::default()).await;
        drop(finished(&dialed).await);
        drop(dialed);
        assert_eq!(received(&accepted).await, MEGABYTE);
        assert!(matches!(
            within(accepted.closed()).await,
            CloseReason::Peer { code: 0, .. }
        ));
    }
}

#[tokio::test]
async fn everything_arrives_although_the_connection_is_closed_under_an_open_stream_handle() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    let _stream = finished(&dialed).await;
    dialed.close(CloseCode::new(7), "enough");
    assert!(!dialed.is_closed(), "there is something to deliver");
    assert_eq!(received(&accepted).await, MEGABYTE);
    assert_eq!(within(dialed.closed()).await, CloseReason::Local);
    let told = CloseReason::Peer {
        code: 7,
        reason: "enough".to_owned(),
    };
    assert_eq!(within(accepted.closed()).await, told);
}

#[tokio::test]
async fn everything_arrives_although_the_endpoint_is_closed_or_dropped() {
    for close in [true, false] {
        let (dialer, dialed, _l, accepted) = pair(Config::default()).await;
        drop(finished(&dialed).await);
        if close {
            within(dialer.endpoint.close(CloseCode::SHUTDOWN, "")).await;
            assert!(dialed.is_closed());
        } else {
            drop((dialer, dialed));
        }
        assert_eq!(received(&accepted).await, MEGABYTE);
    }
}

#[tokio::test]
async fn what_arrived_can_be_read_after_the_end() {
    let (dialer, dialed, _l, accepted) = pair(Config::default()).await;
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    within(dialer.endpoint.close(CloseCode::SHUTDOWN, "")).await;
    within(accepted.closed()).await;
    assert_eq!(received(&accepted).await, b"last words".len());
    assert!(accepted.accept().await.is_none());
}

#[tokio::test]
async fn a_stream_that_is_dropped_unfinished_is_reset_and_what_is_left_breaks_with_the_connection()
{
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    let mut abandoned = dialed.open().await.unwrap();
    abandoned.write_all(b"half a").await.unwrap();
    let mut seen = within(accepted.accept()).await.unwrap();
    let mut half = [0; 6];
    within(seen.read_exact(&mut half)).await.unwrap();
    drop(abandoned);
    let error = within(seen.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let mut open = dialed.open().await.unwrap();
    open.write_all(b"half a").await.unwrap();
    let mut seen = within(accepted.accept()).await.unwrap();
    within(seen.read_exact(&mut half)).await.unwrap();
    dialed.close(CloseCode::NONE, "");
    assert!(
        dialed.is_closed(),
        "nothing is finished, so nothing delays the end"
    );
    assert!(within(seen.read_to_end(&mut Vec::new())).await.is_err());
}

#[tokio::test]
async fn waiting_for_delivery_ends_with_the_acknowledgement() {
    let (_d, dialed, _l, accepted) = pair(Config::default()).await;
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(b"whole").await.unwrap();
    let early = stream.wait_delivered().await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::InvalidInput);
    stream.shutdown().await.unwrap();
    within(stream.wait_delivered()).await.unwrap();
    dialed.abort(CloseCode::NONE, "");
    within(stream.wait_delivered())
        .await
        .expect("it stays delivered");
    assert_eq!(received(&accepted).await, 5);
}

#[tokio::test]
async fn waiting_for_delivery_fails_when_the_peer_stops_reading() {
    let (_d, dialed, _l, accepted, control) = breakable(Config::default()).await;
    let (mut send, _recv) = dialed.open().await.unwrap().split();
    send.write_all(b"seen").await.unwrap();
    let (_send, recv) = within(accepted.accept()).await.unwrap().split();
    // What the dialer sends is lost from now on, so only the peer's refusal can end the wait.
    control.set(Faults::default().with_loss(1.0));
    send.write_all(b"not seen").await.unwrap();
    send.shutdown().await.unwrap();
    recv.stop(CloseCode::new(9));
    let error = within(send.wait_delivered()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.to_string().contains("0x9"), "{error}");
    // A stream that nobody reads does not hold up the close. The paused clock moves only if the close waits for a timer.
    tokio::time::pause();
    let start = Instant::now();
    dialed.close(CloseCode::NONE, "");
    within(dialed.closed()).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn waiting_for_delivery_fails_when_the_connection_ends_first() {
    let (_d, dialed, _l, _accepted, control) = breakable(Config::default()).await;
    control.stall(true);
    let mut stream = finished(&dialed).await;
    dialed.abort(CloseCode::NONE, "");
    let error = within(stream.wait_delivered()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

/// A pair whose dialer can be cut off.
async fn breakable(config: Config) -> (Node, Connection, Node, Connection, FaultControl) {
    let misbehaving = Misbehaving::new(Arc::new(Tuned::default()), 1, Faults::default());
    let control = misbehaving.control();
    let dialer = Node::with_binder(config.clone(), Arc::new(misbehaving));
    let listener = Node::new(config);
    let accepted = listener.accept_one();
    let dialed = within(dialer.endpoint.dial(listener.address, None)).await;
    let (dialed, accepted) = (dialed.unwrap(), within(accepted).await.unwrap());
    within(dialed.probe(common::PATIENCE)).await.unwrap();
    (dialer, dialed, listener, accepted, control)
}

#[tokio::test]
async fn a_peer_that_does_not_acknowledge_delays_the_end_by_the_close_timeout() {
    let timeout = Duration::from_millis(300);
    let config = Config::default().with_close_timeout(timeout);
    let (_d, dialed, _l, _accepted, control) = breakable(config).await;
    control.stall(true);
    let mut small = dialed.open().await.unwrap();
    small.write_all(b"never seen").await.unwrap();
    small.shutdown().await.unwrap();
    // No datagram arrives any more, so nothing but timers is left to wait for.
    tokio::time::pause();
    let start = Instant::now();
    dialed.close(CloseCode::NONE, "");
    within(dialed.closed()).await;
    let took = start.elapsed();
    assert!(took >= timeout && took < timeout * 5, "{took:?}");
}

#[tokio::test]
async fn an_abort_cuts_a_graceful_close_short() {
    let config = Config::default().with_close_timeout(common::PATIENCE * 2);
    let (_d, dialed, _l, _accepted, control) = breakable(config).await;
    control.stall(true);
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(b"never seen").await.unwrap();
    stream.shutdown().await.unwrap();
    dialed.close(CloseCode::NONE, "");
    assert!(!dialed.is_closed());
    dialed.abort(CloseCode::NONE, "");
    assert_eq!(within(dialed.closed()).await, CloseReason::Local);
}

#[tokio::test]
async fn a_connection_that_is_being_closed_opens_and_accepts_nothing() {
    let config = Config::default().with_close_timeout(common::PATIENCE * 2);
    let (_d, dialed, _l, _accepted, control) = breakable(config).await;
    control.stall(true);
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(b"never seen").await.unwrap();
    stream.shutdown().await.unwrap();
    let waiting = tokio::spawn({
        let dialed = dialed.clone();
        async move { dialed.accept().await.is_none() }
    });
    tokio::task::yield_now().await;
    dialed.close(CloseCode::NONE, "");
    assert!(within(waiting).await.unwrap());
    assert!(within(dialed.accept()).await.is_none());
    let refused = within(dialed.open()).await;
    assert!(matches!(
        refused,
        Err(StreamError::Closed(CloseReason::Local))
    ));
    assert!(!dialed.is_closed(), "it still delivers");
    dialed.abort(CloseCode::NONE, "");
}
