//! The settings about joining the network, `[bootstrap]`, and about quiet connections, `[quic]`.

use std::{path::Path, time::Duration};

use node::{BootstrapConfig, Config, Multiaddr, bootstrap::RejoinConfig, multiaddr::Protocol};

use super::{
    forms::Setting,
    sections::{BootstrapSection, NodeSection, QuicSection},
    {multiaddrs, seconds},
};
use crate::failure::Failure;

/// The file of saved peers in the data directory.
pub(crate) const PEERS: &str = "peers";

/// The shortest idle timeout of QUIC. A lost packet is sent again after up to a second, and so is its repetition.
const SHORTEST_IDLE: Duration = Duration::from_secs(3);

/// The time after which common NATs forget a UDP flow.
const NAT: Duration = Duration::from_secs(30);

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
    let number = |key: &str, setting: &Setting<usize>, default| match setting.0 {
        Some(0) => {
            let place = place(&format!("bootstrap.{key}"));
            Err(Failure::usage(format!("{place}: write 1 or more")))
        }
        given => Ok(given.unwrap_or(default)),
    };
    let wanted = number("wanted", &section.wanted, config.wanted)?;
    let target = number("target", &section.target, config.target.max(wanted))?;
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
    let dials = number("max_dials", &section.max_dials, config.max_in_flight)?;
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

/// The settings of quiet QUIC connections. Values that would end a connection while the path works are refused.
#[cfg(feature = "quic")]
pub(super) fn quic(
    section: &QuicSection,
    config: Config,
    place: &dyn Fn(&str) -> String,
) -> Result<Config, Failure> {
    let quic = config.quic.clone();
    let (idle_place, keep_place) = (place("quic.idle_timeout_s"), place("quic.keep_alive_s"));
    let idle = seconds(&idle_place, section.idle_timeout_s.0, quic.idle_timeout)?;
    let keep = seconds(&keep_place, section.keep_alive_s.0, quic.keep_alive)?;
    let refuse = |place: &str, reason: String| Err(Failure::usage(format!("{place}: {reason}")));
    let (idle_s, keep_s) = (idle.as_secs_f64(), keep.as_secs_f64());
    if idle < SHORTEST_IDLE {
        let least = SHORTEST_IDLE.as_secs();
        return refuse(
            &idle_place,
            format!(
                "two lost packets in a row would end a connection within {idle_s} s: write {least} or more"
            ),
        );
    }
    if keep >= NAT {
        let most = NAT.as_secs();
        return refuse(
            &keep_place,
            format!("many NATs forget a quiet connection after {most} s: write less than {most}"),
        );
    }
    if keep >= idle / 2 {
        let place = match section.keep_alive_s.0 {
            Some(_) => keep_place,
            None => idle_place,
        };
        return refuse(
            &place,
            format!(
                "with a keep-alive of {keep_s} s and an idle timeout of {idle_s} s, one lost packet could end a quiet connection: write a quic.keep_alive_s below {} or a longer quic.idle_timeout_s",
                idle_s / 2.0
            ),
        );
    }
    Ok(config.with_quic(quic.with_idle_timeout(idle).with_keep_alive(keep)))
}

/// Without QUIC, the section has no effect.
#[cfg(not(feature = "quic"))]
pub(super) fn quic(
    _: &QuicSection,
    config: Config,
    _: &dyn Fn(&str) -> String,
) -> Result<Config, Failure> {
    Ok(config)
}
