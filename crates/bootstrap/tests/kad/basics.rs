//! Queries, the table and the timers in small networks.

use bootstrap::{
    Found, Need, PeerSource,
    kad::{KadEvent, Mode, Outcome, QueryError, Refusal, Reply, Request, Response},
};

use crate::network::*;

fn key(name: &str) -> Vec<u8> {
    format!("/v/{name}").into_bytes()
}

#[test]
fn a_value_a_provider_and_a_peer_are_found_by_any_other_node() {
    let mut net = Network::of(30, 1, config());
    let put = net
        .query(3, |kad, now| kad.put(now, key("a"), b"value".to_vec()))
        .unwrap();
    assert_eq!(
        put,
        Outcome::Stored {
            stored: 20,
            asked: 20
        }
    );
    let Outcome::Value { record, .. } = net.query(17, |kad, now| kad.get(now, key("a"))).unwrap()
    else {
        panic!()
    };
    assert_eq!(record.value, b"value");
    net.query(4, |kad, now| kad.provide(now, b"cid".to_vec()))
        .unwrap();
    let Outcome::Providers { providers } = net
        .query(18, |kad, now| kad.providers(now, b"cid".to_vec(), 5))
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(ids(&providers), [Id(4)]);
    assert_eq!(providers[0].addresses, [net.nodes[4].address]);
    let Outcome::Found { peer, reached } = net.query(19, |kad, now| kad.find(now, Id(5))).unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (peer.id, &peer.addresses[..], reached),
        (Id(5), &[net.nodes[5].address][..], true)
    );
    let Outcome::Closest { peers, .. } = net
        .query(20, |kad, now| kad.closest(now, b"x".to_vec()))
        .unwrap()
    else {
        panic!()
    };
    let mut nearest = net.nearest(&bootstrap::kad::Key::of("x"), 21);
    nearest.retain(|id| *id != Id(20));
    assert_eq!(ids(&peers), nearest[..20]);
}

#[test]
fn what_does_not_exist_is_not_found_and_the_query_ends() {
    let mut net = Network::of(30, 2, config());
    assert!(matches!(
        net.query(1, |kad, now| kad.get(now, key("none"))),
        Err(QueryError::NotFound { asked: 20.. })
    ));
    assert!(matches!(
        net.query(1, |kad, now| kad.find(now, Id(99))),
        Err(QueryError::NotFound { .. })
    ));
    assert!(matches!(
        net.query(1, |kad, now| kad.providers(now, b"none".to_vec(), 1)),
        Err(QueryError::NotFound { .. })
    ));
}

#[test]
fn the_better_value_wins_and_its_stale_holders_get_it() {
    let mut net = Network::of(30, 3, config().with_quorum(25));
    net.query(1, |kad, now| kad.put(now, key("a"), b"1".to_vec()))
        .unwrap();
    // A newer value that reached only a few nodes.
    let holders = net.nearest(&bootstrap::kad::Key::of(key("a")), 3);
    for holder in holders {
        let holder = net.index[&holder];
        let record = bootstrap::kad::Record::new(key("a"), b"2".to_vec());
        net.with(holder, |kad, now| {
            kad.handle_request(now, &Id(77), None, Request::PutValue { record })
        });
    }
    let Outcome::Value { record, holders } =
        net.query(9, |kad, now| kad.get(now, key("a"))).unwrap()
    else {
        panic!()
    };
    assert_eq!((record.value, holders), (b"2".to_vec(), 3));
    net.pass(SECOND);
    let Outcome::Value { record, holders } =
        net.query(9, |kad, now| kad.get(now, key("a"))).unwrap()
    else {
        panic!()
    };
    assert_eq!(record.value, b"2");
    assert!(holders >= 19, "{holders}");
}

#[test]
fn a_query_without_any_peer_asks_for_a_join_and_waits_for_it() {
    let mut net = Network::of(20, 4, config());
    net.joins = false;
    let node = net.add(Id(1000), own_subnet(1000), Nature::Honest);
    net.pass(5 * SECOND);
    let query = net.with(node, |kad, now| kad.find(now, Id(3))).unwrap();
    net.pass(20 * SECOND);
    assert!(net.done.is_empty());
    net.joins = true;
    net.pass(35 * SECOND);
    assert!(matches!(
        net.done[&(node, query)].1,
        Ok(Outcome::Found { reached: true, .. })
    ));
}

