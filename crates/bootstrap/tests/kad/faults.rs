//! Peers that are silent, a host that is slow or offline, and values of this node that others have replaced.

use std::time::Duration;

use bootstrap::kad::{
    KadConfig, Key, Outcome, PeerInfo, Preset, QueryError, QueryId, Record, Request, Response,
};

use crate::{
    lone::{Lone, Sent, address},
    network::*,
};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn key(name: &str) -> Vec<u8> {
    format!("/v/{name}").into_bytes()
}

/// A node that rarely looks itself up, so that nearly all requests belong to the queries of the test.
pub(crate) fn rare() -> KadConfig {
    config().with_refresh(HOUR).with_bucket_refresh(24 * HOUR)
}

fn look(lone: &mut Lone, key: &[u8]) -> QueryId {
    let key = key.to_vec();
    lone.with(|kad, now| kad.closest(now, key))
        .expect("the query starts")
}

/// The peers that a lookup asks.
fn asked(lone: &Lone, key: &[u8]) -> Vec<Id> {
    let open = lone.open.iter().filter(|sent| sent.looks_for(key));
    open.map(|sent| sent.peer).collect()
}

#[test]
fn sixteen_silent_servers_do_not_keep_another_one_out_of_an_empty_table() {
    let mut lone = Lone::new(config());
    for peer in (0..16).chain([99]) {
        lone.connect(peer, address(peer));
    }
    assert_eq!(lone.answer(|sent| sent.peer == Id(99)), 0, "it waits");
    for _ in 0..30 {
        lone.pass(SECOND);
        lone.answer(|sent| sent.peer == Id(99));
    }
    assert!(lone.kad.knows(&Id(99)));
}

#[test]
fn servers_for_which_the_table_has_no_place_do_not_keep_another_one_out() {
    let mut lone = Lone::with_entries(config(), 20);
    // Five servers in one /16 answer, and not all of them have a place.
    for peer in 60..65 {
        lone.connect(peer, Addr([200, 1, 1, 1].into()));
    }
    lone.answer(|_| true);
    assert!((60..65).any(|peer| !lone.kad.knows(&Id(peer))));
    // The first request to another one is lost.
    lone.connect(99, address(99));
    lone.fail();
    for _ in 0..120 {
        lone.pass(5 * SECOND);
        lone.answer(|_| true);
    }
    assert!(lone.kad.knows(&Id(99)));
}

#[test]
fn the_time_in_the_queue_of_the_host_counts_as_nobodys_failure() {
    let mut lone = Lone::with_entries(rare(), 20);
    lone.starts = false;
    assert_eq!(lone.told(), 20);
    let query = look(&mut lone, b"x");
    let first = asked(&lone, b"x");
    assert_eq!(first.len(), 3);
    lone.pass(5 * SECOND);
    assert_eq!(asked(&lone, b"x").len(), 3, "no peer counts as slow");
    lone.pass(6 * SECOND);
    let cancelled = lone.cancelled.iter().filter(|sent| sent.looks_for(b"x"));
    assert_eq!((cancelled.count(), lone.told()), (3, 20));
    assert_eq!(asked(&lone, b"x"), first, "they are asked again");
    // Once the requests leave, the lookup finds all peers.
    lone.starts = true;
    while lone.done.is_empty() {
        assert!(lone.answer(|_| true) > 0);
    }
    let [(done, Ok(Outcome::Closest { peers, .. }))] = &lone.done[..] else {
        panic!("{:?}", lone.done)
    };
    assert_eq!((*done, peers.len()), (query, 20));
}

#[test]
fn a_request_that_has_left_the_queue_has_its_whole_time_and_then_counts_as_failed() {
    let mut lone = Lone::with_entries(rare(), 20);
    lone.starts = false;
    look(&mut lone, b"x");
    lone.pass(9 * SECOND);
    let mut open = lone.open.iter().filter(|sent| sent.looks_for(b"x"));
    let first = open.next().unwrap().request;
    let until = lone.with(|kad, now| kad.handle_started(now, first));
    assert_eq!(until, Some(lone.now + 10 * SECOND));
    lone.pass(9 * SECOND);
    assert!(lone.open.iter().any(|sent| sent.request == first));
    assert_eq!(lone.told(), 20);
    lone.pass(2 * SECOND);
    assert!(!lone.open.iter().any(|sent| sent.request == first));
    assert_eq!(lone.told(), 19);
    let until = lone.with(|kad, now| kad.handle_started(now, first));
    assert_eq!(until, None);
}

