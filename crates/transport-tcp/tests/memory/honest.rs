//! Peers that send much, or in small pieces, and mean no harm.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Duration, sleep, timeout},
};
use transport_tcp::UpgradeConfig;

use crate::{
    KIB, alone, paused,
    support::{PATIENCE, connected},
};

/// Writes of all lengths, to a reader that pauses again and again.
#[test]
fn a_slow_reader_gets_every_byte_of_many_small_writes() {
    alone(|| {
        paused(async {
            let (dialed, accepted) = connected(UpgradeConfig::default).await;
            let lengths = (1..2000_usize).map(|n| n * 7919 % 300 + 1);
            let lengths = lengths.chain([20_000, 5, 70_000, 1, 1, 40 * KIB, 3]);
            let all: usize = lengths.clone().sum();
            let writer = async {
                let mut stream = dialed.open().await.unwrap();
                let mut sent = 0;
                for length in lengths {
                    let piece: Vec<_> = (sent..sent + length).map(|n| (n % 251) as u8).collect();
                    stream.write_all(&piece).await.unwrap();
                    sent += length;
                }
                stream.shutdown().await.unwrap();
                stream
            };
            let reader = async {
                let mut stream = accepted.accept().await.unwrap();
                let (mut read, mut buffer) = (0, vec![0; 10_000]);
                loop {
                    let n = stream.read(&mut buffer).await.unwrap();
                    if n == 0 {
                        return read;
                    }
                    for byte in &buffer[..n] {
                        assert_eq!(usize::from(*byte), read % 251);
                        read += 1;
                    }
                    if read % 7 == 0 {
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            };
            let both = async { tokio::join!(writer, reader) };
            let (_stream, read) = timeout(PATIENCE, both).await.expect("it arrives");
            assert_eq!(read, all);
        });
    });
}