#[test]
fn a_query_that_meets_no_peer_ends_at_its_deadline() {
    let mut net = Network::new(5, config());
    let node = net.add(Id(1), own_subnet(1), Nature::Honest);
    let start = net.now;
    let answer = net.query(node, |kad, now| kad.get(now, key("a")));
    assert_eq!(answer, Err(QueryError::NoPeers(60 * SECOND)));
    assert_eq!(net.now, start + 60 * SECOND);
}

#[test]
fn a_request_to_a_peer_that_is_being_probed_holds_no_lookup_up() {
    let mut net = Network::of(30, 6, config());
    // The 10 nearest do not answer, and their connections are being probed.
    let silent = net.nearest(&bootstrap::kad::Key::of("x"), 10);
    let node = (0..30).find(|node| !silent.contains(&Id(*node))).unwrap() as usize;
    for peer in &silent {
        net.nodes[peer.0 as usize].alive = false;
        net.with(node, |kad, now| {
            kad.handle_connected(now, peer, None, false);
            kad.handle_probing(now, peer, true);
        });
    }
    let start = net.now;
    let Outcome::Closest { peers, .. } = net
        .query(node, |kad, now| kad.closest(now, b"x".to_vec()))
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(peers.len(), 19);
    assert!(peers.iter().all(|found| !silent.contains(&found.id)));
    assert!(net.now - start < SECOND, "{:?}", net.now - start);
}

#[test]
fn a_lookup_finds_k_living_peers_although_those_that_it_knows_of_first_are_gone() {
    // In the network of 40, all peers from which the lookup begins are gone.
    for (size, gone, found, near) in [(30, 10, 19, 19), (40, 20, 19, 19), (200, 10, 20, 17)] {
        let mut net = Network::of(size, 6, config());
        let target = bootstrap::kad::Key::of("x");
        for peer in net.nearest(&target, gone) {
            net.kill(net.index[&peer]);
        }
        for _ in 0..5 {
            let node = net.any_honest();
            let Outcome::Closest { peers, .. } = net
                .query(node, |kad, now| kad.closest(now, b"x".to_vec()))
                .unwrap()
            else {
                panic!()
            };
            let mut nearest = net.nearest(&target, 21);
            nearest.retain(|id| *id != net.nodes[node].id);
            nearest.truncate(20);
            let good = peers.iter().filter(|peer| nearest.contains(&peer.id));
            let (all, good) = (peers.len(), good.count());
            assert!(all == found && good >= near, "{size}: {all}, {good} near");
        }
    }
}

#[test]
fn a_client_serves_nobody_and_a_reachable_node_does() {
    let mut net = Network::new(7, config().with_mode(Mode::Auto));
    let node = net.add(Id(1), own_subnet(1), Nature::Honest);
    let ask = |net: &mut Network| {
        net.with(node, |kad, now| {
            kad.handle_request(now, &Id(2), None, Request::Ping)
        })
    };
    assert_eq!(ask(&mut net), Reply::Refuse(Refusal::Client));
    net.nodes[node].kad.handle_reachable(net.now, Some(true));
    assert!(
        std::iter::from_fn(|| net.nodes[node].kad.poll_event())
            .any(|event| event == KadEvent::Serve(true))
    );
    assert_eq!(ask(&mut net), Reply::Answer(Response::Empty));
    // Before a verdict, a dial from another subnet is enough.
    net.with(node, |kad, now| kad.handle_reachable(now, None));
    assert_eq!(ask(&mut net), Reply::Refuse(Refusal::Client));
    let dial = |net: &mut Network, from: &Addr| {
        net.with(node, |kad, now| {
            kad.handle_connected(now, &Id(2), Some(from), true)
        });
    };
    // A dial from the LAN does not count in the public network.
    dial(&mut net, &Addr([192, 168, 1, 9].into()));
    assert_eq!(ask(&mut net), Reply::Refuse(Refusal::Client));
    dial(&mut net, &own_subnet(2));
    assert_eq!(ask(&mut net), Reply::Answer(Response::Empty));
}

