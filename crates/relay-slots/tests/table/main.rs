//! What must hold for a slot table: against a plain model, through a million churns, and where other relays failed.

mod caps;
mod churn;
mod floods;
mod held;
mod machine;
mod model;
mod others;
mod phone;
mod place;
mod rates;

use std::{
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use relay_slots::{ConnectionId, Event, Origin, Table};

/// The numbers that the tests have given to connections so far.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// A new connection, with a number that no other one has.
fn open_connection<Id: Eq + Hash + Clone>(
    table: &mut Table<Id>,
    now: Instant,
    peer: &Id,
    origin: Origin,
) -> ConnectionId {
    let connection = ConnectionId(CONNECTIONS.fetch_add(1, Relaxed));
    table.handle_connected(now, connection, peer, origin);
    connection
}

/// An address as an origin.
fn at(text: &str) -> Origin {
    Origin::Address(text.parse().expect("an address"))
}

/// Numbers that look random (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// A host that answers probes for the connections that live, and closes those that are silent.
fn drain<Id: Eq + Hash + Clone>(
    table: &mut Table<Id>,
    now: Instant,
    lives: impl Fn(ConnectionId) -> bool,
) {
    while let Some(event) = table.poll_event() {
        match event {
            Event::Probe { connection, .. } if lives(connection) => {
                table.handle_alive(now, connection)
            }
            Event::Silent { connection, .. } => table.handle_disconnected(now, connection),
            _ => {}
        }
    }
}

/// Not a slot, not a circuit, not a timer, not a byte.
fn assert_empty<Id: Eq + Hash + Clone>(table: &Table<Id>) {
    let (usage, bytes) = (table.usage(), table.bytes());
    assert!(usage.is_empty(), "something is left: {usage:?}");
    assert_eq!((bytes, table.poll_timeout()), (0, None));
}
