//! Attackers in the network.

use std::net::Ipv4Addr;

use bootstrap::kad::{KadConfig, Key, Mode, Outcome, PeerInfo, Request, Response};

use crate::network::*;

/// Ids whose keys share at least `bits` bits with the target, so that no honest node is nearer.
fn around(target: &Key, bits: i32, count: usize, salt: u64) -> Vec<Id> {
    let ids = (0..).map(|number| Id((1 << 62) + (salt << 40) + number));
    ids.filter(|id| key_of(*id).distance(target).fraction() < 2f64.powi(-bits))
        .take(count)
        .collect()
}

/// Adds 50 Sybils around the key, each in a subnet of its own. They make themselves known as all nodes do.
fn surround(net: &mut Network, key: &[u8], bits: i32, salt: u64) {
    let ids = around(&Key::of(key), bits, 50, salt);
    let first = 20_000 + (salt as usize % 20) * 50;
    let infos = ids
        .iter()
        .enumerate()
        .map(|(number, id)| PeerInfo::new(*id, vec![own_subnet(first + number)]));
    net.add_sybils(infos.collect());
    net.pass(60 * SECOND);
}

fn remove_sybils(net: &mut Network) {
    for node in 0..net.nodes.len() {
        if net.nodes[node].nature == Nature::Sybil {
            net.kill(node);
        }
    }
}

/// How many of `rounds` GETs find the record that an honest node has put.
fn hidden(size: usize, bits: i32, rounds: u64, sybils_first: bool) -> (usize, usize) {
    let mut net = Network::of(size, 11, config());
    let (mut found, mut total) = (0, 0);
    for round in 0..rounds {
        let key = format!("/v/{round}").into_bytes();
        if sybils_first {
            surround(&mut net, &key, bits, round);
        }
        let publisher = net.any_honest();
        net.query(publisher, |kad, now| {
            kad.put(now, key.clone(), b"honest".to_vec())
        })
        .expect("the value is stored");
        if !sybils_first {
            surround(&mut net, &key, bits, round);
        }
        for _ in 0..4 {
            let node = net.any_honest();
            total += 1;
            let answer = net.query(node, |kad, now| kad.get(now, key.clone()));
            found += usize::from(
                matches!(answer, Ok(Outcome::Value { record, .. }) if record.value == b"honest"),
            );
        }
        remove_sybils(&mut net);
    }
    println!(
        "{size} nodes, 50 Sybils {}: {found} of {total} GETs found the record",
        if sybils_first {
            "before the PUT"
        } else {
            "after the PUT"
        }
    );
    (found, total)
}

fn sizes() -> (usize, i32, u64) {
    if cfg!(debug_assertions) {
        (150, 10, 3)
    } else {
        (1000, 13, 25)
    }
}

#[test]
fn fifty_sybils_that_arrive_after_a_put_do_not_hide_the_record() {
    let (size, bits, rounds) = sizes();
    let (found, total) = hidden(size, bits, rounds, false);
    assert!(found * 100 >= total * 99, "{found} of {total}");
}

#[test]
fn fifty_sybils_that_arrive_before_a_put_do_not_hide_the_record() {
    let (size, bits, rounds) = sizes();
    let (found, total) = hidden(size, bits, rounds, true);
    assert!(found * 100 >= total * 95, "{found} of {total}");
}

#[test]
fn a_thousand_ids_from_one_16_have_two_entries_per_bucket_and_three_per_table() {
    let mut net = Network::of(if cfg!(debug_assertions) { 30 } else { 1000 }, 12, config());
    let address = |number: usize| {
        Addr(Ipv4Addr::new(
            8,
            8,
            (number / 250) as u8,
            (number % 250) as u8,
        ))
    };
    let attackers =
        (0..1000).map(|number| PeerInfo::new(Id((1 << 61) + number as u64), vec![address(number)]));
    net.add_sybils(attackers.collect());
    net.pass(300 * SECOND);
    let mut known = 0;
    for node in net
        .nodes
        .iter()
        .filter(|node| node.nature == Nature::Honest)
    {
        let local = key_of(node.id);
        let entries = node.kad.table().filter(|info| info.id.0 >= 1 << 61);
        let buckets: Vec<i32> = entries
            .map(|info| key_of(info.id).distance(&local).fraction().log2().floor() as i32)
            .collect();
        assert!(buckets.len() <= 3, "{} entries", buckets.len());
        assert!(
            buckets
                .iter()
                .all(|bucket| buckets.iter().filter(|other| *other == bucket).count() <= 2)
        );
        known += buckets.len();
    }
    assert!(known > 0, "the attackers were tried at all");
}

