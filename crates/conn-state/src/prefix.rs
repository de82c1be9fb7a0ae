//! What counts as one address.

use std::{fmt, net::IpAddr};

/// One IPv4 address, or one IPv6 /56: what one household or one rented machine is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(IpAddr);

impl Prefix {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let masked = v6.to_bits() & (u128::MAX << (128 - 56));
                Self(IpAddr::V6(masked.into()))
            }
            v4 => Self(v4),
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
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/56"),
        }
    }
}
