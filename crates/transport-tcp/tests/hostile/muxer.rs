//! yamux: frames no honest peer sends, and peers that take nothing.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use transport_tcp::{CloseReason, Connection, Security, UpgradeConfig};

use crate::support::{Node, PATIENCE, connected, raw_muxer};

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const GO_AWAY: u8 = 3;

const SYN: u16 = 1;
const RST: u16 = 8;

fn frame(kind: u8, flags: u16, stream: u32, number: u32) -> Vec<u8> {
    let mut frame = vec![0, kind];
    frame.extend(flags.to_be_bytes());
    frame.extend(stream.to_be_bytes());
    frame.extend(number.to_be_bytes());
    frame
}

async fn end(connection: &Connection) -> CloseReason {
    let closed = timeout(PATIENCE, connection.closed());
    closed.await.expect("the connection ends")
}

/// Sends `said` and expects the connection to end for it, whatever the attacker does then.
async fn is_fatal(said: Vec<u8>) {
    let victim = Node::over(Security::Tls);
    let (mut attacker, connection) = raw_muxer(&victim, 64 * 1024).await;
    let _ = attacker.write_all(&said).await;
    let _ = attacker.flush().await;
    let reason = end(&connection).await;
    assert!(matches!(reason, CloseReason::Violation(_)), "{reason}");
    assert!(connection.open().await.is_err(), "open was not answered");
    while connection.accept().await.is_some() {}
}

#[tokio::test]
async fn a_window_update_that_overflows_ends_the_connection() {
    is_fatal(frame(WINDOW_UPDATE, SYN, 1, 0xffff_0000)).await;
    let later = [
        frame(WINDOW_UPDATE, SYN, 1, 0),
        frame(WINDOW_UPDATE, 0, 1, 0xffff_0000),
    ];
    is_fatal(later.concat()).await;
}

#[tokio::test]
async fn a_first_frame_of_one_byte_over_the_window_ends_the_connection() {
    let over = 256 * 1024 + 1;
    let said = [frame(DATA, SYN, 1, over), vec![0; over as usize]].concat();
    is_fatal(said).await;
}

