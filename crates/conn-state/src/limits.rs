//! Admission of connections by counts and rates.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::IpAddr,
    time::Instant,
};

use crate::{LimitsConfig, Refused, prefix::Prefix};

/// Decides whether one more connection is admitted.
///
/// `Id` names a connection and `Peer` names a peer; both types are the host's choice.
#[derive(Debug)]
pub struct Limits<Id, Peer> {
    config: LimitsConfig,
    pub(crate) connections: BTreeMap<Id, Admitted<Peer>>,
    inbound: usize,
    handshaking: usize,
    pub(crate) addresses: BTreeMap<Prefix, Address>,
    pub(crate) subnets: BTreeMap<Prefix, Subnet>,
    pub(crate) peers: BTreeMap<Peer, usize>,
}

#[derive(Debug)]
pub(crate) struct Admitted<Peer> {
    inbound: bool,
    from: Option<From>,
    peer: Option<Peer>,
}

/// Where a connection is counted.
#[derive(Debug, Clone, Copy)]
struct From {
    household: Prefix,
    subnet: Prefix,
}

/// Inbound connections from one subnet. There is no entry without any.
#[derive(Debug, Default)]
pub(crate) struct Subnet {
    pub(crate) open: usize,
    handshaking: usize,
}

/// A token bucket and a count. An entry without connections and with a full bucket says nothing and may be forgotten.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) open: usize,
    tokens: f64,
    refilled: Instant,
}

impl Address {
    fn refill(&mut self, now: Instant, config: &LimitsConfig) {
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = elapsed.as_secs_f64() * config.rate_per_address;
        self.tokens = (self.tokens + earned).min(f64::from(config.burst_per_address));
        self.refilled = now.max(self.refilled);
    }
}

impl<Id: Ord + Copy, Peer: Ord + Clone> Limits<Id, Peer> {
    /// Limits of a host without connections.
    pub fn new(config: LimitsConfig) -> Self {
        Self {
            config,
            connections: BTreeMap::new(),
            inbound: 0,
            handshaking: 0,
            addresses: BTreeMap::new(),
            subnets: BTreeMap::new(),
            peers: BTreeMap::new(),
        }
    }

    /// A connection comes in from `address`. Its peer is not known yet.
    ///
    /// Report it once the transport has validated the address: anyone can send packets with somebody else's.
    ///
    /// # Errors
    ///
    /// The first limit that is reached. A refused connection counts towards no limit and spends no rate token.
    pub fn handle_inbound(&mut self, now: Instant, id: Id, address: IpAddr) -> Result<(), Refused> {
        let (inbound, handshaking) = (self.config.max_inbound, self.config.max_handshaking);
        if self.inbound >= inbound {
            return Err(Refused::TooManyInbound { limit: inbound });
        }
        if self.handshaking >= handshaking {
            return Err(Refused::TooManyHandshakes { limit: handshaking });
        }
        let exempt = self.config.exempt_private && Prefix::is_private(address);
        let from = (!exempt).then(|| From {
            household: Prefix::household(address),
            subnet: Prefix::subnet(address),
        });
        if let Some(From { household, subnet }) = from {
            self.check_subnet(subnet)?;
            self.admit_address(now, household)?;
            let subnet = self.subnets.entry(subnet).or_default();
            subnet.open += 1;
            subnet.handshaking += 1;
        }
        self.inbound += 1;
        self.handshaking += 1;
        let admitted = Admitted {
            inbound: true,
            from,
            peer: None,
        };
        self.connections.insert(id, admitted);
        Ok(())
    }

