//! What a table says about itself.

use std::time::{Duration, Instant};

use relay_slots::{Caps, Event, Origin, Rate, Table, TableConfig};

use crate::{assert_empty, at, drain, open_connection};

#[test]
fn the_slots_of_a_peer_are_counted_and_nobody_elses() {
    let now = Instant::now();
    let caps = Caps::default().with_slots_per_peer(3);
    let mut table = Table::new(now, 1, caps, TableConfig::default());
    assert_eq!(table.held_by(&"bob"), 0);
    for held in 1..=3 {
        let connection = open_connection(&mut table, now, &"bob", at("192.0.2.1"));
        assert_eq!(table.held_by(&"bob"), held - 1, "it has not asked");
        table.handle_reserve(now, connection).expect("room");
        assert_eq!(table.held_by(&"bob"), held);
    }
    let other = open_connection(&mut table, now, &"eve", at("192.0.2.2"));
    table.handle_reserve(now, other).expect("room");
    assert_eq!((table.held_by(&"bob"), table.held_by(&"eve")), (3, 1));
    table.handle_release(now, other).expect("it has one");
    assert_eq!((table.held_by(&"bob"), table.held_by(&"eve")), (3, 0));
}

#[test]
fn whichever_of_a_peers_slots_is_released_it_gets_the_others_back_when_it_returns() {
    let now = Instant::now();
    for released in 0..4 {
        let caps = Caps::default().with_slots_per_peer(4);
        let mut table = Table::new(now, 1, caps, TableConfig::default());
        let connect = |table: &mut _| open_connection(table, now, &"bob", at("192.0.2.1"));
        let all = [(); 4].map(|()| connect(&mut table));
        for connection in all {
            table.handle_reserve(now, connection).expect("room");
        }
        table.handle_release(now, all[released]).expect("a slot");
        for connection in all {
            table.handle_disconnected(now, connection);
        }
        for _ in 0..3 {
            let again = connect(&mut table);
            let granted = table.handle_reserve(now, again).expect("it waits");
            assert!(granted.renewed, "{released}");
        }
        let last = connect(&mut table);
        let granted = table.handle_reserve(now, last).expect("room for a fourth");
        assert!(!granted.renewed, "{released}");
        assert_eq!((table.held_by(&"bob"), table.usage().slots), (4, 4));
    }
}

#[test]
fn everything_that_a_table_holds_takes_memory_and_gives_it_back() {
    const PEERS: u32 = 64;
    let start = Instant::now();
    // Nothing is remembered of a rate that is not limited.
    let caps = Caps::unlimited().with_reserve_rates(None, None);
    let mut table: Table<u32> = Table::new(start, 1, caps, TableConfig::default());
    let mut before = table.bytes();
    assert_eq!(before, 0);
    // By how much it has grown since the last look, at least for so many things of so many bytes each.
    let mut grows = |table: &Table<u32>, what: &str, things: u32, each: usize| {
        let bytes = table.bytes();
        let grown = bytes - before;
        let least = things as usize * each;
        assert!((least..8 * least).contains(&grown), "{what}: {grown} bytes");
        before = bytes;
    };
    let address = |peer: u32| Origin::Address([9, 9, peer as u8, 1].into());
    let open = |peer| open_connection(&mut table, start, &peer, address(peer));
    let connections: Vec<_> = (0..PEERS).map(open).collect();
    // A peer and its connection with their ids, places and links.
    grows(&table, "connections", PEERS, 80);
    for connection in &connections {
        table.handle_reserve(start, *connection).expect("no caps");
    }
    // A slot, its timer and two networks.
    grows(&table, "slots", PEERS, 48 + 24 + 2 * 16);
    for connection in &connections[1..] {
        let opening = table
            .handle_connect(start, *connection, &0)
            .expect("no caps");
        table.handle_opened(start, opening.circuit);
    }
    grows(&table, "circuits", PEERS - 1, 40 + 24 + 16);
    // Each is probed by now.
    table.handle_timeout(start + Duration::from_secs(30));
    assert_eq!(table.usage().events, PEERS as usize);
    grows(&table, "events", PEERS, size_of::<Event<u32>>());
    table.admission_mut().rates.reserve_of_peer = Some(Rate::new(9, Duration::from_secs(600)));
    for connection in &connections {
        table.handle_release(start, *connection).expect("a slot");
        table.handle_reserve(start, *connection).expect("no caps");
    }
    grows(&table, "rates", PEERS, 24 + 24);

    for connection in connections {
        table.handle_disconnected(start, connection);
    }
    let end = start + Duration::from_secs(3600);
    table.handle_timeout(end);
    drain(&mut table, end, |_| false);
    assert_empty(&table);
}

#[test]
fn a_change_of_the_configuration_counts_for_what_comes_after_it() {
    let now = Instant::now();
    let seconds = |seconds| Duration::from_secs(seconds);
    let config = TableConfig::default().with_ttl(seconds(100));
    let mut table = Table::new(now, 1, Caps::default(), config.clone());
    let old = open_connection(&mut table, now, &"old", Origin::Local);
    let new = open_connection(&mut table, now, &"new", Origin::Local);
    let granted = table.handle_reserve(now, old).expect("room");
    assert_eq!(granted.expires, now + seconds(100));
    assert_eq!(table.config(), &config);
    let config = config
        .with_ttl(seconds(50))
        .with_heartbeat(None, seconds(1));
    table.set_config(config.clone());
    assert_eq!(table.config(), &config);
    let granted = table.handle_reserve(now, new).expect("room");
    assert_eq!(granted.expires, now + seconds(50));
    let mut expiries: Vec<_> = table
        .slots()
        .map(|slot| (*slot.peer, slot.expires))
        .collect();
    expiries.sort();
    let expected = [("new", now + seconds(50)), ("old", now + seconds(100))];
    assert_eq!(expiries, expected);
    assert_eq!(table.admission(), &Caps::default());
    table.handle_timeout(now + seconds(50));
    assert_eq!((table.held_by(&"old"), table.held_by(&"new")), (1, 0));
}

#[test]
fn peers_that_came_together_are_probed_one_after_another_over_a_quarter_of_the_heartbeat() {
    const PEERS: u32 = 1000;
    let start = Instant::now();
    let config = TableConfig::default();
    let mut table: Table<u32> = Table::new(start, 7, Caps::unlimited(), config);
    for peer in 0..PEERS {
        let connection = open_connection(&mut table, start, &peer, Origin::Local);
        table.handle_reserve(start, connection).expect("no caps");
    }
    // How many are probed in each quarter of a second, from 22.5 s to 30 s.
    let probed = (0..31).map(|quarter| {
        table.handle_timeout(start + Duration::from_millis(22_500 + 250 * quarter));
        std::iter::from_fn(|| table.poll_event()).count()
    });
    let probed: Vec<usize> = probed.collect();
    assert_eq!(probed.iter().sum::<usize>(), PEERS as usize);
    let most = probed.iter().max().expect("there are some");
    assert!(*most <= 2 * PEERS as usize / 30, "{probed:?}");
}
