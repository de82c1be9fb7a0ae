//! A stream that ended is told from one that was cut off, whatever was closed before.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use transport_tcp::{Connection, Stream, UpgradeConfig};

use crate::support::{PATIENCE, connected};

/// Both ends of a connection, and of a stream on it over which a byte went.
async fn pair() -> ([Connection; 2], Stream, Stream) {
    let (dialed, accepted) = connected(UpgradeConfig::default).await;
    let mut here = dialed.open().await.unwrap();
    here.write_all(b"!").await.unwrap();
    let mut there = accepted.accept().await.unwrap();
    there.read_exact(&mut [0]).await.unwrap();
    ([dialed, accepted], here, there)
}

/// What can be read until the end, and what that was.
async fn rest(stream: &mut Stream) -> (usize, Option<ErrorKind>) {
    let mut read = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
    let end = end.expect("the reader is told");
    (read.len(), end.err().map(|error| error.kind()))
}

/// It is cut off after what was written before, and goes on being so.
async fn is_reset(stream: &mut Stream, after: usize) {
    assert_eq!(
        rest(stream).await,
        (after, Some(ErrorKind::ConnectionReset))
    );
    assert_eq!(rest(stream).await, (0, Some(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn one_that_is_dropped_unfinished_is_reset_whoever_has_ended_its_half() {
    for ended in [false, true] {
        // Each way: who opened the stream and who took it.
        for opener_drops in [false, true] {
            let (_connections, here, there) = pair().await;
            let (mut dropper, mut reader) = match opener_drops {
                true => (here, there),
                false => (there, here),
            };
            if ended {
                reader.shutdown().await.unwrap();
                assert_eq!(rest(&mut dropper).await, (0, None));
            }
            dropper.write_all(&[1; 1000]).await.unwrap();
            drop(dropper);
            is_reset(&mut reader, 1000).await;
        }
    }
}

#[tokio::test]
async fn one_that_is_shut_down_has_ended_however_soon_it_is_dropped() {
    for ended in [false, true] {
        let (_connections, mut here, mut there) = pair().await;
        if ended {
            there.shutdown().await.unwrap();
            assert_eq!(rest(&mut here).await, (0, None));
        }
        here.write_all(&[1; 1000]).await.unwrap();
        here.shutdown().await.unwrap();
        drop(here);
        assert_eq!(rest(&mut there).await, (1000, None));
        assert_eq!(rest(&mut there).await, (0, None));
    }
}

#[tokio::test]
async fn one_that_is_shut_down_twice_still_carries_the_other_half() {
    let (_connections, mut here, mut there) = pair().await;
    here.shutdown().await.unwrap();
    here.shutdown().await.unwrap();
    assert_eq!(rest(&mut there).await, (0, None));
    // What would come of the second time has come by then.
    for _ in 0..2 {
        there.write_all(&[1; 1000]).await.unwrap();
        here.read_exact(&mut [0; 1000]).await.unwrap();
    }
    there.shutdown().await.unwrap();
    assert_eq!(rest(&mut here).await, (0, None));
}

#[tokio::test]
async fn with_its_connection_it_is_cut_off_unless_it_had_ended() {
    for ended in [false, true] {
        let ([dialed, accepted], mut here, mut there) = pair().await;
        // The usual way to ask something: the question has ended, the answer has not.
        here.shutdown().await.unwrap();
        assert_eq!(rest(&mut there).await, (0, None));
        there.write_all(&[1; 1000]).await.unwrap();
        there.flush().await.unwrap();
        if ended {
            there.shutdown().await.unwrap();
        }
        accepted.close();
        accepted.closed().await;
        dialed.closed().await;
        let (read, end) = rest(&mut here).await;
        assert_eq!(read, 1000);
        let lost = Some(ErrorKind::ConnectionAborted).filter(|_| !ended);
        assert_eq!(end, lost);
    }
}

#[tokio::test]
async fn an_empty_read_says_nothing() {
    let (_connections, mut here, _there) = pair().await;
    assert_eq!(here.read(&mut []).await.unwrap(), 0);
}
