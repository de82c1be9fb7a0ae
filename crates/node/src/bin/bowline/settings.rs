//! Settings: a flag overrides the environment, and the environment overrides the TOML file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use node::{
    AddressMatch, AddressMatchError, AnnounceConfig, Config, Multiaddr, conn_state::LimitsConfig,
};
use serde::{Deserialize, Serialize};

use crate::{cli, dialing, failure::Failure, multiaddr};

/// The port to listen on if the settings name no address.
pub(crate) const DEFAULT_PORT: u16 = 4077;

/// Every setting. A field is a section of the TOML file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    node: NodeSection,
    admin: AdminSection,
    limits: LimitsSection,
    ping: PingSection,
    dial: DialSection,
    #[cfg(feature = "relay")]
    relay: RelaySection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NodeSection {
    data_dir: Option<PathBuf>,
    listen: OneOrMany,
    bootstrap: OneOrMany,
    announce: OneOrMany,
    announce_detected: Option<bool>,
    no_announce: OneOrMany,
    agent: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AdminSection {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) open_reads: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSection {
    max_inbound: Option<usize>,
    max_handshaking: Option<usize>,
    max_per_peer: Option<usize>,
    max_per_address: Option<usize>,
    rate_per_address: Option<f64>,
    burst_per_address: Option<u32>,
    max_per_subnet: Option<usize>,
    max_handshaking_per_subnet: Option<usize>,
    max_per_relay: Option<usize>,
    trim_idle_s: Option<f64>,
    exempt_private: Option<bool>,
    max_inbound_streams: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PingSection {
    interval_s: Option<f64>,
    timeout_s: Option<f64>,
    failures: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DialSection {
    rules: Lines,
    timeout_s: Option<f64>,
    timeout_private_s: Option<f64>,
}

#[cfg(feature = "relay")]
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RelaySection {
    server: bool,
    reserve_at: OneOrMany,
    reservations: Option<usize>,
    min_ttl_s: Option<f64>,
    terms: node::relay_slots::Terms,
}

/// A list, or one string with the same content, because an environment variable is a string.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Self::Many(texts) => texts,
        }
    }
}

/// Dialer rules contain commas, so an environment variable separates them by semicolons.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct Lines(OneOrMany);

