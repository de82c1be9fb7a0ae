//! One relay, as a client sees it.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use multiaddr::{Multiaddr, Protocol};

#[derive(Debug)]
pub(super) struct Relay {
    pub(super) subnet: Option<Subnet>,
    pub(super) rtt: Option<Duration>,
    /// In a row.
    pub(super) failures: u32,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// May be asked from then on.
    Idle { until: Instant },
    /// Must have answered by then.
    Asking { until: Instant },
    /// Is to be asked again by then.
    Held { renew: Instant, expires: Instant },
    /// Must have answered by then.
    Renewing { until: Instant, expires: Instant },
}

impl Relay {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            subnet: None,
            rtt: None,
            failures: 0,
            state: State::Idle { until: now },
        }
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        matches!(self.state, State::Idle { until } if until <= now)
    }

    pub(super) fn is_asked(&self) -> bool {
        matches!(self.state, State::Asking { .. } | State::Renewing { .. })
    }

    pub(super) fn is_held(&self) -> bool {
        self.held_until().is_some()
    }

    pub(super) fn held_until(&self) -> Option<Instant> {
        match self.state {
            State::Held { expires, .. } | State::Renewing { expires, .. } => Some(expires),
            State::Idle { .. } | State::Asking { .. } => None,
        }
    }

    /// When something is to be done about it.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(match self.state {
            State::Idle { until } | State::Asking { until } => until,
            State::Held { renew, expires } => renew.min(expires),
            State::Renewing { until, expires } => until.min(expires),
        })
    }
}

/// What is likely to fail together: an IPv4 /24, an IPv6 /48, or a host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subnet {
    Ip(IpAddr),
    Name(String),
}

impl Subnet {
    pub(super) fn of(address: &Multiaddr) -> Option<Self> {
        address.iter().find_map(|part| match part {
            Protocol::Ip4(v4) => {
                let [a, b, c, _] = v4.octets();
                Some(Self::Ip([a, b, c, 0].into()))
            }
            Protocol::Ip6(v6) => {
                let [a, b, c, ..] = v6.segments();
                Some(Self::Ip([a, b, c, 0, 0, 0, 0, 0].into()))
            }
            Protocol::Dns(name)
            | Protocol::Dns4(name)
            | Protocol::Dns6(name)
            | Protocol::Dnsaddr(name) => Some(Self::Name(name.to_lowercase())),
            _ => None,
        })
    }
}
