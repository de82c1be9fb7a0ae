//! Floods from a few networks. Peers from other networks are served nevertheless.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::{StreamExt, stream};
use node::{
    conn_state::LimitsConfig,
    relay_slots::{Answer, driver, wire::HOP_PROTOCOL},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// How many requests of the flood may be sent while an honest peer waits for its slot or its circuit. A quiet machine sends as
/// many in less than a second; 200 to 900 are sent during the wait. A busy machine slows both down.
const MAX_DURING: usize = 2_500;

/// A relay that limits loopback addresses like all others.
fn strict(limits: LimitsConfig) -> Node {
    let relaying = RelayConfig::default().with_server(RelayServerConfig::new(
        Caps::default().with_exempt_private(false),
        TableConfig::default(),
    ));
    let limits = limits.with_exempt_private(false);
    with(Config::default().with_relay(relaying).with_limits(limits))
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_reserves_from_one_subnet_cost_no_other_subnet_a_slot() {
    let relay = strict(LimitsConfig::default());
    let relay_at = listen(&relay, TCP).await;
    // As many attackers as may connect from one subnet. Each asks again and again.
    let attackers = (1..=64).map(|host| from([127, 1, 2, host], RelayConfig::default()));
    let attackers: Vec<Node> = attackers.collect();
    let mut events = relay.events();
    let mut connections = Vec::new();
    for attacker in &attackers {
        let connection = within(attacker.dial([relay_at.clone()])).await.unwrap();
        connections.push((connection, attacker.peer_id()));
        // A newcomer would displace a handshake of its own subnet.
        wait(&mut events, |event| {
            matches!(event, Event::Connected { .. }).then_some(())
        })
        .await;
    }
    let too_many = from([127, 1, 2, 65], RelayConfig::default());
    // Its handshake may end before it learns that there is no room.
    if let Ok(refused) = within(too_many.dial([relay_at.clone()])).await {
        within(refused.closed()).await;
    }

    let (to, asked) = (relay.peer_id(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    let flood = stream::iter(0..10_000).map(move |n: usize| {
        counted.fetch_add(1, Ordering::Relaxed);
        let (connection, by) = connections[n % connections.len()].clone();
        async move {
            let Ok((_, mut hop)) = connection.open(&[HOP_PROTOCOL]).await else {
                return false;
            };
            let answer = driver::reserve(&mut hop, to, by).await;
            matches!(answer, Answer::Granted { .. })
        }
    });
    let flood = tokio::spawn(flood.buffer_unordered(256).collect::<Vec<bool>>());
    while asked.load(Ordering::Relaxed) < 1_000 {
        tokio::task::yield_now().await;
    }
    let before = asked.load(Ordering::Relaxed);
    let honest = from(
        [127, 9, 9, 9],
        RelayConfig::default().with_reserve_at([relay_at]),
    );
    reached_at(&honest).await;
    let during = asked.load(Ordering::Relaxed) - before;
    println!("{during} requests of the flood were sent while the honest peer waited for its slot");
    assert!(during < MAX_DURING, "{during}");
    let answers = within(flood).await.unwrap();
    assert_eq!(answers.len(), 10_000);
    let held = relay.slots().unwrap();
    assert_eq!(held.len(), Caps::default().slots_per_ipv4_24 + 1);
    assert!(held.iter().any(|slot| slot.peer == honest.peer_id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sources_from_three_subnets_do_not_cut_one_target_off() {
    // This process has both ends of each connection; many systems start a process with 1,024 files.
    let most = getrlimit(Resource::Nofile).maximum;
    let files = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, files).unwrap();
    let limits = LimitsConfig::default();
    let relay = strict(limits.with_max_inbound(2_000).with_max_per_subnet(400, 400));
    let relay_at = listen(&relay, TCP).await;
    let target = from(
        [127, 8, 8, 8],
        RelayConfig::default().with_reserve_at([relay_at.clone()]),
    );
    let target_at = reached_at(&target).await;
    let to = target.peer_id();
    let attackers = stream::iter(0..1_000_usize).map(|n| {
        let address = [127, 1, (n % 3) as u8, (n / 3 % 250) as u8 + 1];
        let (attacker, at) = (from(address, RelayConfig::default()), relay_at.clone());
        async move {
            let connection = within(attacker.dial([at])).await.unwrap();
            (attacker, connection)
        }
    });
    let attackers: Vec<(Node, Connection)> = attackers.buffer_unordered(16).collect().await;

    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    // An attacker keeps each circuit that it gets.
    let flood = stream::iter(0..5_000).map(move |n: usize| {
        counted.fetch_add(1, Ordering::Relaxed);
        let connection = attackers[n % attackers.len()].1.clone();
        async move {
            let (_, hop) = connection.open(&[HOP_PROTOCOL]).await.ok()?;
            driver::connect(hop, to, Duration::from_secs(30)).await.ok()
        }
    });
    let flood = tokio::spawn(flood.buffer_unordered(256).collect::<Vec<_>>());
    while asked.load(Ordering::Relaxed) < 2_000 {
        tokio::task::yield_now().await;
    }
    let before = asked.load(Ordering::Relaxed);
    let honest = from([127, 9, 9, 9], RelayConfig::default());
    let connection = within(honest.dial([target_at])).await.unwrap();
    let during = asked.load(Ordering::Relaxed) - before;
    println!(
        "{during} requests of the flood were sent while the honest peer waited for its circuit"
    );
    assert!(during < MAX_DURING, "{during}");
    assert!(connection.ping().await.is_ok());
    let taken = within(flood).await.unwrap();
    let taken = taken.iter().flatten().count();
    let share = 3 * Caps::default().circuits_from_subnet_to_peer;
    assert!(taken >= share, "{taken}: the flood filled nothing");
    // A circuit that the target gives up makes room for another one.
    assert!(relay.slots().unwrap()[0].circuits <= share + 1);
}
