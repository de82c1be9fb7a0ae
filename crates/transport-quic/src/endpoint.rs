//! One UDP socket, for dialing and listening.

use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use libp2p_identity::{Keypair, PeerId};
use multiaddr::Multiaddr;
use quinn::{TokioRuntime, TransportConfig, VarInt};
use tokio::{runtime, time::timeout};

use crate::{
    UdpBinder,
    binders::Tuned,
    budget,
    close_code::CloseCode,
    config::{Config, Flavour},
    connection::Connection,
    context::{Context, Judgement, Sockets},
    dial::{Deadline, Dialing},
    error::{BindError, DialError, EndpointError, TlsError},
    incoming::Incoming,
    keys::EndpointKeys,
    options::DialOptions,
    retry::Meter,
    socket::Socket,
    tls::Tls,
    unproved::Unproved,
    window,
};

/// How long [`Endpoint::close`] waits for the last packets to leave, once everything is
/// delivered.
const FAREWELL: Duration = Duration::from_secs(3);

/// Handshakes that quinn may queue until [`Endpoint::accept`] looks at them. Each holds one
/// datagram and its keys, about 4 KiB; enough to ask a burst for Retry instead of refusing it.
const QUEUE: usize = 1024;

/// Bytes that quinn may hold for one queued handshake: a ClientHello with a post-quantum key
/// share takes two datagrams, and its sender may repeat them.
const QUEUED_BYTES: u64 = 16 << 10;

