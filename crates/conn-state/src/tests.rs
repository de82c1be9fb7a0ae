use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use crate::{Limits, LimitsConfig, Refused};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn limits(config: LimitsConfig) -> Limits<u64, u8> {
    Limits::new(config)
}

#[test]
fn the_last_inbound_connection_is_admitted_and_the_next_is_refused() {
    let config = LimitsConfig::default().with_max_inbound(2);
    let mut limits = limits(config);
    let now = Instant::now();
    limits.handle_inbound(now, 1, ip("127.0.0.1")).unwrap();
    limits.handle_inbound(now, 2, ip("127.0.0.1")).unwrap();
    let refused = limits.handle_inbound(now, 3, ip("127.0.0.1"));
    assert_eq!(refused, Err(Refused::TooManyInbound { limit: 2 }));
    limits.handle_closed(1);
    limits.handle_inbound(now, 3, ip("127.0.0.1")).unwrap();
}

#[test]
fn memory_grants_128_connections_and_128_more_a_gib() {
    assert_eq!(LimitsConfig::for_memory(0).max_inbound, 128);
    assert_eq!(LimitsConfig::for_memory((1 << 30) - 1).max_inbound, 128);
    assert_eq!(LimitsConfig::for_memory(3 << 30).max_inbound, 512);
}

#[test]
fn one_ipv6_household_is_one_address_and_its_neighbour_another() {
    let config = LimitsConfig::default().with_max_per_address(1);
    let mut limits = limits(config);
    let now = Instant::now();
    limits
        .handle_inbound(now, 1, ip("2001:db8:0:12ff::1"))
        .unwrap();
    let same = limits.handle_inbound(now, 2, ip("2001:db8:0:1200:5::2"));
    let Err(refused @ Refused::TooManyFromAddress { limit: 1, .. }) = same else {
        panic!("{same:?}");
    };
    assert!(
        refused.to_string().contains("2001:db8:0:1200::/56"),
        "{refused}"
    );
    limits
        .handle_inbound(now, 3, ip("2001:db8:0:1300::1"))
        .unwrap();
}

#[test]
fn an_ipv4_address_mapped_into_ipv6_is_that_ipv4_address() {
    let config = LimitsConfig::default().with_max_per_address(1);
    let mut limits = limits(config);
    let now = Instant::now();
    limits.handle_inbound(now, 1, ip("192.0.2.1")).unwrap();
    assert!(
        limits
            .handle_inbound(now, 2, ip("::ffff:192.0.2.1"))
            .is_err()
    );
    limits
        .handle_inbound(now, 3, ip("::ffff:10.0.0.1"))
        .unwrap();
    limits
        .handle_inbound(now, 4, ip("::ffff:10.0.0.1"))
        .unwrap();
}

#[test]
fn a_burst_is_admitted_then_one_every_five_seconds() {
    let mut limits = limits(LimitsConfig::default());
    let start = Instant::now();
    for id in 0..16 {
        limits.handle_inbound(start, id, ip("192.0.2.1")).unwrap();
        limits.handle_closed(id);
    }
    let almost = start + Duration::from_millis(4_990);
    assert!(matches!(
        limits.handle_inbound(almost, 16, ip("192.0.2.1")),
        Err(Refused::TooFastFromAddress { .. })
    ));
    let later = start + Duration::from_millis(5_010);
    limits.handle_inbound(later, 17, ip("192.0.2.1")).unwrap();
}

#[test]
fn loopback_and_private_addresses_are_exempt_unless_told_otherwise() {
    let now = Instant::now();
    for address in [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.9",
        "::1",
        "fd00::1",
        "fe80::1",
    ] {
        let mut free = limits(LimitsConfig::default());
        for id in 0..64 {
            free.handle_inbound(now, id, ip(address)).unwrap();
        }
        let mut strict = limits(LimitsConfig::default().with_exempt_private(false));
        for id in 0..8 {
            strict.handle_inbound(now, id, ip(address)).unwrap();
        }
        assert!(
            strict.handle_inbound(now, 8, ip(address)).is_err(),
            "{address}"
        );
    }
}

