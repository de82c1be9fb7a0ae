//! What is near what, spelled out.

use std::net::IpAddr;

use relay_slots::{Origin, ScopeKind};

pub(crate) fn asn(address: IpAddr) -> Option<u32> {
    match address {
        IpAddr::V4(v4) if v4.octets()[2] == 9 => Some(64501),
        IpAddr::V4(v4) if v4.octets()[0] == 10 => None,
        _ => Some(64500),
    }
}

/// Origin by what is kept of it.
pub(crate) fn canonical(origin: Origin) -> Origin {
    match origin {
        Origin::Address(address) => Origin::Address(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let s = v6.segments();
                IpAddr::from([s[0], s[1], s[2], s[3], 0, 0, 0, 0])
            }
            v4 => v4,
        }),
        other => other,
    }
}

pub(crate) fn scopes(origin: Origin) -> Vec<(String, ScopeKind)> {
    let Origin::Address(address) = canonical(origin) else {
        return Vec::new();
    };
    let mut all = match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            vec![
                (v4.to_string(), ScopeKind::Ipv4),
                (format!("{a}.{b}.{c}.0/24"), ScopeKind::Ipv4Net24),
            ]
        }
        IpAddr::V6(v6) => {
            let s = v6.segments();
            let net = |last: u16| IpAddr::from([s[0], s[1], s[2], last, 0, 0, 0, 0]);
            vec![
                (format!("{}/64", net(s[3])), ScopeKind::Ipv6Net64),
                (format!("{}/56", net(s[3] & 0xff00)), ScopeKind::Ipv6Net56),
                (format!("{}/48", net(0)), ScopeKind::Ipv6Net48),
            ]
        }
    };
    all.extend(asn(address).map(|asn| (format!("AS{asn}"), ScopeKind::Asn)));
    all
}

pub(crate) fn subnet(origin: Origin) -> Option<String> {
    let wide = [ScopeKind::Ipv4Net24, ScopeKind::Ipv6Net48];
    let mut all = scopes(origin).into_iter();
    all.find(|(_, kind)| wide.contains(kind))
        .map(|(name, _)| name)
}
