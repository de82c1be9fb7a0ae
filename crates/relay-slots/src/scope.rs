//! The origin of a request, and the networks around it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The origin of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The IP address of the other end. An IPv4 address that is mapped into IPv6 counts as that IPv4 address.
    Address(IpAddr),
    /// No IP address: a Unix socket or a pipe. No cap per address applies; the host decides who may connect there.
    Local,
    /// A circuit of another relay. The peer at its other end may neither reserve a slot nor open a circuit.
    Relayed,
}

impl Origin {
    /// Whether the address is a loopback, link-local or private one (RFC 1122, 3927, 1918, 4193).
    pub fn is_private(&self) -> bool {
        match self.canonical() {
            Self::Address(IpAddr::V4(v4)) => {
                v4.is_loopback() || v4.is_private() || v4.is_link_local()
            }
            // Only the first 64 bits are kept. Of the addresses that begin with 64 zeros, only ::1 is in use.
            Self::Address(IpAddr::V6(v6)) => {
                v6.to_bits() >> 64 == 0 || v6.is_unique_local() || v6.is_unicast_link_local()
            }
            Self::Local | Self::Relayed => false,
        }
    }

    fn canonical(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(address.to_canonical()),
            other => other,
        }
    }
}

/// A kind of scope. Slots are counted by peer and by scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ScopeKind {
    /// One IPv4 address.
    Ipv4,
    /// An IPv4 /24.
    Ipv4Net24,
    /// One IPv6 /64.
    Ipv6Net64,
    /// An IPv6 /56.
    Ipv6Net56,
    /// An IPv6 /48.
    Ipv6Net48,
    /// An autonomous system.
    Asn,
}

/// One address, network or autonomous system by which slots are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    kind: ScopeKind,
    /// The IPv4 address, the IPv6 address' first 64 bits, or the number.
    bits: u64,
}

impl Scope {
    /// The network of this kind that contains `address`. `None`: the address has the other IP version, or the kind is
    /// [`ScopeKind::Asn`].
    pub fn new(kind: ScopeKind, address: IpAddr) -> Option<Self> {
        let place = Place::new(Origin::Address(address), None);
        place.scopes().find(|scope| scope.kind == kind)
    }

    /// An autonomous system.
    pub fn asn(number: u32) -> Self {
        Self {
            kind: ScopeKind::Asn,
            bits: number.into(),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> ScopeKind {
        self.kind
    }

    /// The key by which slots are counted.
    pub(crate) fn key(self) -> (u64, u32) {
        (self.bits, self.kind as u32)
    }

    /// The key by which circuits are counted, together with their destination. A /48 ends in 16 zeros, so that no /24 has the
    /// same key.
    pub(crate) fn subnet_key(self) -> u64 {
        match self.kind {
            ScopeKind::Ipv4 | ScopeKind::Ipv4Net24 => self.bits << 16 | 1,
            _ => self.bits,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v4 = Ipv4Addr::from_bits(self.bits as u32);
        let v6 = Ipv6Addr::from_bits(u128::from(self.bits) << 64);
        match self.kind {
            ScopeKind::Ipv4 => v4.fmt(f),
            ScopeKind::Ipv4Net24 => write!(f, "{v4}/24"),
            ScopeKind::Ipv6Net64 => write!(f, "{v6}/64"),
            ScopeKind::Ipv6Net56 => write!(f, "{v6}/56"),
            ScopeKind::Ipv6Net48 => write!(f, "{v6}/48"),
            ScopeKind::Asn => write!(f, "AS{}", self.bits),
        }
    }
}

/// An [`Origin`] in few bytes, with its autonomous system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) bits: u64,
    /// 0, which no network may use (RFC 7607), means unknown.
    pub(crate) asn: u32,
    pub(crate) kind: PlaceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaceKind {
    Ipv4,
    Ipv6,
    Local,
    Relayed,
}

impl Place {
    pub(crate) fn new(origin: Origin, asn: Option<&dyn Fn(IpAddr) -> Option<u32>>) -> Self {
        let (bits, kind, address) = match origin.canonical() {
            Origin::Address(IpAddr::V4(v4)) => {
                (u64::from(v4.to_bits()), PlaceKind::Ipv4, Some(v4.into()))
            }
            Origin::Address(IpAddr::V6(v6)) => (
                (v6.to_bits() >> 64) as u64,
                PlaceKind::Ipv6,
                Some(v6.into()),
            ),
            Origin::Local => (0, PlaceKind::Local, None),
            Origin::Relayed => (0, PlaceKind::Relayed, None),
        };
        let asn = address.and_then(|address| asn?(address)).unwrap_or(0);
        Self { bits, asn, kind }
    }

    pub(crate) fn origin(self) -> Origin {
        match self.kind {
            PlaceKind::Ipv4 => Origin::Address(Ipv4Addr::from_bits(self.bits as u32).into()),
            PlaceKind::Ipv6 => {
                Origin::Address(Ipv6Addr::from_bits(u128::from(self.bits) << 64).into())
            }
            PlaceKind::Local => Origin::Local,
            PlaceKind::Relayed => Origin::Relayed,
        }
    }

    /// The /24 or /48. Rates, and the circuits to one destination, are counted by it.
    pub(crate) fn subnet(self) -> Option<Scope> {
        let (kind, drop) = match self.kind {
            PlaceKind::Ipv4 => (ScopeKind::Ipv4Net24, 8),
            PlaceKind::Ipv6 => (ScopeKind::Ipv6Net48, 16),
            PlaceKind::Local | PlaceKind::Relayed => return None,
        };
        Some(self.masked(kind, drop))
    }

    /// The scopes that count a slot at this place, the narrowest first.
    pub(crate) fn scopes(self) -> impl Iterator<Item = Scope> {
        let nets = match self.kind {
            PlaceKind::Ipv4 => [
                Some(self.masked(ScopeKind::Ipv4, 0)),
                Some(self.masked(ScopeKind::Ipv4Net24, 8)),
                None,
            ],
            PlaceKind::Ipv6 => [
                Some(self.masked(ScopeKind::Ipv6Net64, 0)),
                Some(self.masked(ScopeKind::Ipv6Net56, 8)),
                Some(self.masked(ScopeKind::Ipv6Net48, 16)),
            ],
            PlaceKind::Local | PlaceKind::Relayed => [None; 3],
        };
        let asn = (self.asn != 0).then(|| Scope::asn(self.asn));
        nets.into_iter().chain([asn]).flatten()
    }

    fn masked(self, kind: ScopeKind, drop: u32) -> Scope {
        let bits = self.bits >> drop << drop;
        Scope { kind, bits }
    }
}