/// Fastest pace of stateless resets. The connection-id key keeps strays out, and a restarted
/// node may have thousands of peers to tell; quinn's own 20 ms would take a minute for 3,000.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// A QUIC endpoint, which listens and dials on one UDP socket. Clones are handles to the same endpoint.
///
/// An endpoint must be created within a tokio runtime. If you drop the last handle, the endpoint stops accepting and
/// dialing. Established connections stay open. The port is free when the last connection has ended, even if the program
/// still holds handles of closed [`Connection`]s and [`Stream`](crate::Stream)s.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) context: Arc<Context>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local_addr", &self.context.local_addr())
            .field("flavour", &self.context.config.flavour)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Binds `address` with [`Tuned`]. Port 0 stands for a free port.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the socket, the certificate or the settings cannot be used.
    pub fn bind(address: SocketAddr, keypair: &Keypair, config: Config) -> Result<Self, BindError> {
        Self::with_binder(address, keypair, config, Arc::new(Tuned::default()))
    }

    /// Binds `address` with a socket that `binder` makes.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn with_binder(
        address: SocketAddr,
        keypair: &Keypair,
        config: Config,
        binder: Arc<dyn UdpBinder>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError::Socket { address, source };
        let tls = Tls::new(keypair, &config.flavour)?;
        let transport = Arc::new(transport_config(&config)?);
        let server = server_config(&config, &tls, transport.clone())?;
        let keys = EndpointKeys::of(keypair);
        let mut endpoint = EndpointKeys::endpoint_config(keys.clone());
        endpoint.supported_versions(vec![1]);
        endpoint.min_reset_interval(RESET_INTERVAL);
        endpoint.rng_seed(binder.faults().map(|control| control.seed(address)));
        let bound = binder.bind(address).map_err(failed)?;
        let unproved = Arc::<Unproved>::default();
        let (socket, exposed) =
            expose(bound, address, &*binder, &keys, &unproved).map_err(failed)?;
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            endpoint,
            Some(server.clone()),
            exposed,
            Arc::new(TokioRuntime),
        )
        .map_err(failed)?;
        let context = Context {
            quinn,
            keys,
            tls,
            transport,
            server,
            binder,
            sockets: Sockets::new(socket).into(),
            meter: Meter::new(&config).into(),
            links: Arc::default(),
            unproved,
            closing: Default::default(),
            runtime: runtime::Handle::current(),
            resolver: Default::default(),
            config,
        };
        Ok(Self {
            context: Arc::new(context),
        })
    }

    /// The address to which the socket is bound, also after the endpoint has stopped.
    ///
    /// # Errors
    ///
    /// This method does not fail. It has the same signature as in the standard library's sockets.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.context.local_addr())
    }

    /// The number of connections, including those in a handshake and those that are being closed.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.context.quinn.open_connections()
    }

    /// Why the endpoint has stopped accepting and dialing. `None`: the endpoint works.
    #[must_use]
    pub fn stopped(&self) -> Option<EndpointError> {
        self.context.stopped()
    }

    /// The next inbound handshake. Cancel-safe.
    ///
    /// Under load, the endpoint itself asks newcomers for a Retry round trip or refuses them: see
    /// [`Config::retry_above`], [`Config::max_unvalidated`] and [`Config::max_incoming`]. While no task calls this
    /// method, newcomers wait, up to a limit. Further newcomers are refused.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] once the endpoint has stopped: it was closed, or its socket failed.
    pub async fn accept(&self) -> Result<Incoming, EndpointError> {
        let context = &self.context;
        loop {
            let next = tokio::select! {
                biased;
                () = context.closing.raised() => None,
                next = context.quinn.accept() => next,
            };
            let Some(quinn) = next else {
                return Err(self.stopped().unwrap_or(EndpointError::Closed));
            };
            match context.judge(&quinn) {
                Judgement::Admit(half_open) => return Ok(Incoming::new(quinn, half_open)),
                // An unvalidated handshake can always be asked.
                Judgement::Retry => drop(quinn.retry()),
                Judgement::Refuse => quinn.refuse(),
            }
        }
    }

    /// Accepts no inbound handshake: packets that would start one are ignored.
    pub(crate) fn only_dials(&self) {
        self.context.quinn.set_server_config(None);
    }

    /// Dials `address`. If `expected` names a peer, the handshake refuses any other peer. Dropping the future cancels
    /// the dial.
    ///
    /// # Errors
    ///
    /// [`DialError`], at the latest after [`Config::handshake_timeout`].
    pub async fn dial(
        &self,
        address: SocketAddr,
        expected: Option<PeerId>,
    ) -> Result<Connection, DialError> {
        let deadline = Deadline::of(&self.context);
        self.context.dial(address, expected, deadline).await
    }

    /// Dials a multiaddr of QUIC v1, by IP address or host name (`/dns`, `/dns4`, `/dns6`). The
    /// system's resolver resolves names to addresses of this endpoint's family.
    ///
    /// The dial tries at most 16 addresses of a name. Each attempt starts 250 ms after the previous
    /// one, or when one has failed. The first connection wins, and the other attempts are cancelled. Dropping the future
    /// cancels everything.
    ///
    /// If both the address and `expected` name a peer, they must name the same one. If neither does, any peer is
    /// accepted.
    ///
    /// # Errors
    ///
    /// [`DialError`], at the latest after [`Config::handshake_timeout`], which includes the resolution. If several
    /// addresses failed, the error is that of the last failure.
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
        let context = &self.context;
        let deadline = Deadline::of(context);
        let dialing = Dialing {
            system: &context.resolver,
            deadline,
            dialable: |address| context.speaks_to(address),
            dial: |address, peer| context.dial(address, peer, deadline),
        };
        dialing.run(address, expected, options).await
    }

    /// Moves the endpoint to a new socket on the same port, or on a free port if the old port is not available.
    /// Connections stay open. Call this method when the network has changed.
    ///
    /// # Errors
    ///
    /// [`BindError::Socket`]; in this case the old socket stays in use. [`BindError::Stopped`] if the endpoint has
    /// stopped.
    pub fn rebind(&self) -> Result<(), BindError> {
        if let Some(stopped) = self.stopped() {
            return Err(BindError::Stopped(stopped));
        }
        let binder = &*self.context.binder;
        let mut sockets = self.context.sockets();
        let same = sockets.current.local();
        let failed = |source| BindError::Socket {
            address: same,
            source,
        };
        let again = binder
            .rebind(same, &sockets.bound_to(same))
            .map(|bound| (bound, same));
        let bound = again.or_else(|error| {
            tracing::warn!(address = %same, %error, "cannot bind the port again, taking a free one");
            let free = SocketAddr::new(same.ip(), 0);
            binder.bind(free).map(|bound| (bound, free))
        });
        let (bound, address) = bound.map_err(failed)?;
        let (socket, exposed) = expose(
            bound,
            address,
            binder,
            &self.context.keys,
            &self.context.unproved,
        )
        .map_err(failed)?;
        self.context
            .quinn
            .rebind_abstract(exposed)
            .map_err(failed)?;
        sockets.replace(socket);
        Ok(())
    }

    /// Closes the endpoint and waits for the end.
    ///
    /// Accepting and dialing end at once. Each connection closes gracefully with `code` and `reason`, like with
    /// [`Connection::close`]: finished streams are delivered within [`Config::close_timeout`]. The endpoint then tells
    /// the peers, which takes at most 3 s more, and frees the port. If you drop the future, the connections still
    /// close.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        let context = &self.context;
        context.closing.raise();
        let links = context.links.all();
        for link in &links {
            link.close(code, reason);
        }
        let closed = join_all(links.iter().map(|link| link.quinn.closed()));
        let _ = timeout(context.config.close_timeout, closed).await;
        drop(links);
        context.quinn.close(code.on_wire(), reason.as_bytes());
        while let Some(Some(queued)) = context.quinn.accept().now_or_never() {
            queued.refuse();
        }
        // A peer that was not reached by then finds out by its idle timeout.
        let _ = timeout(FAREWELL, context.quinn.wait_idle()).await;
        context.sockets().release();
    }
}

