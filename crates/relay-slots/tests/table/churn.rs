//! A million comings and goings, of every kind.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use relay_slots::{Caps, CircuitId, ConnectionId, Origin, Rate, Table, TableConfig};

use crate::{Random, assert_empty, drain, open_connection};

const PEERS: u64 = 1500;
const CHURNS: u32 = 1_000_000;

/// The host's side: what it believes to be connected, and what really is.
#[derive(Default)]
struct Host {
    /// Of each peer, its connections that the host has not closed yet.
    open: HashMap<u64, Vec<ConnectionId>>,
    alive: HashSet<ConnectionId>,
    circuits: Vec<CircuitId>,
}

fn address(random: &mut Random) -> Origin {
    // A few hundred addresses in some dozen subnets, so that every cap is reached now and then.
    let (net, host) = (random.below(40) as u8, random.below(8) as u8);
    match random.below(2) {
        0 => Origin::Address(Ipv4Addr::new(9, 9, net, host).into()),
        _ => Origin::Address([0x2a00, u16::from(net), 0, u16::from(host) << 8, 0, 0, 0, 1].into()),
    }
}

fn rules() -> Caps {
    Caps::default()
        .with_slots(300)
        .with_slots_per_ipv4(6, 20)
        .with_slots_per_ipv6(6, 10, 20)
        .with_slots_per_asn(200)
        .with_circuits(100, 4, 4)
        .with_reserve_rates(
            Some(Rate::new(4, Duration::from_secs(5))),
            Some(Rate::new(20, Duration::from_millis(100))),
        )
}

impl Host {
    fn close(&mut self, table: &mut Table<u64>, now: Instant, peer: u64) {
        for connection in self.open.remove(&peer).unwrap_or_default() {
            self.alive.remove(&connection);
            table.handle_disconnected(now, connection);
        }
    }

    fn churn(&mut self, table: &mut Table<u64>, now: Instant, random: &mut Random) {
        let peer = random.below(PEERS);
        let connected = self.open.get(&peer).and_then(|open| open.last().copied());
        match (random.below(8), connected) {
            // It comes, or is restarted: then the old connection is dead and the host has not noticed.
            (0..=3, _) => {
                if random.below(2) == 0 {
                    self.close(table, now, peer);
                }
                for old in self.open.get(&peer).into_iter().flatten() {
                    if random.below(4) > 0 {
                        self.alive.remove(old);
                    }
                }
                let connection = open_connection(table, now, &peer, address(random));
                self.open.entry(peer).or_default().push(connection);
                self.alive.insert(connection);
                let _ = table.handle_reserve(now, connection);
            }
            (4, _) => self.close(table, now, peer),
            // It vanishes.
            (5, Some(connection)) => {
                self.alive.remove(&connection);
            }
            (6, Some(connection)) => {
                let to = random.below(PEERS);
                if let Ok(opening) = table.handle_connect(now, connection, &to) {
                    self.circuits.push(opening.circuit);
                    if random.below(3) > 0 {
                        table.handle_opened(now, opening.circuit);
                    }
                }
                if self.circuits.len() > 50 {
                    let at = random.below(50) as usize;
                    table.handle_circuit_closed(now, self.circuits.swap_remove(at));
                }
            }
            (7, Some(connection)) if random.below(3) == 0 => {
                let _ = table.handle_release(now, connection);
            }
            (_, Some(connection)) => drop(table.handle_reserve(now, connection)),
            _ => {}
        }
    }

    /// Closes what is silent, as the table says.
    fn drain(&mut self, table: &mut Table<u64>, now: Instant) {
        drain(table, now, |connection| self.alive.contains(&connection));
    }
}

#[test]
fn after_a_million_churns_nothing_is_left() {
    let started = Instant::now();
    let config = TableConfig::default()
        .with_heartbeat(Some(Duration::from_secs(10)), Duration::from_secs(2));
    let mut table = Table::new(
        started,
        1,
        rules(),
        config.with_grace(Duration::from_secs(20)),
    )
    .with_asn(|address| Some(1 + u32::from(address.is_ipv6())));
    let (mut host, mut random, mut now) = (Host::default(), Random(0x2545_f491), started);
    let (mut most, mut circuits) = (0, 0);
    for _ in 0..CHURNS {
        now += Duration::from_millis(random.below(100));
        host.churn(&mut table, now, &mut random);
        host.drain(&mut table, now);
        let usage = table.usage();
        (most, circuits) = (most.max(usage.slots), circuits.max(usage.circuits));
        assert!(usage.slots <= 300 && usage.circuits <= 100);
    }
    assert!(
        most == 300 && circuits > 10,
        "little happened: {most} slots, {circuits} circuits"
    );
    let virtual_time = now - started;
    for peer in 0..PEERS {
        host.close(&mut table, now, peer);
    }
    assert_eq!(table.usage().circuits, 0, "their connections are gone");
    // The grace, and the longest that a rate is remembered.
    now += Duration::from_secs(20 + 64);
    table.handle_timeout(now);
    host.drain(&mut table, now);
    assert_empty(&table);
    println!(
        "{CHURNS} churns of {PEERS} peers in {virtual_time:.0?} of virtual time ({:.1?} of ours): at most {most} slots and \
         {circuits} circuits, nothing is left",
        started.elapsed()
    );
}
