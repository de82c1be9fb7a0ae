//! What carries a link: a connection of the node, or a connection to the iroh endpoint of a peer.

use std::time::Duration;

use conn_state::ConnectionId;
use gossip_net::{AsyncWrite, LinkError};
use libp2p_identity::PeerId;

#[cfg(feature = "iroh")]
use super::iroh::IrohConnection;
use super::table::Carrier;
use crate::{address::audience::Reach, connection::Connection};

/// The protocol of gossip streams on connections of the node.
pub(super) const PROTOCOL: &str = "/bowline/gossip/1";

/// The connection of a link.
#[derive(Clone)]
pub(super) enum Carrying {
    /// A connection of the node, which other protocols use, too.
    Node(Connection),
    /// A connection on the node's socket for iroh, which carries one link.
    #[cfg(feature = "iroh")]
    Iroh(IrohConnection),
}

impl Carrier for Carrying {
    fn id(&self) -> ConnectionId {
        match self {
            Self::Node(connection) => connection.id(),
            #[cfg(feature = "iroh")]
            Self::Iroh(connection) => connection.id(),
        }
    }
}

impl Carrying {
    pub(super) fn peer(&self) -> PeerId {
        match self {
            Self::Node(connection) => connection.peer(),
            #[cfg(feature = "iroh")]
            Self::Iroh(connection) => connection.peer(),
        }
    }

    /// The reach of the peer's address.
    pub(super) fn audience(&self) -> Reach {
        match self {
            Self::Node(connection) => connection.audience(),
            #[cfg(feature = "iroh")]
            Self::Iroh(connection) => connection.audience(),
        }
    }

    /// Opens a stream to the peer.
    pub(super) async fn open(&self) -> Result<Box<dyn AsyncWrite + Send + Unpin>, LinkError> {
        match self {
            Self::Node(connection) => match connection.open_here(PROTOCOL).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(failed(error)),
            },
            #[cfg(feature = "iroh")]
            Self::Iroh(connection) => match connection.open().await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(failed(error)),
            },
        }
    }

    /// Whether the peer answers within this time.
    pub(super) async fn answers(&self, within: Duration) -> bool {
        match self {
            Self::Node(connection) => connection.answers(within).await,
            #[cfg(feature = "iroh")]
            Self::Iroh(connection) => connection.answers(within).await,
        }
    }

    /// The link has ended. A connection that only the link used is closed.
    pub(super) fn release(&self, reason: &str) {
        match self {
            Self::Node(_) => {
                let _ = reason;
            }
            #[cfg(feature = "iroh")]
            Self::Iroh(connection) => connection.close(reason),
        }
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> LinkError {
    LinkError::Io(std::io::Error::other(error))
}
