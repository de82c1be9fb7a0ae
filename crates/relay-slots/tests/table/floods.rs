//! Many against one.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use relay_slots::{Caps, Origin, Refusal, Table, TableConfig};

use crate::{at, open_connection};

fn v4(net: u8, host: u32) -> Origin {
    Origin::Address(Ipv4Addr::new(203, 0, net, host as u8).into())
}

fn table(now: Instant) -> Table<u32> {
    Table::new(now, 9, Caps::default(), TableConfig::default())
}

#[test]
fn ten_thousand_reserves_from_one_subnet_leave_room_for_an_honest_peer() {
    let v6 = |host: u32| {
        let bits = 0x2001_0db8_0001_0000_u128 << 64 | u128::from(host) << 64;
        Origin::Address(Ipv6Addr::from_bits(bits).into())
    };
    let kinds: [&dyn Fn(u32) -> Origin; 2] = [&|host| v4(113, host), &v6];
    for origin in kinds {
        let now = Instant::now();
        let mut table = table(now);
        let flood = (0..10_000).filter(|peer| {
            let connection = open_connection(&mut table, now, peer, origin(*peer));
            table.handle_reserve(now, connection).is_ok()
        });
        assert_eq!(flood.count(), 16);
        let honest = open_connection(&mut table, now, &1_000_000, at("198.51.100.1"));
        assert!(table.handle_reserve(now, honest).is_ok());
        let buckets = table.usage().buckets;
        assert_eq!(buckets, 16 + 1 + 2, "who was refused is not remembered");
    }
}

#[test]
fn a_thousand_sources_aimed_at_one_target_leave_room_for_an_honest_circuit() {
    let now = Instant::now();
    let mut table = table(now);
    let target = open_connection(&mut table, now, &0, at("198.51.100.1"));
    table.handle_reserve(now, target).unwrap();
    // From three subnets: each gets 4 of the target's 16.
    let flood = (1..=1000).filter(|peer| {
        let connection = open_connection(&mut table, now, peer, v4((peer % 3) as u8, *peer));
        let opening = table.handle_connect(now, connection, &0);
        opening.is_ok_and(|opening| table.handle_opened(now, opening.circuit))
    });
    assert_eq!(flood.count(), 12);
    let honest = open_connection(&mut table, now, &1_000_000, at("192.0.2.77"));
    table.handle_connect(now, honest, &0).unwrap();
}

#[test]
fn a_source_that_connects_without_end_is_slowed_down_and_recovers() {
    let mut now = Instant::now();
    let mut table = table(now);
    let target = open_connection(&mut table, now, &0, at("198.51.100.1"));
    table.handle_reserve(now, target).unwrap();
    let source = open_connection(&mut table, now, &1, at("192.0.2.1"));
    let connect = |table: &mut Table<u32>, now| {
        let opening = table.handle_connect(now, source, &0)?;
        table.handle_circuit_closed(now, opening.circuit);
        Ok::<_, Refusal>(())
    };
    let granted = (0..1000).filter(|_| connect(&mut table, now).is_ok());
    assert_eq!(granted.count(), 16);
    let refusal = connect(&mut table, now).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "circuits of this peer follow each other faster than the limit"
    );
    now += std::time::Duration::from_millis(999);
    assert!(connect(&mut table, now).is_err());
    now += std::time::Duration::from_millis(1);
    assert!(connect(&mut table, now).is_ok());
}

#[test]
fn a_holder_that_renews_without_end_is_slowed_down_and_keeps_its_slot() {
    let (mut now, ttl) = (Instant::now(), Duration::from_secs(3600));
    let mut table = table(now);
    let holder = open_connection(&mut table, now, &0, at("198.51.100.1"));
    let expires = table.handle_reserve(now, holder).unwrap().expires;
    let granted = (0..1000).filter(|_| table.handle_reserve(now, holder).is_ok());
    assert_eq!(granted.count(), 8);
    now += Duration::from_millis(9_999);
    assert_eq!(table.handle_reserve(now, holder), Err(Refusal::RenewRate));
    assert_eq!(table.held_by(&0), 1);
    assert_eq!(
        table.slots().next().unwrap().expires,
        expires,
        "nothing changed"
    );
    now += Duration::from_millis(1);
    assert_eq!(
        table.handle_reserve(now, holder).unwrap().expires,
        now + ttl
    );
    // A relay whose rates are all in use still renews.
    table.set_config(TableConfig::default().with_max_buckets(0));
    now += Duration::from_secs(10);
    assert!(table.handle_reserve(now, holder).unwrap().renewed);
}

#[test]
fn however_short_its_slot_a_holder_that_renews_in_time_is_never_refused() {
    for millis in [1000, 4000, 39_000, 60_000] {
        let (mut now, ttl) = (Instant::now(), Duration::from_millis(millis));
        let config = TableConfig::default().with_ttl(ttl);
        let mut table = Table::new(now, 9, Caps::default(), config);
        let holder = open_connection(&mut table, now, &0, at("198.51.100.1"));
        for _ in 0..100 {
            table.handle_reserve(now, holder).unwrap();
            now += ttl / 2;
        }
    }
}
