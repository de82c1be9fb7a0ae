//! The slot table used alone: peers are names, there is no network, and the program sets the time.
//! `cargo run -p relay-slots --example alone`.

use std::time::{Duration, Instant};

use relay_slots::{Caps, ConnectionId, Event, Origin, Table, TableConfig};

/// Carries out the table's events up to `until`. The peers in `alive` answer a probe.
fn pass(table: &mut Table<String>, until: Instant, start: Instant, alive: &[&str]) {
    loop {
        let next = table.poll_timeout().filter(|next| *next <= until);
        let now = next.unwrap_or(until);
        table.handle_timeout(now);
        let at = (now - start).as_secs();
        while let Some(event) = table.poll_event() {
            match event {
                Event::Probe { connection, .. } => {
                    let peer = table.peer_of(connection).cloned().unwrap_or_default();
                    println!("{at:>5} s  is {peer} there?");
                    if alive.contains(&peer.as_str()) {
                        table.handle_alive(now, connection);
                    }
                }
                Event::Silent { peer, connection } => {
                    println!(
                        "{at:>5} s  {peer} is not; its connection is closed and its grace begins"
                    );
                    table.handle_disconnected(now, connection);
                }
                Event::Freed { peer, cause } => {
                    println!("{at:>5} s  {peer}'s slot is free: {cause:?}")
                }
                other => println!("{at:>5} s  {other:?}"),
            }
        }
        if next.is_none() {
            return;
        }
    }
}

fn main() {
    let start = Instant::now();
    let caps = Caps::default().with_slots(2).with_slots_per_ipv4(1, 2);
    let mut table = Table::new(start, 1, caps, TableConfig::default());
    let mut connections = (1..).map(ConnectionId);
    let mut reserve = |table: &mut Table<String>, now: Instant, name: &str, address: &str| {
        let origin = Origin::Address(address.parse().expect("an address"));
        let connection = connections.next().expect("there are enough numbers");
        table.handle_connected(now, connection, &name.to_owned(), origin);
        let at = (now - start).as_secs();
        match table.handle_reserve(now, connection) {
            Ok(granted) if granted.renewed => println!("{at:>5} s  {name} still has the slot"),
            Ok(_) => println!("{at:>5} s  {name} has a slot"),
            Err(refusal) => println!(
                "{at:>5} s  {name} has none: {refusal} ({})",
                refusal.status()
            ),
        }
        connection
    };

    let alice = reserve(&mut table, start, "alice", "192.0.2.1");
    reserve(&mut table, start, "her neighbour", "192.0.2.1");
    reserve(&mut table, start, "bob", "198.51.100.7");
    let carol = reserve(&mut table, start, "carol", "203.0.113.9");

    // Alice changes her network, and is back within the grace. Bob's battery is empty.
    let mut now = start + Duration::from_secs(10);
    table.handle_disconnected(now, alice);
    now += Duration::from_secs(8);
    let alice = reserve(&mut table, now, "alice", "192.0.2.200");
    let circuit = table.handle_connect(now, carol, &"alice".to_owned());
    let circuit = circuit.expect("alice is there");
    println!("   18 s  carol reaches alice");
    table.handle_opened(now, circuit.circuit);
    now = start + Duration::from_secs(130);
    pass(&mut table, now, start, &["alice", "carol"]);
    let carol_again = reserve(&mut table, now, "carol", "203.0.113.9");

    // All peers leave.
    for connection in [alice, carol, carol_again] {
        table.handle_disconnected(now, connection);
    }
    pass(&mut table, now + Duration::from_secs(300), start, &[]);
    let usage = table.usage();
    println!(
        "what is left: {} slots, {} circuits, {} timers",
        usage.slots, usage.circuits, usage.timers
    );
    assert_eq!((usage.slots, usage.circuits, usage.timers), (0, 0, 0));
}
