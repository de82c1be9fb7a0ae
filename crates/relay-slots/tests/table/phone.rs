//! A day in the life of a thousand phones.

use std::{
    collections::HashSet,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use relay_slots::{Caps, ConnectionId, Origin, Table, TableConfig};

use crate::{Random, drain, open_connection};

const CLIENTS: u32 = 1000;
/// In seconds.
const DAY: u64 = 24 * 3600;

/// Two addresses a client, its home's and its carrier's.
fn address(client: u32, carrier: bool) -> Origin {
    let first = if carrier { 12 } else { 11 };
    Origin::Address(Ipv4Addr::new(first, (client >> 8) as u8, client as u8, 1).into())
}

/// In which second, modulo 128: who, and over which connection it is connected until then.
struct Agenda([Vec<(u32, Option<ConnectionId>)>; 128]);

impl Default for Agenda {
    fn default() -> Self {
        Self([const { Vec::new() }; 128])
    }
}

impl Agenda {
    fn plan(&mut self, at: u64, client: u32, connected: Option<ConnectionId>) {
        self.0[at as usize % 128].push((client, connected));
    }

    fn due(&mut self, at: u64) -> Vec<(u32, Option<ConnectionId>)> {
        std::mem::take(&mut self.0[at as usize % 128])
    }
}

#[test]
fn of_a_thousand_phones_that_flap_for_a_day_none_is_refused_and_none_holds_two_slots() {
    let start = Instant::now();
    let caps = Caps::default().with_slots(1100);
    let mut table = Table::new(start, 5, caps, TableConfig::default());
    let mut random = Random(0x9e37_79b9);
    let mut agenda = Agenda::default();
    for client in 0..CLIENTS {
        agenda.plan(random.below(30), client, None);
    }
    let mut lives = HashSet::new();
    let (mut most, mut flaps, mut lost, mut unnoticed) = (0, 0, 0, 0);
    for at in 0..DAY {
        let now = start + Duration::from_secs(at);
        table.handle_timeout(now);
        drain(&mut table, now, |connection| lives.contains(&connection));
        for (client, connected) in agenda.due(at) {
            let Some(old) = connected else {
                let origin = address(client, flaps % 2 == 1);
                let connection = open_connection(&mut table, now, &client, origin);
                lives.insert(connection);
                let granted = table.handle_reserve(now, connection);
                let granted = granted.unwrap_or_else(|refusal| panic!("{client}: {refusal}"));
                lost += u32::from(!granted.renewed);
                most = most.max(table.usage().slots);
                // Every 30 s in all: up for a while, then away for the rest.
                agenda.plan(at + 10 + random.below(19), client, Some(connection));
                continue;
            };
            flaps += 1;
            lives.remove(&old);
            // Half of the time nobody tells the relay, which finds out by itself or when the phone is back.
            if random.below(2) == 0 {
                table.handle_disconnected(now, old);
            } else {
                unnoticed += 1;
            }
            let away = match random.below(100) {
                0 => 90,
                _ => 1 + random.below(19),
            };
            agenda.plan(at + away, client, None);
        }
    }
    assert!(most <= CLIENTS as usize, "{most} slots");
    println!(
        "24 h: {flaps} flaps of {CLIENTS} phones, {unnoticed} of them without a word; none refused; at most {most} of 1100 \
         slots held; {lost} times a slot was granted anew"
    );
    // What went without a word and holds no slot any longer is for the host to close.
    let end = start + Duration::from_secs(DAY + 3 * 3600);
    table.handle_timeout(end);
    drain(&mut table, end, |_| false);
    let usage = table.usage();
    let left = (usage.slots, usage.scopes, usage.buckets, usage.timers);
    assert_eq!(left, (0, 0, 0, 0));
}
