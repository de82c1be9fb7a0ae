//! The admission rules of this crate, and the requests that an admission rule receives.

use std::time::Duration;

use crate::{
    Admission,
    error::Refusal,
    scope::{Origin, Scope, ScopeKind},
};

/// How many slots or circuits a scope holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// The scope.
    pub at: Scope,
    /// The number of slots or circuits.
    pub count: usize,
}

impl Held {
    /// `count` slots or circuits at this scope.
    pub fn new(at: Scope, count: usize) -> Self {
        Self { at, count }
    }
}

/// A request for a slot, and the counts of existing slots. The counts do not include the requested slot.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Reserve<'a, Id> {
    /// The peer that asks.
    pub peer: &'a Id,
    /// Where its connection comes from. The last 64 bits of an IPv6 address are zero.
    pub origin: Origin,
    /// All slots.
    pub slots: usize,
    /// Slots of this peer.
    pub slots_of_peer: usize,
    /// Slots of each scope that contains the address: first the address or the /64, and then the wider scopes.
    pub nearby: &'a [Held],
}

impl<'a, Id> Reserve<'a, Id> {
    /// A request to an empty relay.
    pub fn new(peer: &'a Id, origin: Origin) -> Self {
        Self {
            peer,
            origin,
            slots: 0,
            slots_of_peer: 0,
            nearby: &[],
        }
    }

    /// Sets [`Self::slots`] and [`Self::slots_of_peer`].
    pub fn with_slots(mut self, all: usize, of_peer: usize) -> Self {
        (self.slots, self.slots_of_peer) = (all, of_peer);
        self
    }

    /// Sets [`Self::nearby`].
    pub fn with_nearby(mut self, nearby: &'a [Held]) -> Self {
        self.nearby = nearby;
        self
    }
}

/// A request for a circuit, and the counts of existing circuits. The counts do not include the requested circuit.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Connect<'a, Id> {
    /// The peer that asks.
    pub source: &'a Id,
    /// Where its connection comes from. The last 64 bits of an IPv6 address are zero.
    pub origin: Origin,
    /// The peer that the source wants to reach.
    pub destination: &'a Id,
    /// All circuits.
    pub circuits: usize,
    /// Circuits to this destination.
    pub to_destination: usize,
    /// Circuits from this source.
    pub from_source: usize,
    /// Circuits to this destination from the source's IPv4 /24 or IPv6 /48.
    pub from_subnet: Option<Held>,
}

impl<'a, Id> Connect<'a, Id> {
    /// A request to a relay without circuits.
    pub fn new(source: &'a Id, origin: Origin, destination: &'a Id) -> Self {
        Self {
            source,
            origin,
            destination,
            circuits: 0,
            to_destination: 0,
            from_source: 0,
            from_subnet: None,
        }
    }

    /// Sets [`Self::circuits`], [`Self::to_destination`] and [`Self::from_source`].
    pub fn with_circuits(mut self, all: usize, to_destination: usize, from_source: usize) -> Self {
        (self.circuits, self.to_destination) = (all, to_destination);
        self.from_source = from_source;
        self
    }

    /// Sets [`Self::from_subnet`].
    pub fn with_from_subnet(mut self, held: Option<Held>) -> Self {
        self.from_subnet = held;
        self
    }
}

/// A token bucket that is full at first: it admits `burst` requests at once, and then one more per `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// The number of requests at once. 0 refuses all requests.
    pub burst: u32,
    /// The time until one more request may follow, in whole microseconds.
    pub every: Duration,
}

impl Rate {
    /// `burst` requests at once, then one more per `every`.
    pub const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every }
    }
}

/// The rates of requests. `None` means no limit. A subnet is an IPv4 /24 or an IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Rates {
    /// New slots of one peer.
    pub reserve_of_peer: Option<Rate>,
    /// New slots from one subnet.
    pub reserve_of_subnet: Option<Rate>,
    /// Renewals of one slot. A slot that lasts less than four times [`Rate::every`] may still be renewed four times in its
    /// lifetime.
    pub renew_of_peer: Option<Rate>,
    /// Circuits of one source.
    pub connect_of_peer: Option<Rate>,
    /// Circuits from one subnet.
    pub connect_of_subnet: Option<Rate>,
}