/// The socket, and the socket that quinn sees: the same one, or one with the faults of the binder.
fn expose(
    bound: UdpSocket,
    address: SocketAddr,
    binder: &dyn UdpBinder,
    keys: &Option<EndpointKeys>,
    unproved: &Arc<Unproved>,
) -> io::Result<(Arc<Socket>, Arc<dyn quinn::AsyncUdpSocket>)> {
    let socket = Socket::new(bound, Arc::clone(unproved))?;
    if let Some(control) = binder.faults() {
        return Ok(control.expose(socket, address, keys.clone()));
    }
    let socket = Arc::new(socket);
    Ok((Arc::clone(&socket), socket))
}

fn transport_config(config: &Config) -> Result<TransportConfig, BindError> {
    let raw = matches!(config.flavour, Flavour::RawPublicKey { .. });
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(config.mtu_upper_bound);
    let idle = (!config.idle_timeout.is_zero())
        .then(|| quinn::IdleTimeout::try_from(config.idle_timeout))
        .transpose()
        .map_err(|_| BindError::Setting {
            setting: "idle_timeout",
            value: format!("{:?}", config.idle_timeout),
        })?;
    let streams = config.max_inbound_streams;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams.min(budget::INITIAL)))
        .max_concurrent_uni_streams(VarInt::from_u32(if raw { streams } else { 0 }))
        .max_idle_timeout(idle)
        .keep_alive_interval((!config.keep_alive.is_zero()).then_some(config.keep_alive))
        .stream_receive_window(VarInt::from_u32(config.stream_window))
        .receive_window(VarInt::from_u32(
            config.connection_window.min(window::INITIAL),
        ))
        .send_window(config.send_window.min(window::INITIAL.into()))
        .initial_mtu(config.initial_mtu)
        .mtu_discovery_config(Some(mtu))
        .datagram_receive_buffer_size(None)
        .allow_spin(false);
    Ok(transport)
}

fn server_config(
    config: &Config,
    tls: &Tls,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ServerConfig, BindError> {
    // Connections bring their own verifier; this one serves for the Initial keys alone.
    let crypto = tls.server(tls.verifier(None));
    let crypto = crypto.map_err(|error| BindError::Tls(TlsError::of(error)))?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let queue = QUEUE.max(config.max_incoming);
    server
        .transport_config(transport)
        .max_incoming(queue)
        .incoming_buffer_size(QUEUED_BYTES)
        .incoming_buffer_size_total(QUEUED_BYTES * queue as u64);
    Ok(server)
}
