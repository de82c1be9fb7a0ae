//! Where a connection comes from, and the limits on the connections from one place.

use std::net::IpAddr;

use crate::{LimitsConfig, Refused, prefix::Prefix};

#[derive(Debug)]
pub(crate) struct Admitted<Peer> {
    /// `None`: this host dialed.
    pub(super) origin: Option<Origin<Peer>>,
    pub(super) peer: Option<Peer>,
    /// It makes room for another connection and counts no longer.
    pub(super) is_leaving: bool,
}

/// Where an inbound connection is counted.
#[derive(Debug, Clone)]
pub(super) struct Origin<Peer> {
    pub(super) group: Group<Peer>,
    /// The address that counts and meters it. `None`: it is exempt, or a circuit.
    pub(super) household: Option<Prefix>,
}

/// The connections that stand for one place in the network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group<Peer> {
    Subnet(Prefix),
    /// Circuits through one relay.
    Relay(Peer),
}

impl<Peer> Origin<Peer> {
    pub(super) fn at(address: IpAddr, config: &LimitsConfig) -> Self {
        let exempt = config.exempt_private && Prefix::is_private(address);
        Self {
            group: Group::Subnet(Prefix::subnet(address)),
            household: (!exempt).then(|| Prefix::household(address)),
        }
    }

    pub(super) fn through(relay: Peer) -> Self {
        Self {
            group: Group::Relay(relay),
            household: None,
        }
    }

    /// Whether one more connection may come from the same subnet or relay as `open` others.
    pub(super) fn check_open(&self, open: usize, config: &LimitsConfig) -> Result<(), Refused> {
        match self.group {
            Group::Relay(_) if open >= config.max_per_relay => {
                let limit = config.max_per_relay;
                Err(Refused::TooManyFromRelay { limit })
            }
            Group::Subnet(prefix) if self.household.is_some() && open >= config.max_per_subnet => {
                let limit = config.max_per_subnet;
                Err(Refused::TooManyFromSubnet { prefix, limit })
            }
            _ => Ok(()),
        }
    }

    /// Whether one more handshake may come from the same subnet or relay as `open` others.
    pub(super) fn check_handshakes(
        &self,
        open: usize,
        config: &LimitsConfig,
    ) -> Result<(), Refused> {
        let limit = config.max_handshaking_per_subnet;
        match self.group {
            _ if open < limit => Ok(()),
            Group::Relay(_) => Err(Refused::TooManyFromRelay { limit }),
            Group::Subnet(prefix) if self.household.is_some() => {
                Err(Refused::TooManyHandshakesFromSubnet { prefix, limit })
            }
            Group::Subnet(_) => Ok(()),
        }
    }
}
