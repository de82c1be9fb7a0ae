//! A connection to the iroh endpoint of a peer: QUIC with raw public keys.

use std::{sync::Arc, time::Duration};

use conn_state::ConnectionId;
use gossip_net::{LinkProtocol, wire::BOWLINE_ALPN};
use libp2p_identity::PeerId;
use transport_quic::{CloseCode, RecvStream, SendStream, StreamError};

use crate::address::audience::Reach;

/// A connection, whose peer the handshake has proved. Clones are handles of one connection.
#[derive(Clone)]
pub(in crate::parts::gossip) struct IrohConnection(Arc<Shared>);

struct Shared {
    id: ConnectionId,
    quic: transport_quic::Connection,
}

impl IrohConnection {
    pub(super) fn new(id: ConnectionId, quic: transport_quic::Connection) -> Self {
        Self(Arc::new(Shared { id, quic }))
    }

    pub(in crate::parts::gossip) fn id(&self) -> ConnectionId {
        self.0.id
    }

    pub(in crate::parts::gossip) fn peer(&self) -> PeerId {
        self.0.quic.peer()
    }

    /// The protocol on which the ends have agreed. Two Bowline nodes agree on Bowline's.
    pub(super) fn protocol(&self) -> LinkProtocol {
        match self.0.quic.alpn() {
            Some(alpn) if alpn == BOWLINE_ALPN => LinkProtocol::Bowline,
            _ => LinkProtocol::Iroh,
        }
    }

    pub(in crate::parts::gossip) fn audience(&self) -> Reach {
        Reach::of_ip(self.0.quic.handshake_addr().ip())
    }

    pub(in crate::parts::gossip) async fn open(&self) -> Result<SendStream, StreamError> {
        self.0.quic.open_uni().await
    }

    /// The next stream of the peer. `None`: the connection has ended, or this node closes it. Cancel-safe.
    pub(super) async fn accept(&self) -> Option<RecvStream> {
        self.0.quic.accept_uni().await
    }

    pub(in crate::parts::gossip) async fn answers(&self, within: Duration) -> bool {
        self.0.quic.probe(within).await.is_ok()
    }

    /// Closes the connection gracefully: the peer gets what was finished.
    pub(in crate::parts::gossip) fn close(&self, reason: &str) {
        self.0.quic.close(CloseCode::COLLECTED, reason);
    }

    /// Waits for the end of the connection. Returns the cause.
    pub(super) async fn closed(&self) -> String {
        crate::error::error_chain(&self.0.quic.closed().await)
    }
}
