//! The life of a connection: who may hold it, how it ends, who is told.

use std::{
    future::{Future, poll_fn},
    io,
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    time::{Instant, timeout},
};
use transport_tcp::{CloseReason, Connection, Security, Stream, StreamError, UpgradeConfig};

use crate::support::{Node, PATIENCE, connected, pipe, raw_muxer};

async fn pair() -> (Connection, Connection) {
    connected(UpgradeConfig::default).await
}

async fn opened(connection: &Connection) -> Stream {
    let mut stream = connection.open().await.unwrap();
    stream.write_all(b"!").await.unwrap();
    stream
}

async fn ends(connection: &Connection) -> CloseReason {
    timeout(PATIENCE, connection.closed())
        .await
        .expect("the connection ends")
}

/// Polls once; the future must not be over.
async fn poll_once(mut future: std::pin::Pin<&mut impl Future>) {
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn closing_sends_what_was_written_and_tells_the_peer() {
    let (dialed, accepted) = pair().await;
    let mut stream = dialed.open().await.unwrap();
    stream.write_all(&[7; 100_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    dialed.close();
    dialed.closed().await;
    assert!(dialed.is_closed());
    assert!(matches!(dialed.closed().await, CloseReason::Local));
    assert!(matches!(ends(&accepted).await, CloseReason::Remote));
    // The stream arrived before the end and can still be had, with all its bytes.
    let mut read = Vec::new();
    let mut stream = accepted.accept().await.unwrap();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, [7; 100_000]);
    assert!(accepted.accept().await.is_none());
}

#[tokio::test]
async fn everybody_who_waits_is_answered_when_the_connection_ends() {
    let (dialed, accepted) = pair().await;
    let one = tokio::spawn({
        let accepted = accepted.clone();
        async move { accepted.accept().await.is_none() }
    });
    let two = tokio::spawn({
        let accepted = accepted.clone();
        async move { accepted.accept().await.is_none() }
    });
    let three = tokio::spawn({
        let accepted = accepted.clone();
        async move { accepted.closed().await.to_string() == "closed by the peer" }
    });
    let mut stream = opened(&dialed).await;
    let mut taken = loop {
        // One of the two waiters must not have got it: there is a third taker.
        if let Ok(Some(stream)) = timeout(Duration::from_millis(1), accepted.accept()).await {
            break Some(stream);
        }
        if one.is_finished() || two.is_finished() {
            break None;
        }
    };
    if let Some(taken) = &mut taken {
        taken.read_exact(&mut [0]).await.unwrap();
    }
    dialed.abort();
    assert!(matches!(ends(&dialed).await, CloseReason::Aborted));
    let _ = timeout(PATIENCE, stream.read(&mut [0]))
        .await
        .expect("a reader is answered");
    for waiter in [one, two, three] {
        timeout(PATIENCE, waiter)
            .await
            .expect("a waiter is answered")
            .unwrap();
    }
    match dialed.open().await {
        Err(StreamError::Closed(CloseReason::Aborted)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_opener_that_waits_for_acknowledgements_is_answered_when_the_connection_ends() {
    let victim = Node::over(Security::Tls);
    let (attacker, connection) = raw_muxer(&victim, 1 << 20).await;
    let mut streams = Vec::new();
    // The peer acknowledges none: yamux stops at 256.
    for _ in 0..256 {
        streams.push(opened(&connection).await);
    }
    let mut waiting = [(); 3].map(|()| Box::pin(connection.open()));
    for open in &mut waiting {
        poll_once(open.as_mut()).await;
    }
    drop(attacker);
    for open in waiting {
        let answer = timeout(PATIENCE, open).await.expect("it is answered");
        assert!(matches!(answer, Err(StreamError::Closed(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_close_of_our_own_answers_whoever_waits_on_a_stream() {
    let (dialed, accepted) = pair().await;
    let (mut read, mut write) = tokio::io::split(opened(&dialed).await);
    // The peer holds the stream and neither reads, nor writes, nor closes it.
    let _held = accepted.accept().await.unwrap();
    let reader = tokio::spawn(async move { read.read(&mut [0]).await });
    let writer = tokio::spawn(async move { write.write_all(&vec![0; 1 << 20]).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!reader.is_finished() && !writer.is_finished());
    dialed.close();
    dialed.closed().await;
    let read = timeout(PATIENCE, reader)
        .await
        .expect("the reader is answered");
    assert!(matches!(read.unwrap(), Ok(0) | Err(_)));
    let written = timeout(PATIENCE, writer)
        .await
        .expect("the writer is answered");
    assert!(written.unwrap().is_err());
}

#[tokio::test]
async fn dropped_accepts_lose_no_stream() {
    let (dialed, accepted) = pair().await;
    for n in 0..50_u8 {
        // Waiters that are polled and dropped, before and after the stream has come.
        let mut first = Box::pin(accepted.accept());
        poll_once(first.as_mut()).await;
        let mut second = Box::pin(accepted.accept());
        poll_once(second.as_mut()).await;
        let mut stream = dialed.open().await.unwrap();
        stream.write_all(&[n]).await.unwrap();
        if n % 2 == 0 {
            // Let it arrive, so that a waiter that is about to be dropped has been told of it.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        drop(first);
        let mut taken = timeout(PATIENCE, second)
            .await
            .expect("the stream was lost")
            .unwrap();
        let mut byte = [0];
        taken.read_exact(&mut byte).await.unwrap();
        assert_eq!(byte, [n]);
    }
}

#[tokio::test]
async fn a_dropped_open_gives_its_place_back() {
    let (dialed, _accepted) = connected(|| UpgradeConfig::default().with_max_streams(1)).await;
    for _ in 0..10 {
        let mut open = Box::pin(dialed.open());
        poll_once(open.as_mut()).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        drop(open);
        let stream = timeout(PATIENCE, dialed.open()).await.unwrap();
        stream.expect("the place was lost");
    }
}

#[tokio::test]
async fn concurrent_opens_and_accepts_are_all_served() {
    let (dialed, accepted) = pair().await;
    let opens = (0..100).map(|_| opened(&dialed));
    let accepts = (0..100).map(|_| accepted.accept());
    let served = futures::future::join(
        futures::future::join_all(opens),
        futures::future::join_all(accepts),
    );
    let (opened, taken) = timeout(PATIENCE, served).await.expect("all are served");
    assert_eq!(opened.len(), taken.iter().flatten().count());
    let mut ids: Vec<u32> = taken.iter().flatten().map(Stream::id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    assert!(
        ids.iter().all(|id| id % 2 == 1),
        "a dialer's streams are odd"
    );
}

#[tokio::test]
async fn a_connection_that_nobody_holds_is_closed() {
    let (dialed, accepted) = pair().await;
    let again = dialed.clone();
    drop(dialed);
    opened(&again).await;
    assert!(!accepted.is_closed());
    drop(again);
    assert!(matches!(ends(&accepted).await, CloseReason::Remote));
}

#[tokio::test]
async fn a_stream_keeps_its_connection_alive() {
    let (dialed, accepted) = pair().await;
    let mut stream = opened(&dialed).await;
    drop(dialed);
    let mut taken = accepted.accept().await.unwrap();
    taken.read_exact(&mut [0]).await.unwrap();
    taken.write_all(b"?").await.unwrap();
    stream.read_exact(&mut [0]).await.unwrap();
    assert!(!accepted.is_closed());
    drop(stream);
    assert!(matches!(ends(&accepted).await, CloseReason::Remote));
}

#[tokio::test]
async fn a_stream_dropped_without_closing_is_reset_and_the_connection_lives() {
    let (dialed, accepted) = pair().await;
    let stream = opened(&dialed).await;
    let mut taken = accepted.accept().await.unwrap();
    taken.read_exact(&mut [0]).await.unwrap();
    drop(stream);
    let read = timeout(PATIENCE, taken.read(&mut [0]))
        .await
        .expect("the reader is told");
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let write = async {
        while taken.write_all(&[0; 1024]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, write).await.expect("the writer is told");
    opened(&dialed).await;
    accepted.accept().await.unwrap();
}

#[tokio::test]
async fn half_closed_streams_still_carry_the_other_half() {
    let (dialed, accepted) = pair().await;
    let mut stream = opened(&dialed).await;
    stream.shutdown().await.unwrap();
    let mut taken = accepted.accept().await.unwrap();
    let mut heard = Vec::new();
    taken.read_to_end(&mut heard).await.unwrap();
    taken.write_all(&[5; 10_000]).await.unwrap();
    taken.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!((heard, answer), (b"!".to_vec(), vec![5; 10_000]));
}

#[tokio::test(start_paused = true)]
async fn a_close_towards_a_peer_that_reads_nothing_ends_at_its_deadline() {
    let victim = Node::over(Security::Tls);
    let (attacker, connection) = raw_muxer(&victim, 4096).await;
    let mut stream = connection.open().await.unwrap();
    let _ = timeout(Duration::from_secs(1), stream.write_all(&vec![0; 1 << 20])).await;
    let begun = Instant::now();
    connection.close();
    connection.closed().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    assert!(matches!(connection.closed().await, CloseReason::Local));
    drop(attacker);
}

#[tokio::test]
async fn after_a_close_began_no_stream_is_opened() {
    let (dialed, _accepted) = pair().await;
    dialed.close();
    assert!(matches!(
        dialed.open().await,
        Err(StreamError::Closed(CloseReason::Local))
    ));
}

#[tokio::test]
async fn a_peer_that_vanishes_ends_the_connection() {
    for security in [Security::Tls, Security::Noise] {
        let (dialer, listener) = (Node::over(security), Node::over(security));
        let (near, middle_near) = duplex(4096);
        let (middle_far, far) = duplex(4096);
        let relay = tokio::spawn(async move {
            let (mut one, mut two) = (middle_near, middle_far);
            let _ = tokio::io::copy_bidirectional(&mut one, &mut two).await;
        });
        let (dialed, accepted) = tokio::join!(dialer.outbound(near, None), listener.inbound(far));
        let (dialed, accepted) = (dialed.unwrap(), accepted.unwrap());
        opened(&dialed).await;
        relay.abort();
        for connection in [dialed, accepted] {
            let reason = ends(&connection).await;
            assert!(
                matches!(reason, CloseReason::Failed(_) | CloseReason::Remote),
                "{reason}"
            );
        }
    }
}

#[test]
fn a_runtime_that_stops_answers_everybody() {
    // Of several threads, one could still see that the other end is gone.
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let first = runtime();
    let (dialed, accepted) = first.block_on(pair());
    drop(first);
    runtime().block_on(async {
        for connection in [dialed, accepted] {
            assert!(matches!(ends(&connection).await, CloseReason::Stopped));
            assert!(connection.open().await.is_err());
            assert!(connection.accept().await.is_none());
        }
    });
}

#[tokio::test]
async fn both_families_of_io_traits_serve_one_stream() {
    let (dialed, accepted) = pair().await;
    let mut stream = dialed.open().await.unwrap();
    futures::AsyncWriteExt::write_all(&mut stream, b"by futures, ")
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"by tokio")
        .await
        .unwrap();
    futures::AsyncWriteExt::close(&mut stream).await.unwrap();
    let mut taken = accepted.accept().await.unwrap();
    let mut first = [0; 12];
    futures::AsyncReadExt::read_exact(&mut taken, &mut first)
        .await
        .unwrap();
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut taken, &mut rest)
        .await
        .unwrap();
    assert_eq!((&first[..], &rest[..]), (&b"by futures, "[..], "by tokio"));
}

#[tokio::test]
async fn an_upgrade_of_a_peer_that_hangs_up_is_an_error_at_once() {
    let victim = Node::new(UpgradeConfig::default());
    let (near, far) = pipe();
    drop(near);
    let error = timeout(PATIENCE, victim.inbound(far))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.to_string(), "negotiating security failed");
}