impl Lines {
    fn into_vec(self) -> Vec<String> {
        match self.0 {
            OneOrMany::One(text) => {
                let parts = text.split(';').map(str::trim);
                parts
                    .filter(|part| !part.is_empty())
                    .map(str::to_owned)
                    .collect()
            }
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// The settings of `bowline up`, after all checks.
pub(crate) struct Resolved {
    pub(crate) data_dir: PathBuf,
    /// The addresses to listen on. Empty: the default addresses.
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) bootstrap: Vec<Multiaddr>,
    pub(crate) admin: AdminSection,
    pub(crate) config: Config,
    pub(crate) dialer: dialing::Applied,
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

/// Combines flags, environment and file.
pub(crate) fn resolve(args: cli::Up) -> Result<Resolved, Failure> {
    let mut figment = Figment::new();
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| {
            Failure::usage(format!(
                "cannot read the configuration file {}: {error}",
                path.display()
            ))
        })?;
        let table = text.parse::<toml::Table>();
        table.map_err(|error| {
            let (line, what) = position(&text, &error);
            Failure::usage(format!("{}, line {line}: {what}", path.display()))
        })?;
        figment = figment.merge(Toml::file_exact(path));
    }
    let flags = Flags {
        data_dir: args.data_dir,
        listen: args.listen,
        bootstrap: args.bootstrap,
    };
    let environment = Env::prefixed("BOWLINE_").filter(|key| key.as_str().contains("__"));
    figment = figment
        .merge(environment.split("__"))
        .merge(Serialized::default("node", flags));
    if let Some(admin) = args.admin {
        figment = figment.merge(Serialized::default("admin.listen", admin));
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
    let mut rules_key = "dial.rules";
    if !args.dialing.dialer.is_empty() {
        rules_key = "--dialer";
        figment = figment.merge(Serialized::default("dial.rules", args.dialing.dialer));
    }
    let settings = figment.extract::<Settings>();
    check(settings.map_err(|error| explain(&error))?, rules_key)
}

fn position(text: &str, error: &toml::de::Error) -> (usize, String) {
    let offset = error.span().map_or(0, |span| span.start);
    let line = text[..offset.min(text.len())].matches('\n').count() + 1;
    (line, error.message().to_owned())
}

/// The message names the setting, and the file or variable that contains it.
fn explain(error: &figment::Error) -> Failure {
    let key = error.path.join(".");
    let place = error
        .metadata
        .as_ref()
        .map(|metadata| match &metadata.source {
            Some(source) => format!("{source}"),
            None => metadata.name.to_string(),
        });
    let place = place
        .map(|place| format!(" in {place}"))
        .unwrap_or_default();
    let key = if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    };
    Failure::usage(format!("{key}{}{place}", error.kind))
}

fn check(settings: Settings, rules_key: &str) -> Result<Resolved, Failure> {
    let node = settings.node;
    let data_dir = match node.data_dir {
        Some(data_dir) => data_dir,
        None => default_data_dir()?,
    };
    let limits = limits(&settings.limits)?;
    let announce = announce(node.announce, node.announce_detected, node.no_announce)?;
    let mut config = Config::default()
        .with_limits(limits)
        .with_announce(announce);
    if let Some(agent) = node.agent {
        config = config.with_agent(agent);
    }
    if let Some(streams) = settings.limits.max_inbound_streams {
        config = config.with_max_inbound_streams(streams);
    }
    #[cfg(feature = "relay")]
    {
        config = config.with_relay(relay(settings.relay)?);
    }
    let (ping, dial) = (settings.ping, settings.dial);
    let interval = seconds("ping.interval_s", ping.interval_s, config.ping.interval)?;
    let timeout = seconds("ping.timeout_s", ping.timeout_s, config.ping.timeout)?;
    let failures = ping.failures.unwrap_or(config.ping.failures).max(1);
    let liveness = config
        .ping
        .with_interval(interval)
        .with_timeout(timeout)
        .with_failures(failures);
    let far = seconds("dial.timeout_s", dial.timeout_s, config.dial_timeout)?;
    let near = config.dial_timeout_private;
    let near = seconds("dial.timeout_private_s", dial.timeout_private_s, near)?;
    Ok(Resolved {
        dialer: dialing::rules(rules_key, &dial.rules.into_vec())?,
        data_dir,
        listen: multiaddrs("node.listen", node.listen)?,
        bootstrap: multiaddrs("node.bootstrap", node.bootstrap)?,
        admin: settings.admin,
        config: config.with_ping(liveness).with_dial_timeouts(far, near),
    })
}

/// The settings of announced addresses. An address that no peer can use, or that must never be announced, is an error.
fn announce(
    addresses: OneOrMany,
    detected: Option<bool>,
    never: OneOrMany,
) -> Result<AnnounceConfig, Failure> {
    let wrong = |error: AddressMatchError| Failure::usage(format!("node.no_announce: {error}"));
    let never = never.into_vec().into_iter();
    let never: Result<Vec<AddressMatch>, _> = never.map(|text| text.parse()).collect();
    let addresses = multiaddrs("node.announce", addresses)?;
    let config = AnnounceConfig::default().with_never(never.map_err(wrong)?);
    for address in &addresses {
        if let Some(problem) = config.problem(address) {
            let wrong = format!("node.announce: '{address}' {problem}");
            return Err(Failure::usage(wrong));
        }
    }
    let config = config.with_addresses(addresses);
    Ok(match detected {
        Some(detected) => config.with_detected(detected),
        None => config,
    })
}

fn limits(section: &LimitsSection) -> Result<LimitsConfig, Failure> {
    let config = Config::default().limits;
    let rate = section.rate_per_address.unwrap_or(config.rate_per_address);
    let burst = section
        .burst_per_address
        .unwrap_or(config.burst_per_address);
    let (inbound, handshaking) = (config.max_inbound, config.max_handshaking);
    let (per_peer, per_address) = (config.max_per_peer, config.max_per_address);
    let (of_subnet, exempt) = (config.max_per_subnet, config.exempt_private);
    let handshaking_of_subnet = config.max_handshaking_per_subnet;
    let of_relay = section.max_per_relay.unwrap_or(config.max_per_relay);
    let trim_idle = match section.trim_idle_s {
        None => config.trim_idle,
        // No connection is closed for a newcomer.
        Some(0.0) => None,
        given => Some(seconds("limits.trim_idle_s", given, Duration::ZERO)?),
    };
    Ok(config
        .with_max_per_relay(of_relay)
        .with_trim_idle(trim_idle)
        .with_max_inbound(section.max_inbound.unwrap_or(inbound))
        .with_max_handshaking(section.max_handshaking.unwrap_or(handshaking))
        .with_max_per_peer(section.max_per_peer.unwrap_or(per_peer))
        .with_max_per_address(section.max_per_address.unwrap_or(per_address))
        .with_rate_per_address(rate, burst)
        .with_max_per_subnet(
            section.max_per_subnet.unwrap_or(of_subnet),
            (section.max_handshaking_per_subnet).unwrap_or(handshaking_of_subnet),
        )
        .with_exempt_private(section.exempt_private.unwrap_or(exempt)))
}

#[cfg(feature = "relay")]
fn relay(section: RelaySection) -> Result<node::RelayConfig, Failure> {
    use node::multiaddr::Protocol;
    let mut server = node::RelayServerConfig::default();
    let applied = section.terms.apply(&mut server.caps, &mut server.table);
    applied.map_err(|error| Failure::usage(format!("relay.terms.{error}")))?;
    let relays = multiaddrs("relay.reserve_at", section.reserve_at)?;
    for relay in &relays {
        let named = matches!(relay.iter().last(), Some(Protocol::P2p(_)));
        let what = match named {
            true if relay.iter().count() > 1 => continue,
            true => "has no address in front of the relay's /p2p/ID",
            false => "must end with the relay's /p2p/ID",
        };
        let wrong = format!("relay.reserve_at: '{relay}' {what}");
        return Err(Failure::usage(wrong));
    }
    let mut config = node::RelayConfig::default().with_reserve_at(relays);
    let mut client = config.client.clone();
    let least = seconds("relay.min_ttl_s", section.min_ttl_s, client.min_ttl)?;
    client = client.with_min_ttl(least);
    if let Some(reservations) = section.reservations {
        client = client.with_reservations(reservations);
    }
    config = config.with_client(client);
    Ok(match section.server {
        true => config.with_server(server),
        false => config,
    })
}

fn multiaddrs(key: &str, texts: OneOrMany) -> Result<Vec<Multiaddr>, Failure> {
    let parse = |text: String| {
        multiaddr::parse(&text).map_err(|error| Failure::usage(format!("{key}: {error}")))
    };
    texts.into_vec().into_iter().map(parse).collect()
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

/// The user's data directory.
pub(crate) fn default_data_dir() -> Result<PathBuf, Failure> {
    let directories = directories::ProjectDirs::from("", "", "bowline");
    let directories = directories.ok_or_else(|| {
        Failure::usage("this user has no home directory for the identity: set --data-dir")
    })?;
    Ok(directories.data_dir().to_owned())
}
