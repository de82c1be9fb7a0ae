//! [Identify]: each end says who it is, where it listens, what it speaks and how it sees the other.
//!
//! [Identify]: https://github.com/libp2p/specs/blob/master/identify/README.md

mod info;
#[cfg(test)]
mod tests;
mod wire;

use std::{io, sync::Arc, time::Duration};

use tokio::io::AsyncWriteExt;

pub use info::{IdentifyError, Info};
pub use wire::{MAX_FRAME_SENT, MAX_MESSAGE};

pub(crate) use info::{Ours, Said};

use crate::{Connection, OpenError, Stream};

/// The protocol by which a peer is asked.
pub const PROTOCOL: &str = "/ipfs/id/1.0.0";
/// The protocol by which a peer tells unasked.
pub const PUSH_PROTOCOL: &str = "/ipfs/id/push/1.0.0";

/// Asks the peer at the other end of `connection`.
pub(crate) async fn request(
    connection: &Connection,
    timeout: Duration,
) -> Result<Info, IdentifyError> {
    let peer = connection.peer();
    let exchange = async {
        let stream = connection.open_here(PROTOCOL).await?;
        let message = wire::read(stream).await?;
        Info::decode(&message, peer)
    };
    within(timeout, exchange).await
}

/// Reads what a peer pushes. Fields it leaves out keep what `known` says.
pub(crate) async fn receive_push(
    connection: &Connection,
    stream: Stream,
    timeout: Duration,
) -> Result<Arc<Info>, IdentifyError> {
    let exchange = async {
        let message = wire::read(stream).await?;
        let update = Info::decode(&message, connection.peer())?;
        let info = Arc::new(match connection.identified() {
            Some(known) => known.updated_with(update),
            None => update,
        });
        connection.set_identified(Arc::clone(&info));
        Ok(info)
    };
    within(timeout, exchange).await
}

/// Answers a peer that asks.
pub(crate) async fn serve(mut stream: Stream, ours: Vec<u8>, timeout: Duration) {
    let answer = async {
        stream.write_all(&ours).await?;
        stream.shutdown().await
    };
    if let Ok(Err(error)) = tokio::time::timeout(timeout, answer).await {
        tracing::debug!(%error, "identify could not be answered");
    }
}

/// Tells the peer what has changed.
pub(crate) async fn push(
    connection: &Connection,
    ours: Vec<u8>,
    timeout: Duration,
) -> Result<(), OpenError> {
    let (_, mut stream) = connection.open_limited(&[PUSH_PROTOCOL]).await?;
    let sent = async {
        stream.write_all(&ours).await?;
        stream.shutdown().await
    };
    let outcome = tokio::time::timeout(timeout, sent).await;
    let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    outcome.map_err(|error| OpenError::Connection {
        peer: connection.peer(),
        reason: error.to_string(),
    })
}

async fn within<T>(
    timeout: Duration,
    exchange: impl Future<Output = Result<T, IdentifyError>>,
) -> Result<T, IdentifyError> {
    let timed_out = IdentifyError::TimedOut { after: timeout };
    tokio::time::timeout(timeout, exchange)
        .await
        .unwrap_or(Err(timed_out))
}

/// Entry points for the fuzzer.
#[cfg(fuzzing)]
pub mod fuzzing {
    use libp2p_identity::PeerId;

    /// Frames as they come from the network, merged and decoded.
    pub fn decode(bytes: &[u8]) {
        if let Ok(Some(message)) = super::wire::merge(bytes) {
            let peer = PeerId::from_multihash(Default::default());
            let peer = peer.unwrap_or_else(|_| PeerId::random());
            let _ = super::Info::decode(&message, peer);
        }
    }
}
