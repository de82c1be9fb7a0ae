mod ids;
mod room;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use crate::{Limits, LimitsConfig, Refused, Usage};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn limits(config: LimitsConfig) -> Limits<u64, u8> {
    Limits::new(config)
}

/// The handshake of `id` succeeds.
fn up(limits: &mut Limits<u64, u8>, now: Instant, id: u64, peer: u8) -> Result<Usage, Refused> {
    let usage = Usage::new(now);
    limits.handle_authenticated(now, id, peer, &usage)?;
    Ok(usage)
}

#[test]
fn the_last_inbound_connection_is_admitted_and_the_next_is_refused() {
    let config = LimitsConfig::default().with_max_inbound(2);
    let mut limits = limits(config);
    let now = Instant::now();
    for id in 1..=3 {
        limits.handle_inbound(now, id, ip("127.0.0.1")).unwrap();
    }
    let full = Refused::TooManyInbound { limit: 2 };
    up(&mut limits, now, 1, 1).unwrap();
    up(&mut limits, now, 2, 2).unwrap();
    assert_eq!(up(&mut limits, now, 3, 3).unwrap_err(), full);
    limits.handle_closed(3);
    let refused = limits.handle_inbound(now, 3, ip("127.0.0.1"));
    assert_eq!(refused, Err(full));
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
        for id in 1..=3 {
            limits.handle_inbound(now, id, at(id)).unwrap();
        }
        let displaced = (1, crate::Closing::Displaced);
        assert_eq!(limits.poll_action(), Some(displaced), "by one of its own");
        limits.handle_closed(1);
        for id in 2..=4 {
            if id == 4 {
                limits.handle_inbound(now, id, at(id)).unwrap();
            }
            up(&mut limits, now, id, id as u8).unwrap();
        }
        let fourth = limits.handle_inbound(now, 5, at(5)).unwrap_err();
        assert!(
            matches!(fourth, Refused::TooManyFromSubnet { limit: 3, .. }),
            "{fourth}"
        );
        assert!(fourth.to_string().contains(name), "{fourth}");
        limits.handle_inbound(now, 6, ip(elsewhere)).unwrap();
        limits.handle_closed(3);
        limits.handle_inbound(now, 5, at(5)).unwrap();
        for id in [2, 4, 5, 6] {
            limits.handle_closed(id);
        }
        assert!(limits.groups.is_empty());
    }
}

#[test]
fn a_peer_may_hold_as_many_again_and_one_more_for_a_contest_whoever_dialed() {
    let mut limits = limits(LimitsConfig::default());
    let now = Instant::now();
    limits.handle_inbound(now, 0, ip("127.0.0.1")).unwrap();
    for id in 1..19 {
        limits.handle_dialing(id).unwrap();
    }
    for id in 0..17 {
        up(&mut limits, now, id, 7).unwrap();
    }
    let refused = up(&mut limits, now, 17, 7).unwrap_err();
    assert!(refused.to_string().starts_with("17 connections"));
    assert_eq!(refused, Refused::TooManyToPeer { limit: 17 });
    up(&mut limits, now, 17, 6).unwrap();
    limits.handle_closed(0);
    up(&mut limits, now, 18, 7).unwrap();
    let mut none = Limits::<u64, u8>::new(LimitsConfig::default().with_max_per_peer(0));
    none.handle_dialing(0).unwrap();
    let refused = up(&mut none, now, 0, 7).unwrap_err();
    assert_eq!(refused, Refused::TooManyToPeer { limit: 0 });
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
    assert_eq!(
        limits.tracked_addresses(),
        99,
        "two went for the one that came"
    );
}

#[test]
fn an_unknown_address_costs_the_same_few_steps_however_many_are_remembered() {
    let config = LimitsConfig::default();
    let tracked = config.max_tracked_addresses as u32;
    let mut limits = limits(config);
    let now = Instant::now();
    let at = |n: u32| IpAddr::V4((0x0100_0000 + n).into());
    let come = |limits: &mut Limits<u64, u8>, now, n: u32| {
        let before = limits.addresses.inspected;
        let outcome = limits.handle_inbound(now, n.into(), at(n));
        limits.handle_closed(n.into());
        (outcome, limits.addresses.inspected - before)
    };
    for n in 0..tracked {
        come(&mut limits, now, n).0.unwrap();
    }
    let (full, later) = (
        Refused::TooManyAddresses { limit: 65_536 },
        now + Duration::from_secs(6),
    );
    let mut most = 0;
    for n in tracked..tracked + 10_000 {
        let (refused, inspected) = come(&mut limits, now, n);
        assert_eq!(refused, Err(full.clone()));
        most = most.max(inspected);
    }
    for n in tracked..tracked + 10_000 {
        let (admitted, inspected) = come(&mut limits, later, n);
        admitted.unwrap();
        most = most.max(inspected);
    }
    println!("entries inspected for an unknown address: {most} at most");
    assert!((1..=4).contains(&most), "{most} entries of {tracked}");
    assert_eq!(limits.tracked_addresses(), tracked as usize - 10_000);
}

