//! The choice whether the node serves requests.

use std::net::IpAddr;

use super::{config::Mode, place::household};

/// What is known about the ways to this node.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    mode: Mode,
    /// The verdict of the reachability protocols.
    reachable: Option<bool>,
    /// Whether a peer from another subnet has dialed this node.
    dialed: bool,
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

    /// This node has moved to another network.
    pub(crate) fn handle_moved(&mut self) {
        (self.reachable, self.dialed) = (None, false);
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
    fn a_verdict_decides_and_before_it_a_dial_from_another_subnet() {
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
        serving.handle_moved();
        assert!(!serving.serves());
        serving.handle_reachable(Some(true));
        assert!(serving.serves());
        serving.set_mode(Mode::Client);
        assert!(!serving.serves());
        assert!(Serving::new(Mode::Server).serves());
    }
}
