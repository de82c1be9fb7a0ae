//! Several endpoints of one node, and the choice of the endpoint for a dial.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use futures::future::join_all;
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;

use crate::{
    UdpBinder,
    close_code::CloseCode,
    config::Config,
    connection::Connection,
    dial::{Deadline, Dialing},
    endpoint::Endpoint,
    error::{BindError, DialError, RouteError},
    options::DialOptions,
    resolve::Resolver,
};

/// The endpoints of one node. Clones are handles to the same set.
///
/// A dial starts from the endpoint at the local address that the operating system would use, so
/// that the peer sees the address at which this node listens. If no endpoint fits, the dial starts
/// from a shared endpoint on a free port. The shared endpoint accepts no connections, and is bound
/// when it is first needed.
///
/// Must be used within a tokio runtime.
#[derive(Clone)]
pub struct Endpoints {
    inner: Arc<Inner>,
}

struct Inner {
    keypair: Keypair,
    config: Config,
    binder: Arc<dyn UdpBinder>,
    set: Mutex<Set>,
    /// Made when the first host name is dialed.
    resolver: OnceLock<Resolver>,
}

#[derive(Default)]
struct Set {
    /// In the order in which they were added.
    added: Vec<Endpoint>,
    /// Made only to dial from; one per address family at the most.
    ephemeral: Vec<Endpoint>,
    closed: bool,
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("added", &self.set().added)
            .finish_non_exhaustive()
    }
}

impl Endpoints {
    /// An empty set, which creates endpoints with this key pair and configuration on sockets of
    /// `binder`.
    #[must_use]
    pub fn new(keypair: &Keypair, config: Config, binder: Arc<dyn UdpBinder>) -> Self {
        Self {
            inner: Arc::new(Inner {
                keypair: keypair.clone(),
                config,
                binder,
                set: Mutex::default(),
                resolver: OnceLock::new(),
            }),
        }
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.inner
            .set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates an endpoint at `address`. Pass the endpoint to [`add`](Self::add), so that dials can
    /// start from it.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the socket, the certificate or the settings cannot be used.
    pub fn bind(&self, address: SocketAddr) -> Result<Endpoint, BindError> {
        let Inner {
            keypair,
            config,
            binder,
            ..
        } = &*self.inner;
        Endpoint::with_binder(address, keypair, config.clone(), Arc::clone(binder))
    }

    /// Lets later dials start from `endpoint`.
    pub fn add(&self, endpoint: Endpoint) {
        self.set().added.push(endpoint);
    }

    /// Removes `endpoint` from the set, so that no later dial starts from it. Its connections stay
    /// open.
    pub fn remove(&self, endpoint: &Endpoint) {
        self.set()
            .added
            .retain(|other| !Arc::ptr_eq(&other.context, &endpoint.context));
    }

    /// The endpoint from which to dial `remote`. The call sends no packet and does not block.
    ///
    /// The operating system reports the local address from which it would reach `remote`. The
    /// method returns the first endpoint of this list: an added endpoint that is bound to this
    /// local address; one that is bound to the unspecified address of the family; a dual-stack
    /// endpoint; for a loopback `remote`, any endpoint that is bound to a loopback address; and the
    /// shared endpoint on a free port. The method removes stopped endpoints from the set.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if there is no route to `remote`, no socket can be bound, or the set is
    /// closed.
    pub fn for_remote(&self, remote: SocketAddr) -> Result<Endpoint, RouteError> {
        let source = self.source_for(remote)?;
        let mut set = self.set();
        if set.closed {
            return Err(RouteError::Closed);
        }
        set.added.retain(works);
        set.ephemeral.retain(works);
        let speaks = |endpoint: &&Endpoint| endpoint.context.speaks_to(remote);
        let best = set
            .added
            .iter()
            .filter(speaks)
            .filter_map(|endpoint| Some((fit(endpoint, source, remote)?, endpoint)))
            .min_by_key(|(fit, _)| *fit);
        if let Some((_, endpoint)) = best {
            return Ok(endpoint.clone());
        }
        if let Some(endpoint) = set.ephemeral.iter().find(speaks) {
            return Ok(endpoint.clone());
        }
        let endpoint = self.bind(unspecified(remote)).map_err(RouteError::Bind)?;
        endpoint.only_dials();
        set.ephemeral.push(endpoint.clone());
        Ok(endpoint)
    }

    /// The local address that leads to `remote`, by a socket that sends nothing. The binder
    /// makes it, because a binder may use one network interface only.
    fn source_for(&self, remote: SocketAddr) -> Result<IpAddr, RouteError> {
        let address = unspecified(remote);
        let socket = self.inner.binder.bind(address);
        let socket =
            socket.map_err(|source| RouteError::Bind(BindError::Socket { address, source }))?;
        let local = socket
            .connect(remote)
            .and_then(|()| socket.local_addr())
            .map_err(|source| RouteError::Unroutable {
                address: remote,
                source,
            })?;
        Ok(local.ip())
    }

    /// Dials `address` from the endpoint that [`Self::for_remote`] returns. See [`Endpoint::dial`].
    ///
    /// # Errors
    ///
    /// [`DialError`], at the latest after [`Config::handshake_timeout`], and at once if there is no
    /// route.
    pub async fn dial(
        &self,
        address: SocketAddr,
        expected: Option<PeerId>,
    ) -> Result<Connection, DialError> {
        self.dial_until(address, expected, self.deadline()).await
    }

    /// Dials a multiaddr of QUIC v1. See [`Endpoint::dial_multiaddr`]. A name is resolved to
    /// addresses of both families, and each address is dialed from its own endpoint.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::dial_multiaddr`].
    pub async fn dial_multiaddr(
        &self,
        address: &Multiaddr,
        expected: Option<PeerId>,
    ) -> Result<Connection, DialError> {
        self.dial_multiaddr_with(address, expected, &DialOptions::default())
            .await
    }

    /// Like [`dial_multiaddr`](Self::dial_multiaddr), but with options.
    ///
    /// # Errors
    ///
    /// As [`dial_multiaddr`](Self::dial_multiaddr), and [`DialError::NoConnects`].
    pub async fn dial_multiaddr_with(
        &self,
        address: &Multiaddr,
        expected: Option<PeerId>,
        options: &DialOptions,
    ) -> Result<Connection, DialError> {
        let deadline = self.deadline();
        let dialing = Dialing {
            system: &self.inner.resolver,
            deadline,
            dialable: |_| true,
            dial: |address, peer| self.dial_until(address, peer, deadline),
        };
        dialing.run(address, expected, options).await
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.inner.config.handshake_timeout)
    }

