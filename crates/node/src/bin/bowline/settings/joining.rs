//! The settings about joining the network: `[bootstrap]`.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use node::{BootstrapConfig, Multiaddr, bootstrap::RejoinConfig, multiaddr::Protocol};

use super::{
    forms::Setting,
    sections::{BootstrapSection, NodeSection},
    {multiaddrs, seconds},
};
use crate::failure::Failure;

/// The file of saved peers in the data directory.
pub(crate) const PEERS: &str = "peers";

/// The sources of peers and the pace of dials.
pub(super) fn bootstrap(
    node: &mut NodeSection,
    section: BootstrapSection,
    data_dir: &Path,
    place: &dyn Fn(&str) -> String,
) -> Result<BootstrapConfig, Failure> {
    let list = multiaddrs(
        &place("node.bootstrap"),
        std::mem::take(&mut node.bootstrap),
    )?;
    let keep = multiaddrs(&place("bootstrap.keep"), section.keep.clone())?;
    is_somewhere(&place("node.bootstrap"), &list)?;
    is_somewhere(&place("bootstrap.keep"), &keep)?;
    let mut config = BootstrapConfig::default()
        .with_list(list)
        .with_keep(keep)
        .with_mdns(section.mdns.0.unwrap_or(true))
        .with_redial(true);
    if section.saved.0.unwrap_or(true) {
        config = config.with_saved(data_dir.join(PEERS));
    }
    if let Some(file) = &section.file.0 {
        config = config.with_file(file);
    }
    if let Some(attempt) = section.attempt_s.0 {
        let place = place("bootstrap.attempt_s");
        let attempt = seconds(&place, Some(attempt), Duration::ZERO)?;
        config = config.with_attempt_through_proxy(attempt);
    }
    let rejoin = figures(&section, place)?;
    Ok(config.with_rejoin(rejoin))
}

fn figures(
    section: &BootstrapSection,
    place: &dyn Fn(&str) -> String,
) -> Result<RejoinConfig, Failure> {
    let config = RejoinConfig::default();
    let time = |key: &str, setting: &Setting<f64>, default| {
        seconds(&place(&format!("bootstrap.{key}")), setting.0, default)
    };
    let number = |setting: &Setting<NonZeroUsize>, default| setting.0.map_or(default, usize::from);
    let wanted = number(&section.wanted, config.wanted);
    let target = number(&section.target, config.target.max(wanted));
    if target < wanted {
        return Err(Failure::usage(format!(
            "{}: the node would stop dialing at {target} peers and never have the {wanted} wanted peers: write {wanted} or more",
            place("bootstrap.target")
        )));
    }
    let settled = time("settled_s", &section.settled_s, config.settled)?;
    let lasted = time("lasted_s", &section.lasted_s, config.lasted)?;
    let lost_cap = time("lost_cap_s", &section.lost_cap_s, config.lost_cap)?;
    let window = time("lost_window_s", &section.lost_window_s, config.lost_window)?;
    let isolated = time(
        "isolated_cap_s",
        &section.isolated_cap_s,
        config.isolated_cap,
    )?;
    let cap = time("cap_s", &section.cap_s, config.cap)?;
    let base = time("base_s", &section.base_s, config.base)?;
    let attempt = time("attempt_s", &section.attempt_s, config.attempt)?;
    let dials = number(&section.max_dials, config.max_in_flight);
    let max_lost = section.max_lost.0.unwrap_or(config.max_lost);
    let per_peer = config.max_per_peer;
    Ok(config
        .with_wanted(wanted)
        .with_target(target)
        .with_stays(settled, lasted)
        .with_lost(lost_cap, window, max_lost)
        .with_caps(isolated, cap)
        .with_base(base)
        .with_dials(attempt, dials, per_peer))
}

/// Refuses an address that names a peer but no place at which to dial it.
fn is_somewhere(place: &str, addresses: &[Multiaddr]) -> Result<(), Failure> {
    let is_nowhere = |address: &&Multiaddr| {
        let mut parts = address.iter();
        matches!(parts.next(), Some(Protocol::P2p(_))) && parts.next().is_none()
    };
    match addresses.iter().find(is_nowhere) {
        Some(address) => Err(Failure::usage(format!(
            "{place}: '{address}' names a peer but no address: write ADDRESS{address}, such as /ip4/192.0.2.1/tcp/4077{address}"
        ))),
        None => Ok(()),
    }
}
