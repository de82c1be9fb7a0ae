//! What every stack does alike: pump bytes, count them, sum up times.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads are as large as the writes that are measured by default.
const READ: usize = 64 * 1024;

/// Prints one line of JSON.
pub(crate) fn print(line: &Value) {
    println!("{line}");
}

pub(crate) fn ready(addresses: &[String]) {
    print(&json!({"event": "ready", "addresses": addresses}));
}

/// Reads to the end and answers with the number of bytes read.
pub(crate) async fn sink<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> anyhow::Result<()> {
    let mut buffer = vec![0; READ];
    let mut total = 0_u64;
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        total += read as u64;
    }
    stream.write_all(&total.to_be_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

/// Writes `bytes` in pieces of `write`, waits for the count and prints the time from the first write to the answer.
pub(crate) async fn pump<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    bytes: u64,
    write: usize,
) -> anyhow::Result<()> {
    let buffer = vec![0x5a; write];
    let start = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(write as u64) as usize;
        stream.write_all(&buffer[..piece]).await?;
        left -= piece as u64;
    }
    stream.shutdown().await?;
    let mut answer = [0; 8];
    stream
        .read_exact(&mut answer)
        .await
        .context("no count came back")?;
    let seconds = start.elapsed().as_secs_f64();
    let counted = u64::from_be_bytes(answer);
    ensure!(counted == bytes, "{counted} of {bytes} bytes arrived");
    print(&json!({"event": "bulk", "bytes": bytes, "seconds": seconds}));
    Ok(())
}

/// Echoes pings of 32 bytes until the other end closes.
pub(crate) async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> anyhow::Result<()> {
    let mut ping = [0; 32];
    while stream.read_exact(&mut ping).await.is_ok() {
        stream.write_all(&ping).await?;
        stream.flush().await?;
    }
    stream.shutdown().await?;
    Ok(())
}

/// Sends one ping and waits for it.
pub(crate) async fn ping<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> anyhow::Result<()> {
    let sent = [7; 32];
    stream.write_all(&sent).await?;
    stream.flush().await?;
    let mut back = [0; 32];
    stream.read_exact(&mut back).await?;
    ensure!(back == sent, "a ping came back changed");
    Ok(())
}

/// Prints the median, the 99th percentile and the rate of `times`.
pub(crate) fn connects(mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| {
        let rank = (times.len() as f64 * share).ceil() as usize;
        times[rank.clamp(1, times.len()) - 1].as_micros() as u64
    };
    let total: Duration = times.iter().sum();
    print(&json!({
        "event": "connects",
        "count": times.len(),
        "p50_us": at(0.50),
        "p99_us": at(0.99),
        "per_second": times.len() as f64 / total.as_secs_f64(),
    }));
}