#[test]
fn requests_that_are_given_up_because_there_are_too_many_fail_no_peer() {
    let mut lone = Lone::with_entries(rare().with_alpha(20), 20);
    for number in 0..64 {
        look(&mut lone, format!("{number}").as_bytes());
    }
    let (cancelled, open) = (lone.cancelled.len(), lone.open.len());
    assert!(cancelled >= 256 && open <= 1024, "{cancelled} {open}");
    assert_eq!(lone.told(), 20);
}

#[test]
fn the_end_of_a_query_cancels_its_requests_in_the_queue_and_not_the_others() {
    let mut lone = Lone::with_entries(rare(), 20);
    lone.starts = false;
    let (one, other) = (look(&mut lone, b"x"), look(&mut lone, b"y"));
    let mut open = lone.open.iter().filter(|sent| sent.looks_for(b"x"));
    let first = open.next().unwrap().clone();
    lone.with(|kad, now| kad.handle_started(now, first.request));
    lone.with(|kad, _| kad.stop(one));
    assert_eq!(asked(&lone, b"x"), [first.peer]);
    assert_eq!(asked(&lone, b"y").len(), 3);
    lone.with(|kad, _| kad.stop(other));
    assert_eq!(asked(&lone, b"y"), []);
}

/// Another peer than `but` answers the lookup of x, and names this peer.
fn answer_with(lone: &mut Lone, but: Id, named: Id) {
    let mut open = lone.open.iter().filter(|sent| sent.looks_for(b"x"));
    let sent = open.find(|sent| sent.peer != but);
    let (request, peer) = sent
        .map(|sent| (sent.request, sent.peer))
        .expect("it is asked");
    let closer = vec![PeerInfo::new(named, vec![address(77)])];
    let response = Response::FindNode { closer };
    lone.open.retain(|sent| sent.request != request);
    let remote = address(peer.0);
    lone.with(|kad, now| kad.handle_response(now, request, Some(&remote), response));
}

#[test]
fn a_connected_peer_that_is_slow_is_not_asked_again_when_others_name_it() {
    let mut lone = Lone::with_entries(rare(), 3);
    let slow = Id(0);
    lone.connect(0, address(0));
    lone.starts = false;
    look(&mut lone, b"x");
    let mut open = lone.open.iter().filter(|sent| sent.looks_for(b"x"));
    let request = open.find(|sent| sent.peer == slow).unwrap().request;
    lone.with(|kad, now| kad.handle_started(now, request));
    // The query loses patience with this peer, while the others are in the queue.
    lone.pass(2 * SECOND);
    answer_with(&mut lone, slow, slow);
    let cancelled = lone.cancelled.iter().filter(|sent| sent.looks_for(b"x"));
    assert_eq!(cancelled.count(), 0);
    assert_eq!(asked(&lone, b"x").len(), 2);
    assert!(lone.open.iter().any(|sent| sent.request == request));
    assert!(lone.done.is_empty());
}

#[test]
fn a_query_that_ends_leaves_no_request_to_a_silent_stranger() {
    let mut lone = Lone::with_entries(rare(), 3);
    let stranger = Id(200);
    look(&mut lone, b"x");
    answer_with(&mut lone, stranger, stranger);
    lone.answer(|sent| sent.peer != stranger);
    assert!(asked(&lone, b"x").contains(&stranger) && lone.done.is_empty());
    // The query loses patience. The request itself would last for ten seconds.
    lone.pass(4 * SECOND);
    assert_eq!(lone.done.len(), 1);
    assert_eq!(asked(&lone, b"x"), []);
}

