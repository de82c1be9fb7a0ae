//! The sections of the TOML file, as people write them. This file checks only the form of values.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use serde::Deserialize;

use super::forms::{List, Setting};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodeSection {
    pub(crate) data_dir: Setting<PathBuf>,
    pub(crate) listen: List<','>,
    pub(crate) bootstrap: List<','>,
    pub(crate) announce: List<','>,
    pub(crate) announce_detected: Setting<bool>,
    pub(crate) no_announce: List<','>,
    pub(crate) agent: Setting<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AdminSection {
    pub(crate) listen: Setting<SocketAddr>,
    pub(crate) open_reads: Setting<bool>,
    pub(crate) hosts: List<','>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsSection {
    pub(crate) max_inbound: Setting<usize>,
    pub(crate) max_handshaking: Setting<usize>,
    pub(crate) max_per_peer: Setting<usize>,
    pub(crate) max_per_address: Setting<usize>,
    pub(crate) rate_per_address: Setting<f64>,
    pub(crate) burst_per_address: Setting<u32>,
    pub(crate) max_per_subnet: Setting<usize>,
    pub(crate) max_handshaking_per_subnet: Setting<usize>,
    pub(crate) max_per_relay: Setting<usize>,
    pub(crate) trim_idle_s: Setting<f64>,
    pub(crate) exempt_private: Setting<bool>,
    pub(crate) max_inbound_streams: Setting<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PingSection {
    pub(crate) interval_s: Setting<f64>,
    pub(crate) timeout_s: Setting<f64>,
    pub(crate) failures: Setting<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DialSection {
    pub(crate) rules: List<';'>,
    pub(crate) timeout_s: Setting<f64>,
    pub(crate) timeout_private_s: Setting<f64>,
    pub(crate) total_timeout_s: Setting<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BootstrapSection {
    pub(crate) file: Setting<PathBuf>,
    pub(crate) keep: List<','>,
    pub(crate) mdns: Setting<bool>,
    pub(crate) saved: Setting<bool>,
    pub(crate) wanted: Setting<NonZeroUsize>,
    pub(crate) target: Setting<NonZeroUsize>,
    pub(crate) attempt_s: Setting<f64>,
    pub(crate) lasted_s: Setting<f64>,
    pub(crate) settled_s: Setting<f64>,
    pub(crate) base_s: Setting<f64>,
    pub(crate) lost_cap_s: Setting<f64>,
    pub(crate) lost_window_s: Setting<f64>,
    pub(crate) isolated_cap_s: Setting<f64>,
    pub(crate) cap_s: Setting<f64>,
    pub(crate) max_lost: Setting<usize>,
    pub(crate) max_dials: Setting<NonZeroUsize>,
}
