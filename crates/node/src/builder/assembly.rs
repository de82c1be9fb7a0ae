//! The transports and the parts of a node. This is the only file that names every transport and every part.

use std::sync::Arc;

use libp2p_identity::Keypair;

#[cfg(feature = "relay")]
use crate::part::Stranger;
#[cfg(feature = "kad")]
use crate::parts::Kademlia;
use crate::{
    config::Config,
    context::Context,
    core::{Core, IsDirect},
    error::SetupError,
    part::{Part, Transport},
    parts::{Identify, Interfaces, Observers, Ping},
};

/// The components that the host brings. The transports have a default for each component that is missing.
#[derive(Default)]
pub(super) struct Components {
    #[cfg(feature = "tcp")]
    pub(super) dialer: Option<Arc<dyn transport_tcp::Dialer>>,
    #[cfg(feature = "tcp")]
    pub(super) resolver: Option<transport_tcp::Resolver>,
    #[cfg(feature = "quic")]
    pub(super) binder: Option<Arc<dyn transport_quic::UdpBinder>>,
    #[cfg(feature = "bootstrap")]
    pub(super) sources: Vec<Source>,
}

/// A source of peers.
#[cfg(feature = "bootstrap")]
type Source = Box<dyn bootstrap::PeerSource<libp2p_identity::PeerId, multiaddr::Multiaddr>>;

impl Components {
    /// The parts of this build. They receive changes in this order.
    pub(super) fn parts(
        self,
        core: &Arc<Core>,
        context: &Context,
        transports: &Transports,
    ) -> Result<Vec<Arc<dyn Part>>, SetupError> {
        let config = &core.config;
        let mut all: Vec<Arc<dyn Part>> = vec![
            Arc::new(Identify::new(context.clone(), config.negotiation_timeout)),
            Arc::new(Ping::new(context.clone(), config.ping, keep_alive(config))),
            Arc::new(Interfaces::new(context.clone())),
            Arc::new(Observers::new(context.clone())),
        ];
        #[cfg(feature = "relay")]
        all.extend(relays(core, context, transports));
        #[cfg(feature = "bootstrap")]
        let sources = self.sources.into_iter();
        #[cfg(feature = "kad")]
        let kad = kad(core, context)?;
        #[cfg(feature = "kad")]
        let sources = sources.chain(kad.iter().map(|kad| kad.source()));
        #[cfg(feature = "bootstrap")]
        all.push(rejoin(core, context, transports, sources.collect()));
        #[cfg(feature = "kad")]
        all.extend(kad.map(|kad| kad as Arc<dyn Part>));
        #[cfg(feature = "gossip")]
        all.push(gossip(core, context, transports));
        #[cfg(feature = "metrics")]
        all.push(metrics(&all, transports));
        Ok(all)
    }
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
pub(super) struct Transports {
    #[cfg(feature = "tcp")]
    tcp: Arc<crate::transport::tcp::Tcp>,
    #[cfg(feature = "quic")]
    quic: Arc<crate::transport::quic::Quic>,
}

impl Transports {
    pub(super) fn new(
        keypair: &Keypair,
        config: &Config,
        components: &Components,
    ) -> Result<Self, SetupError> {
        Ok(Self {
            #[cfg(feature = "tcp")]
            tcp: {
                let given = components.resolver.clone();
                let resolver = given.unwrap_or_else(transport_tcp::Resolver::system);
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
                let dialer = components.dialer.clone().unwrap_or_else(direct);
                Arc::new(crate::transport::tcp::Tcp::new(
                    Arc::new(upgrader),
                    dialer,
                    resolver,
                ))
            },
            #[cfg(feature = "quic")]
            quic: {
                let tuned = || Arc::new(transport_quic::Tuned::default()) as _;
                let binder = components.binder.clone().unwrap_or_else(tuned);
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

    pub(super) fn all(&self) -> Vec<Arc<dyn Transport>> {
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

    pub(super) fn is_direct(&self) -> IsDirect {
        #[cfg(feature = "tcp")]
        {
            let tcp = Arc::clone(&self.tcp);
            Box::new(move |address| tcp.is_direct(address))
        }
        #[cfg(not(feature = "tcp"))]
        Box::new(|_| true)
    }
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

/// The part that takes part in the DHT, if the node is configured to do so.
#[cfg(feature = "kad")]
fn kad(core: &Core, context: &Context) -> Result<Option<Arc<Kademlia>>, SetupError> {
    let part = |config| Kademlia::new(context.clone(), core.peer_id, config).map(Arc::new);
    core.config.kademlia.as_ref().map(part).transpose()
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

/// The part with the metrics, which reads the figures of the other parts and of the dialer.
#[cfg(feature = "metrics")]
fn metrics(others: &[Arc<dyn Part>], transports: &Transports) -> Arc<dyn Part> {
    let metrics = crate::parts::Metrics::new(others.to_vec());
    #[cfg(feature = "tcp")]
    let metrics = metrics.with_dialer(Arc::clone(&transports.tcp.dialer));
    Arc::new(metrics)
}
