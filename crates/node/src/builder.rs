//! Builds a node: the only file that names every part and every transport.

use std::sync::Arc;

use libp2p_identity::Keypair;

#[cfg(feature = "relay")]
use crate::part::Stranger;
use crate::{
    config::Config,
    context::Context,
    core::{Core, IsDirect},
    error::SetupError,
    event::Events,
    node::Node,
    part::{Part, Transport},
    parts::{Identify, Interfaces, Observers, Ping},
};

/// Builds a [`Node`]. Every setting except the key has a default.
pub struct Builder {
    keypair: Keypair,
    config: Config,
    #[cfg(feature = "tcp")]
    dialer: Option<Arc<dyn transport_tcp::Dialer>>,
    #[cfg(feature = "tcp")]
    resolver: Option<transport_tcp::Resolver>,
    #[cfg(feature = "quic")]
    binder: Option<Arc<dyn transport_quic::UdpBinder>>,
    #[cfg(feature = "bootstrap")]
    sources: Vec<Source>,
    listens_first: bool,
}

/// A source of peers that the host adds.
#[cfg(feature = "bootstrap")]
type Source = Box<dyn bootstrap::PeerSource<libp2p_identity::PeerId, multiaddr::Multiaddr>>;

impl Node {
    /// Returns a builder for a node with this identity.
    pub fn builder(keypair: Keypair) -> Builder {
        Builder {
            keypair,
            config: Config::default(),
            #[cfg(feature = "tcp")]
            dialer: None,
            #[cfg(feature = "tcp")]
            resolver: None,
            #[cfg(feature = "quic")]
            binder: None,
            #[cfg(feature = "bootstrap")]
            sources: Vec::new(),
            listens_first: false,
        }
    }
}

impl Builder {
    /// Sets the node's settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the dialer, which opens the byte streams to TCP addresses. Default: [`transport_tcp::Direct`].
    ///
    /// If the dialer does not dial an address directly ([`transport_tcp::Dialer::is_direct`]), the node dials the
    /// address only through the dialer. QUIC would bypass a proxy, and a `/dnsaddr` look-up would tell a name server
    /// about the peer.
    #[cfg(feature = "tcp")]
    pub fn dialer(mut self, dialer: Arc<dyn transport_tcp::Dialer>) -> Self {
        self.dialer = Some(dialer);
        self
    }

    /// Sets the resolver of `/dnsaddr` names. Without [`Self::dialer`], it also resolves the host names in TCP
    /// addresses. Default: the name servers of this machine's configuration.
    #[cfg(feature = "tcp")]
    pub fn resolver(mut self, resolver: transport_tcp::Resolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Sets the binder of the UDP sockets for QUIC. Default: [`transport_quic::Tuned`].
    #[cfg(feature = "quic")]
    pub fn binder(mut self, binder: Arc<dyn transport_quic::UdpBinder>) -> Self {
        self.binder = Some(binder);
        self
    }

    /// Adds a source of peers to dial, in addition to those of [`crate::BootstrapConfig`].
    #[cfg(feature = "bootstrap")]
    pub fn source(mut self, source: Source) -> Self {
        self.sources.push(source);
        self
    }

    /// The node dials nobody by itself before [`Node::begin`]. If the host listens first and calls `begin` afterwards, the first
    /// dials already start from the sockets of its listeners, so that peers see the ports at which the node can be reached.
    /// Default: the node begins when it is built.
    pub fn listen_first(mut self) -> Self {
        self.listens_first = true;
        self
    }

    /// Builds and starts the node. Call this method inside a tokio runtime. The node listens after [`Node::listen`].
    ///
    /// # Errors
    ///
    /// The identity cannot be used, or the node cannot announce one of the addresses in [`crate::AnnounceConfig::addresses`].
    pub fn build(self) -> Result<Node, SetupError> {
        Ok(self.build_with_events()?.0)
    }

    /// Like [`Self::build`], but also returns a subscription that starts with the first event. A node with relays in
    /// its configuration asks them for slots at once, so a later call of [`Node::events`] may miss their answers.
    ///
    /// # Errors
    ///
    /// As [`Self::build`].
    pub fn build_with_events(self) -> Result<(Node, Events), SetupError> {
        self.build_with(|_| Vec::new())
    }

    /// Builds the node with further parts, which receive each change after the node's own parts.
    pub(crate) fn build_with(
        self,
        further: impl FnOnce(&Context) -> Vec<Arc<dyn Part>>,
    ) -> Result<(Node, Events), SetupError> {
        let announce = &self.config.announce;
        for address in &announce.addresses {
            if let Some(problem) = announce.problem(address) {
                let address = address.clone();
                return Err(SetupError::Announce { address, problem });
            }
        }
        let transports = Transports::new(&self.keypair, &self.config, self.overrides())?;
        let core = Core::new(
            self.keypair,
            self.config,
            transports.all(),
            transports.is_direct(),
        );
        let context = Context::new(&core);
        let mut parts = parts(&core, &context, &transports);
        #[cfg(feature = "bootstrap")]
        parts.push(rejoin(&core, &context, &transports, self.sources));
        #[cfg(feature = "gossip")]
        parts.push(gossip(&core, &context, &transports));
        #[cfg(feature = "metrics")]
        parts.push(metrics(&parts, &transports));
        parts.extend(further(&context));
        // The subscription must exist before the parts start.
        let started = Node::start(Arc::clone(&core));
        core.assemble(parts);
        if !self.listens_first {
            started.0.begin();
        }
        Ok(started)
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            #[cfg(feature = "tcp")]
            dialer: self.dialer.clone(),
            #[cfg(feature = "tcp")]
            resolver: self.resolver.clone(),
            #[cfg(feature = "quic")]
            binder: self.binder.clone(),
        }
    }
}