#[test]
fn a_peer_that_the_node_has_dialed_does_not_show_that_others_can_reach_the_node() {
    let mut net = Network::new(7, config().with_mode(Mode::Auto));
    let node = net.add(Id(1), own_subnet(1), Nature::Honest);
    for has_dialed in [false, true] {
        net.with(node, |kad, now| {
            kad.handle_connected(now, &Id(2), Some(&own_subnet(2)), has_dialed)
        });
        assert_eq!(net.nodes[node].kad.serves(), has_dialed);
    }
}

#[test]
fn a_value_is_published_again_and_outlives_its_holders() {
    let rare = 6 * 3600 * SECOND;
    let mut net = Network::of(25, 8, config().with_refresh(rare).with_bucket_refresh(rare));
    net.query(3, |kad, now| kad.put(now, key("a"), b"value".to_vec()))
        .unwrap();
    net.pass(47 * 3600 * SECOND);
    // The first copies have expired, the ones of the second publication have not.
    net.pass(2 * 3600 * SECOND);
    net.kill(3);
    assert!(net.query(9, |kad, now| kad.get(now, key("a"))).is_ok());
    // Without the publisher, the last copies expire.
    net.pass(49 * 3600 * SECOND);
    assert!(net.query(9, |kad, now| kad.get(now, key("a"))).is_err());
}

#[test]
fn too_many_queries_and_bad_keys_are_refused_at_once() {
    let mut net = Network::new(9, config().with_max_queries(2).with_max_published(1));
    let node = net.add(Id(1), own_subnet(1), Nature::Honest);
    let (kad, now) = (&mut net.nodes[node].kad, net.now);
    assert_eq!(
        kad.get(now, vec![]),
        Err(QueryError::KeyLength {
            length: 0,
            limit: 256
        })
    );
    assert_eq!(
        kad.get(now, vec![0; 257]),
        Err(QueryError::KeyLength {
            length: 257,
            limit: 256
        })
    );
    assert_eq!(
        kad.put(now, key("a"), vec![0; 10 * 1024 + 1]),
        Err(QueryError::ValueLength {
            length: 10 * 1024 + 1
        })
    );
    assert_eq!(kad.put(now, key("a"), vec![]), Err(QueryError::Invalid));
    assert_eq!(
        kad.put(now, b"/other/a".to_vec(), vec![1]),
        Err(QueryError::Invalid)
    );
    let first = kad.put(now, key("a"), vec![1]).unwrap();
    assert_eq!(
        kad.put(now, key("b"), vec![1]),
        Err(QueryError::TooManyPublished { limit: 1 })
    );
    kad.get(now, key("a")).unwrap();
    // The own value is found at once, so that the query is over.
    kad.find(now, Id(5)).unwrap();
    assert_eq!(kad.find(now, Id(6)), Err(QueryError::TooMany { limit: 2 }));
    kad.stop(first);
    kad.find(now, Id(6)).unwrap();
    kad.handle_addresses(now, vec![]);
    assert_eq!(
        kad.provide(now, b"cid".to_vec()),
        Err(QueryError::NoAddress)
    );
}

#[test]
fn the_table_names_each_unconnected_peer_once_while_peers_are_needed() {
    let net = Network::of(20, 10, config());
    let Network { nodes, now, .. } = net;
    let mut nodes = nodes;
    let mut kad = nodes.remove(0).kad;
    let size = kad.table().count();
    let connected = kad.table().next().unwrap().id;
    kad.handle_connected(now, &connected, None, false);
    let mut source = std::sync::Arc::new(std::sync::Mutex::new(kad));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut all = |source: &mut std::sync::Arc<_>| {
        let mut found = Vec::new();
        while let std::task::Poll::Ready(Some(Found::Candidate(candidate))) =
            PeerSource::poll_found(source, &mut context)
        {
            found.push(candidate.peer.unwrap());
        }
        found
    };
    assert_eq!(all(&mut source), [], "nobody is needed");
    source.handle_need(Need::new(8, false));
    let named = all(&mut source);
    assert_eq!(named.len(), size - 1);
    assert!(!named.contains(&connected));
    assert_eq!(all(&mut source), []);
    source.handle_need(Need::new(8, true));
    assert_eq!(all(&mut source).len(), size - 1);
}
