//! What the bare table costs: operations a second on one core, and bytes a slot. `cargo run --release --example cost`.

use std::{
    hint::black_box,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;
use relay_slots::{Caps, ConnectionId, Origin, Table, TableConfig};

const SLOTS: usize = 100_000;
const ROUNDS: usize = 10;

/// Each peer has an address of its own, and 250 share a /24.
fn origin(peer: usize) -> Origin {
    let (net, host) = (peer / 250, peer % 250);
    Origin::Address(Ipv4Addr::new(11, (net >> 8) as u8, net as u8, host as u8).into())
}

fn measure(
    what: &str,
    connections: &[ConnectionId],
    mut operation: impl FnMut(usize, ConnectionId),
) -> Duration {
    let start = Instant::now();
    for (at, connection) in connections.iter().enumerate() {
        operation(at, *connection);
    }
    let took = start.elapsed();
    let rate = connections.len() as f64 / took.as_secs_f64() / 1e6;
    println!("{what:>8}: {rate:.2} M/s");
    took
}

fn main() {
    let mut now = Instant::now();
    // No cap is reached, but each is looked at and counted for. The rates would be spent at once.
    let caps = Caps::unlimited().with_slots(SLOTS);
    let mut table = Table::new(now, 11, caps, TableConfig::default()).with_asn(|_| Some(64_500));
    let peers: Vec<PeerId> = (0..SLOTS).map(|_| PeerId::random()).collect();
    let connect = |(at, peer): (usize, &PeerId)| table.handle_connected(now, peer, origin(at));
    let mut connections: Vec<_> = peers.iter().enumerate().map(connect).collect();
    let before = table.bytes();
    // Not in the order in which memory was taken.
    let mut state = 1_u64;
    for at in (1..connections.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        connections.swap(at, (state >> 33) as usize % (at + 1));
    }

    let mut took = Duration::ZERO;
    for round in 0..ROUNDS {
        took += measure("reserve", &connections, |_, connection| {
            now += Duration::from_micros(1);
            assert!(table.handle_reserve(now, connection).is_ok());
        });
        if round == 0 {
            let (bytes, slots) = (table.bytes(), table.usage().slots);
            let all = bytes as f64 / slots as f64;
            let own = (bytes - before) as f64 / slots as f64;
            println!(
                "{slots} slots: {all:.0} bytes each, of them {own:.0} besides peer and connection"
            );
        }
        took += measure("renew", &connections, |_, connection| {
            now += Duration::from_micros(1);
            assert!(black_box(table.handle_reserve(now, connection)).is_ok());
        });
        took += measure("release", &connections, |_, connection| {
            now += Duration::from_micros(1);
            assert!(table.handle_release(now, connection).is_ok());
        });
    }
    let rate = (3 * ROUNDS * SLOTS) as f64 / took.as_secs_f64() / 1e6;
    println!("     all: {rate:.2} M reserve, renew and release operations a second");
    for connection in connections {
        table.handle_disconnected(now, connection);
    }
    while table.poll_event().is_some() {}
    assert_eq!(table.bytes(), 0, "{:?}", table.usage());
}
