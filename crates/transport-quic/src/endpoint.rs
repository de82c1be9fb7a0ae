//! One UDP socket, for dialing and listening alike.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use libp2p_identity::{Keypair, PeerId};
use quinn::{EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::time::{Instant, timeout};

use crate::{
    UdpBinder,
    binders::Tuned,
    budget,
    config::{Config, Flavour},
    connection::{CloseCode, Connection},
    error::{BindError, ResolveError},
    incoming::{HalfOpen, Incoming},
    keys::EndpointKeys,
    resolve::Resolver,
    retry::{Meter, Verdict},
    tls::Tls,
    verifier::Verifier,
    window,
};

/// How long [`Endpoint::close`] waits for the last packets to leave.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// Handshakes that quinn may queue until [`Endpoint::accept`] looks at them. Each holds one
/// datagram and the keys to it, some 4 KiB; enough to ask a burst for Retry instead of
/// refusing it.
const QUEUE: usize = 1024;

/// Bytes that quinn may hold for one queued handshake: a ClientHello with a post-quantum key
/// share takes two datagrams, and its sender may repeat them.
const QUEUED_BYTES: u64 = 16 << 10;

/// Fastest pace of stateless resets. The connection-id key keeps strays out, and a restarted
/// node may have thousands of peers to tell; quinn's own 20 ms would take a minute for 3,000.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// A QUIC endpoint: listens and dials on one UDP socket. Clones are handles to the same one.
///
/// Must be made within a tokio runtime.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) quinn: quinn::Endpoint,
    pub(crate) config: Config,
    pub(crate) tls: Tls,
    pub(crate) transport: Arc<TransportConfig>,
    server: quinn::ServerConfig,
    binder: Arc<dyn UdpBinder>,
    meter: Mutex<Meter>,
    half_open: Arc<AtomicUsize>,
    /// Made when the first host name is dialed.
    resolver: OnceLock<Resolver>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local_addr", &self.local_addr().ok())
            .field("flavour", &self.inner.config.flavour)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Binds `address` with [`Tuned`]. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the socket, the certificate or the settings do not work out.
    pub fn bind(address: SocketAddr, keypair: &Keypair, config: Config) -> Result<Self, BindError> {
        Self::with_binder(address, keypair, config, Arc::new(Tuned::default()))
    }

    /// Binds `address` with a socket of `binder`'s making.
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
        let keys = EndpointKeys::of(keypair);
        Self::assemble(
            address,
            keypair,
            config,
            binder,
            EndpointKeys::endpoint_config(keys),
        )
    }

    pub(crate) fn assemble(
        address: SocketAddr,
        keypair: &Keypair,
        config: Config,
        binder: Arc<dyn UdpBinder>,
        mut endpoint: EndpointConfig,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError::Socket { address, source };
        let tls = Tls::new(keypair, &config.flavour)?;
        let transport = Arc::new(transport_config(&config)?);
        let server = server_config(&config, &tls, transport.clone())?;
        endpoint.supported_versions(vec![1]);
        endpoint.min_reset_interval(RESET_INTERVAL);
        let socket = binder.bind(address).map_err(failed)?;
        let quinn = quinn::Endpoint::new_with_abstract_socket(
            endpoint,
            Some(server.clone()),
            socket,
            Arc::new(TokioRuntime),
        )
        .map_err(failed)?;
        let meter = Meter::new(config.retry_above, config.max_incoming);
        Ok(Self {
            inner: Arc::new(Inner {
                quinn,
                config,
                tls,
                transport,
                server,
                binder,
                meter: Mutex::new(meter),
                half_open: Arc::default(),
                resolver: OnceLock::new(),
            }),
        })
    }

    /// Where the socket is bound.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.quinn.local_addr()
    }

    /// Connections that exist, those in handshake and those being closed included.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.inner.quinn.open_connections()
    }

    /// The next inbound handshake; `None` once the endpoint is closed. Cancel-safe.
    ///
    /// Asks for a Retry round trip, or refuses, by itself: see [`Config::retry_above`] and
    /// [`Config::max_incoming`]. While nobody waits here, newcomers wait, then are refused.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let quinn = self.inner.quinn.accept().await?;
            match self.inner.judge(quinn.remote_address_validated()) {
                Verdict::Admit => {
                    let half_open = HalfOpen::new(self.inner.half_open.clone());
                    return Some(Incoming::new(quinn, self.inner.clone(), half_open));
                }
                // An unvalidated handshake can always be asked.
                Verdict::Retry => drop(quinn.retry()),
                Verdict::Refuse => quinn.refuse(),
            }
        }
    }

    /// Moves to a new socket on the same port, or on a free one if that is not to be had.
    /// Connections live on. Call it when the network has changed.
    ///
    /// # Errors
    ///
    /// [`BindError::Socket`]; the old socket then stays in use.
    pub fn rebind(&self) -> Result<(), BindError> {
        let failed = |address| move |source| BindError::Socket { address, source };
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let same = self.local_addr().map_err(failed(unknown))?;
        let socket = self.inner.binder.rebind(same).or_else(|error| {
            tracing::warn!(address = %same, %error, "port not to be had again, taking a free one");
            self.inner.binder.bind(SocketAddr::new(same.ip(), 0))
        });
        let socket = socket.map_err(failed(same))?;
        self.inner
            .quinn
            .rebind_abstract(socket)
            .map_err(failed(same))
    }

    /// Closes all connections and accepts no more; waits until the peers have been told, at
    /// most 3 s.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        self.inner.quinn.close(code.into(), reason.as_bytes());
        // Whoever was not reached by then finds out by its idle timeout.
        let _ = timeout(CLOSE_DEADLINE, self.inner.quinn.wait_idle()).await;
    }
}

impl Inner {
    fn judge(&self, validated: bool) -> Verdict {
        let now = Instant::now().into_std();
        let half_open = self.half_open.load(Ordering::Relaxed);
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        meter.handle_incoming(now, validated, half_open)
    }

    pub(crate) fn system_resolver(&self) -> Result<&Resolver, ResolveError> {
        match self.resolver.get() {
            Some(resolver) => Ok(resolver),
            None => {
                let made = Resolver::system()?;
                Ok(self.resolver.get_or_init(|| made))
            }
        }
    }

    /// The server configuration of one connection.
    pub(crate) fn server_config(
        &self,
        verifier: Arc<Verifier>,
    ) -> Result<quinn::ServerConfig, rustls::Error> {
        let mut config = self.server.clone();
        config.crypto = Arc::new(self.tls.server(verifier)?);
        Ok(config)
    }

    pub(crate) fn connection(&self, quinn: quinn::Connection, peer: PeerId) -> Connection {
        Connection::new(quinn, peer, &self.config)
    }
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
        .allow_spin(false);
    if !raw {
        transport.datagram_receive_buffer_size(None);
    }
    Ok(transport)
}

fn server_config(
    config: &Config,
    tls: &Tls,
    transport: Arc<TransportConfig>,
) -> Result<quinn::ServerConfig, BindError> {
    // Connections bring their own verifier; this one serves for the Initial keys alone.
    let crypto = tls.server(tls.verifier(None))?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let queue = QUEUE.max(config.max_incoming);
    server
        .transport_config(transport)
        .max_incoming(queue)
        .incoming_buffer_size(QUEUED_BYTES)
        .incoming_buffer_size_total(QUEUED_BYTES * queue as u64);
    Ok(server)
}