#[test]
fn one_subnet_takes_no_more_than_its_share_and_leaves_the_rest_to_others() {
    let config = LimitsConfig::default().with_max_per_subnet(3, 2);
    for (subnet, elsewhere, name) in [
        ("192.0.2.", "192.0.3.1", "192.0.2.0/24"),
        ("2001:db8:0:a00::", "2001:db8:1::1", "2001:db8::/48"),
    ] {
        let mut limits = limits(config.clone());
        let now = Instant::now();
        let at = |host: u64| ip(&format!("{subnet}{host}"));
        for id in 1..=2 {
            limits.handle_inbound(now, id, at(id)).unwrap();
        }
        let third = limits.handle_inbound(now, 3, at(3)).unwrap_err();
        assert!(
            matches!(third, Refused::TooManyHandshakesFromSubnet { limit: 2, .. }),
            "{third}"
        );
        assert!(third.to_string().contains(name), "{third}");
        limits.handle_authenticated(1, 1).unwrap();
        limits.handle_inbound(now, 3, at(3)).unwrap();
        limits.handle_authenticated(2, 2).unwrap();
        let fourth = limits.handle_inbound(now, 4, at(4)).unwrap_err();
        assert!(
            matches!(fourth, Refused::TooManyFromSubnet { limit: 3, .. }),
            "{fourth}"
        );
        limits.handle_inbound(now, 5, ip(elsewhere)).unwrap();
        limits.handle_closed(3);
        limits.handle_inbound(now, 4, at(4)).unwrap();
        for id in [1, 2, 4, 5] {
            limits.handle_closed(id);
        }
        assert!(limits.subnets.is_empty());
    }
}

#[test]
fn a_peer_may_hold_eight_connections_whoever_dialed() {
    let mut limits = limits(LimitsConfig::default());
    let now = Instant::now();
    limits.handle_inbound(now, 0, ip("127.0.0.1")).unwrap();
    for id in 0..8 {
        limits.handle_authenticated(id, 7).unwrap();
    }
    let refused = limits.handle_authenticated(8, 7);
    assert_eq!(refused, Err(Refused::TooManyToPeer { limit: 8 }));
    limits.handle_authenticated(8, 6).unwrap();
    limits.handle_closed(0);
    limits.handle_authenticated(9, 7).unwrap();
}

#[test]
fn a_flood_from_many_addresses_is_remembered_up_to_the_bound_and_then_forgotten() {
    let mut limits = limits(LimitsConfig::default().with_max_tracked_addresses(100));
    let now = Instant::now();
    for id in 0..1_000_u32 {
        let address = IpAddr::V4((0x0100_0000 + id).into());
        let outcome = limits.handle_inbound(now, u64::from(id), address);
        assert_eq!(outcome.is_ok(), id < 100, "{outcome:?}");
        limits.handle_closed(u64::from(id));
    }
    assert_eq!(limits.tracked_addresses(), 100);
    let later = now + Duration::from_secs(6);
    limits
        .handle_inbound(later, 2_000, ip("192.0.2.1"))
        .unwrap();
    assert_eq!(limits.tracked_addresses(), 1);
}

proptest! {
    #[test]
    fn whatever_happens_no_cap_is_exceeded_and_nothing_is_left_at_the_end(
        steps in proptest::collection::vec((0..4_u8, 0..24_u64, 0..6_u8, 0..2_000_u64), 1..400)
    ) {
        let config = LimitsConfig::default()
            .with_max_inbound(6)
            .with_max_handshaking(3)
            .with_max_per_peer(2)
            .with_max_per_address(2)
            .with_max_per_subnet(4, 2);
        let mut limits = limits(config);
        let mut now = Instant::now();
        let mut open = std::collections::BTreeMap::<u64, (bool, u8, Option<u8>)>::new();
        for (step, id, who, millis) in steps {
            now += Duration::from_millis(millis);
            match step {
                0 if !open.contains_key(&id) => {
                    let address = IpAddr::V4([192, 0, who % 2, who].into());
                    if limits.handle_inbound(now, id, address).is_ok() {
                        open.insert(id, (true, who, None));
                    }
                }
                1 | 2 => {
                    if limits.handle_authenticated(id, who).is_ok() {
                        let entry = open.entry(id).or_insert((false, 99, None));
                        entry.2.get_or_insert(who);
                    }
                }
                _ => {
                    limits.handle_closed(id);
                    open.remove(&id);
                }
            }
            let inbound = open.values().filter(|(inbound, ..)| *inbound).count();
            let shaking = open.values().filter(|(inbound, _, peer)| *inbound && peer.is_none()).count();
            prop_assert_eq!(limits.inbound(), inbound);
            prop_assert_eq!(limits.handshaking(), shaking);
            prop_assert!(inbound <= 6 && shaking <= 3);
            for who in 0..6 {
                prop_assert!(open.values().filter(|(_, _, peer)| *peer == Some(who)).count() <= 2);
                prop_assert!(open.values().filter(|(i, address, _)| *i && *address == who).count() <= 2);
            }
            for subnet in 0..2 {
                let of_subnet = open.values().filter(|(i, address, _)| *i && *address % 2 == subnet);
                let shaking = of_subnet.clone().filter(|(_, _, peer)| peer.is_none()).count();
                prop_assert!(of_subnet.count() <= 4 && shaking <= 2);
            }
        }
        for id in 0..24 {
            limits.handle_closed(id);
        }
        prop_assert_eq!((limits.inbound(), limits.handshaking()), (0, 0));
        prop_assert!(limits.peers.is_empty() && limits.connections.is_empty());
        prop_assert!(limits.subnets.is_empty());
        prop_assert!(limits.addresses.values().all(|address| address.open == 0));
    }
}
