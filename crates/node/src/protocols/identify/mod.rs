//! [Identify]: each end sends its key, its addresses, its protocols, and the address at which it sees the other end.
//!
//! [Identify]: https://github.com/libp2p/specs/blob/master/identify/README.md

mod info;
mod signatures;
#[cfg(test)]
mod tests;
mod wire;

use libp2p_identity::PeerId;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

pub use info::{IdentifyError, Info};
pub use wire::{MAX_FRAME_SENT, MAX_IDENTIFY_MESSAGE};

pub(crate) use info::{Description, SignedIdentify, is_name};
pub(crate) use signatures::SignatureBudget;

/// The protocol for requests.
pub const PROTOCOL: &str = "/ipfs/id/1.0.0";
/// The protocol for pushes, with which a peer reports changes.
pub const PUSH_PROTOCOL: &str = "/ipfs/id/push/1.0.0";

/// Reads an identify message of `peer`. Fields that the peer left out are empty.
pub(crate) async fn read(
    stream: impl AsyncRead + Unpin,
    peer: PeerId,
    signatures: &SignatureBudget,
) -> Result<Info, IdentifyError> {
    let message = wire::read(stream).await?;
    Info::decode(&message, peer, signatures)
}

/// Sends an encoded message and ends the stream.
pub(crate) async fn write(
    mut stream: impl AsyncWrite + Unpin,
    frames: &[u8],
) -> std::io::Result<()> {
    stream.write_all(frames).await?;
    stream.shutdown().await
}

/// Entry points for the fuzzer.
#[cfg(fuzzing)]
pub mod fuzzing {
    use libp2p_identity::PeerId;

    /// Decodes and merges frames from the network.
    pub fn decode(bytes: &[u8]) {
        if let Ok(Some(message)) = super::wire::merge(bytes) {
            let peer = PeerId::from_multihash(Default::default());
            let peer = peer.unwrap_or_else(|_| PeerId::random());
            let _ = super::Info::decode(&message, peer, &Default::default());
        }
    }
}
