//! The settings of quiet QUIC connections: `[quic]`. This file refuses values that would end a connection although its path
//! works.

use std::time::Duration;

use node::Config;
use serde::Deserialize;

use super::{forms::Setting, seconds};
use crate::failure::Failure;

/// The shortest idle timeout. QUIC sends a lost packet again after up to a second, and its repetition after up to two more.
const SHORTEST_IDLE: Duration = Duration::from_secs(3);

/// The time after which common NATs forget a quiet UDP flow.
const NAT: Duration = Duration::from_secs(30);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QuicSection {
    idle_timeout_s: Setting<f64>,
    keep_alive_s: Setting<f64>,
}

/// The configuration with the settings of the section.
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
        let reason = format!(
            "two lost packets would end a connection within {idle_s} s: write {least} or more"
        );
        return refuse(&idle_place, reason);
    }
    if keep >= NAT {
        let most = NAT.as_secs();
        let reason =
            format!("many NATs forget a quiet connection after {most} s: write less than {most}");
        return refuse(&keep_place, reason);
    }
    if keep >= idle / 2 {
        let place = match section.keep_alive_s.0 {
            Some(_) => &keep_place,
            None => &idle_place,
        };
        let half = idle_s / 2.0;
        let reason = format!(
            "with a keep-alive of {keep_s} s and an idle timeout of {idle_s} s, one lost packet could end a quiet connection: write a quic.keep_alive_s below {half} or a longer quic.idle_timeout_s"
        );
        return refuse(place, reason);
    }
    Ok(config.with_quic(quic.with_idle_timeout(idle).with_keep_alive(keep)))
}
