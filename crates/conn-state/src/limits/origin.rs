//! The origin of a connection, and the limits on the connections from one subnet or relay.

use std::net::IpAddr;

use crate::{LimitsConfig, Refused, prefix::Prefix};

#[derive(Debug)]
pub(crate) struct Admitted<Peer> {
    /// `None`: this host dialed.
    pub(super) origin: Option<Origin<Peer>>,
    pub(super) peer: Option<Peer>,
    /// The connection is displaced, and no limit counts it.
    pub(super) is_leaving: bool,
}

impl<Peer> Admitted<Peer> {
    pub(super) fn new(origin: Option<Origin<Peer>>, peer: Option<Peer>) -> Self {
        Self {
            origin,
            peer,
            is_leaving: false,
        }
    }
}

/// Where an inbound connection is counted.
#[derive(Debug, Clone)]
pub(super) struct Origin<Peer> {
    pub(super) group: Group<Peer>,
    /// The address whose count and rate apply to the connection. `None`: the connection is exempt, or a circuit.
    pub(super) household: Option<Prefix>,
}

/// A group of connections from one part of the network.
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

    /// Checks whether a subnet or relay with `open` connections may have one more.
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

    /// Checks whether a subnet or relay with `open` handshakes may have one more.
    pub(super) fn check_handshakes(
        &self,
        open: usize,
        config: &LimitsConfig,
    ) -> Result<(), Refused> {
        let limit = config.max_handshaking_per_subnet;
        match self.group {
            _ if open < limit => Ok(()),
            Group::Relay(_) => Err(Refused::TooManyHandshakesFromRelay { limit }),
            Group::Subnet(prefix) if self.household.is_some() => {
                Err(Refused::TooManyHandshakesFromSubnet { prefix, limit })
            }
            Group::Subnet(_) => Ok(()),
        }
    }
}
