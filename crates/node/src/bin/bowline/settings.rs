//! Settings: a flag overrides the environment, and the environment overrides the TOML file.

mod environment;
mod file;
mod forms;
#[cfg(feature = "gossip")]
mod gossip;
mod hints;
mod joining;
mod kademlia;
pub(crate) mod paths;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "relay")]
mod relay;
mod sections;
#[cfg(test)]
mod tests;
mod words;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use figment::{Figment, providers::Serialized};
use node::{
    AddressMatch, AddressMatchError, AnnounceConfig, Config, KademliaConfig, Multiaddr,
    admin::HostName,
    conn_state::{LimitsConfig, LivenessConfig},
};
use serde::{Deserialize, Serialize};

#[cfg(feature = "gossip")]
pub(crate) use self::gossip::Topics;
use self::{
    environment::Environment,
    file::File,
    forms::List,
    sections::{
        AdminSection, BootstrapSection, DialSection, LimitsSection, NodeSection, PingSection,
    },
};
use crate::{cli, dialing, failure::Failure, multiaddr};

/// The port to listen on if the settings name no address.
pub(crate) const DEFAULT_PORT: u16 = 4077;

/// Every setting. A field is a section of the TOML file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    node: NodeSection,
    admin: AdminSection,
    limits: LimitsSection,
    ping: PingSection,
    dial: DialSection,
    bootstrap: BootstrapSection,
    kademlia: kademlia::KademliaSection,
    #[cfg(feature = "quic")]
    quic: quic::QuicSection,
    #[cfg(feature = "gossip")]
    gossip: gossip::GossipSection,
    #[cfg(feature = "relay")]
    relay: relay::RelaySection,
}

/// The admin endpoint on TCP.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) open_reads: Option<bool>,
    pub(crate) hosts: Vec<HostName>,
}

/// The settings of `bowline up`, after all checks.
pub(crate) struct Resolved {
    pub(crate) data_dir: PathBuf,
    /// The addresses to listen on. Empty: the default addresses.
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) admin: Admin,
    pub(crate) config: Config,
    /// The settings of the DHT, even if the node takes part in none.
    pub(crate) dht: KademliaConfig,
    pub(crate) dialer: dialing::Applied,
    /// The topics in which the node takes part.
    #[cfg(feature = "gossip")]
    pub(crate) topics: Topics,
}

/// The flags that were given, in the layout of the file.
#[derive(Serialize)]
struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listen: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bootstrap: Vec<String>,
}

/// The flags about joining the network, in the layout of the section `bootstrap`.
#[derive(Serialize)]
struct JoiningFlags {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keep: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mdns: Option<bool>,
}

/// Combines flags, environment and file.
pub(crate) fn resolve(args: cli::Up) -> Result<Resolved, Failure> {
    combine(args, Environment::read().map_err(Failure::usage)?)
}

fn combine(args: cli::Up, environment: Environment) -> Result<Resolved, Failure> {
    let mut figment = Figment::new();
    if let Some(path) = &args.config {
        figment = figment.merge(File::read(path)?);
    }
    let flags = Flags {
        data_dir: args.data_dir,
        listen: args.listen,
        bootstrap: args.joining.bootstrap,
    };
    let joining = JoiningFlags {
        file: args.joining.bootstrap_file,
        keep: args.joining.keep,
        mdns: args.joining.no_mdns.then_some(false),
    };
    figment = figment
        .merge(environment)
        .merge(Serialized::default("node", flags))
        .merge(Serialized::default("bootstrap", joining));
    if let Some(admin) = args.admin {
        figment = figment.merge(Serialized::default("admin.listen", admin));
    }
    #[cfg(feature = "gossip")]
    {
        if !args.topic.is_empty() {
            figment = figment.merge(Serialized::default("gossip.topics", args.topic));
        }
        if let Some(listen) = args.iroh_listen {
            figment = figment.merge(Serialized::default("gossip.iroh_listen", listen));
        }
        if !args.iroh_peer.is_empty() {
            figment = figment.merge(Serialized::default("gossip.iroh_peers", args.iroh_peer));
        }
    }
    #[cfg(feature = "relay")]
    {
        if args.relaying.relay_server {
            figment = figment.merge(Serialized::default("relay.server", true));
        }
        if !args.relaying.reserve_at.is_empty() {
            let relays = args.relaying.reserve_at;
            figment = figment.merge(Serialized::default("relay.reserve_at", relays));
        }
    }
    if !args.dialing.dialer.is_empty() {
        figment = figment.merge(Serialized::default("dial.rules", args.dialing.dialer));
    }
    let settings = figment.extract::<Settings>();
    check(settings.map_err(|error| words::explain(&error))?, &figment)
}