#[test]
fn a_query_continues_when_the_connections_that_were_probed_answer_again() {
    let mut lone = Lone::new(config());
    lone.answers = true;
    (0..6).for_each(|peer| lone.connect(peer, address(peer)));
    lone.answers = false;
    assert_eq!(lone.kad.table().count(), 6);
    for peer in 0..6 {
        lone.with(|kad, now| kad.handle_probing(now, &Id(peer), true));
    }
    look(&mut lone, b"x");
    assert_eq!(asked(&lone, b"x"), []);
    lone.with(|kad, now| kad.handle_probing(now, &Id(3), false));
    assert_eq!(asked(&lone, b"x"), [Id(3)]);
}

#[test]
fn a_query_that_has_met_only_failures_continues_when_an_entry_answers_again() {
    let mut lone = Lone::with_entries(rare(), 60);
    let query = look(&mut lone, b"x");
    while !lone.open.is_empty() {
        lone.fail();
    }
    assert!(lone.done.is_empty(), "it waits");
    assert!(lone.told() > 4, "the table is not low");
    // The node is offline for some more seconds, in which it asks only a few entries.
    for _ in 0..4 {
        lone.pass(SECOND);
        assert!(lone.open.len() <= 3, "{:?}", lone.open);
        lone.fail();
    }
    for _ in 0..20 {
        lone.pass(SECOND);
        while lone.answer(|_| true) > 0 {}
    }
    let [(done, Ok(Outcome::Closest { peers, .. }))] = &lone.done[..] else {
        panic!("{:?}", lone.done)
    };
    assert!(*done == query && !peers.is_empty());
}

#[test]
fn only_a_peer_on_this_machine_sends_this_node_to_an_address_of_this_machine() {
    let here = Addr([127, 0, 0, 1].into());
    for (remote, is_believed) in [(address(1), false), (here, true)] {
        let mut lone = Lone::new(config().with_preset(Preset::Private));
        lone.connect(1, address(1));
        lone.answer(|_| true);
        look(&mut lone, b"x");
        let mut open = lone.open.iter().filter(|sent| sent.looks_for(b"x"));
        let first = open.next().unwrap().request;
        let closer = vec![PeerInfo::new(Id(7), vec![here])];
        let response = Response::FindNode { closer };
        lone.with(|kad, now| kad.handle_response(now, first, Some(&remote), response));
        assert_eq!(asked(&lone, b"x").contains(&Id(7)), is_believed);
        let add = Request::AddProvider {
            key: b"cid".to_vec(),
            providers: vec![PeerInfo::new(Id(8), vec![here])],
        };
        lone.with(|kad, now| kad.handle_request(now, &Id(8), Some(&remote), add));
        let kept = lone.kad.status(lone.now).providers;
        assert_eq!(kept, usize::from(is_believed));
    }
}

#[test]
fn a_value_that_is_confirmed_after_a_second_counts_as_stored() {
    let silent = Id(0);
    let mut lone = Lone::with_entries(rare(), 10);
    assert!(lone.kad.knows(&silent));
    lone.with(|kad, now| kad.put(now, key("a"), b"v".to_vec()))
        .unwrap();
    while lone.answer(|sent| !sent.is_put()) > 0 {}
    assert_eq!(lone.open.iter().filter(|sent| sent.is_put()).count(), 10);
    lone.pass(SECOND);
    assert!(lone.done.is_empty());
    lone.answer(|sent| sent.peer != silent);
    assert!(lone.done.is_empty());
    // The query does not wait any longer for a peer that takes four seconds.
    lone.pass(3 * SECOND);
    let (stored, asked) = (9, 10);
    let [(_, Ok(done))] = &lone.done[..] else {
        panic!("{:?}", lone.done)
    };
    assert_eq!(*done, Outcome::Stored { stored, asked });
}

