//! The rules that hold unless the host has its own.

use std::time::Duration;

use crate::{Admission, Origin, Refusal, Scope, ScopeKind};

/// How much is held already at one of the places where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// The place.
    pub at: Scope,
    /// How many slots, or circuits.
    pub count: usize,
}

/// A request for a slot, and what is held already.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Reserve<'a, Id> {
    /// Who asks.
    pub peer: &'a Id,
    /// From where. Of an IPv6 address the last 64 bits are zero.
    pub origin: Origin,
    /// Slots in all.
    pub slots: usize,
    /// Slots of this peer.
    pub slots_of_peer: usize,
    /// Slots from around its address: the address or /64 first, then what is wider.
    pub nearby: &'a [Held],
}

/// A request for a circuit, and what is open already.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Connect<'a, Id> {
    /// Who asks.
    pub source: &'a Id,
    /// From where. Of an IPv6 address the last 64 bits are zero.
    pub origin: Origin,
    /// To whom.
    pub destination: &'a Id,
    /// Circuits in all.
    pub circuits: usize,
    /// Circuits to this destination.
    pub to_destination: usize,
    /// Circuits from this source.
    pub from_source: usize,
    /// Circuits to this destination from the source's IPv4 /24 or IPv6 /48.
    pub from_subnet: Option<Held>,
}

/// So many at once, and then one every so often: a token bucket that is full at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// How many at once.
    pub burst: u32,
    /// How long it takes until one more may follow. Whole microseconds.
    pub every: Duration,
}

impl Rate {
    /// `burst` at once, then one `every` so often.
    pub const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every }
    }
}

/// How fast requests may follow each other; `None` is without limit. A subnet is an IPv4 /24 or an IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Rates {
    /// New slots of one peer.
    pub reserve_of_peer: Option<Rate>,
    /// New slots from one subnet.
    pub reserve_of_subnet: Option<Rate>,
    /// Circuits of one source.
    pub connect_of_peer: Option<Rate>,
    /// Circuits from one subnet.
    pub connect_of_subnet: Option<Rate>,
}

/// Counts and rates, each of which may be set. The defaults are no looser than go-libp2p's where it has one.
///
/// Every cap is the number that is still admitted. Change them at run time through [`crate::Table::admission_mut`]: what is
/// held stays, and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// Slots in all. Default 128. Each costs some 300 bytes here, and a connection.
    pub slots: usize,
    /// Slots of one peer. Default 1.
    pub slots_per_peer: usize,
    /// Slots from one IPv4 address. Default 8: a household.
    pub slots_per_ipv4: usize,
    /// Slots from one IPv4 /24. Default 16.
    pub slots_per_ipv4_24: usize,
    /// Slots from one IPv6 /64, one network of a household. Default 8.
    pub slots_per_ipv6_64: usize,
    /// Slots from one IPv6 /56, what a household or a rented machine is given. Default 8.
    pub slots_per_ipv6_56: usize,
    /// Slots from one IPv6 /48, what a company is given. Default 16.
    pub slots_per_ipv6_48: usize,
    /// Slots from one autonomous system, whichever the protocol. Default 32. It counts where the host looks them up:
    /// [`crate::Table::with_asn`].
    pub slots_per_asn: usize,
    /// Circuits in all. Default 1,024.
    pub circuits: usize,
    /// Circuits to one peer. Default 16.
    pub circuits_to_peer: usize,
    /// Circuits from one peer. Default 16.
    pub circuits_from_peer: usize,
    /// Circuits from one IPv4 /24 or IPv6 /48 to one peer. Default 4: it takes several subnets to fill a peer's circuits.
    pub circuits_from_subnet_to_peer: usize,
    /// Default: 8 new slots of a peer at once and then one every 10 s; 32 from a subnet and then one a second; 16 circuits
    /// of a peer and then one a second; 64 from a subnet and then four a second.
    pub rates: Rates,
    /// Whether loopback, link-local and private addresses (RFC 1122, 3927, 1918, 4193) are free of the caps and rates for
    /// addresses and subnets. Default true: clusters and tests live behind one private address. Not among them is 100.64/10
    /// (RFC 6598), behind which a carrier puts strangers.
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
                connect_of_peer: Some(Rate::new(16, Duration::from_secs(1))),
                connect_of_subnet: Some(Rate::new(64, Duration::from_millis(250))),
            },
            exempt_private: true,
        }
    }
}

impl Caps {
    /// No cap and no rate: whoever asks is served.
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

    /// The cap for one place of this kind.
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

    fn rates(&self, origin: Origin) -> Rates {
        let mut rates = self.rates;
        if self.exempts(origin) {
            (rates.reserve_of_subnet, rates.connect_of_subnet) = (None, None);
        }
        rates
    }
}
