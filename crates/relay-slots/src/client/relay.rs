//! One relay, as a client sees it.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use multiaddr::{Multiaddr, Protocol};

use super::offer::Offer;

/// The most addresses that are kept of a relay.
const MAX_RELAY_ADDRESSES: usize = 8;

/// The number of probes that one relay may cause at once.
const BURST: u32 = 8;
/// The time after which a relay may cause one more probe.
const EVERY: Duration = Duration::from_secs(60);

/// The failures in a row after which an offered relay rests as long as a stranger, whatever it was before. Its pauses add up to
/// about a minute by then.
const STRANGE_AFTER: u32 = 6;

#[derive(Debug)]
pub(super) struct Relay {
    /// `None`: the host has chosen the relay.
    pub(super) offer: Option<Offer>,
    /// Where it can be reached, the latest last.
    pub(super) addresses: Vec<Multiaddr>,
    /// Where the host reached it last.
    pub(super) reached: Option<Multiaddr>,
    /// The proven circuit addresses of its reservation.
    pub(super) circuits: Vec<Multiaddr>,
    /// The addresses that probes have confirmed since it granted its slot.
    pub(super) found: Vec<Multiaddr>,
    /// Addresses of its reservation that wait for a probe.
    pub(super) unproven: VecDeque<Multiaddr>,
    pub(super) probes: Allowed,
    /// When it granted its slot. Renewals leave it as it is.
    pub(super) granted: Option<Instant>,
    pub(super) subnet: Option<Subnet>,
    pub(super) rtt: Option<Duration>,
    /// This host's network changed: until then, one failure or loss is not the relay's fault, and causes no pause.
    pub(super) excused: Option<Instant>,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) state: State,
}

/// The probes that a relay may still cause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// When all probes are allowed again.
    full: Instant,
}

impl Allowed {
    fn all(now: Instant) -> Self {
        Self { full: now }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let full = self.full.max(now) + EVERY;
        let is_allowed = full <= now + EVERY * BURST;
        if is_allowed {
            self.full = full;
        }
        is_allowed
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// May be asked from then on.
    Idle { until: Instant },
    /// The host must have found out by then whether this is a relay.
    Examining { until: Instant },
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
            offer: None,
            addresses: Vec::new(),
            reached: None,
            circuits: Vec::new(),
            found: Vec::new(),
            unproven: VecDeque::new(),
            probes: Allowed::all(now),
            granted: None,
            subnet: None,
            rtt: None,
            excused: None,
            failures: 0,
            state: State::Idle { until: now },
        }
    }

    pub(super) fn add_address(&mut self, address: &Multiaddr) {
        self.subnet = Subnet::of(address);
        self.addresses.retain(|known| known != address);
        if self.addresses.len() == MAX_RELAY_ADDRESSES {
            self.addresses.remove(0);
        }
        self.addresses.push(address.clone());
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
            State::Idle { .. } | State::Examining { .. } | State::Asking { .. } => None,
        }
    }

    /// Whether the host has only offered the relay, and no slot of it has lasted of late.
    pub(super) fn is_stranger(&self) -> bool {
        let Some(offer) = &self.offer else {
            return false;
        };
        let is_known = offer.lasted && self.failures < STRANGE_AFTER;
        self.granted.is_none() && !is_known
    }

    /// Whether the relay is in one of these subnets.
    pub(super) fn shares(&self, subnets: &[&Subnet]) -> bool {
        self.subnet.as_ref().is_some_and(|of| subnets.contains(&of))
    }

    /// The slot of this relay is lost. Forgets which of its addresses are proven.
    pub(super) fn forget_slot(&mut self) {
        self.circuits = Vec::new();
        self.found = Vec::new();
        self.unproven = VecDeque::new();
        self.granted = None;
    }

    /// When it needs attention.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(match self.state {
            State::Idle { until } | State::Examining { until } | State::Asking { until } => until,
            State::Held { renew, expires } => renew.min(expires),
            State::Renewing { until, expires } => until.min(expires),
        })
    }
}

/// Relays that are likely to fail together: those of an IPv4 /24, an IPv6 /48, or a host name.
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
