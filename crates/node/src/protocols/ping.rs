//! [Ping]: 32 bytes, sent and echoed.
//!
//! Each ping travels on a stream of its own, because some peers answer only the first ping of a stream. Pings are sent one
//! after the other, because some peers drop a ping's stream when the next one opens. A peer may keep two of its own ping
//! streams open and send on them as often as it likes.
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
/// Inbound ping streams that one connection may have at once, as the spec says.
pub const MAX_INBOUND: usize = 2;
/// An inbound ping stream that stays silent for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Why a ping gave no round trip.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// There is no stream to ping on.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream broke. A peer that does not speak ping breaks it, too.
    #[error("the ping's stream broke")]
    Io(#[from] io::Error),
    /// The peer echoed other bytes than were sent.
    #[error("the ping was answered with other bytes")]
    WrongAnswer,
    /// Nothing came back in time.
    #[error("the ping was not answered within {} s", after.as_secs_f32())]
    TimedOut {
        /// The time that the ping had.
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

/// Echoes until the peer closes the stream, breaks it or stays silent.
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
