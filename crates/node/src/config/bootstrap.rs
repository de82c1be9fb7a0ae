//! The configuration of joining and rejoining the network.

use std::{path::PathBuf, time::Duration};

use bootstrap::{RejoinConfig, StoreConfig};
use multiaddr::Multiaddr;

/// The sources of peers, and the pace of dials to them.
///
/// A node without a source dials no peer by itself. [`crate::Builder::source`] adds further sources.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BootstrapConfig {
    /// The bootstrap list. An address may end in its peer's id. `/dnsaddr/NAME` stands for the peers in the records of that
    /// name. The node logs and ignores an address that names no place, such as `/p2p/ID`. Default: none.
    pub list: Vec<Multiaddr>,
    /// A file with one address of a peer per line. The node reads the file again when it changes. Default: none.
    pub file: Option<PathBuf>,
    /// Peers to which the node keeps a connection, even if enough other peers are connected. The node logs and
    /// ignores an address that names no place. Default: none.
    pub keep: Vec<Multiaddr>,
    /// Whether the node finds peers on its LAN and announces itself there, by mDNS. Default: no. The node never does so if the
    /// dialer dials some addresses through a proxy or refuses them.
    pub mdns: bool,
    /// The file in which the node saves peers for its next start, when their connections have lasted
    /// ([`RejoinConfig::lasted`]). Default: none. Two running nodes need different files. If the file cannot be used, the node
    /// logs why and runs without saved peers.
    pub saved: Option<PathBuf>,
    /// The bounds of the saved peers.
    pub store: StoreConfig,
    /// Whether the node also dials peers that no source has named, at the addresses that these peers announced. The node then
    /// dials the peers that it has lost. Default `None`: yes if the node has a source.
    pub redial: Option<bool>,
    /// The number of wanted peers, and the pace of dials.
    pub rejoin: RejoinConfig,
    /// The time limit of a dial if the dialer uses a proxy or refuses some addresses. Default `None`:
    /// [`crate::Config::dial_timeout`], because a route through Tor often takes longer than [`RejoinConfig::attempt`].
    /// [`RejoinConfig::base`] and [`RejoinConfig::lost_cap`] grow in the same ratio. Newer dials of a peer may still end an older
    /// one before its time is over ([`RejoinConfig::max_per_peer`]), as they may without a proxy.
    pub attempt_through_proxy: Option<Duration>,
}

impl BootstrapConfig {
    /// Sets [`Self::list`].
    pub fn with_list(mut self, peers: impl IntoIterator<Item = Multiaddr>) -> Self {
        self.list = peers.into_iter().collect();
        self
    }

    /// Sets [`Self::file`].
    pub fn with_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// Sets [`Self::keep`].
    pub fn with_keep(mut self, peers: impl IntoIterator<Item = Multiaddr>) -> Self {
        self.keep = peers.into_iter().collect();
        self
    }

    /// Sets [`Self::mdns`].
    pub fn with_mdns(mut self, mdns: bool) -> Self {
        self.mdns = mdns;
        self
    }

    /// Sets [`Self::saved`].
    pub fn with_saved(mut self, file: impl Into<PathBuf>) -> Self {
        self.saved = Some(file.into());
        self
    }

    /// Sets [`Self::store`].
    pub fn with_store(mut self, store: StoreConfig) -> Self {
        self.store = store;
        self
    }

    /// Sets [`Self::redial`].
    pub fn with_redial(mut self, redial: bool) -> Self {
        self.redial = Some(redial);
        self
    }

    /// Sets [`Self::rejoin`].
    pub fn with_rejoin(mut self, rejoin: RejoinConfig) -> Self {
        self.rejoin = rejoin;
        self
    }

    /// Sets [`Self::attempt_through_proxy`].
    pub fn with_attempt_through_proxy(mut self, attempt: Duration) -> Self {
        self.attempt_through_proxy = Some(attempt);
        self
    }

    /// Whether the configuration names a source.
    pub(crate) fn has_source(&self) -> bool {
        let named = !self.list.is_empty() || !self.keep.is_empty();
        named || self.file.is_some() || self.saved.is_some() || self.mdns
    }

    /// The figures of the core. `dial_timeout` is given if the dialer does not dial every address directly.
    pub(crate) fn figures(&self, dial_timeout: Option<Duration>) -> RejoinConfig {
        let direct = self.rejoin.clone();
        let Some(dial_timeout) = dial_timeout else {
            return direct;
        };
        let attempt = self.attempt_through_proxy.unwrap_or(dial_timeout);
        let ratio = attempt.as_secs_f64() / direct.attempt.as_secs_f64().max(0.001);
        let longer = |time: Duration| {
            let longer = Duration::try_from_secs_f64(time.as_secs_f64() * ratio);
            time.max(longer.unwrap_or(Duration::MAX))
        };
        let (base, lost_cap) = (longer(direct.base), longer(direct.lost_cap));
        let (window, max_lost) = (direct.lost_window, direct.max_lost);
        let (in_flight, per_peer) = (direct.max_in_flight, direct.max_per_peer);
        direct
            .with_base(base)
            .with_lost(lost_cap, window, max_lost)
            .with_dials(attempt, in_flight, per_peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_proxy_the_pauses_grow_in_the_ratio_of_the_time_limits() {
        let seconds = Duration::from_secs;
        let config = BootstrapConfig::default();
        assert_eq!(config.figures(None), RejoinConfig::default());
        let slow = config.figures(Some(seconds(15)));
        assert_eq!(slow.attempt, seconds(15));
        assert_eq!(slow.lost_cap, Duration::from_millis(7500));
        assert_eq!(slow.base, Duration::from_millis(1250));
        let chosen = config.with_attempt_through_proxy(seconds(1));
        let chosen = chosen.figures(Some(seconds(15)));
        assert_eq!(chosen.attempt, seconds(1));
        assert_eq!(chosen.lost_cap, RejoinConfig::default().lost_cap);
    }

    #[test]
    fn only_a_configured_node_has_a_source() {
        let config = BootstrapConfig::default;
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        assert!(!config().has_source());
        assert!(config().with_list([address.clone()]).has_source());
        assert!(config().with_keep([address]).has_source());
        assert!(config().with_file("list").has_source());
        assert!(config().with_saved("peers").has_source());
        assert!(config().with_mdns(true).has_source());
    }
}