fn check(settings: Settings, figment: &Figment) -> Result<Resolved, Failure> {
    let place = |key: &str| words::place(figment.find_metadata(key), key);
    let mut node = settings.node;
    let data_dir = match node.data_dir.0.take() {
        Some(data_dir) => data_dir,
        None => default_data_dir()?,
    };
    let limits = limits(&settings.limits, &place("limits.trim_idle_s"))?;
    let bootstrap = joining::bootstrap(&mut node, settings.bootstrap, &data_dir, &place)?;
    let announced = (place("node.announce"), node.announce);
    let never = (place("node.no_announce"), node.no_announce);
    let announce = announce(announced, node.announce_detected.0, never)?;
    let mut config = Config::default()
        .with_limits(limits)
        .with_announce(announce)
        .with_bootstrap(bootstrap);
    let (takes_part, dht) = kademlia::kademlia(settings.kademlia, &place)?;
    if takes_part {
        config = config.with_kademlia(dht.clone());
    }
    #[cfg(feature = "quic")]
    {
        config = quic::quic(&settings.quic, config, &place)?;
    }
    if let Some(agent) = node.agent.0 {
        config = config.with_agent(agent);
    }
    if let Some(streams) = settings.limits.max_inbound_streams.0 {
        config = config.with_max_inbound_streams(streams);
    }
    #[cfg(feature = "gossip")]
    let topics = gossip::gossip(settings.gossip, &mut config, &place)?;
    #[cfg(feature = "relay")]
    {
        config = config.with_relay(relay::relay(settings.relay, &place)?);
    }
    let liveness = liveness(&settings.ping, config.ping, &place)?;
    let dialer = dialing::rules(&place("dial.rules"), &settings.dial.rules.0)?;
    let config = dial(&settings.dial, config, &place)?;
    Ok(Resolved {
        data_dir,
        listen: multiaddrs(&place("node.listen"), node.listen)?,
        admin: admin(settings.admin, &place("admin.hosts"))?,
        config: config.with_ping(liveness),
        dht,
        dialer,
        #[cfg(feature = "gossip")]
        topics,
    })
}

/// The settings of pings.
fn liveness(
    section: &PingSection,
    config: LivenessConfig,
    place: &dyn Fn(&str) -> String,
) -> Result<LivenessConfig, Failure> {
    let time = |key: &str, given, default| seconds(&place(key), given, default);
    let interval = time("ping.interval_s", section.interval_s.0, config.interval)?;
    let timeout = time("ping.timeout_s", section.timeout_s.0, config.timeout)?;
    let failures = section.failures.0.unwrap_or(config.failures);
    if failures == 0 {
        let wrong = "0 would close every connection: write 1 or more";
        return Err(Failure::usage(format!(
            "{}: {wrong}",
            place("ping.failures")
        )));
    }
    Ok(config
        .with_interval(interval)
        .with_timeout(timeout)
        .with_failures(failures))
}

/// The configuration with the time limits of dials.
fn dial(
    section: &DialSection,
    config: Config,
    place: &dyn Fn(&str) -> String,
) -> Result<Config, Failure> {
    let time = |key: &str, given, default| seconds(&place(key), given, default);
    let far = time("dial.timeout_s", section.timeout_s.0, config.dial_timeout)?;
    let near = config.dial_timeout_private;
    let near = time("dial.timeout_private_s", section.timeout_private_s.0, near)?;
    let config = config.with_dial_timeouts(far, near);
    let total = config.whole_dial_timeout();
    let total = time("dial.total_timeout_s", section.total_timeout_s.0, total)?;
    Ok(config.with_dial_total_timeout(total))
}

