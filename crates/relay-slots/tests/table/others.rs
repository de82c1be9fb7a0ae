//! Where other relays fail, and what is promised besides.

use std::time::{Duration, Instant};

use relay_slots::{
    Admission, Caps, Connect, ConnectionId, Event, FreeCause, Held, Origin, Refusal, ReleaseError,
    Reserve, Scope, ScopeKind, Status, Table, TableConfig,
};

use crate::{assert_empty, at, drain, open_connection};

const SECOND: Duration = Duration::from_secs(1);

fn table(now: Instant, caps: Caps) -> Table<&'static str> {
    Table::new(now, 1, caps, TableConfig::default())
}

#[test]
fn a_full_relay_renews_its_holder_and_takes_the_next_when_that_one_was_killed() {
    let mut now = Instant::now();
    let mut table = table(now, Caps::default().with_slots(1));
    let holder = open_connection(&mut table, now, &"holder", at("1.1.1.1"));
    let second = open_connection(&mut table, now, &"second", at("2.2.2.2"));
    assert!(!table.handle_reserve(now, holder).unwrap().renewed);
    for _ in 0..100 {
        now += 10 * SECOND;
        let renewed = table.handle_reserve(now, holder).unwrap();
        assert!(renewed.renewed);
        assert_eq!(renewed.expires, now + Duration::from_secs(3600));
    }
    let refusal = table.handle_reserve(now, second).unwrap_err();
    assert_eq!(refusal.status(), Status::ResourceLimitExceeded);
    assert_eq!(refusal.status().code(), 201);
    assert_eq!(refusal.to_string(), "1 slots are held, which is the limit");

    // SIGKILL: its socket is reset.
    table.handle_disconnected(now, holder);
    now += Duration::from_millis(59_999);
    assert!(
        table.handle_reserve(now, second).is_err(),
        "still in the grace"
    );
    now += Duration::from_millis(1);
    assert!(!table.handle_reserve(now, second).unwrap().renewed);
    let freed = Event::Freed {
        peer: "holder",
        cause: FreeCause::Abandoned,
    };
    let events: Vec<_> = std::iter::from_fn(|| table.poll_event()).collect();
    assert!(events.contains(&freed), "{events:?}");
}

#[test]
fn a_holder_that_falls_silent_is_found_out_and_its_slot_is_free_after_the_grace() {
    let start = Instant::now();
    let mut table = table(start, Caps::default().with_slots(1));
    let holder = open_connection(&mut table, start, &"holder", at("1.1.1.1"));
    let second = open_connection(&mut table, start, &"second", at("2.2.2.2"));
    table.handle_reserve(start, holder).unwrap();
    let mut story = Vec::new();
    let mut now = start;
    while let Some(next) = table.poll_timeout() {
        now = next;
        table.handle_timeout(now);
        while let Some(event) = table.poll_event() {
            let after = (now - start).as_secs();
            story.push(match event {
                Event::Probe { connection, .. } if connection == holder => ("probe", after),
                Event::Silent { connection, .. } if connection == holder => ("silent", after),
                Event::Freed { peer: "holder", .. } => ("freed", after),
                other => panic!("{other:?}"),
            });
        }
    }
    let [("probe", first), ("silent", second_at), ("freed", third)] = story[..] else {
        panic!("{story:?}");
    };
    assert!((22..=30).contains(&first) && second_at == first + 10 && third == first + 70);
    table.handle_reserve(now, second).unwrap();
}

#[test]
fn a_renewal_from_a_full_subnet_is_granted_and_counted_exactly_once() {
    let mut now = Instant::now();
    let caps = Caps::default().with_slots_per_ipv4(1, 1);
    let mut table = table(now, caps);
    let mover = open_connection(&mut table, now, &"mover", at("1.1.1.1"));
    let other = open_connection(&mut table, now, &"other", at("2.2.2.2"));
    table.handle_reserve(now, mover).unwrap();
    table.handle_reserve(now, other).unwrap();
    assert_eq!(table.usage().scopes, 4);

    // It moves to where there is no room, over a new connection.
    let moved = open_connection(&mut table, now, &"mover", at("2.2.2.2"));
    table.handle_disconnected(now, mover);
    assert!(table.handle_reserve(now, moved).unwrap().renewed);
    let counted_at = |table: &Table<_>, peer| {
        let slot = table.slots().find(|slot| *slot.peer == peer).unwrap();
        slot.address().unwrap().to_string()
    };
    assert_eq!(counted_at(&table, "mover"), "1.1.1.1");
    let stranger = open_connection(&mut table, now, &"stranger", at("1.1.1.1"));
    let refusal = table.handle_reserve(now, stranger).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "1 slots are held from 1.1.1.1, which is the limit"
    );

    // Once there is room its next renewal is counted there, and its old place is free.
    table.handle_release(now, other).unwrap();
    now += SECOND;
    assert!(table.handle_reserve(now, moved).unwrap().renewed);
    assert_eq!(counted_at(&table, "mover"), "2.2.2.2");
    assert_eq!(table.usage().scopes, 2);
    table.handle_reserve(now, stranger).unwrap();
    for connection in [moved, other, stranger] {
        table.handle_disconnected(now, connection);
    }
    now += Duration::from_secs(100);
    table.handle_timeout(now);
    drain(&mut table, now, |_| false);
    assert_empty(&table);
}

