//! Large networks with churn, and networks whose tables are emptied.

use bootstrap::kad::{Key, Outcome};

use crate::network::*;

#[test]
fn twenty_nodes_with_emptied_tables_know_fifteen_others_within_ten_seconds() {
    let mut net = Network::of(20, 1, config());
    for node in 0..20 {
        assert!(net.nodes[node].kad.table().count() >= 15);
        net.with(node, |kad, now| kad.handle_reset(now));
    }
    // Nobody helps from outside: the nodes have only their connections.
    net.joins = false;
    net.pass(10 * SECOND);
    for node in &net.nodes {
        let known = node.kad.table().count();
        assert!(known >= 15, "node {:?} knows {known}", node.id);
    }
}

#[test]
fn tables_that_an_outage_emptied_are_full_ten_seconds_after_the_next_join() {
    let mut net = Network::of(20, 2, config());
    net.listed = 2;
    net.connected = false;
    // Lookups meet only failures.
    for _ in 0..6 {
        for node in 0..20 {
            net.with(node, |kad, now| kad.handle_changed(now));
        }
        net.pass(60 * SECOND);
    }
    let left: usize = net.nodes.iter().map(|node| node.kad.table().count()).sum();
    assert!(left < 20, "{left} entries are left");
    net.connected = true;
    // The longest pause between two requests for a join, and 10 s.
    net.pass(40 * SECOND);
    for node in &net.nodes {
        let known = node.kad.table().count();
        assert!(known >= 15, "node {:?} knows {known}", node.id);
    }
}

fn size() -> usize {
    let size = std::env::var("NODES")
        .ok()
        .and_then(|size| size.parse().ok());
    size.unwrap_or(if cfg!(debug_assertions) { 200 } else { 10_000 })
}

/// In an optimised build 10,000 nodes, otherwise 200. `NODES` sets another size.
#[test]
fn lookups_find_the_nearest_peers_while_a_fifth_of_the_nodes_changes_per_hour() {
    let size = size();
    let begin = std::time::Instant::now();
    let mut net = Network::of(size, 3, config());
    println!(
        "{size} nodes joined after {:?}: {} messages",
        begin.elapsed(),
        net.messages
    );
    let (mut good, mut hops, mut requests, mut lookups) = (0, Vec::new(), Vec::new(), 0);
    let mut times = Vec::new();
    // 20 % per hour, for half an hour: every 3 min 1 % leave and as many join.
    for round in 0..10 {
        for _ in 0..size / 100 {
            let leaves = net.any_honest();
            net.kill(leaves);
            let number = net.nodes.len();
            net.add(Id(number as u64), own_subnet(number), Nature::Honest);
        }
        net.pass(180 * SECOND);
        for sample in 0..100 {
            let key = format!("{round} {sample}").into_bytes();
            let node = net.any_honest();
            let nearest = net.nearest(&Key::of(&key), 21);
            let start = net.now;
            let answer = net.query(node, |kad, now| kad.closest(now, key));
            times.push((net.now - start).as_millis());
            lookups += 1;
            let Ok(Outcome::Closest {
                peers,
                hops: steps,
                requests: sent,
                ..
            }) = answer
            else {
                continue;
            };
            let own = net.nodes[node].id;
            let expected: Vec<Id> = nearest
                .into_iter()
                .filter(|id| *id != own)
                .take(20)
                .collect();
            let found = peers
                .iter()
                .filter(|peer| expected.contains(&peer.id))
                .count();
            good += usize::from(found >= 18);
            hops.push(steps);
            requests.push(sent);
        }
    }
    hops.sort_unstable();
    requests.sort_unstable();
    times.sort_unstable();
    let (middle, late) = (hops.len() / 2, hops.len() * 99 / 100);
    let estimates: Vec<f64> = net
        .nodes
        .iter()
        .filter(|node| node.alive)
        .filter_map(|node| node.kad.status(net.now).network)
        .collect();
    let off = estimates
        .iter()
        .filter(|estimate| !(0.66..1.5).contains(&(**estimate / size as f64)))
        .count();
    println!(
        "{good} of {lookups} lookups good; hops p50 {} p99 {}; requests p50 {} p99 {}; ms p50 {} p99 {}; {} messages; \
         {off} of {} size estimates off by more than a half; {:?}",
        hops[middle],
        hops[late],
        requests[middle],
        requests[late],
        times[middle],
        times[late],
        net.messages,
        estimates.len(),
        begin.elapsed(),
    );
    assert!(good * 100 >= lookups * 99, "{good} of {lookups}");
    assert!(hops[middle] <= 4);
    assert!(off * 4 <= estimates.len());
}
