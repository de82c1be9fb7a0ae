//! Bytes that a peer sends back: whether all of them come, and how the stream ends if not.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use node::{IncomingStream, Multiaddr, Node, Stream, error_chain};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::say;

pub(crate) const ECHO: &str = "/bowline-echo/1";

/// How long the job may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The bytes repeat after this many, which is prime, so that a lost or doubled block does not go unseen.
const PERIOD: u64 = 251;

const BLOCK: usize = 16 * 1024;

/// Echoes a stream, and says how it ended.
pub(crate) async fn serve(incoming: IncomingStream) {
    let peer = incoming.connection.peer();
    let mut bytes = 0;
    let end = match echoed(incoming.stream, &mut bytes).await {
        Ok(()) => "eof".to_owned(),
        Err(error) => error_chain(&error),
    };
    say(&json!({"event": "served", "peer_id": peer.to_string(), "bytes": bytes, "end": end}));
}

async fn echoed(mut stream: Stream, bytes: &mut u64) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        let read = stream.read(&mut block).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&block[..read]).await?;
        stream.flush().await?;
        *bytes += read as u64;
    }
}

/// Has the peer echo bytes. Where the stream ends before they are all back, says so and waits for the connection's end.
pub(crate) async fn echo(node: &Node, address: Multiaddr, bytes: u64) -> Result<()> {
    let connection = node.dial([address]).await?;
    let opened = connection.open_limited(&[ECHO]).await;
    let (_, stream) = opened.context("cannot open a stream")?;
    let (mut sent, mut received) = (0, 0);
    let (reader, writer) = tokio::io::split(stream);
    let (read, written) = tokio::join!(
        receive(reader, &mut received),
        send(writer, bytes, &mut sent)
    );
    let reason = match (read?, written) {
        (Err(error), _) => format!("reading: {}", error_chain(&error)),
        (Ok(()), Err(error)) => format!("writing: {}", error_chain(&error)),
        (Ok(()), Ok(())) if received == bytes => {
            say(&json!({"event": "echoed", "bytes": bytes}));
            return Ok(());
        }
        (Ok(()), Ok(())) => "the stream ended".to_owned(),
    };
    say(&json!({"event": "cut", "sent": sent, "received": received, "reason": reason}));
    connection.closed().await;
    Ok(())
}

async fn send(
    mut writer: impl AsyncWriteExt + Unpin,
    bytes: u64,
    sent: &mut u64,
) -> io::Result<()> {
    while *sent < bytes {
        let length = (bytes - *sent).min(BLOCK as u64);
        let block: Vec<u8> = (*sent..*sent + length).map(pattern).collect();
        writer.write_all(&block).await?;
        *sent += length;
    }
    writer.shutdown().await
}

/// Reads to the end. What is not what was sent is an error of its own.
async fn receive(
    mut reader: impl AsyncReadExt + Unpin,
    received: &mut u64,
) -> Result<io::Result<()>> {
    let mut block = vec![0; BLOCK];
    loop {
        match reader.read(&mut block).await {
            Ok(0) => return Ok(Ok(())),
            Ok(read) => {
                for byte in &block[..read] {
                    if *byte != pattern(*received) {
                        bail!("the byte {received} came back as another");
                    }
                    *received += 1;
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

fn pattern(position: u64) -> u8 {
    (position % PERIOD) as u8
}