#[test]
fn two_addresses_do_not_make_a_ladder_around_the_cap_of_one() {
    let now = Instant::now();
    let caps = Caps::default()
        .with_slots_per_ipv4(2, 2)
        .with_reserve_rates(None, None);
    let mut table: Table<u32> = Table::new(now, 1, caps, TableConfig::default());
    let mut held = 0;
    for peer in 0..100 {
        let first = open_connection(&mut table, now, &peer, at("1.1.1.1"));
        let granted = table.handle_reserve(now, first).is_ok();
        open_connection(&mut table, now, &peer, at("2.2.2.2"));
        table.handle_disconnected(now, first);
        held += u32::from(granted);
    }
    assert_eq!(held, 4, "two from each");
}

#[test]
fn a_slot_is_kept_through_the_grace_to_the_millisecond() {
    for (away, kept) in [(59_999, true), (60_000, false)] {
        let start = Instant::now();
        let mut table = table(start, Caps::default());
        let first = open_connection(&mut table, start, &"phone", at("1.1.1.1"));
        table.handle_reserve(start, first).unwrap();
        table.handle_disconnected(start, first);
        let now = start + Duration::from_millis(away);
        let second = open_connection(&mut table, now, &"phone", at("1.1.1.1"));
        assert_eq!(table.usage().slots, usize::from(kept));
        assert_eq!(table.handle_reserve(now, second).unwrap().renewed, kept);
    }
}

#[test]
fn nobody_renews_or_releases_what_another_holds() {
    let now = Instant::now();
    let mut table = table(now, Caps::default());
    let owner = open_connection(&mut table, now, &"owner", at("1.1.1.1"));
    let thief = open_connection(&mut table, now, &"thief", at("1.1.1.1"));
    let granted = table.handle_reserve(now, owner).unwrap();
    let none = ReleaseError::NoSlot { id: thief };
    assert_eq!(table.handle_release(now, thief), Err(none));
    let later = now + SECOND;
    assert!(
        !table.handle_reserve(later, thief).unwrap().renewed,
        "its own"
    );
    table.handle_release(later, thief).unwrap();
    let slots: Vec<_> = table.slots().collect();
    assert_eq!(
        (*slots[0].peer, slots[0].expires),
        ("owner", granted.expires)
    );
    let again = open_connection(&mut table, later, &"owner", Origin::Local);
    table.handle_release(later, again).unwrap();
    assert_eq!(table.usage().slots, 0, "the owner may, over any connection");
}

#[test]
fn lowering_a_cap_evicts_nobody_and_admits_nobody() {
    let now = Instant::now();
    let mut table = table(now, Caps::default().with_slots(2));
    let names = ["a", "b", "c"];
    let all = names.map(|name| open_connection(&mut table, now, &name, Origin::Local));
    table.handle_reserve(now, all[0]).unwrap();
    table.handle_reserve(now, all[1]).unwrap();
    table.admission_mut().slots = 1;
    assert_eq!(table.usage().slots, 2);
    assert!(table.handle_reserve(now, all[0]).unwrap().renewed);
    table.handle_release(now, all[1]).unwrap();
    let refusal = table.handle_reserve(now, all[2]).unwrap_err();
    assert_eq!(refusal, Refusal::Slots { limit: 1 });
    table.admission_mut().slots = 2;
    table.handle_reserve(now, all[2]).unwrap();
}

#[test]
fn a_relayed_connection_neither_reserves_nor_connects() {
    let now = Instant::now();
    let mut table = table(now, Caps::default());
    let target = open_connection(&mut table, now, &"target", Origin::Local);
    table.handle_reserve(now, target).unwrap();
    let relayed = open_connection(&mut table, now, &"other", Origin::Relayed);
    assert_eq!(table.handle_reserve(now, relayed), Err(Refusal::Relayed));
    let refusal = table.handle_connect(now, relayed, &"target").unwrap_err();
    assert_eq!((refusal.status().code(), refusal), (202, Refusal::Relayed));
}