/// The components of the transports that the host replaces.
struct Overrides {
    #[cfg(feature = "tcp")]
    dialer: Option<Arc<dyn transport_tcp::Dialer>>,
    #[cfg(feature = "tcp")]
    resolver: Option<transport_tcp::Resolver>,
    #[cfg(feature = "quic")]
    binder: Option<Arc<dyn transport_quic::UdpBinder>>,
}

/// The settings of TCP. The limit of inbound streams is the node's, and outbound streams keep their share of all streams.
#[cfg(feature = "tcp")]
fn upgrade(config: &Config) -> transport_tcp::UpgradeConfig {
    let mut upgrade = config.upgrade.clone();
    let streams = config.max_inbound_streams;
    let more = streams.saturating_sub(upgrade.max_inbound_streams);
    upgrade.max_inbound_streams += more;
    upgrade.max_streams = upgrade.max_streams.saturating_add(more);
    upgrade
}

/// The transports of this build.
struct Transports {
    #[cfg(feature = "tcp")]
    tcp: Arc<crate::transport::tcp::Tcp>,
    #[cfg(feature = "quic")]
    quic: Arc<crate::transport::quic::Quic>,
}

impl Transports {
    fn new(keypair: &Keypair, config: &Config, overrides: Overrides) -> Result<Self, SetupError> {
        Ok(Self {
            #[cfg(feature = "tcp")]
            tcp: {
                let resolver = overrides
                    .resolver
                    .unwrap_or_else(transport_tcp::Resolver::system);
                if let Err(error) = resolver.ready() {
                    tracing::warn!("{}", crate::error::error_chain(&error));
                }
                let upgrader = transport_tcp::Upgrader::new(keypair, upgrade(config));
                let upgrader = upgrader.map_err(SetupError::Tcp)?;
                let direct = || {
                    let config = transport_tcp::DirectConfig::default();
                    let config = config.with_resolver(resolver.clone());
                    Arc::new(transport_tcp::Direct::new(config)) as _
                };
                let dialer = overrides.dialer.unwrap_or_else(direct);
                Arc::new(crate::transport::tcp::Tcp::new(
                    Arc::new(upgrader),
                    dialer,
                    resolver,
                ))
            },
            #[cfg(feature = "quic")]
            quic: {
                let tuned = || Arc::new(transport_quic::Tuned::default()) as _;
                let binder = overrides.binder.unwrap_or_else(tuned);
                // The endpoint always refuses the newest handshake, but the node's limits choose the handshake to displace. The
                // node's limits must apply first, even if a burst arrives before its handshakes are counted.
                let behind = config.limits.max_handshaking.saturating_mul(8);
                let quic = config.quic.clone();
                let streams = u32::try_from(config.max_inbound_streams).unwrap_or(u32::MAX);
                let streams = quic.max_inbound_streams.max(streams);
                let quic = quic.with_max_inbound_streams(streams);
                let max_incoming = quic.max_incoming.max(behind);
                Arc::new(crate::transport::quic::Quic::new(
                    keypair,
                    quic.with_max_incoming(max_incoming),
                    binder,
                ))
            },
        })
    }

    fn all(&self) -> Vec<Arc<dyn Transport>> {
        let all: [Option<Arc<dyn Transport>>; 2] = [
            #[cfg(feature = "tcp")]
            Some(Arc::clone(&self.tcp) as _),
            #[cfg(not(feature = "tcp"))]
            None,
            #[cfg(feature = "quic")]
            Some(Arc::clone(&self.quic) as _),
            #[cfg(not(feature = "quic"))]
            None,
        ];
        all.into_iter().flatten().collect()
    }

    /// The same transports with another identity for each dial.
    #[cfg(feature = "relay")]
    fn stranger(&self, config: &Config) -> Stranger {
        let (tcp, upgrade) = (Arc::clone(&self.tcp), config.upgrade.clone());
        #[cfg(feature = "quic")]
        let (quic, over_quic) = (Arc::clone(&self.quic), config.quic.clone());
        Box::new(move || {
            let keypair = Keypair::generate_ed25519();
            let mut all: Vec<Arc<dyn Transport>> = Vec::new();
            if let Ok(upgrader) = transport_tcp::Upgrader::new(&keypair, upgrade.clone()) {
                all.push(Arc::new(tcp.with_upgrader(Arc::new(upgrader))));
            }
            #[cfg(feature = "quic")]
            all.push(Arc::new(quic.with_identity(&keypair, over_quic.clone())));
            all
        })
    }

