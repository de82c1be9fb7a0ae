//! One-byte frames, the dearest that there are.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Duration, timeout},
};
use tokio_rustls::client::TlsStream;
use transport_tcp::{CloseReason, Connection, Security, Stream};

use crate::{
    KIB, MIB, SLACK, alone, kept, paused, settled,
    support::{Node, PATIENCE, raw_muxer},
};

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;

/// What the attacker sends on each stream: its window in an optimised build, and less where each frame takes longer.
const EACH: usize = if cfg!(debug_assertions) {
    8 * KIB
} else {
    256 * KIB
};

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, number: u32, body: &[u8]) -> Vec<u8> {
    let header = [&[0, kind, 0, flags][..], &stream.to_be_bytes()].concat();
    [&header[..], &number.to_be_bytes(), body].concat()
}

struct Flood {
    attacker: TlsStream<DuplexStream>,
    connection: Connection,
    streams: Vec<Stream>,
}

impl Flood {
    /// Opens streams, and blocks the victim's writer if asked to.
    async fn begin(streams: u32, writer_blocked: bool) -> Self {
        let victim = Node::over(Security::Tls);
        let (mut attacker, connection) = raw_muxer(&victim, 64 * KIB).await;
        let mut accepted = Vec::new();
        for n in 0..streams {
            let syn = frame(WINDOW_UPDATE, 1, 2 * n + 1, 0, &[]);
            attacker.write_all(&syn).await.unwrap();
            attacker.flush().await.unwrap();
            accepted.push(connection.accept().await.unwrap());
        }
        if writer_blocked {
            for stream in &mut accepted {
                let write = stream.write_all(&[7; 64 * KIB]);
                let _ = timeout(Duration::from_millis(1), write).await;
            }
        }
        settled().await;
        Self {
            attacker,
            connection,
            streams: accepted,
        }
    }

    /// Sends one byte on each stream in turn, so that no two frames of a stream are neighbours.
    async fn flood(&mut self) {
        let round: Vec<_> = (0..self.streams.len() as u32)
            .flat_map(|n| frame(DATA, 0, 2 * n + 1, 1, b"x"))
            .collect();
        for _ in 0..EACH {
            self.attacker.write_all(&round).await.unwrap();
        }
        self.attacker.flush().await.unwrap();
        settled().await;
    }
}

async fn one_byte_frames(streams: u32, writer_blocked: bool) {
    let start = kept();
    let mut flood = Flood::begin(streams, writer_blocked).await;
    let open = kept();
    flood.flood().await;
    let unread = streams as usize * EACH;
    let grown = kept().saturating_sub(open);
    println!(
        "{streams} streams, writer blocked: {writer_blocked}: {unread} bytes unread in frames of one byte, {grown} bytes kept"
    );
    assert!(grown <= SLACK + 2 * unread, "{grown} bytes were kept");

    // Whoever reads late still gets everything.
    if !writer_blocked {
        let mut read = vec![0; EACH];
        let first = flood.streams.first_mut().unwrap();
        first.read_exact(&mut read).await.unwrap();
        assert!(read.iter().all(|byte| *byte == b'x'));
        settled().await;
    }
    flood.streams.clear();
    settled().await;
    let dropped = kept().saturating_sub(open);
    println!("{streams} streams: {dropped} bytes kept once the streams are dropped");
    assert!(dropped <= SLACK, "{dropped} bytes are kept for nobody");

    drop(flood.attacker);
    let closed = flood.connection.closed();
    timeout(PATIENCE, closed)
        .await
        .expect("the connection ends");
    drop(flood.connection);
    settled().await;
    let after = kept().saturating_sub(start);
    println!("{streams} streams: {after} bytes kept after the connection");
    assert!(after <= 10 * MIB, "{after} bytes are kept after the end");
}

#[test]
fn one_byte_frames_on_64_streams_cost_at_most_twice_their_size() {
    alone(|| {
        paused(one_byte_frames(64, false));
        paused(one_byte_frames(64, true));
    });
}

#[test]
fn one_byte_frames_on_256_streams_cost_at_most_twice_their_size() {
    alone(|| {
        paused(one_byte_frames(256, false));
        paused(one_byte_frames(256, true));
    });
}

#[test]
fn a_stream_that_was_read_keeps_no_queue_for_the_frames_it_once_held() {
    alone(|| {
        paused(async {
            let mut flood = Flood::begin(64, false).await;
            let open = kept();
            flood.flood().await;
            for stream in &mut flood.streams {
                stream.read_exact(&mut vec![0; EACH]).await.unwrap();
            }
            settled().await;
            let grown = kept().saturating_sub(open);
            println!("{grown} bytes kept once everything is read");
            assert!(grown <= SLACK, "{grown} bytes are kept for nothing");
        });
    });
}

#[test]
fn frames_that_were_read_but_for_a_byte_cost_a_byte_each() {
    alone(|| {
        paused(async {
            let mut flood = Flood::begin(256, false).await;
            let open = kept();
            let length = 32 * KIB;
            for n in 0..256 {
                let whole = frame(DATA, 0, 2 * n + 1, length as u32, &vec![7; length]);
                flood.attacker.write_all(&whole).await.unwrap();
            }
            flood.attacker.flush().await.unwrap();
            for left in [1, 0] {
                for stream in &mut flood.streams {
                    let mut read = vec![0; if left == 1 { length - 1 } else { 1 }];
                    stream.read_exact(&mut read).await.unwrap();
                    assert!(read.iter().all(|byte| *byte == 7));
                }
                settled().await;
                let grown = kept().saturating_sub(open);
                println!("{grown} bytes kept for {left} unread on each of 256 streams");
                assert!(grown <= SLACK + 2 * 256 * left, "{grown} bytes are kept");
            }
        });
    });
}

#[test]
fn a_frame_that_never_comes_reserves_at_most_the_slack() {
    alone(|| {
        paused(async {
            let mut flood = Flood::begin(1, false).await;
            let open = kept();
            let half = frame(DATA, 0, 1, 256 * KIB as u32, &[7]);
            flood.attacker.write_all(&half).await.unwrap();
            flood.attacker.flush().await.unwrap();
            settled().await;
            let grown = kept().saturating_sub(open);
            println!("{grown} bytes kept for a body that never comes");
            assert!(grown <= SLACK / 2, "{grown} bytes are reserved");
        });
    });
}

#[test]
fn streams_that_were_finished_in_small_frames_read_the_same() {
    alone(|| {
        paused(async {
            let mut flood = Flood::begin(2, false).await;
            flood.flood().await;
            let fin = frame(DATA, 4, 1, 0, &[]);
            flood.attacker.write_all(&fin).await.unwrap();
            flood.attacker.shutdown().await.unwrap();
            let reason = timeout(PATIENCE, flood.connection.closed()).await;
            assert!(matches!(reason.unwrap(), CloseReason::Remote));
            let mut read = Vec::new();
            flood.streams[0].read_to_end(&mut read).await.unwrap();
            assert_eq!(read.len(), EACH);
            // The other one was lost with its connection, after the bytes that came before.
            read.clear();
            let lost = flood.streams[1].read_to_end(&mut read).await;
            assert!(lost.is_err());
            assert_eq!(read.len(), EACH);
        });
    });
}
