//! QUIC, over the endpoints of transport-quic.

use std::{io, net::SocketAddr, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use libp2p_identity::Keypair;
use multiaddr::Multiaddr;
use tokio::sync::Notify;
use transport_quic::{
    CloseCode, Config, ConnectBudget, DialOptions, Endpoint, Endpoints, UdpBinder,
};

use super::system;
use crate::{
    address::{self, Kind},
    connection::{Muxed, Path},
    error::AttemptCause,
    part::{Attempt, Connector, Incoming, Listener, Reached, Source, Transport},
};

/// The endpoints that listen, and the endpoints that only dial.
pub(crate) struct Quic {
    endpoints: Endpoints,
    #[allow(dead_code, reason = "only parts dial under another identity")]
    binder: Arc<dyn UdpBinder>,
}

impl Quic {
    pub(crate) fn new(keypair: &Keypair, config: Config, binder: Arc<dyn UdpBinder>) -> Self {
        Self {
            binder: Arc::clone(&binder),
            endpoints: Endpoints::new(keypair, config, binder),
        }
    }

    /// Endpoints of their own, with the same kind of sockets.
    #[allow(dead_code, reason = "only a part with sockets of its own uses it")]
    pub(crate) fn endpoints(&self, keypair: &Keypair, config: Config) -> Endpoints {
        Endpoints::new(keypair, config, Arc::clone(&self.binder))
    }

    /// A transport with the same kind of sockets and another identity.
    #[allow(dead_code, reason = "only parts dial under another identity")]
    pub(crate) fn with_identity(&self, keypair: &Keypair, config: Config) -> Self {
        Self::new(keypair, config, Arc::clone(&self.binder))
    }
}

impl Connector for Quic {
    fn handles(&self, kind: Kind) -> bool {
        kind == Kind::Quic
    }

    fn connect(
        self: Arc<Self>,
        attempt: Attempt,
    ) -> BoxFuture<'static, Result<Reached, AttemptCause>> {
        async move {
            let Attempt {
                address,
                expected,
                budget,
                ..
            } = attempt;
            let dialed = match address::socket(&address) {
                Some(socket) => self.endpoints.dial(socket, expected).await?,
                None => {
                    let connects = ConnectBudget::new(budget.connects());
                    let options = DialOptions::default().with_connects(connects);
                    let endpoints = &self.endpoints;
                    endpoints
                        .dial_multiaddr_with(&address, expected, &options)
                        .await?
                }
            };
            Ok(Reached {
                muxed: Muxed::Quic(dialed),
                path: Path::Direct,
            })
        }
        .boxed()
    }
}

impl Transport for Quic {
    fn bind(self: Arc<Self>, address: &Multiaddr) -> io::Result<Arc<dyn Listener>> {
        let at = address::socket(address).ok_or(io::ErrorKind::InvalidInput)?;
        let endpoint = self.endpoints.bind(at).map_err(system)?;
        Ok(Arc::new(Listening {
            endpoint,
            transport: self,
        }))
    }

    /// A connection then sends a packet from its new socket at once, so that the peer learns of a new address.
    fn follow_network(&self) {
        for error in self.endpoints.rebind() {
            tracing::debug!(%error, "a QUIC socket was not moved to the changed network");
        }
    }

    fn close(self: Arc<Self>) -> BoxFuture<'static, ()> {
        async move {
            self.endpoints
                .close(CloseCode::SHUTDOWN, "shutting down")
                .await;
        }
        .boxed()
    }
}

struct Listening {
    endpoint: Endpoint,
    transport: Arc<Quic>,
}

impl Listener for Listening {
    fn bound(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    fn multiaddr(&self, address: SocketAddr) -> Multiaddr {
        address::of_quic(address)
    }

    /// Dials start from the listening socket, so that peers see the address at which this node listens. An endpoint that
    /// breaks leaves the set by itself; the others stay until [`Transport::close`], which sends the last packets of each.
    fn start(&self) {
        self.transport.endpoints.add(self.endpoint.clone());
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Incoming>> {
        async {
            let accepted = self.endpoint.accept().await;
            accepted.map(incoming).map_err(io::Error::other)
        }
        .boxed()
    }
}

fn incoming(incoming: transport_quic::Incoming) -> Incoming {
    let remote = incoming.remote_addr();
    let validated = incoming.is_validated();
    // Either the handshake or the refusal takes the value.
    let shared = Arc::new(std::sync::Mutex::new(Some(incoming)));
    let take = |shared: &std::sync::Mutex<Option<transport_quic::Incoming>>| {
        let taken = shared.lock();
        taken
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    };
    let refused = Arc::clone(&shared);
    let handshake = async move {
        let incoming = take(&shared).ok_or(AttemptCause::ShutDown)?;
        let accepted = incoming.accept().await?;
        Ok(Reached {
            muxed: Muxed::Quic(accepted),
            path: Path::Direct,
        })
    };
    Incoming {
        address: address::of_quic(remote),
        source: match validated {
            true => Source::Validated(remote.ip()),
            false => Source::Claimed(remote.ip()),
        },
        // A dialer with a proved address has sent its whole client hello twice.
        advanced: validated.then(|| {
            let advanced = Notify::new();
            advanced.notify_one();
            Arc::new(advanced)
        }),
        handshake: handshake.boxed(),
        refuse: Some(Box::new(move || {
            // A forged source never answers a retry. A real source answers with a proof of its address, and is then refused.
            if let Some(incoming) = take(&refused)
                && let Err(validated) = incoming.retry()
            {
                validated.refuse();
            }
        })),
    }
}
