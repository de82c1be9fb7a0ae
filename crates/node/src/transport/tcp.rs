//! TCP, over the dialers, the upgrade and the listeners of transport-tcp.

use std::{io, net::SocketAddr, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use multiaddr::{Multiaddr, Protocol};
use tokio::sync::Notify;
use transport_tcp::{
    ConnectBudget, Connection, DialContext, Dialer, ListenConfig, Listener as TcpListener, Metered,
    ResolveError, Resolver, Target, Upgrader,
};

use super::system;
use crate::{
    address::{self, Kind},
    connection::{Muxed, Path},
    error::AttemptCause,
    part::{Attempt, Connector, Incoming, Listener, Reached, Source, Transport},
};

/// The dialer of byte streams, with counters.
pub(crate) type CountedDialer = Metered<Arc<dyn Dialer>>;

/// The TCP transport: the parts that all dials and listeners share.
pub(crate) struct Tcp {
    pub(crate) upgrader: Arc<Upgrader>,
    pub(crate) dialer: Arc<CountedDialer>,
    pub(crate) resolver: Resolver,
}

impl Tcp {
    /// `resolver` looks up `/dnsaddr` names, with any dialer.
    pub(crate) fn new(
        upgrader: Arc<Upgrader>,
        dialer: Arc<dyn Dialer>,
        resolver: Resolver,
    ) -> Self {
        Self {
            upgrader,
            dialer: Arc::new(Metered::new(dialer)),
            resolver,
        }
    }

    /// A transport with the same dialer and resolver, and another identity.
    #[allow(dead_code, reason = "only parts dial under another identity")]
    pub(crate) fn with_upgrader(&self, upgrader: Arc<Upgrader>) -> Self {
        Self {
            upgrader,
            dialer: Arc::clone(&self.dialer),
            resolver: self.resolver.clone(),
        }
    }

    /// Whether the dialer dials this address directly. If not, only the dialer may dial it: anything else would bypass
    /// a proxy or a refusal.
    pub(crate) fn is_direct(&self, address: &Multiaddr) -> bool {
        address::target(address).is_some_and(|target| self.dialer.is_direct(&target))
    }

    /// Whether this machine itself may ask for the `/dnsaddr` records of `name`. If not, the question would bypass the dialer.
    pub(crate) fn may_ask(dialer: &CountedDialer, name: &str) -> bool {
        let address = Multiaddr::from(Protocol::Dnsaddr(name.into()));
        address::target(&address).is_some_and(|target| dialer.is_direct(&target))
    }

    /// The path of a connection that the dialer has opened. A dialer that may use a proxy has not used one if the socket is
    /// connected to the dialed address itself.
    fn path(&self, address: &Multiaddr, target: &Target, connection: &Connection) -> Path {
        let reached = connection.link().map(|link| link.remote());
        let is_dialed_address = reached.is_some() && reached == address::socket(address);
        match is_dialed_address || self.dialer.is_direct(target) {
            true => Path::Direct,
            false => Path::Proxied,
        }
    }
}

impl Connector for Tcp {
    fn handles(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Tcp | Kind::DnsAddr)
    }

    fn connect(
        self: Arc<Self>,
        attempt: Attempt,
    ) -> BoxFuture<'static, Result<Reached, AttemptCause>> {
        async move {
            let Attempt {
                address,
                expected,
                deadline,
                budget,
            } = attempt;
            let target = Target::from_multiaddr(&address);
            let target = target.map_err(|error| AttemptCause::Unsupported {
                reason: error.to_string(),
            })?;
            let mut context = DialContext::new(deadline);
            context.connects = ConnectBudget::new(budget.connects());
            let stream = self.dialer.dial(&target, &context).await?;
            let mut trace = |stage| tracing::debug!(%address, ?stage, "outbound");
            let upgraded = self.upgrader.outbound(stream, expected, &mut trace).await?;
            let path = self.path(&address, &target, &upgraded);
            let muxed = Muxed::Tcp(upgraded);
            Ok(Reached { muxed, path })
        }
        .boxed()
    }

    fn expand(
        &self,
        attempt: &Attempt,
    ) -> Option<BoxFuture<'static, Result<Vec<Multiaddr>, AttemptCause>>> {
        let Some(Protocol::Dnsaddr(name)) = attempt.address.iter().next() else {
            return None;
        };
        let (resolver, name) = (self.resolver.clone(), name.into_owned());
        let (expected, budget) = (attempt.expected, attempt.budget.clone());
        let dialer = Arc::clone(&self.dialer);
        let look_up = async move {
            let mut bypasses = false;
            // A record may lead to a name for which the dialer has another rule.
            let may_ask = |name: &str| {
                let is_direct = Self::may_ask(&dialer, name);
                bypasses |= !is_direct;
                is_direct && budget.take_question()
            };
            let found = resolver.dnsaddr_while(&name, expected, may_ask).await;
            let found = found.map_err(|error| match error {
                ResolveError::Empty(_) if bypasses => AttemptCause::NotDirect {
                    what: "a DNS look-up of a name in its records",
                },
                error => AttemptCause::Resolve(Box::new(error)),
            })?;
            // The owner of a name does not know the interfaces of this machine.
            let usable = |address: &Multiaddr| {
                let is_direct = matches!(address::kind(address), Kind::Tcp | Kind::Quic);
                is_direct && !address::zone::is_bound_to_machine(address)
            };
            Ok(found.into_iter().filter(usable).collect())
        };
        Some(look_up.boxed())
    }
}

impl Transport for Tcp {
    fn bind(self: Arc<Self>, address: &Multiaddr) -> io::Result<Arc<dyn Listener>> {
        let at = address::socket(address).ok_or(io::ErrorKind::InvalidInput)?;
        let listener = TcpListener::bind(at, &ListenConfig::default()).map_err(system)?;
        let upgrader = Arc::clone(&self.upgrader);
        Ok(Arc::new(Listening { listener, upgrader }))
    }

    fn close(self: Arc<Self>) -> BoxFuture<'static, ()> {
        // Each connection owns its socket.
        async {}.boxed()
    }
}

struct Listening {
    listener: TcpListener,
    upgrader: Arc<Upgrader>,
}

impl Listener for Listening {
    fn bound(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    fn multiaddr(&self, address: SocketAddr) -> Multiaddr {
        address::of_tcp(address)
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<Incoming>> {
        async {
            let (stream, remote) = self.listener.accept().await?;
            Ok(self.incoming(stream, remote))
        }
        .boxed()
    }
}

impl Listening {
    fn incoming(&self, stream: transport_tcp::ByteStream, remote: SocketAddr) -> Incoming {
        let (upgrader, address) = (Arc::clone(&self.upgrader), address::of_tcp(remote));
        let (at, advanced) = (address.clone(), Arc::new(Notify::new()));
        let progress = Arc::clone(&advanced);
        let handshake = async move {
            let mut trace = |stage| {
                tracing::debug!(address = %at, ?stage, "inbound");
                progress.notify_one();
            };
            let upgraded = upgrader.inbound(stream, &mut trace).await?;
            Ok(Reached {
                muxed: Muxed::Tcp(upgraded),
                path: Path::Direct,
            })
        };
        Incoming {
            address,
            // The TCP handshake has proved the address.
            source: Source::Validated(remote.ip()),
            advanced: Some(advanced),
            handshake: handshake.boxed(),
            refuse: None,
        }
    }
}