/// Caps on counts, and limits on rates. If go-libp2p has the same cap, the default is at least as strict as in go-libp2p.
///
/// Each cap is the highest number that is still admitted. [`crate::Table::admission_mut`] changes caps at run time. Existing
/// slots and circuits stay, and still count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// All slots. Default 128. Each slot takes about 300 bytes in the table, and needs a connection.
    pub slots: usize,
    /// Slots of one peer. Default 1.
    pub slots_per_peer: usize,
    /// Slots from one IPv4 address. Default 8, for a household.
    pub slots_per_ipv4: usize,
    /// Slots from one IPv4 /24. Default 16.
    pub slots_per_ipv4_24: usize,
    /// Slots from one IPv6 /64, which is one network of a household. Default 8.
    pub slots_per_ipv6_64: usize,
    /// Slots from one IPv6 /56, which a provider gives to a household or a rented machine. Default 8.
    pub slots_per_ipv6_56: usize,
    /// Slots from one IPv6 /48, which a provider gives to a company. Default 16.
    pub slots_per_ipv6_48: usize,
    /// Slots from one autonomous system, over IPv4 and IPv6 together. Default 32. This cap works only if the host provides
    /// the lookup: [`crate::Table::with_asn`].
    pub slots_per_asn: usize,
    /// All circuits. Default 1,024.
    pub circuits: usize,
    /// Circuits to one peer. Default 16.
    pub circuits_to_peer: usize,
    /// Circuits from one peer. Default 16.
    pub circuits_from_peer: usize,
    /// Circuits from one IPv4 /24 or IPv6 /48 to one peer. Default 4, so that one subnet cannot fill all of a peer's circuits.
    pub circuits_from_subnet_to_peer: usize,
    /// The rates of requests. Default: a peer may reserve 8 new slots at once, and then one every 10 s. A subnet may reserve 32
    /// new slots at once, and then one per second. A peer may renew 8 times at once, and then once per 10 s. A peer may open 16
    /// circuits at once, and then one per second. A subnet may open 64 circuits at once, and then four per second.
    pub rates: Rates,
    /// Whether loopback, link-local and private addresses (RFC 1122, 3927, 1918, 4193) are exempt from the caps and rates per
    /// address and subnet. Default true: clusters and tests are often behind one private address. The range 100.64/10
    /// (RFC 6598) is not exempt, because a carrier puts strangers behind it.
    pub exempt_private: bool,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            slots: 128,
            slots_per_peer: 1,
            slots_per_ipv4: 8,
            slots_per_ipv4_24: 16,
            slots_per_ipv6_64: 8,
            slots_per_ipv6_56: 8,
            slots_per_ipv6_48: 16,
            slots_per_asn: 32,
            circuits: 1024,
            circuits_to_peer: 16,
            circuits_from_peer: 16,
            circuits_from_subnet_to_peer: 4,
            rates: Rates {
                reserve_of_peer: Some(Rate::new(8, Duration::from_secs(10))),
                reserve_of_subnet: Some(Rate::new(32, Duration::from_secs(1))),
                renew_of_peer: Some(Rate::new(8, Duration::from_secs(10))),
                connect_of_peer: Some(Rate::new(16, Duration::from_secs(1))),
                connect_of_subnet: Some(Rate::new(64, Duration::from_millis(250))),
            },
            exempt_private: true,
        }
    }
}

impl Caps {
    /// No caps and no rates: the relay serves every peer that asks. A peer still holds only one slot.
    pub fn unlimited() -> Self {
        Self {
            slots: usize::MAX,
            slots_per_peer: 1,
            circuits: usize::MAX,
            circuits_to_peer: usize::MAX,
            circuits_from_peer: usize::MAX,
            circuits_from_subnet_to_peer: usize::MAX,
            rates: Rates::default(),
            exempt_private: false,
            ..Self::default()
        }
        .with_slots_per_ipv4(usize::MAX, usize::MAX)
        .with_slots_per_ipv6(usize::MAX, usize::MAX, usize::MAX)
        .with_slots_per_asn(usize::MAX)
    }

    /// Sets [`Self::slots`].
    pub fn with_slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Sets [`Self::slots_per_peer`].
    pub fn with_slots_per_peer(mut self, slots: usize) -> Self {
        self.slots_per_peer = slots;
        self
    }

    /// Sets [`Self::slots_per_ipv4`] and [`Self::slots_per_ipv4_24`].
    pub fn with_slots_per_ipv4(mut self, address: usize, net24: usize) -> Self {
        (self.slots_per_ipv4, self.slots_per_ipv4_24) = (address, net24);
        self
    }