    /// The handshake of `id` has shown that `peer` is at the other end. An `id` that was not reported by
    /// [`Self::handle_inbound`] is a connection that this host dialed.
    ///
    /// # Errors
    ///
    /// [`Refused::TooManyToPeer`]. The host then closes the connection and reports [`Self::handle_closed`].
    pub fn handle_authenticated(&mut self, id: Id, peer: Peer) -> Result<(), Refused> {
        let limit = self.config.max_per_peer;
        if self.peers.get(&peer).is_some_and(|open| *open >= limit) {
            return Err(Refused::TooManyToPeer { limit });
        }
        let admitted = self.connections.entry(id).or_insert(Admitted {
            inbound: false,
            from: None,
            peer: None,
        });
        if admitted.peer.is_some() {
            return Ok(());
        }
        if admitted.inbound {
            self.handshaking -= 1;
            let from = admitted.from;
            if let Some(subnet) = from.and_then(|from| self.subnets.get_mut(&from.subnet)) {
                subnet.handshaking -= 1;
            }
        }
        admitted.peer = Some(peer.clone());
        *self.peers.entry(peer).or_default() += 1;
        Ok(())
    }

    /// The connection is gone, in its handshake or later. An unknown `id` changes nothing.
    pub fn handle_closed(&mut self, id: Id) {
        let Some(admitted) = self.connections.remove(&id) else {
            return;
        };
        if admitted.inbound {
            self.inbound -= 1;
            if admitted.peer.is_none() {
                self.handshaking -= 1;
            }
        }
        if let Some(From { household, subnet }) = admitted.from {
            if let Some(address) = self.addresses.get_mut(&household) {
                address.open -= 1;
            }
            if let Entry::Occupied(mut subnet) = self.subnets.entry(subnet) {
                subnet.get_mut().open -= 1;
                subnet.get_mut().handshaking -= usize::from(admitted.peer.is_none());
                if subnet.get().open == 0 {
                    subnet.remove();
                }
            }
        }
        if let Some(peer) = admitted.peer
            && let Entry::Occupied(mut open) = self.peers.entry(peer)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    /// The number of open inbound connections, including handshaking ones.
    pub fn inbound(&self) -> usize {
        self.inbound
    }

    /// The number of inbound connections in their handshake.
    pub fn handshaking(&self) -> usize {
        self.handshaking
    }

    /// The number of remembered addresses.
    pub fn tracked_addresses(&self) -> usize {
        self.addresses.len()
    }

    fn check_subnet(&self, prefix: Prefix) -> Result<(), Refused> {
        let Some(Subnet { open, handshaking }) = self.subnets.get(&prefix) else {
            return Ok(());
        };
        let limit = self.config.max_per_subnet;
        if *open >= limit {
            return Err(Refused::TooManyFromSubnet { prefix, limit });
        }
        let limit = self.config.max_handshaking_per_subnet;
        if *handshaking >= limit {
            return Err(Refused::TooManyHandshakesFromSubnet { prefix, limit });
        }
        Ok(())
    }

    fn admit_address(&mut self, now: Instant, prefix: Prefix) -> Result<(), Refused> {
        let config = &self.config;
        if !self.addresses.contains_key(&prefix)
            && self.addresses.len() >= config.max_tracked_addresses
        {
            self.forget_idle(now);
            if self.addresses.len() >= self.config.max_tracked_addresses {
                let limit = self.config.max_tracked_addresses;
                return Err(Refused::TooManyAddresses { limit });
            }
        }
        let config = &self.config;
        let address = self.addresses.entry(prefix).or_insert(Address {
            open: 0,
            tokens: f64::from(config.burst_per_address),
            refilled: now,
        });
        address.refill(now, config);
        if address.open >= config.max_per_address {
            let limit = config.max_per_address;
            return Err(Refused::TooManyFromAddress { prefix, limit });
        }
        if address.tokens < 1.0 {
            return Err(Refused::TooFastFromAddress { prefix });
        }
        address.tokens -= 1.0;
        address.open += 1;
        Ok(())
    }

    fn forget_idle(&mut self, now: Instant) {
        let config = &self.config;
        self.addresses.retain(|_, address| {
            address.refill(now, config);
            address.open > 0 || address.tokens < f64::from(config.burst_per_address)
        });
    }
}
