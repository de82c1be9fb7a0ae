//! What every stack does alike: pump bytes, count them, sum up times.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) use tests::harness::bulk::{pump, sink};

/// Prints one line of JSON.
pub(crate) fn print(line: &Value) {
    println!("{line}");
}

pub(crate) fn ready(addresses: &[String]) {
    print(&json!({"event": "ready", "addresses": addresses}));
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
