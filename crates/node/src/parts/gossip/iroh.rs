//! Links to iroh peers: QUIC with raw public keys, on sockets of this part.
//!
//! Each connection carries one link, and closes with the link. It counts in the limits of the node and obeys the rules of the
//! dialer. The tracker does not know it, because the peer may also have a libp2p connection, which has the same id.

mod connection;
mod host;
mod named;
mod peer;
mod session;

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gossip_net::{Id, wire::BOWLINE_ALPN};
use multiaddr::{Multiaddr, Protocol};
use tokio_util::sync::CancellationToken;
use transport_quic::{BindError, CloseCode, Config, Endpoint, Endpoints, Flavour};

pub(super) use self::connection::IrohConnection;
use self::named::Named;
pub use self::{
    host::IrohListenError,
    peer::{IrohPeer, IrohPeerError},
};
use super::addresses;
use crate::{
    address::{self, audience::Reach},
    config::GossipConfig,
    context::Context,
};

/// The most bytes of one stream that wait for gossip-net, which reads at once: the longest message.
const STREAM_WINDOW: u32 = 1 << 20;
/// The most bytes of one connection that wait, in each direction.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The time in which a closing connection delivers what was finished. The node waits one second for its last tasks.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The endpoints for iroh.
pub(super) struct IrohLinks {
    context: Context,
    endpoints: Endpoints,
    /// The addresses to which the listening sockets are bound.
    bound: Mutex<Vec<Multiaddr>>,
    named: Mutex<Named>,
    stop: CancellationToken,
}

/// The settings of the endpoints. A peer holds no more than [`CONNECTION_WINDOW`] of this node's memory for each direction of a
/// connection.
pub(super) fn config(gossip: &GossipConfig) -> Config {
    let streams = u32::try_from(gossip.max_streams()).unwrap_or(u32::MAX);
    let alpn = vec![BOWLINE_ALPN.to_vec(), gossip.core.alpn.clone()];
    Config::default()
        .with_flavour(Flavour::RawPublicKey { alpn })
        .with_handshake_timeout(gossip.core.dial_timeout)
        .with_max_inbound_streams(streams)
        .with_stream_window(STREAM_WINDOW)
        .with_connection_window(CONNECTION_WINDOW)
        .with_send_window(CONNECTION_WINDOW.into())
        .with_close_timeout(CLOSE_TIMEOUT)
}

impl IrohLinks {
    pub(super) fn new(context: Context, endpoints: Endpoints) -> Self {
        Self {
            context,
            endpoints,
            bound: Mutex::default(),
            named: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    fn bound(&self) -> MutexGuard<'_, Vec<Multiaddr>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds a socket, from which later dials start, too.
    fn bind(&self, at: SocketAddr) -> Result<(Endpoint, SocketAddr), BindError> {
        let endpoint = self.endpoints.bind(at)?;
        let bound = endpoint.local_addr();
        let bound = bound.map_err(|source| BindError::Socket {
            address: at,
            source,
        })?;
        self.endpoints.add(endpoint.clone());
        self.bound().push(address::of_quic(bound));
        Ok((endpoint, bound))
    }

    /// The addresses at which iroh peers reach this node.
    pub(super) fn own_addresses(&self) -> Vec<SocketAddr> {
        let bound = self.bound().clone();
        let reachable = bound.iter().flat_map(|at| self.context.reachable_at(at));
        reachable.filter_map(|at| address::socket(&at)).collect()
    }

    /// The addresses at which a peer's endpoint can be dialed: those that the host has named, and then those in `data`, which any
    /// member may have sent. `nearest` is the reach of the nearest peer that has had a link a short time ago.
    pub(super) fn addresses_of(
        &self,
        peer: &Id,
        data: &[u8],
        nearest: Option<Reach>,
    ) -> Vec<SocketAddr> {
        let mut all = self.named().of(peer);
        for told in addresses::sockets_of_member(data, nearest) {
            if !all.contains(&told) && peer::is_dialable(&told) {
                all.push(told);
            }
        }
        all
    }

    /// Whether the dialer dials this peer's address directly. A proxy cannot forward the packets.
    fn is_direct(&self, peer: libp2p_identity::PeerId, at: SocketAddr) -> bool {
        let address = address::of_quic(at).with(Protocol::P2p(peer));
        self.context.is_direct(&address)
    }

    /// Moves the sockets to the changed network.
    pub(super) fn follow_network(&self) {
        for error in self.endpoints.rebind() {
            tracing::debug!(%error, "a socket for iroh was not moved to the changed network");
        }
    }

    /// Ends the listeners and closes the sockets. The connections must be closing already.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        let endpoints = self.endpoints.clone();
        // The shutdown of the node waits for the task.
        self.context.spawn(async move {
            endpoints.close(CloseCode::SHUTDOWN, "shutting down").await;
        });
    }
}
