//! Address prefixes that count as one address.

use std::{fmt, net::IpAddr};

/// A range of addresses that counts as one source. An IPv4 address or an IPv6 /56 is what one household or one rented
/// machine gets; an IPv4 /24 or an IPv6 /48 is what a small provider or a company gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The IPv4 address, or the IPv6 /56.
    pub(crate) fn household(address: IpAddr) -> Self {
        Self::of(address, 32, 56)
    }

    /// The IPv4 /24 or the IPv6 /48 of `address`.
    pub fn subnet(address: IpAddr) -> Self {
        Self::of(address, 24, 48)
    }

    /// The IPv4 /24 or the IPv6 /32 of `address`: a /24 is the smallest IPv4 network that Internet routers forward, and a /32 is
    /// the smallest IPv6 network that a provider gets from its registry.
    pub(crate) fn provider(address: IpAddr) -> Self {
        Self::of(address, 24, 32)
    }

    fn of(address: IpAddr, v4: u8, v6: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self {
                address: IpAddr::V4((address.to_bits() & (u32::MAX << (32 - v4))).into()),
                bits: v4,
            },
            IpAddr::V6(address) => Self {
                address: IpAddr::V6((address.to_bits() & (u128::MAX << (128 - v6))).into()),
                bits: v6,
            },
        }
    }

    /// Loopback, link-local or private use (RFC 1918, RFC 4193, RFC 3927).
    pub(crate) fn is_private(address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => {
                v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self {
                address: IpAddr::V4(v4),
                bits: 32,
            } => v4.fmt(f),
            Self { address, bits } => write!(f, "{address}/{bits}"),
        }
    }
}
