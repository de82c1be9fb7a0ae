//! The part of an endpoint that its handles, its dials and its inbound handshakes share.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use libp2p_identity::PeerId;
use quinn::TransportConfig;
use tokio::{runtime, time::Instant};

use crate::{
    UdpBinder,
    close_code::CloseCode,
    config::Config,
    connection::Connection,
    error::{EndpointError, TlsError},
    flag::Flag,
    keys::EndpointKeys,
    link::{Handle, Links},
    resolve::Resolver,
    retry::{Meter, Verdict},
    socket::Socket,
    tap::Tapped,
    tls::Tls,
    unproved::Unproved,
    verifier::Verifier,
};

pub(crate) struct Context {
    pub(crate) quinn: quinn::Endpoint,
    pub(crate) config: Config,
    pub(crate) tls: Tls,
    /// `None`: no keys can be derived from the identity.
    pub(crate) keys: Option<EndpointKeys>,
    pub(crate) transport: Arc<TransportConfig>,
    pub(crate) server: quinn::ServerConfig,
    pub(crate) binder: Arc<dyn UdpBinder>,
    pub(crate) sockets: Mutex<Sockets>,
    pub(crate) meter: Mutex<Meter>,
    pub(crate) links: Arc<Links>,
    pub(crate) unproved: Arc<Unproved>,
    /// Raised when this side has begun to close.
    pub(crate) closing: Flag,
    pub(crate) runtime: runtime::Handle,
    /// Made when the first host name is dialed.
    pub(crate) resolver: OnceLock<Resolver>,
}

/// The endpoint's socket, and the ones before it that connections may still hold.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) current: Arc<Socket>,
    former: Vec<Weak<Socket>>,
}

impl Sockets {
    pub(crate) fn new(current: Arc<Socket>) -> Self {
        Self {
            current,
            former: Vec::new(),
        }
    }

    fn former(&self) -> impl Iterator<Item = Arc<Socket>> {
        self.former.iter().filter_map(Weak::upgrade)
    }

    /// The system's sockets that are bound to `address`. After rebinds in quick succession there
    /// are several, until the connections have let go of the old ones.
    pub(crate) fn bound_to(&self, address: SocketAddr) -> Vec<Arc<tokio::net::UdpSocket>> {
        let all = self.former().chain([Arc::clone(&self.current)]);
        all.filter(|socket| socket.local() == address)
            .filter_map(|socket| socket.io())
            .collect()
    }

    pub(crate) fn replace(&mut self, socket: Arc<Socket>) {
        self.former.retain(|former| former.strong_count() > 0);
        let old = std::mem::replace(&mut self.current, socket);
        self.former.push(Arc::downgrade(&old));
    }

    /// Gives the ports back.
    pub(crate) fn release(&self) {
        self.former().for_each(|socket| socket.release());
        self.current.release();
    }
}

impl Context {
    pub(crate) fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.sockets().current.local()
    }

    /// Whether the socket's address family allows to dial `address`.
    pub(crate) fn speaks_to(&self, address: SocketAddr) -> bool {
        let sockets = self.sockets();
        let six = sockets.current.local().is_ipv6();
        six == address.is_ipv6() || (six && sockets.current.is_dual_stack())
    }

    pub(crate) fn stopped(&self) -> Option<EndpointError> {
        if self.closing.is_raised() {
            return Some(EndpointError::Closed);
        }
        let socket = Arc::clone(&self.sockets().current);
        socket.broken().map(|source| EndpointError::Broken {
            address: socket.local(),
            source,
        })
    }

    /// Decides about a handshake, and counts it if it is let in.
    pub(crate) fn judge(self: &Arc<Self>, incoming: &quinn::Incoming) -> Judgement {
        let source = incoming.remote_address().ip();
        let validated = incoming.remote_address_validated();
        let now = Instant::now().into_std();
        let id = incoming.orig_dst_cid();
        let verdict = self.meter().handle_incoming(now, source, validated, id);
        match verdict {
            Verdict::Admit => Judgement::Admit(HalfOpen {
                context: Arc::clone(self),
                source,
                validated,
            }),
            Verdict::Retry => Judgement::Retry,
            Verdict::Refuse => Judgement::Refuse,
        }
    }

    /// The server configuration of one connection.
    pub(crate) fn server_config(
        &self,
        verifier: Arc<Verifier>,
        peer: SocketAddr,
    ) -> Result<quinn::ServerConfig, TlsError> {
        let mut config = self.server.clone();
        let crypto = self.tls.server(verifier).map_err(TlsError::of)?;
        config.crypto = Arc::new(Tapped::new(crypto, peer, Arc::clone(&self.unproved)));
        Ok(config)
    }

    pub(crate) fn connection(&self, quinn: quinn::Connection, peer: PeerId) -> Connection {
        let handle = Handle::new(
            quinn,
            self.config.close_timeout,
            self.runtime.clone(),
            Arc::clone(&self.links),
        );
        if self.closing.is_raised() {
            handle.link.abort(CloseCode::NONE, "");
        }
        Connection::new(handle, peer, self.local_addr(), &self.config)
    }
}

/// A [`Verdict`] that counts.
pub(crate) enum Judgement {
    Admit(HalfOpen),
    Retry,
    Refuse,
}

/// An admitted handshake: it counts until this is dropped.
pub(crate) struct HalfOpen {
    pub(crate) context: Arc<Context>,
    source: std::net::IpAddr,
    validated: bool,
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.context.meter().handle_end(self.source, self.validated);
    }
}

/// With the last handle of the endpoint: its connections live on, and the port is free as soon
/// as the last of them has ended.
impl Drop for Context {
    fn drop(&mut self) {
        self.quinn.set_server_config(None);
        let sockets = self
            .sockets
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let released = ReleaseOnDrop(std::mem::replace(
            sockets,
            Sockets::new(Arc::clone(&sockets.current)),
        ));
        let quinn = self.quinn.clone();
        // A runtime that has shut down drops the task, and the sockets with it.
        self.runtime.spawn(async move {
            quinn.wait_idle().await;
            drop(released);
        });
    }
}

struct ReleaseOnDrop(Sockets);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        self.0.release();
    }
}