#[test]
fn an_address_is_forgotten_when_its_burst_is_whole_again_and_not_while_it_is_connected() {
    let config = LimitsConfig::default()
        .with_max_tracked_addresses(2)
        .with_rate_per_address(1.0, 2);
    let mut limits = limits(config);
    let now = Instant::now();
    limits.handle_inbound(now, 1, ip("192.0.2.1")).unwrap();
    up(&mut limits, now, 1, 1).unwrap();
    for id in [2, 3] {
        limits.handle_inbound(now, id, ip("192.0.2.2")).unwrap();
        limits.handle_closed(id);
    }
    let full = Err(Refused::TooManyAddresses { limit: 2 });
    let almost = now + Duration::from_millis(1_999);
    assert_eq!(limits.handle_inbound(almost, 4, ip("192.0.2.3")), full);
    let then = now + Duration::from_secs(2);
    limits.handle_inbound(then, 4, ip("192.0.2.3")).unwrap();
    up(&mut limits, then, 4, 4).unwrap();
    let much_later = now + Duration::from_secs(3_600);
    assert_eq!(limits.handle_inbound(much_later, 5, ip("192.0.2.4")), full);
}

proptest! {
    #[test]
    fn whatever_happens_no_cap_is_exceeded_and_nothing_is_left_at_the_end(
        steps in proptest::collection::vec((0..9_u8, 0..24_u64, 0..6_u8, 0..2_000_u64), 1..400)
    ) {
        let config = LimitsConfig::default()
            .with_max_inbound(6)
            .with_max_handshaking(3)
            .with_max_per_peer(1)
            .with_max_per_address(2)
            .with_max_per_subnet(4, 2)
            .with_max_per_relay(3)
            .with_trim_idle(Some(Duration::from_secs(3)));
        let mut limits = limits(config);
        let mut now = Instant::now();
        // Who dialed (`None`: this host; `Some(who)`: from an address; `Some(10 + who)`: through a relay), and the peer.
        let mut open = std::collections::BTreeMap::<u64, (Option<u8>, Option<u8>, Usage)>::new();
        let mut leaving = std::collections::BTreeSet::new();
        for (step, id, who, millis) in steps {
            now += Duration::from_millis(millis);
            let usage = Usage::new(now);
            let is_new = !open.contains_key(&id) && !leaving.contains(&id);
            let address = IpAddr::V4([192, 0, who % 2, who].into());
            match step {
                0 if is_new && limits.handle_inbound(now, id, address).is_ok() => {
                    open.insert(id, (Some(who), None, usage));
                }
                1 if is_new && limits.handle_circuit(now, id, who % 2).is_ok() => {
                    open.insert(id, (Some(10 + who % 2), None, usage));
                }
                2 if is_new
                    && limits.handle_inbound_authenticated(now, id, address, who, &usage).is_ok() =>
                {
                    open.insert(id, (Some(who), Some(who), usage));
                }
                7 if is_new => {
                    limits.handle_dialing(id).expect("a new id");
                    open.insert(id, (None, None, usage));
                }
                0..=2 => {}
                3 | 4 => {
                    let usage = open.get(&id).map_or(usage, |(.., usage)| usage.clone());
                    let outcome = limits.handle_authenticated(now, id, who, &usage);
                    match open.get_mut(&id) {
                        _ if leaving.contains(&id) => prop_assert_eq!(outcome, Err(Refused::Displaced)),
                        None => prop_assert_eq!(outcome, Err(Refused::UnknownId)),
                        Some(entry) if outcome.is_ok() => drop(entry.1.get_or_insert(who)),
                        Some(_) => {}
                    }
                }
                5 => limits.handle_advanced(id),
                6 => {
                    if let Some((.., usage)) = open.get(&id) {
                        usage.handle_opened();
                    }
                }
                _ => {
                    limits.handle_closed(id);
                    open.remove(&id);
                    leaving.remove(&id);
                }
            }
            while let Some((id, closing)) = limits.poll_action() {
                let (.., usage) = open.remove(&id).expect("it was counted");
                if closing == crate::Closing::Trimmed {
                    prop_assert!(usage.idle_since().is_some(), "it was in use");
                }
                leaving.insert(id);
            }
            let inbound = || open.values().filter(|(from, ..)| from.is_some());
            let shaking = inbound().filter(|(_, peer, _)| peer.is_none()).count();
            prop_assert_eq!(limits.inbound(), inbound().count());
            prop_assert_eq!(limits.handshaking(), shaking);
            prop_assert!(inbound().count() - shaking <= 6 && shaking <= 3);
            prop_assert!(leaving.len() <= 3, "{} are on their way out", leaving.len());
            for who in 0..6 {
                prop_assert!(open.values().filter(|(_, peer, _)| *peer == Some(who)).count() <= 3);
                prop_assert!(open.values().filter(|(from, ..)| *from == Some(who)).count() <= 2);
                prop_assert!(open.values().filter(|(from, ..)| *from == Some(10 + who)).count() <= 3);
            }
            for subnet in 0..2 {
                let of_subnet = inbound().filter(|(from, ..)| from.is_some_and(|who| who < 10 && who % 2 == subnet));
                let shaking = of_subnet.clone().filter(|(_, peer, _)| peer.is_none()).count();
                prop_assert!(of_subnet.count() <= 4 && shaking <= 2);
            }
        }
        for id in 0..24 {
            limits.handle_closed(id);
        }
        prop_assert_eq!((limits.inbound(), limits.handshaking()), (0, 0));
        prop_assert!(limits.peers.is_empty() && limits.connections.is_empty());
        prop_assert!(limits.groups.is_empty());
        prop_assert_eq!(limits.addresses.open(), 0);
    }
}
