//! [Ping]: 32 bytes, sent and echoed.
//!
//! Each ping uses a new stream, because some peers answer only the first ping of a stream. This node sends one ping at
//! a time, because some peers drop a ping's stream when the next ping's stream opens. A peer may keep two ping streams
//! open and send any number of pings on them.
//!
//! [Ping]: https://github.com/libp2p/specs/blob/master/ping/ping.md

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::OpenError;

/// The protocol's name.
pub const PROTOCOL: &str = "/ipfs/ping/1.0.0";
/// The number of inbound ping streams that the specification allows per connection.
pub const MAX_INBOUND: usize = 2;
/// An inbound ping stream that stays silent for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// The reason why a ping failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// The stream could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream broke. This also happens if the peer does not support ping.
    #[error("the stream of the ping broke")]
    Io(#[from] io::Error),
    /// The peer returned different bytes.
    #[error("the peer answered the ping with different bytes")]
    WrongAnswer,
    /// The peer did not answer in time.
    #[error("the ping was not answered within {} s", after.as_secs_f32())]
    TimedOut {
        /// The time limit of the ping.
        after: Duration,
    },
}

/// Sends one ping and waits for its echo.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<Duration, PingError> {
    let payload: [u8; 32] = rand::random();
    let start = Instant::now();
    stream.write_all(&payload).await?;
    stream.flush().await?;
    let mut answer = [0; 32];
    stream.read_exact(&mut answer).await?;
    let rtt = start.elapsed();
    if answer != payload {
        return Err(PingError::WrongAnswer);
    }
    stream.shutdown().await?;
    Ok(rtt)
}

/// Echoes pings until the peer closes the stream, breaks the stream or stays silent.
pub(crate) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut payload = [0; 32];
    while let Ok(Ok(_)) = tokio::time::timeout(IDLE, stream.read_exact(&mut payload)).await {
        let answer = async {
            stream.write_all(&payload).await?;
            stream.flush().await
        };
        if !matches!(tokio::time::timeout(IDLE, answer).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = tokio::time::timeout(IDLE, stream.shutdown()).await;
}