#[test]
fn a_node_returns_the_better_value_of_others_instead_of_its_own_and_puts_no_worse_one() {
    let mut net = Network::of(60, 21, config());
    let nearest = net.nearest(&Key::of(key("a")), 60);
    // Neither of the publishers is near the key, so that they keep no value for others.
    let publishers = [net.index[&nearest[59]], net.index[&nearest[58]]];
    for (publisher, value) in publishers.into_iter().zip([b"1", b"2"]) {
        net.query(publisher, |kad, now| kad.put(now, key("a"), value.to_vec()))
            .unwrap();
    }
    let found = net.query(publishers[0], |kad, now| kad.get(now, key("a")));
    let Ok(Outcome::Value { record, .. }) = found else {
        panic!("{found:?}")
    };
    assert_eq!(record.value, b"2");
    for (node, value) in [(net.index[&nearest[0]], b"0"), (publishers[1], b"1")] {
        let worse = net.query(node, |kad, now| kad.put(now, key("a"), value.to_vec()));
        assert_eq!(worse, Err(QueryError::Worse));
    }
}

#[test]
fn a_node_that_knows_no_peer_returns_its_own_value_at_once() {
    let mut lone = Lone::new(config());
    lone.with(|kad, now| kad.put(now, key("a"), b"1".to_vec()))
        .unwrap();
    let get = lone.with(|kad, now| kad.get(now, key("a"))).unwrap();
    let [(done, Ok(Outcome::Value { record, holders }))] = &lone.done[..] else {
        panic!("{:?}", lone.done)
    };
    assert_eq!((*done, &record.value[..], *holders), (get, &b"1"[..], 1));
}

#[test]
fn a_value_that_was_put_while_no_peer_was_known_is_sent_ten_minutes_later() {
    let mut lone = Lone::new(config());
    lone.with(|kad, now| kad.put(now, key("a"), b"v".to_vec()))
        .unwrap();
    lone.pass(60 * SECOND);
    let is_over = matches!(&lone.done[..], [(_, Err(QueryError::NoPeers(_)))]);
    assert!(is_over, "{:?}", lone.done);
    lone.answers = true;
    (0..6).for_each(|peer| lone.connect(peer, address(peer)));
    lone.answers = false;
    let sent = (1..700).find(|_| {
        lone.pass(SECOND);
        while lone.answer(|sent| !sent.is_put()) > 0 {}
        lone.open.iter().any(Sent::is_put)
    });
    assert!(
        sent.is_some_and(|second| (590..=601).contains(&second)),
        "{sent:?}"
    );
}

#[test]
fn values_and_providers_that_have_expired_leave_the_store() {
    let mut lone = Lone::new(config().with_expiry(60 * SECOND));
    let record = Record::new(key("a"), b"v".to_vec());
    let add = Request::AddProvider {
        key: b"cid".to_vec(),
        providers: vec![PeerInfo::new(Id(7), vec![address(7)])],
    };
    for request in [Request::PutValue { record }, add] {
        lone.with(|kad, now| kad.handle_request(now, &Id(7), Some(&address(7)), request));
    }
    for (seconds, kept) in [(59, 1), (32, 0)] {
        lone.pass(seconds * SECOND);
        let status = lone.kad.status(lone.now);
        assert_eq!((status.values, status.providers), (kept, kept));
    }
}

#[test]
fn a_provider_record_waits_for_an_address_and_is_sent_again_when_the_address_changes() {
    let mut lone = Lone::with_entries(rare(), 5);
    lone.answers = true;
    lone.with(|kad, now| kad.provide(now, b"cid".to_vec()))
        .unwrap();
    assert_eq!(lone.provided, 5);
    lone.with(|kad, now| kad.handle_addresses(now, vec![]));
    lone.pass(23 * HOUR);
    assert_eq!(lone.provided, 5, "the node has no address to tell");
    lone.with(|kad, now| kad.handle_addresses(now, vec![address(30_000)]));
    assert_eq!(lone.provided, 10, "it was due an hour ago");
    lone.with(|kad, now| kad.handle_addresses(now, vec![address(30_001)]));
    assert_eq!(lone.provided, 10, "not at once");
    lone.pass(2 * HOUR);
    assert_eq!(lone.provided, 15, "once");
}
