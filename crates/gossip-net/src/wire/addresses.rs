//! The addresses in a peer's data.

use std::{collections::BTreeSet, net::SocketAddr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{MAX_DATA, PeerData};

/// How many addresses of each kind are read and written.
const MAX_ADDRESSES: usize = 8;
/// A longer multiaddr is skipped.
const MAX_MULTIADDR: usize = 128;

/// The addresses of a peer. iroh reads the relay and the socket addresses. Bowline adds multiaddrs behind them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddrInfo {
    /// The URL of iroh's relay.
    pub relay: Option<String>,
    /// At most 8 addresses of the peer's raw-key QUIC endpoint.
    pub direct: Vec<SocketAddr>,
    /// At most 8 libp2p multiaddrs in their binary form.
    pub multiaddrs: Vec<Bytes>,
}

/// The part that iroh reads.
#[derive(Serialize, Deserialize)]
struct IrohPart {
    relay: Option<String>,
    direct: BTreeSet<SocketAddr>,
}

impl AddrInfo {
    /// Reads a peer's data. Data that cannot be read has no addresses.
    pub fn decode(data: &PeerData) -> Self {
        if data.0.len() > MAX_DATA {
            return Self::default();
        }
        let Ok((iroh, rest)) = postcard::take_from_bytes::<IrohPart>(&data.0) else {
            return Self::default();
        };
        let multiaddrs = postcard::take_from_bytes::<Vec<&[u8]>>(rest)
            .map_or_else(|_| Vec::new(), |(found, _)| found);
        let multiaddrs = multiaddrs
            .into_iter()
            .filter(|bytes| bytes.len() <= MAX_MULTIADDR);
        Self {
            relay: iroh.relay,
            direct: iroh.direct.into_iter().take(MAX_ADDRESSES).collect(),
            multiaddrs: multiaddrs
                .take(MAX_ADDRESSES)
                .map(Bytes::copy_from_slice)
                .collect(),
        }
    }

    /// The peer's data with these addresses. Addresses beyond the eighth of a kind are left out.
    pub fn encode(&self) -> PeerData {
        let iroh = IrohPart {
            relay: self.relay.clone(),
            direct: self.direct.iter().take(MAX_ADDRESSES).copied().collect(),
        };
        let multiaddrs = self
            .multiaddrs
            .iter()
            .filter(|bytes| bytes.len() <= MAX_MULTIADDR);
        let multiaddrs = multiaddrs.take(MAX_ADDRESSES).collect::<Vec<_>>();
        let mut bytes = postcard::to_extend(&iroh, Vec::new()).unwrap_or_default();
        if !multiaddrs.is_empty() {
            bytes = postcard::to_extend(&multiaddrs, bytes).unwrap_or_default();
        }
        PeerData(bytes.into())
    }

    /// Whether an iroh peer can dial the peer.
    pub fn is_dialable_by_iroh(&self) -> bool {
        self.relay.is_some() || !self.direct.is_empty()
    }
}