#[test]
fn a_peer_that_never_answered_is_in_no_table_and_is_told_to_nobody() {
    let mut net = Network::of(30, 13, config());
    let ghost = Id(1 << 60);
    for node in 0..30 {
        net.with(node, |kad, now| {
            kad.handle_identified(now, &ghost, vec![own_subnet(999)], true)
        });
    }
    net.pass(60 * SECOND);
    for node in &mut net.nodes {
        assert!(!node.kad.knows(&ghost));
    }
    let reply = net.with(3, |kad, now| {
        kad.handle_request(now, &Id(5), None, Request::FindNode { key: ghost.into() })
    });
    let bootstrap::kad::Reply::Answer(Response::FindNode { closer }) = reply else {
        panic!()
    };
    assert!(
        closer.len() == 20
            && closer
                .iter()
                .all(|info| info.id != ghost && info.id != Id(5))
    );
}

#[test]
fn lookups_end_and_succeed_although_a_tenth_of_the_nodes_names_sixty_peers_that_do_not_exist() {
    let mut net = Network::of(100, 14, config());
    for number in 0..10 {
        net.add(
            Id((1 << 60) + number),
            own_subnet(500 + number as usize),
            Nature::Liar,
        );
    }
    net.pass(300 * SECOND);
    for node in 0..20 {
        let key = format!("{node}").into_bytes();
        let start = net.now;
        let Outcome::Closest {
            peers, requests, ..
        } = net
            .query(node, |kad, now| kad.closest(now, key.clone()))
            .unwrap()
        else {
            panic!()
        };
        let nearest = net.nearest(&Key::of(&key), 10);
        let found = nearest
            .iter()
            .filter(|id| peers.iter().any(|peer| peer.id == **id) || **id == Id(node as u64))
            .count();
        assert!(requests <= 240, "{requests}");
        assert!(net.now - start <= 60 * SECOND);
        assert!(found >= 9, "found {found} of the nearest 10");
    }
}

#[test]
fn addresses_that_the_preset_refuses_and_peers_without_any_are_never_dialed_or_told() {
    let mut net = Network::of(25, 15, config());
    let node = 0;
    let asked = net.with(node, |kad, now| {
        let query = kad.closest(now, b"x".to_vec()).unwrap();
        let first = std::iter::from_fn(|| kad.poll_event()).find_map(|event| match event {
            bootstrap::kad::KadEvent::Send {
                request,
                message: Request::FindNode { key },
                ..
            } if key == b"x" => Some(request),
            _ => None,
        });
        let bad = [
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::new(10, 0, 0, 1),
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::new(192, 168, 1, 1),
        ];
        let mut closer: Vec<_> = bad
            .iter()
            .enumerate()
            .map(|(number, ip)| PeerInfo::new(Id((1 << 59) + number as u64), vec![Addr(*ip)]))
            .collect();
        closer.push(PeerInfo::new(Id((1 << 59) + 9), vec![]));
        kad.handle_response(now, first.unwrap(), None, Response::FindNode { closer });
        let events: Vec<_> = std::iter::from_fn(|| kad.poll_event()).collect();
        kad.stop(query);
        events
    });
    for event in asked {
        if let bootstrap::kad::KadEvent::Send { peer, .. } = event {
            assert!(peer.0 < 1 << 59);
        }
    }
}

#[test]
fn a_provider_is_stored_only_for_its_sender() {
    let mut net = Network::new(16, KadConfig::default().with_mode(Mode::Server));
    let node = net.add(Id(1), own_subnet(1), Nature::Honest);
    let mut add = |from: u64, named: u64, addresses: Vec<Addr>| {
        let providers = vec![PeerInfo::new(Id(named), addresses)];
        let request = Request::AddProvider {
            key: b"cid".to_vec(),
            providers,
        };
        net.with(node, |kad, now| {
            kad.handle_request(now, &Id(from), None, request)
        }) == bootstrap::kad::Reply::Silence
    };
    assert!(!add(7, 8, vec![own_subnet(8)]));
    assert!(!add(7, 7, vec![]));
    assert!(!add(7, 7, vec![Addr(Ipv4Addr::LOCALHOST)]));
    assert!(add(7, 7, vec![own_subnet(7)]));
    let reply = net.with(node, |kad, now| {
        kad.handle_request(
            now,
            &Id(9),
            None,
            Request::GetProviders {
                key: b"cid".to_vec(),
            },
        )
    });
    let bootstrap::kad::Reply::Answer(Response::GetProviders { providers, .. }) = reply else {
        panic!()
    };
    assert_eq!(ids(&providers), [Id(7)]);
}
