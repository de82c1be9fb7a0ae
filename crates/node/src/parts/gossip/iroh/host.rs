//! Links to iroh, for hosts.

use std::{net::SocketAddr, sync::Arc};

use gossip_net::wire::PeerInfo;
use transport_quic::BindError;

use super::{IrohPeer, session};
use crate::{
    Node,
    parts::gossip::{Gossip, SubscribeError},
};

/// An error of [`Node::listen_for_iroh`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IrohListenError {
    /// This node cannot take part in gossip.
    #[error("cannot listen on {address} for iroh")]
    Gossip {
        /// The address asked for.
        address: SocketAddr,
        /// The reason.
        source: SubscribeError,
    },
    /// The socket cannot be bound.
    #[error("cannot listen on {address} for iroh")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The reason.
        source: BindError,
    },
}

/// Links to iroh peers (feature `iroh`). A node takes part in a topic over libp2p connections and over links to iroh at the same
/// time.
impl Node {
    /// Accepts links of iroh peers on a UDP port of their own. Port 0 takes a free port. Returns the address of the socket.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound, this node has no Ed25519 identity, or the node is shut down.
    pub fn listen_for_iroh(&self, address: SocketAddr) -> Result<SocketAddr, IrohListenError> {
        let refused = |source| IrohListenError::Gossip { address, source };
        self.gossip().map_err(refused)?.start_iroh(address)
    }

    /// Names iroh peers. The node remembers the addresses of the last 256 peers. Pass the result to
    /// [`gossip_net::Sender::join_peers`] of a subscription, which asks the peers to become neighbours.
    ///
    /// # Errors
    ///
    /// This node has no Ed25519 identity.
    pub fn name_iroh_peers(
        &self,
        peers: impl IntoIterator<Item = IrohPeer>,
    ) -> Result<Vec<PeerInfo>, SubscribeError> {
        let peers = peers.into_iter().collect::<Vec<_>>();
        self.gossip()?.name_iroh_peers(&peers)
    }

    /// This node as iroh peers name it, with each address at which they reach it.
    pub fn iroh_addresses(&self) -> Vec<IrohPeer> {
        let part = self.gossip().ok();
        part.map_or_else(Vec::new, |part| part.iroh_addresses())
    }
}

impl Gossip {
    /// Binds a socket and accepts links on it. Gossip starts now, because nothing takes the links before.
    fn start_iroh(&self, address: SocketAddr) -> Result<SocketAddr, IrohListenError> {
        let refused = |source| IrohListenError::Gossip { address, source };
        self.start().map_err(refused)?;
        let links = self.links().map_err(refused)?;
        let iroh = links.iroh().map_err(refused)?;
        let _within = self.runtime.enter();
        let bound = iroh.bind(address);
        let (endpoint, bound) =
            bound.map_err(|source| IrohListenError::Bind { address, source })?;
        self.context
            .spawn(session::accept(Arc::downgrade(links), endpoint));
        links.tell_own_addresses();
        Ok(bound)
    }

    /// Remembers the addresses of peers. Returns the peers as gossip-net names them.
    pub(in crate::parts::gossip) fn name_iroh_peers(
        &self,
        peers: &[IrohPeer],
    ) -> Result<Vec<PeerInfo>, SubscribeError> {
        let iroh = self.links()?.iroh()?;
        let named = peers.iter().map(|peer| {
            iroh.named().add(*peer);
            PeerInfo {
                id: peer.id(),
                data: None,
            }
        });
        Ok(named.collect())
    }

    fn iroh_addresses(&self) -> Vec<IrohPeer> {
        let Ok(links) = self.links() else {
            return Vec::new();
        };
        let addresses = links.iroh().map(|iroh| iroh.own_addresses());
        let addresses = addresses.unwrap_or_default().into_iter();
        addresses
            .map(|address| IrohPeer::new(links.me, address))
            .collect()
    }
}
