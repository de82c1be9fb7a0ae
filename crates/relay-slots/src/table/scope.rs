//! Where a request comes from, and what counts as near it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The other end's address. An IPv4 address mapped into IPv6 is that IPv4 address.
    Address(IpAddr),
    /// It has none: a Unix socket, a pipe. No cap for addresses holds; the host knows whom it lets in there.
    Local,
    /// Another relay's circuit. It may neither reserve nor connect.
    Relayed,
}

impl Origin {
    /// Loopback, link-local or private use (RFC 1122, 3927, 1918, 4193).
    pub fn is_private(&self) -> bool {
        match self.canonical() {
            Self::Address(IpAddr::V4(v4)) => {
                v4.is_loopback() || v4.is_private() || v4.is_link_local()
            }
            // Only the first 64 bits are kept, and but for ::1 nobody's address begins with 64 zeros.
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

/// What slots are counted by, besides their peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ScopeKind {
    /// One IPv4 address.
    Ipv4,
    /// Its /24.
    Ipv4Net24,
    /// One IPv6 /64.
    Ipv6Net64,
    /// Its /56.
    Ipv6Net56,
    /// Its /48.
    Ipv6Net48,
    /// An autonomous system.
    Asn,
}

/// One such address, network or autonomous system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    kind: ScopeKind,
    /// The IPv4 address, the IPv6 address' first 64 bits, or the number.
    bits: u64,
}

impl Scope {
    /// What it is.
    pub fn kind(&self) -> ScopeKind {
        self.kind
    }

    /// As a key for slots.
    pub(super) fn key(self) -> (u64, u32) {
        (self.bits, self.kind as u32)
    }

    /// As a key for circuits, beside their destination. A /48 ends in 16 zeros.
    pub(super) fn subnet_key(self) -> u64 {
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

/// What is kept of an [`Origin`], in few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bits: u64,
    /// 0, which is nobody's (RFC 7607), for unknown.
    pub(super) asn: u32,
    pub(super) kind: PlaceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceKind {
    Ipv4,
    Ipv6,
    Local,
    Relayed,
}

impl Place {
    pub(super) fn new(origin: Origin, asn: Option<&dyn Fn(IpAddr) -> Option<u32>>) -> Self {
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

    pub(super) fn origin(self) -> Origin {
        match self.kind {
            PlaceKind::Ipv4 => Origin::Address(Ipv4Addr::from_bits(self.bits as u32).into()),
            PlaceKind::Ipv6 => {
                Origin::Address(Ipv6Addr::from_bits(u128::from(self.bits) << 64).into())
            }
            PlaceKind::Local => Origin::Local,
            PlaceKind::Relayed => Origin::Relayed,
        }
    }

    /// The /24 or /48, by which rates and a destination's circuits are counted.
    pub(super) fn subnet(self) -> Option<Scope> {
        let (kind, drop) = match self.kind {
            PlaceKind::Ipv4 => (ScopeKind::Ipv4Net24, 8),
            PlaceKind::Ipv6 => (ScopeKind::Ipv6Net48, 16),
            PlaceKind::Local | PlaceKind::Relayed => return None,
        };
        Some(self.masked(kind, drop))
    }

    /// All that a slot here is counted by, the narrowest first.
    pub(super) fn scopes(self) -> impl Iterator<Item = Scope> {
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
        let asn = (self.asn != 0).then_some(Scope {
            kind: ScopeKind::Asn,
            bits: self.asn.into(),
        });
        nets.into_iter().chain([asn]).flatten()
    }

    fn masked(self, kind: ScopeKind, drop: u32) -> Scope {
        let bits = self.bits >> drop << drop;
        Scope { kind, bits }
    }
}
