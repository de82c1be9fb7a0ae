//! Settings: a flag overrides the environment, and the environment overrides the TOML file.

mod environment;
mod file;
mod forms;
#[cfg(feature = "gossip")]
mod gossip;
mod hints;
mod joining;
pub(crate) mod paths;
#[cfg(feature = "quic")]
mod quic;
mod sections;
#[cfg(test)]
mod tests;
mod words;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use figment::{Figment, providers::Serialized};
use node::{
    AddressMatch, AddressMatchError, AnnounceConfig, Config, Multiaddr, admin::HostName,
    conn_state::LimitsConfig,
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
    #[cfg(feature = "quic")]
    quic: quic::QuicSection,
    #[cfg(feature = "gossip")]
    gossip: gossip::GossipSection,
    #[cfg(feature = "relay")]
    relay: RelaySection,
}

#[cfg(feature = "relay")]
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RelaySection {
    server: forms::Setting<bool>,
    reserve_at: List<','>,
    reservations: forms::Setting<usize>,
    min_ttl_s: forms::Setting<f64>,
    terms: node::relay_slots::Terms,
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
        config = config.with_relay(relay(settings.relay, &place)?);
    }
    let (ping, dial) = (settings.ping, settings.dial);
    let interval = seconds(
        &place("ping.interval_s"),
        ping.interval_s.0,
        config.ping.interval,
    )?;
    let timeout = seconds(
        &place("ping.timeout_s"),
        ping.timeout_s.0,
        config.ping.timeout,
    )?;
    let failures = ping.failures.0.unwrap_or(config.ping.failures);
    if failures == 0 {
        let wrong = "0 would close every connection: write 1 or more";
        return Err(Failure::usage(format!(
            "{}: {wrong}",
            place("ping.failures")
        )));
    }
    let liveness = config
        .ping
        .with_interval(interval)
        .with_timeout(timeout)
        .with_failures(failures);
    let far = seconds(
        &place("dial.timeout_s"),
        dial.timeout_s.0,
        config.dial_timeout,
    )?;
    let near = config.dial_timeout_private;
    let near = seconds(
        &place("dial.timeout_private_s"),
        dial.timeout_private_s.0,
        near,
    )?;
    let config = config.with_dial_timeouts(far, near);
    let total = seconds(
        &place("dial.total_timeout_s"),
        dial.total_timeout_s.0,
        config.whole_dial_timeout(),
    )?;
    Ok(Resolved {
        dialer: dialing::rules(&place("dial.rules"), &dial.rules.0)?,
        #[cfg(feature = "gossip")]
        topics,
        data_dir,
        listen: multiaddrs(&place("node.listen"), node.listen)?,
        admin: admin(settings.admin, &place("admin.hosts"))?,
        config: config.with_ping(liveness).with_dial_total_timeout(total),
    })
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

#[cfg(feature = "relay")]
fn relay(
    section: RelaySection,
    place: &dyn Fn(&str) -> String,
) -> Result<node::RelayConfig, Failure> {
    use node::multiaddr::Protocol;
    let mut server = node::RelayServerConfig::default();
    let applied = section.terms.apply(&mut server.caps, &mut server.table);
    applied.map_err(|error| {
        let text = error.to_string();
        let (term, what) = text.split_once(": ").unwrap_or((&text, "is wrong"));
        Failure::usage(format!("{}: {what}", place(&format!("relay.terms.{term}"))))
    })?;
    let relays = multiaddrs(&place("relay.reserve_at"), section.reserve_at)?;
    for relay in &relays {
        let named = matches!(relay.iter().last(), Some(Protocol::P2p(_)));
        let what = match named {
            true if relay.iter().count() > 1 => continue,
            true => "has no address in front of the relay's /p2p/ID",
            false => "must end with the relay's /p2p/ID",
        };
        let wrong = format!("{}: '{relay}' {what}", place("relay.reserve_at"));
        return Err(Failure::usage(wrong));
    }
    let mut config = node::RelayConfig::default().with_reserve_at(relays);
    let mut client = config.client.clone();
    let least = seconds(
        &place("relay.min_ttl_s"),
        section.min_ttl_s.0,
        client.min_ttl,
    )?;
    client = client.with_min_ttl(least);
    if let Some(reservations) = section.reservations.0 {
        client = client.with_reservations(reservations);
    }
    config = config.with_client(client);
    Ok(match section.server.0.unwrap_or(false) {
        true => config.with_server(server),
        false => config,
    })
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
