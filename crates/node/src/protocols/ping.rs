//! [Ping]: 32 bytes there and back.
//!
//! Each ping travels on a stream of its own, because some peers answer only the first of a stream; and one after the
//! other, because some drop a ping's stream when the next one's comes. A peer may keep two of its ping streams open at us
//! and send on them as often as it likes.
//!
//! [Ping]: https://github.com/libp2p/specs/blob/master/ping/ping.md

use std::{
    io,
    time::{Duration, Instant},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Connection, OpenError, Stream};

/// The protocol's name.
pub const PROTOCOL: &str = "/ipfs/ping/1.0.0";
/// Inbound ping streams a connection may have at once, as the spec says.
pub const MAX_INBOUND: usize = 2;
/// An inbound ping stream on which nothing comes for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Why a ping brought no round trip.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// No stream to ping on.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream broke; also how a peer that does not speak ping is noticed.
    #[error("ping broke: {0}")]
    Io(#[from] io::Error),
    /// What came back is not what was sent.
    #[error("ping was answered with other bytes")]
    WrongAnswer,
    /// Nothing came back in time.
    #[error("ping was not answered within {} s", after.as_secs_f32())]
    TimedOut {
        /// The time it was given.
        after: Duration,
    },
}

pub(crate) async fn once(
    connection: &Connection,
    timeout: Duration,
) -> Result<Duration, PingError> {
    let exchange = async {
        let _turn = connection.pinging().await;
        let mut stream = connection.open_here(PROTOCOL).await?;
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
    };
    let timed_out = PingError::TimedOut { after: timeout };
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or(Err(timed_out))
}

/// Echoes until the peer closes, breaks off or falls silent.
pub(crate) async fn serve(mut stream: Stream) {
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
