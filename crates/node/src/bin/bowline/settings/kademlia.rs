//! The settings of the Kademlia DHT: `[kademlia]`.

use std::time::Duration;

use node::{
    KademliaConfig,
    bootstrap::kad::{KadConfig, Mode, Namespaces, Preset, Validator},
    conn_state::is_plain,
};
use serde::Deserialize;

use super::{
    forms::{Form, List, Setting},
    seconds,
};
use crate::failure::Failure;

/// The longest name of a protocol or a namespace, in bytes.
const MAX_NAME: usize = 256;
/// The shortest time limit of a query.
const SHORTEST: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KademliaSection {
    mode: Setting<Role>,
    preset: Setting<Preset>,
    protocols: List<','>,
    namespaces: List<','>,
    alpha: Setting<usize>,
    beta: Setting<usize>,
    replication: Setting<usize>,
    quorum: Setting<usize>,
    query_timeout_s: Setting<f64>,
}

/// The node's role in the DHT.
#[derive(Debug, Clone, Copy)]
enum Role {
    Off,
    On(Mode),
}

impl Form for Role {
    const WANTED: &'static str = "off, auto, client or server";

    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Some(Self::Off),
            "auto" => Some(Self::On(Mode::Auto)),
            "client" => Some(Self::On(Mode::Client)),
            "server" => Some(Self::On(Mode::Server)),
            _ => None,
        }
    }
}

impl Form for Preset {
    const WANTED: &'static str = "amino or private";

    fn read(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "amino" => Some(Self::Amino),
            "private" => Some(Self::Private),
            _ => None,
        }
    }
}

/// Whether the node takes part in a DHT, and the settings of the DHT.
pub(super) fn kademlia(
    section: KademliaSection,
    place: &dyn Fn(&str) -> String,
) -> Result<(bool, KademliaConfig), Failure> {
    let figures = figures(&section, place)?;
    let mut config = KademliaConfig::default().with_figures(figures);
    let names = protocols(&place("kademlia.protocols"), section.protocols)?;
    if !names.is_empty() {
        config = config.with_protocols(names);
    }
    let spaces = namespaces(&place("kademlia.namespaces"), section.namespaces)?;
    config = config.with_namespaces(spaces);
    Ok(match section.mode.0 {
        Some(Role::On(mode)) => (true, config.with_mode(mode)),
        Some(Role::Off) | None => (false, config),
    })
}

fn figures(
    section: &KademliaSection,
    place: &dyn Fn(&str) -> String,
) -> Result<KadConfig, Failure> {
    let config = KadConfig::default();
    let number = |key: &str, setting: &Setting<usize>, default, most: usize| match setting.0 {
        None => Ok(default),
        Some(number) if (1..=most).contains(&number) => Ok(number),
        Some(number) => Err(Failure::usage(format!(
            "{}: {number} is out of range: write a number from 1 to {most}",
            place(&format!("kademlia.{key}"))
        ))),
    };
    let k = config.k;
    let alpha = number("alpha", &section.alpha, config.alpha, k)?;
    let beta = number("beta", &section.beta, config.beta, k)?;
    let replication = number(
        "replication",
        &section.replication,
        config.replication,
        4 * k,
    )?;
    let quorum = number("quorum", &section.quorum, config.quorum, 4 * k)?;
    let at = place("kademlia.query_timeout_s");
    let timeout = seconds(&at, section.query_timeout_s.0, config.query_timeout)?;
    if timeout < SHORTEST {
        let given = timeout.as_secs_f64();
        let wrong = format!("{at}: no query ends within {given} s: write 1 or more");
        return Err(Failure::usage(wrong));
    }
    let preset = section.preset.0.unwrap_or(config.preset);
    Ok(config
        .with_preset(preset)
        .with_alpha(alpha)
        .with_beta(beta)
        .with_replication(replication)
        .with_quorum(quorum)
        .with_query_timeout(timeout))
}

/// The names of the protocol, if all of them are valid.
fn protocols(place: &str, names: List<','>) -> Result<Vec<String>, Failure> {
    let is_name = |name: &str| {
        let begins = name.starts_with('/');
        begins && name.len() <= MAX_NAME && is_plain(name)
    };
    match names.0.iter().find(|name| !is_name(name)) {
        Some(wrong) => Err(Failure::usage(format!(
            "{place}: '{wrong}' is not a protocol name: it must start with '/', have at most {MAX_NAME} bytes and be printable"
        ))),
        None => Ok(names.0),
    }
}

/// `/pk/`, and the given namespaces, which accept every value that is not empty.
fn namespaces(place: &str, names: List<','>) -> Result<Namespaces, Failure> {
    let is_name = |name: &str| !name.contains('/') && name.len() <= MAX_NAME && name != "pk";
    let mut all = Namespaces::new().with_public_keys();
    for name in names.0 {
        if !is_name(&name) {
            let wrong = format!(
                "{place}: '{name}' is not a namespace of your own: write the part of the keys between the first two slashes, such as app for /app/name"
            );
            return Err(Failure::usage(wrong));
        }
        all = all.with(&name, Validator::new(|_, value| !value.is_empty()));
    }
    Ok(all)
}