fn admin(section: AdminSection, place: &str) -> Result<Admin, Failure> {
    let hosts = section.hosts.0.into_iter();
    let parse = |text: String| {
        let parsed = text.parse::<HostName>();
        parsed.map_err(|error| Failure::usage(format!("{place}: {error}")))
    };
    Ok(Admin {
        listen: section.listen.0,
        open_reads: section.open_reads.0,
        hosts: hosts.map(parse).collect::<Result<_, _>>()?,
    })
}

/// The settings of announced addresses. An address that no peer can use, or that must never be announced, is an error.
fn announce(
    (place, addresses): (String, List<','>),
    detected: Option<bool>,
    (never_place, never): (String, List<','>),
) -> Result<AnnounceConfig, Failure> {
    let wrong = |error: AddressMatchError| Failure::usage(format!("{never_place}: {error}"));
    let never = never.0.into_iter();
    let never: Result<Vec<AddressMatch>, _> = never.map(|text| text.parse()).collect();
    let addresses = multiaddrs(&place, addresses)?;
    let config = AnnounceConfig::default().with_never(never.map_err(wrong)?);
    for address in &addresses {
        if let Some(problem) = config.problem(address) {
            let wrong = format!("{place}: '{address}' {problem}");
            return Err(Failure::usage(wrong));
        }
    }
    let config = config.with_addresses(addresses);
    Ok(match detected {
        Some(detected) => config.with_detected(detected),
        None => config,
    })
}

fn limits(section: &LimitsSection, trim_idle_place: &str) -> Result<LimitsConfig, Failure> {
    let config = Config::default().limits;
    let rate = section
        .rate_per_address
        .0
        .unwrap_or(config.rate_per_address);
    let burst = section
        .burst_per_address
        .0
        .unwrap_or(config.burst_per_address);
    let (inbound, handshaking) = (config.max_inbound, config.max_handshaking);
    let (per_peer, per_address) = (config.max_per_peer, config.max_per_address);
    let (of_subnet, exempt) = (config.max_per_subnet, config.exempt_private);
    let handshaking_of_subnet = config.max_handshaking_per_subnet;
    let of_relay = section.max_per_relay.0.unwrap_or(config.max_per_relay);
    let trim_idle = match section.trim_idle_s.0 {
        None => config.trim_idle,
        // No connection is closed for a newcomer.
        Some(0.0) => None,
        given => Some(seconds(trim_idle_place, given, Duration::ZERO)?),
    };
    Ok(config
        .with_max_per_relay(of_relay)
        .with_trim_idle(trim_idle)
        .with_max_inbound(section.max_inbound.0.unwrap_or(inbound))
        .with_max_handshaking(section.max_handshaking.0.unwrap_or(handshaking))
        .with_max_per_peer(section.max_per_peer.0.unwrap_or(per_peer))
        .with_max_per_address(section.max_per_address.0.unwrap_or(per_address))
        .with_rate_per_address(rate, burst)
        .with_max_per_subnet(
            section.max_per_subnet.0.unwrap_or(of_subnet),
            (section.max_handshaking_per_subnet.0).unwrap_or(handshaking_of_subnet),
        )
        .with_exempt_private(section.exempt_private.0.unwrap_or(exempt)))
}

fn multiaddrs(key: &str, texts: List<','>) -> Result<Vec<Multiaddr>, Failure> {
    let parse = |text: String| {
        multiaddr::parse(&text).map_err(|error| Failure::usage(format!("{key}: {error}")))
    };
    texts.0.into_iter().map(parse).collect()
}

fn seconds(key: &str, given: Option<f64>, default: Duration) -> Result<Duration, Failure> {
    match given {
        None => Ok(default),
        Some(seconds) if (0.001..=86_400.0).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        Some(seconds) => Err(Failure::usage(format!(
            "{key}: {seconds} s is not between 0.001 s and 86400 s"
        ))),
    }
}

/// The data directory in the environment, or else the user's data directory.
pub(crate) fn default_data_dir() -> Result<PathBuf, Failure> {
    let given = environment::data_dir(std::env::vars_os()).map_err(Failure::usage)?;
    if let Some(data_dir) = given {
        return Ok(data_dir);
    }
    let directories = directories::ProjectDirs::from("", "", "bowline");
    let directories = directories.ok_or_else(|| {
        Failure::usage("this user has no home directory for the identity: set --data-dir")
    })?;
    Ok(directories.data_dir().to_owned())
}
