//! One way bytes: who writes them, and who counts them.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The stream protocol that the rust-libp2p peer speaks as well.
pub const PROTOCOL: &str = "/bowline/bench/bulk/1";

/// Reads are as large as the writes that are measured by default.
const READ: usize = 64 * 1024;

/// Reads to the end and answers with the number of bytes read.
///
/// # Errors
/// If the stream breaks.
pub async fn sink<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Result<()> {
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
///
/// # Errors
/// If the stream breaks, or other bytes arrived.
pub async fn pump<S>(mut stream: S, bytes: u64, write: usize) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
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
    println!(
        "{}",
        json!({"event": "bulk", "bytes": bytes, "seconds": seconds})
    );
    Ok(())
}