    async fn dial_until(
        &self,
        address: SocketAddr,
        expected: Option<PeerId>,
        deadline: Deadline,
    ) -> Result<Connection, DialError> {
        let endpoint = self
            .for_remote(address)
            .map_err(|source| DialError::Route { address, source })?;
        endpoint.context.dial(address, expected, deadline).await
    }

    /// Moves each endpoint to a new socket: see [`Endpoint::rebind`]. Returns the failures.
    pub fn rebind(&self) -> Vec<BindError> {
        let mut set = self.set();
        set.added.retain(works);
        set.ephemeral.retain(works);
        let all = set.added.iter().chain(&set.ephemeral);
        all.filter_map(|endpoint| endpoint.rebind().err()).collect()
    }

    /// Closes each endpoint in the set: see [`Endpoint::close`]. Afterwards no dial can start.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        let all = {
            let mut set = self.set();
            set.closed = true;
            let mut all = std::mem::take(&mut set.added);
            all.append(&mut set.ephemeral);
            all
        };
        join_all(all.iter().map(|endpoint| endpoint.close(code, reason))).await;
    }
}

fn works(endpoint: &Endpoint) -> bool {
    endpoint.stopped().is_none()
}

/// How well an endpoint fits a dial; the least is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Exact,
    Unspecified,
    DualStack,
    Loopback,
}

fn fit(endpoint: &Endpoint, source: IpAddr, remote: SocketAddr) -> Option<Fit> {
    let local = endpoint.context.local_addr().ip();
    if local == source {
        Some(Fit::Exact)
    } else if local.is_unspecified() && local.is_ipv4() == remote.is_ipv4() {
        Some(Fit::Unspecified)
    } else if local.is_unspecified() {
        Some(Fit::DualStack)
    } else if local.is_loopback() && remote.ip().is_loopback() {
        Some(Fit::Loopback)
    } else {
        None
    }
}

/// Any free port of `remote`'s family.
fn unspecified(remote: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    (ip, 0).into()
}