fn connect(
    table: &mut Table<&'static str>,
    now: Instant,
    from: ConnectionId,
    to: &'static str,
) -> u32 {
    let refusal = table
        .handle_connect(now, from, &to)
        .expect_err("it is refused");
    refusal.status().code()
}

#[test]
fn a_circuit_needs_a_slot_and_a_way_to_it() {
    let now = Instant::now();
    let mut table = table(now, Caps::default());
    let source = open_connection(&mut table, now, &"source", Origin::Local);
    let target = open_connection(&mut table, now, &"target", Origin::Local);
    assert_eq!(connect(&mut table, now, source, "nobody"), 204);
    assert_eq!(
        connect(&mut table, now, source, "target"),
        204,
        "connected, but no slot"
    );
    assert_eq!(connect(&mut table, now, source, "source"), 202, "itself");
    table.handle_reserve(now, target).unwrap();
    let opening = table.handle_connect(now, source, &"target").unwrap();
    assert_eq!(opening.connection, target);
    table.handle_disconnected(now, target);
    assert_eq!(table.usage().circuits, 0);
    assert_eq!(
        connect(&mut table, now, source, "target"),
        203,
        "in the grace"
    );
}

#[test]
fn private_addresses_are_free_of_caps_and_carrier_grade_nat_is_not() {
    for (address, admitted) in [
        ("10.1.2.3", 5),
        ("192.168.1.1", 5),
        ("127.0.0.1", 5),
        ("::1", 5),
        ("fd00::1", 5),
        ("fe80::1", 5),
        ("::ffff:10.0.0.1", 5),
        ("100.64.0.1", 1),
        ("8.8.8.8", 1),
        ("2001:4860::1", 1),
    ] {
        let now = Instant::now();
        let caps = Caps::default()
            .with_slots_per_ipv4(1, 1)
            .with_slots_per_ipv6(1, 1, 1);
        let mut table: Table<u8> = Table::new(now, 1, caps, TableConfig::default());
        let reserve = |peer| {
            let connection = open_connection(&mut table, now, &peer, at(address));
            table.handle_reserve(now, connection).is_ok()
        };
        let got = (0..5u8).map(reserve).filter(|granted| *granted).count();
        assert_eq!(got, admitted, "{address}");
    }
}

#[test]
fn a_number_that_is_used_again_counts_as_a_new_connection() {
    let now = Instant::now();
    let mut table = table(now, Caps::default());
    let (number, other) = (ConnectionId(7), ConnectionId(u64::MAX));
    table.handle_connected(now, number, &"first", Origin::Local);
    table.handle_connected(now, other, &"source", Origin::Local);
    table.handle_reserve(now, number).unwrap();
    table.handle_connect(now, other, &"first").unwrap();
    table.handle_connected(now, number, &"second", Origin::Local);
    assert_eq!(table.peer_of(number), Some(&"second"));
    let usage = table.usage();
    assert_eq!((usage.connections, usage.circuits), (2, 0));
    let state = table.slots().next().unwrap().state;
    assert_eq!(state.to_string(), "grace", "the first is gone");
    table.handle_disconnected(now, number);
    table.handle_disconnected(now, number);
    table.handle_disconnected(now, other);
    assert_eq!(table.usage().connections, 0);
}

#[test]
fn a_rule_can_be_asked_without_a_table() {
    let v4 = "192.0.2.77".parse().unwrap();
    let v6 = "2001:db8:1:2300::1".parse().unwrap();
    for (kind, address, name) in [
        (ScopeKind::Ipv4, v4, Some("192.0.2.77")),
        (ScopeKind::Ipv4Net24, v4, Some("192.0.2.0/24")),
        (ScopeKind::Ipv6Net56, v6, Some("2001:db8:1:2300::/56")),
        (ScopeKind::Ipv6Net48, v6, Some("2001:db8:1::/48")),
        (ScopeKind::Ipv6Net64, v4, None),
        (ScopeKind::Ipv4, v6, None),
        (ScopeKind::Asn, v4, None),
    ] {
        let scope = Scope::new(kind, address).map(|scope| scope.to_string());
        assert_eq!(scope.as_deref(), name);
    }
    let caps = Caps::default().with_slots_per_asn(2);
    let scope = Scope::asn(64_500);
    for (count, allowed) in [(1, true), (2, false)] {
        let held = [Held::new(scope, count)];
        let request = Reserve::new(&"peer", Origin::Address(v4)).with_nearby(&held);
        assert_eq!(caps.reserve(&request).is_ok(), allowed);
    }
    let request = Connect::new(&"a", Origin::Local, &"b").with_circuits(0, 16, 0);
    assert_eq!(
        caps.connect(&request),
        Err(Refusal::CircuitsTo { limit: 16 })
    );
}
