//! The choice whether the node serves requests.

use std::{collections::BTreeSet, net::IpAddr};

use super::{config::Mode, place::household};

/// The number of addresses of this node that the core remembers between two changes of the network.
const MAX_SEEN: usize = 256;

/// The knowledge about the reachability of this node.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    mode: Mode,
    /// The verdict of the reachability protocols.
    reachable: Option<bool>,
    /// Whether a peer from another subnet has dialed this node.
    dialed: bool,
    /// The present IP addresses of this node, and all its IP addresses since the last change of its network.
    own: BTreeSet<IpAddr>,
    seen: BTreeSet<IpAddr>,
}

impl Serving {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    pub(crate) fn handle_reachable(&mut self, reachable: Option<bool>) {
        self.reachable = reachable;
    }

    /// A peer has dialed this node, whose own addresses are `own`.
    pub(crate) fn handle_dialed(&mut self, remote: IpAddr, own: impl Iterator<Item = IpAddr>) {
        let remote = remote.to_canonical();
        let mut own = own.map(household);
        self.dialed |= !remote.is_loopback() && own.all(|own| own != household(remote));
    }

    /// The IP addresses of this node.
    pub(crate) fn handle_addresses(&mut self, own: impl Iterator<Item = IpAddr>) {
        // Each interface has a link-local address, and interfaces for containers come and go.
        let is_lasting = |ip: &IpAddr| match ip {
            IpAddr::V4(v4) => !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        self.own = own.filter(is_lasting).take(MAX_SEEN).collect();
        if self.seen.len() < MAX_SEEN {
            self.seen.extend(&self.own);
        }
    }

    /// The network of this node has changed. If an address of the node is gone, the node has moved, and its reachability is
    /// unknown.
    pub(crate) fn handle_changed(&mut self) {
        if !self.seen.is_subset(&self.own) {
            (self.reachable, self.dialed) = (None, false);
        }
        self.seen.clone_from(&self.own);
    }

    pub(crate) fn serves(&self) -> bool {
        match self.mode {
            Mode::Client => false,
            Mode::Server => true,
            Mode::Auto => self.reachable.unwrap_or(self.dialed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_verdict_decides_and_before_it_a_dial_from_another_subnet_until_the_node_moves() {
        let mut serving = Serving::new(Mode::Auto);
        let own = || [ip("192.168.1.7"), ip("fd00::7")].into_iter();
        for near in [
            "192.168.1.9",
            "127.0.0.1",
            "::1",
            "fd00::9",
            "::ffff:192.168.1.3",
        ] {
            serving.handle_dialed(ip(near), own());
            assert!(!serving.serves(), "{near}");
        }
        serving.handle_dialed(ip("192.168.2.9"), own());
        assert!(serving.serves());
        serving.handle_reachable(Some(false));
        assert!(!serving.serves());
        serving.handle_reachable(None);
        assert!(serving.serves());
        serving.handle_addresses(own());
        serving.handle_changed();
        assert!(serving.serves(), "no address is gone");
        serving.handle_addresses(own().chain([ip("10.0.0.1"), ip("fe80::1")]));
        serving.handle_addresses(own().chain([ip("10.0.0.1")]));
        serving.handle_changed();
        assert!(serving.serves(), "only a link-local address is gone");
        serving.handle_addresses(own());
        serving.handle_changed();
        assert!(!serving.serves());
        serving.handle_reachable(Some(true));
        assert!(serving.serves());
        serving.set_mode(Mode::Client);
        assert!(!serving.serves());
        assert!(Serving::new(Mode::Server).serves());
    }
}
