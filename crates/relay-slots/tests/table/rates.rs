//! What is remembered of the rates of requests.

use std::time::{Duration, Instant};

use relay_slots::{Caps, Rate, Refusal, Scope, ScopeKind, Table, TableConfig};

use crate::{at, open_connection};

const MINUTE: Option<Rate> = Some(Rate::new(9, Duration::from_secs(60)));

#[test]
fn a_peer_and_a_subnet_are_told_apart_even_if_their_names_are_the_same() {
    let now = Instant::now();
    let caps = Caps::default()
        .with_reserve_rates(MINUTE, MINUTE)
        .with_connect_rates(MINUTE, MINUTE);
    // Peers that are called like the subnets that they are in.
    let mut table = Table::new(now, 1, caps, TableConfig::default());
    let [one, other] = ["192.0.2.1", "198.51.100.1"].map(|address| {
        let ip = address.parse().expect("an address");
        let peer = Scope::new(ScopeKind::Ipv4Net24, ip).expect("an IPv4 address");
        (open_connection(&mut table, now, &peer, at(address)), peer)
    });
    table.handle_reserve(now, one.0).expect("room");
    assert_eq!(table.usage().buckets, 2, "a peer and a subnet");
    table.handle_connect(now, other.0, &one.1).expect("room");
    assert_eq!(table.usage().buckets, 4);
    table.handle_reserve(now, other.0).expect("room");
    assert_eq!(
        table.usage().buckets,
        6,
        "circuits and slots are metered apart"
    );
    table.handle_connect(now, other.0, &one.1).expect("room");
    assert_eq!(table.usage().buckets, 6);
}

#[test]
fn a_request_that_needs_no_new_entry_is_granted_though_there_is_room_for_none() {
    let now = Instant::now();
    let caps = Caps::default().with_reserve_rates(MINUTE, MINUTE);
    let config = TableConfig::default().with_max_buckets(2);
    let mut table = Table::new(now, 1, caps, config.clone());
    let bob = open_connection(&mut table, now, &"bob", at("192.0.2.1"));
    let neighbour = open_connection(&mut table, now, &"neighbour", at("192.0.2.2"));
    table.handle_reserve(now, bob).expect("room for two");
    let refused = Err(Refusal::Buckets { limit: 2 });
    assert_eq!(table.handle_reserve(now, neighbour), refused);
    // Fewer are allowed than there are.
    table.set_config(config.with_max_buckets(0));
    table.handle_release(now, bob).expect("it has one");
    let again = table.handle_reserve(now, bob).expect("both are known");
    assert!(!again.renewed);
    let refused = Err(Refusal::Buckets { limit: 0 });
    assert_eq!(table.handle_reserve(now, neighbour), refused);
}