    /// Sets [`Self::slots_per_ipv6_64`], [`Self::slots_per_ipv6_56`] and [`Self::slots_per_ipv6_48`].
    pub fn with_slots_per_ipv6(mut self, net64: usize, net56: usize, net48: usize) -> Self {
        (self.slots_per_ipv6_64, self.slots_per_ipv6_56) = (net64, net56);
        self.slots_per_ipv6_48 = net48;
        self
    }

    /// Sets [`Self::slots_per_asn`].
    pub fn with_slots_per_asn(mut self, slots: usize) -> Self {
        self.slots_per_asn = slots;
        self
    }

    /// Sets [`Self::circuits`], [`Self::circuits_to_peer`] and [`Self::circuits_from_peer`].
    pub fn with_circuits(mut self, in_all: usize, to_peer: usize, from_peer: usize) -> Self {
        (self.circuits, self.circuits_to_peer) = (in_all, to_peer);
        self.circuits_from_peer = from_peer;
        self
    }

    /// Sets [`Self::circuits_from_subnet_to_peer`].
    pub fn with_circuits_from_subnet_to_peer(mut self, circuits: usize) -> Self {
        self.circuits_from_subnet_to_peer = circuits;
        self
    }

    /// Sets [`Self::rates`] for RESERVE.
    pub fn with_reserve_rates(mut self, peer: Option<Rate>, subnet: Option<Rate>) -> Self {
        (self.rates.reserve_of_peer, self.rates.reserve_of_subnet) = (peer, subnet);
        self
    }

    /// Sets [`Self::rates`] for renewals.
    pub fn with_renew_rate(mut self, rate: Option<Rate>) -> Self {
        self.rates.renew_of_peer = rate;
        self
    }

    /// Sets [`Self::rates`] for CONNECT.
    pub fn with_connect_rates(mut self, peer: Option<Rate>, subnet: Option<Rate>) -> Self {
        (self.rates.connect_of_peer, self.rates.connect_of_subnet) = (peer, subnet);
        self
    }

    /// Sets [`Self::exempt_private`].
    pub fn with_exempt_private(mut self, exempt: bool) -> Self {
        self.exempt_private = exempt;
        self
    }

    /// The cap on slots for one scope of this kind.
    pub fn slots_per(&self, kind: ScopeKind) -> usize {
        match kind {
            ScopeKind::Ipv4 => self.slots_per_ipv4,
            ScopeKind::Ipv4Net24 => self.slots_per_ipv4_24,
            ScopeKind::Ipv6Net64 => self.slots_per_ipv6_64,
            ScopeKind::Ipv6Net56 => self.slots_per_ipv6_56,
            ScopeKind::Ipv6Net48 => self.slots_per_ipv6_48,
            ScopeKind::Asn => self.slots_per_asn,
        }
    }

    fn exempts(&self, origin: Origin) -> bool {
        self.exempt_private && origin.is_private()
    }
}

impl<Id> Admission<Id> for Caps {
    fn reserve(&self, request: &Reserve<'_, Id>) -> Result<(), Refusal> {
        if request.slots >= self.slots {
            return Err(Refusal::Slots { limit: self.slots });
        }
        let limit = self.slots_per_peer;
        if request.slots_of_peer >= limit {
            return Err(Refusal::SlotsOfPeer { limit });
        }
        if self.exempts(request.origin) {
            return Ok(());
        }
        for held in request.nearby {
            let limit = self.slots_per(held.at.kind());
            if held.count >= limit {
                return Err(Refusal::SlotsFrom {
                    scope: held.at,
                    limit,
                });
            }
        }
        Ok(())
    }

    fn connect(&self, request: &Connect<'_, Id>) -> Result<(), Refusal> {
        let limit = self.circuits;
        if request.circuits >= limit {
            return Err(Refusal::Circuits { limit });
        }
        let limit = self.circuits_to_peer;
        if request.to_destination >= limit {
            return Err(Refusal::CircuitsTo { limit });
        }
        let limit = self.circuits_from_peer;
        if request.from_source >= limit {
            return Err(Refusal::CircuitsFrom { limit });
        }
        let limit = self.circuits_from_subnet_to_peer;
        match request.from_subnet {
            Some(held) if held.count >= limit && !self.exempts(request.origin) => {
                let scope = held.at;
                Err(Refusal::CircuitsFromSubnet { scope, limit })
            }
            _ => Ok(()),
        }
    }

    fn rates(&self, _: &Id, origin: Origin) -> Rates {
        let mut rates = self.rates;
        if self.exempts(origin) {
            (rates.reserve_of_subnet, rates.connect_of_subnet) = (None, None);
        }
        rates
    }
}
