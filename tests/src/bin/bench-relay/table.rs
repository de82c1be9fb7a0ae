//! What the bare table costs: operations a second on one core, and bytes a slot.

use std::{
    hint::black_box,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::ensure;
use node::relay_slots::{Caps, ConnectionId, Origin, PeerId, Table, TableConfig};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

/// Each peer has an address of its own, and 250 share a /24.
fn origin(peer: usize) -> Origin {
    let (net, host) = (peer / 250, peer % 250);
    Origin::Address(Ipv4Addr::new(11, (net >> 8) as u8, net as u8, host as u8).into())
}

/// Not in the order in which memory was taken.
fn shuffle(connections: &mut [ConnectionId]) {
    let mut state = 1_u64;
    for at in (1..connections.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        connections.swap(at, (state >> 33) as usize % (at + 1));
    }
}

/// What this thread has used of its core: on a machine with other things to do, more time passes.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec as u32)
}

/// How long one operation a connection takes, a microsecond of the table's clock apart.
fn measure(
    now: &mut Instant,
    connections: &[ConnectionId],
    mut operation: impl FnMut(Instant, ConnectionId) -> bool,
) -> Duration {
    let start = used();
    for connection in connections {
        *now += Duration::from_micros(1);
        assert!(black_box(operation(*now, *connection)), "refused");
    }
    used() - start
}

/// Every slot is reserved, renewed and released, so many times.
pub(crate) fn run(slots: usize, rounds: usize) -> anyhow::Result<()> {
    let mut now = Instant::now();
    // No cap is reached, but each is looked at and counted for. The rates would be spent at once.
    let caps = Caps::unlimited().with_slots(slots);
    let mut table = Table::new(now, 11, caps, TableConfig::default()).with_asn(|_| Some(64_500));
    let peers: Vec<PeerId> = (0..slots).map(|_| PeerId::random()).collect();
    let connect = |(at, peer): (usize, &PeerId)| {
        let connection = ConnectionId(at as u64);
        table.handle_connected(now, connection, peer, origin(at));
        connection
    };
    let mut connections: Vec<_> = peers.iter().enumerate().map(connect).collect();
    shuffle(&mut connections);

    let ([mut reserve, mut renew, mut release], mut bytes) = ([Duration::ZERO; 3], 0);
    for _ in 0..rounds {
        reserve += measure(&mut now, &connections, |now, connection| {
            table.handle_reserve(now, connection).is_ok()
        });
        bytes = table.bytes().max(bytes);
        renew += measure(&mut now, &connections, |now, connection| {
            let granted = table.handle_reserve(now, connection);
            granted.is_ok_and(|granted| granted.renewed)
        });
        release += measure(&mut now, &connections, |now, connection| {
            table.handle_release(now, connection).is_ok()
        });
    }
    for connection in connections {
        table.handle_disconnected(now, connection);
    }
    while table.poll_event().is_some() {}
    ensure!(table.bytes() == 0, "not empty: {:?}", table.usage());

    let each = (slots * rounds) as f64;
    let rate = |took: Duration| each / took.as_secs_f64();
    let all = reserve + renew + release;
    println!(
        "{}",
        json!({
            "event": "table",
            "per_second": 3.0 * rate(all),
            "reserve_per_second": rate(reserve),
            "renew_per_second": rate(renew),
            "release_per_second": rate(release),
            "bytes_a_slot": bytes as f64 / slots as f64,
        })
    );
    Ok(())
}