    /// The look-up of `/dnsaddr` names.
    #[cfg(feature = "bootstrap")]
    fn txt_lookup(&self) -> bootstrap::sources::TxtLookup {
        #[cfg(feature = "tcp")]
        {
            let tcp = Arc::clone(&self.tcp);
            bootstrap::sources::TxtLookup::new(move |name| {
                let tcp = Arc::clone(&tcp);
                async move {
                    // A record may lead to a name for which the dialer has another rule.
                    let bare = name.strip_prefix("_dnsaddr.").unwrap_or(&name);
                    if !crate::transport::tcp::Tcp::may_ask(&tcp.dialer, bare) {
                        return Err(format!("a look-up of {bare} would bypass the dialer"));
                    }
                    let records = tcp.resolver.txt(&name).await;
                    records.map_err(|error| crate::error::error_chain(&error))
                }
            })
        }
        #[cfg(not(feature = "tcp"))]
        bootstrap::sources::TxtLookup::system()
    }

    fn is_direct(&self) -> IsDirect {
        #[cfg(feature = "tcp")]
        {
            let tcp = Arc::clone(&self.tcp);
            Box::new(move |address| tcp.is_direct(address))
        }
        #[cfg(not(feature = "tcp"))]
        Box::new(|_| true)
    }
}

/// The parts of this build. They receive changes in this order.
fn parts(core: &Arc<Core>, context: &Context, transports: &Transports) -> Vec<Arc<dyn Part>> {
    let config = &core.config;
    let mut all: Vec<Arc<dyn Part>> = vec![
        Arc::new(Identify::new(context.clone(), config.negotiation_timeout)),
        Arc::new(Ping::new(context.clone(), config.ping, keep_alive(config))),
        Arc::new(Interfaces::new(context.clone())),
        Arc::new(Observers::new(context.clone())),
    ];
    #[cfg(feature = "relay")]
    all.extend(relays(core, context, transports));
    all
}

/// The part that dials the peers of its sources.
#[cfg(feature = "bootstrap")]
fn rejoin(
    core: &Core,
    context: &Context,
    transports: &Transports,
    further: Vec<Source>,
) -> Arc<dyn Part> {
    let (config, look_up) = (&core.config, transports.txt_lookup());
    let (context, local) = (context.clone(), core.peer_id);
    let (bootstrap, timeout) = (&config.bootstrap, config.dial_timeout);
    let part = crate::parts::Rejoin::new(context, local, bootstrap, timeout, look_up, further);
    Arc::new(part)
}

/// The part that takes part in topics.
#[cfg(feature = "gossip")]
fn gossip(core: &Core, context: &Context, transports: &Transports) -> Arc<dyn Part> {
    let config = &core.config.gossip;
    let part = crate::parts::Gossip::new(context.clone(), &core.peer_id, config);
    #[cfg(feature = "iroh")]
    let part = part.with_iroh(|config| transports.quic.endpoints(&core.keypair, config));
    #[cfg(not(feature = "iroh"))]
    let _ = transports;
    Arc::new(part)
}

/// The interval at which QUIC connections keep themselves alive.
fn keep_alive(config: &Config) -> Option<std::time::Duration> {
    #[cfg(feature = "quic")]
    {
        let keep_alive = config.quic.keep_alive;
        (!keep_alive.is_zero()).then_some(keep_alive)
    }
    #[cfg(not(feature = "quic"))]
    {
        let _ = config;
        None
    }
}

#[cfg(feature = "relay")]
fn relays(core: &Core, context: &Context, transports: &Transports) -> [Arc<dyn Part>; 2] {
    use crate::parts::{RelayClient, RelayServer};
    let (config, upgrader) = (&core.config.relay, Arc::clone(&transports.tcp.upgrader));
    let server = RelayServer::new(context.clone(), &core.keypair, config.server.as_ref());
    let stranger = transports.stranger(&core.config);
    let client = RelayClient::new(context.clone(), core.peer_id, config, upgrader, stranger);
    [Arc::new(server), Arc::new(client)]
}

/// The metrics part, with the counters of all other parts and of the transports.
#[cfg(feature = "metrics")]
fn metrics(others: &[Arc<dyn Part>], transports: &Transports) -> Arc<dyn Part> {
    let metrics = Arc::new(crate::parts::Metrics::new());
    metrics.register(|registry| {
        metrics.register_metrics(registry);
        others
            .iter()
            .for_each(|part| part.register_metrics(registry));
        #[cfg(feature = "tcp")]
        crate::parts::Metrics::register_dialer(registry, Arc::clone(&transports.tcp.dialer));
    });
    metrics
}
