//! Listening: from an address to a stream of admitted connections.

use std::{io, net::SocketAddr, sync::Arc};

use multiaddr::{Multiaddr, Protocol};

use crate::{
    AttemptCause, Direction, Event, ListenError,
    address::{self, Kind},
    connection::Muxed,
    path::Path,
    shared::Shared,
};

/// A socket that is bound but does not accept yet. Dropping it gives the port back.
pub(crate) struct Bound {
    at: SocketAddr,
    socket: Socket,
}

enum Socket {
    #[cfg(feature = "tcp")]
    Tcp(transport_tcp::Listener),
    #[cfg(feature = "quic")]
    Quic(transport_quic::Endpoint),
}

/// Binds `address`.
pub(crate) fn bind(node: &Arc<Shared>, address: &Multiaddr) -> Result<Bound, ListenError> {
    let unsupported = || ListenError::Unsupported {
        address: address.clone(),
    };
    let refused = |source: io::Error| ListenError::Bind {
        address: address.clone(),
        source,
    };
    let named = matches!(address.iter().last(), Some(Protocol::P2p(_)));
    let at = address::socket(address)
        .filter(|_| !named)
        .ok_or_else(unsupported)?;
    let socket: Socket = match address::kind(address) {
        #[cfg(feature = "tcp")]
        Kind::Tcp => Socket::Tcp(tcp::bind(at).map_err(refused)?),
        #[cfg(feature = "quic")]
        Kind::Quic => Socket::Quic(quic::bind(node, at).map_err(refused)?),
        _ => return Err(unsupported()),
    };
    let at = socket.local_addr().map_err(refused)?;
    Ok(Bound { at, socket })
}

impl Bound {
    pub(crate) fn port(&self) -> u16 {
        self.at.port()
    }

    /// Accepts from now on, and says under which addresses others reach the socket.
    pub(crate) fn start(self, node: &Arc<Shared>) -> Vec<Multiaddr> {
        let sockets = address::expand(self.at).into_iter();
        match self.socket {
            #[cfg(feature = "tcp")]
            Socket::Tcp(listener) => {
                node.tasks.spawn(tcp::accept(Arc::clone(node), listener));
                sockets.map(address::of_tcp).collect()
            }
            #[cfg(feature = "quic")]
            Socket::Quic(endpoint) => {
                node.transports.quic.share(endpoint.clone());
                node.tasks.spawn(quic::accept(Arc::clone(node), endpoint));
                sockets.map(address::of_quic).collect()
            }
        }
    }
}

impl Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match *self {
            #[cfg(feature = "tcp")]
            Self::Tcp(ref listener) => listener.local_addr(),
            #[cfg(feature = "quic")]
            Self::Quic(ref endpoint) => endpoint.local_addr(),
        }
    }
}

/// How connections come to a listener.
const WAY: (Path, Direction) = (Path::Direct, Direction::Inbound);

pub(crate) fn turned_away(node: &Shared, address: Multiaddr, reason: impl ToString) {
    let reason = reason.to_string();
    tracing::debug!(%address, reason, "turned away");
    node.emit(Event::InboundFailed {
        address,
        peer: None,
        reason,
    });
}

/// What the operating system said, out of a transport's error, which names the address a second time.
fn system(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let source = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error),
    }
}

#[cfg(feature = "tcp")]
mod tcp {
    use super::*;
    use transport_tcp::{ByteStream, ListenConfig, Listener};

    pub(super) fn bind(socket: SocketAddr) -> io::Result<Listener> {
        Listener::bind(socket, &ListenConfig::default()).map_err(system)
    }

    pub(super) async fn accept(node: Arc<Shared>, listener: Listener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = node.stopping.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => welcome(&node, stream, remote),
                Err(error) => {
                    tracing::error!(%error, "a TCP listener broke");
                    return;
                }
            }
        }
    }

    fn welcome(node: &Arc<Shared>, stream: ByteStream, remote: SocketAddr) {
        let address = address::of_tcp(remote);
        let place = match node.admit(remote.ip()) {
            Ok(place) => place,
            Err(refused) => return turned_away(node, address, refused),
        };
        let node = Arc::clone(node);
        node.tasks.clone().spawn(async move {
            let mut place = place;
            let mut trace = |stage| tracing::debug!(%address, ?stage, "inbound");
            let handshake = async {
                let upgraded = node
                    .transports
                    .tcp
                    .upgrader
                    .inbound(stream, &mut trace)
                    .await;
                upgraded.map_err(AttemptCause::Upgrade)
            };
            let upgraded = tokio::select! {
                // In a box of its own: the session that follows in this task is long, the handshake's state large.
                upgraded = Box::pin(place.run(handshake)) => upgraded,
                () = node.stopping.cancelled() => return,
            };
            match upgraded {
                Ok(upgraded) => {
                    let muxed = Muxed::Tcp(upgraded);
                    match node.adopt(place, muxed, address.clone(), WAY) {
                        Ok(session) => session.run().await,
                        Err(refused) => turned_away(&node, address, refused),
                    }
                }
                Err(error) => turned_away(&node, address, error),
            }
        });
    }
}

#[cfg(feature = "quic")]
mod quic {
    use super::*;
    use transport_quic::{Endpoint, Incoming};

    pub(super) fn bind(node: &Shared, socket: SocketAddr) -> io::Result<Endpoint> {
        node.transports.quic.bind(socket).map_err(system)
    }

    pub(super) async fn accept(node: Arc<Shared>, endpoint: Endpoint) {
        loop {
            let incoming = tokio::select! {
                incoming = endpoint.accept() => incoming,
                () = node.stopping.cancelled() => return,
            };
            match incoming {
                Some(incoming) => welcome(&node, incoming),
                None => return,
            }
        }
    }

    fn welcome(node: &Arc<Shared>, incoming: Incoming) {
        let remote = incoming.remote_addr();
        let address = address::of_quic(remote);
        let place = match node.admit(remote.ip()) {
            Ok(place) => place,
            Err(refused) => {
                incoming.refuse();
                return turned_away(node, address, refused);
            }
        };
        let node = Arc::clone(node);
        node.tasks.clone().spawn(async move {
            let mut place = place;
            let handshake = async { incoming.accept().await.map_err(AttemptCause::Accept) };
            let accepted = tokio::select! {
                accepted = Box::pin(place.run(handshake)) => accepted,
                () = node.stopping.cancelled() => return,
            };
            match accepted {
                Ok(accepted) => {
                    let muxed = Muxed::Quic(accepted);
                    match node.adopt(place, muxed, address.clone(), WAY) {
                        Ok(session) => session.run().await,
                        Err(refused) => turned_away(&node, address, refused),
                    }
                }
                Err(error) => turned_away(&node, address, error),
            }
        });
    }
}