#[tokio::test]
async fn a_first_frame_that_fills_the_window_is_taken() {
    let full = 256 * 1024;
    let victim = Node::over(Security::Tls);
    let (mut attacker, connection) = raw_muxer(&victim, 64 * 1024).await;
    let said = [frame(DATA, SYN, 1, full), vec![7; full as usize]].concat();
    attacker.write_all(&said).await.unwrap();
    attacker.flush().await.unwrap();
    let mut stream = connection.accept().await.unwrap();
    let mut read = vec![0; full as usize];
    stream.read_exact(&mut read).await.unwrap();
    assert!(read.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn data_beyond_the_window_ends_the_connection() {
    let full = 256 * 1024;
    let said = [
        frame(DATA, SYN, 1, full),
        vec![0; full as usize],
        frame(DATA, 0, 1, 1),
        vec![0],
    ];
    is_fatal(said.concat()).await;
}

#[tokio::test]
async fn a_length_whose_body_never_comes_ends_the_connection() {
    is_fatal(frame(DATA, SYN, 1, 0xffff_ffff)).await;
    is_fatal(frame(DATA, SYN, 1, 1024 * 1024 + 1)).await;
}

#[tokio::test]
async fn malformed_headers_end_the_connection() {
    is_fatal([&[1], &frame(PING, SYN, 0, 7)[1..]].concat()).await;
    is_fatal(frame(9, 0, 0, 0)).await;
    // A stream with our number, one that exists, and a pong to no ping.
    is_fatal(frame(WINDOW_UPDATE, SYN, 2, 0)).await;
    is_fatal(frame(WINDOW_UPDATE, SYN, 1, 0).repeat(2)).await;
    is_fatal(frame(PING, 2, 0, 0xdead_beef)).await;
}

#[tokio::test]
async fn the_peer_is_told_that_it_violated_the_protocol() {
    let victim = Node::over(Security::Tls);
    let (mut attacker, _connection) = raw_muxer(&victim, 64 * 1024).await;
    let said = frame(WINDOW_UPDATE, SYN, 2, 0);
    attacker.write_all(&said).await.unwrap();
    let mut told = Vec::new();
    let _ = timeout(PATIENCE, attacker.read_to_end(&mut told))
        .await
        .expect("it hangs up");
    let go_away = frame(GO_AWAY, 0, 0, 1);
    assert!(told.chunks(12).any(|frame| frame == go_away), "{told:?}");
}

/// Sends `piece` over and over, reads nothing, and gives what was taken before the victim stopped
/// reading: all that it can be holding.
async fn taken(
    mut attacker: impl AsyncRead + AsyncWrite + Unpin,
    piece: &[u8],
    times: usize,
) -> usize {
    let mut taken = 0;
    for _ in 0..times {
        let write = async {
            attacker.write_all(piece).await?;
            attacker.flush().await
        };
        match timeout(Duration::from_secs(60), write).await {
            Ok(Ok(())) => taken += piece.len(),
            _ => break,
        }
    }
    taken
}

/// Takes and holds all streams that there are.
async fn assert_at_most_the_queue(connection: &Connection) {
    let mut held = Vec::new();
    while let Ok(Some(stream)) = timeout(Duration::from_secs(1), connection.accept()).await {
        held.push(stream);
    }
    assert!(held.len() <= 256, "{} streams were waiting", held.len());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_pings_and_reads_nothing_is_read_no_more() {
    let victim = Node::over(Security::Tls);
    let (attacker, connection) = raw_muxer(&victim, 4096).await;
    let taken = taken(attacker, &frame(PING, SYN, 0, 1), 100_000).await;
    // The answers that wait: 128 KiB as ciphertext, and what the layers hold on their way.
    assert!(taken < 250_000, "{taken} bytes of pings were taken");
    drop(connection);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_opens_streams_and_reads_nothing_is_read_no_more() {
    let victim = Node::over(Security::Tls);
    let (attacker, connection) = raw_muxer(&victim, 4096).await;
    let mut said = Vec::new();
    for n in 0..100_000 {
        said.extend(frame(WINDOW_UPDATE, SYN, 2 * n + 1, 0));
    }
    let (mut read, mut write) = tokio::io::split(attacker);
    let attack = timeout(Duration::from_secs(60), write.write_all(&said)).await;
    assert!(
        !matches!(attack, Ok(Ok(()))),
        "a hundred thousand streams were taken"
    );
    assert_at_most_the_queue(&connection).await;
    let mut told = [0; 4096];
    let _ = timeout(Duration::from_secs(1), read.read(&mut told)).await;
}

#[tokio::test(start_paused = true)]
async fn opening_and_resetting_streams_for_ever_holds_no_more_than_the_queue() {
    let victim = Node::over(Security::Tls);
    let (mut attacker, connection) = raw_muxer(&victim, 64 * 1024).await;
    for n in 0..5_000 {
        let id = 2 * n + 1;
        let said = [frame(WINDOW_UPDATE, SYN, id, 0), frame(DATA, RST, id, 0)].concat();
        if attacker.write_all(&said).await.is_err() {
            break;
        }
    }
    assert_at_most_the_queue(&connection).await;
}

#[tokio::test]
async fn one_stream_over_the_limit_is_reset_and_the_others_live() {
    let config = || UpgradeConfig::default().with_max_inbound_streams(4);
    let (dialed, accepted) = connected(config).await;
    let mut opened = Vec::new();
    for n in 0..5_u8 {
        let mut stream = dialed.open().await.unwrap();
        stream.write_all(&[n]).await.unwrap();
        opened.push(stream);
    }
    let mut last = opened.pop().unwrap();
    let read = timeout(PATIENCE, last.read(&mut [0]))
        .await
        .expect("it is answered");
    assert!(matches!(read, Ok(0) | Err(_)), "the fifth stream lives");
    let mut kept = Vec::new();
    for (n, stream) in opened.iter_mut().enumerate() {
        let mut taken = accepted.accept().await.unwrap();
        let mut byte = [0];
        taken.read_exact(&mut byte).await.unwrap();
        assert_eq!(usize::from(byte[0]), n);
        taken.write_all(&byte).await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        kept.push(taken);
    }
    // A place that is given back can be taken again.
    drop((kept.pop(), opened.pop()));
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(&[9]).await.unwrap();
    let mut taken = timeout(PATIENCE, accepted.accept()).await.unwrap().unwrap();
    let mut byte = [0];
    taken.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte, [9]);
}

#[tokio::test]
async fn streams_that_nobody_accepts_are_kept_up_to_the_queue_and_then_reset() {
    let config = || UpgradeConfig::default().with_max_pending_inbound(2);
    let (dialed, accepted) = connected(config).await;
    let mut opened = Vec::new();
    for n in 0..3_u8 {
        let mut stream = dialed.open().await.unwrap();
        stream.write_all(&[n]).await.unwrap();
        opened.push(stream);
    }
    let mut last = opened.pop().unwrap();
    let read = timeout(PATIENCE, last.read(&mut [0])).await;
    let read = read.expect("the third stream is answered");
    assert!(matches!(read, Ok(0) | Err(_)), "the third stream lives");
    for n in 0..2 {
        let mut byte = [9];
        let mut taken = accepted.accept().await.unwrap();
        taken.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [n]);
    }
}

#[tokio::test]
async fn one_outbound_stream_over_the_limit_is_an_error() {
    let (dialed, _accepted) = connected(|| UpgradeConfig::default().with_max_streams(2)).await;
    let first = dialed.open().await.unwrap();
    let _second = dialed.open().await.unwrap();
    let error = dialed.open().await.unwrap_err();
    assert_eq!(error.to_string(), "the connection already has 2 streams");
    drop(first);
    dialed.open().await.unwrap();
}
