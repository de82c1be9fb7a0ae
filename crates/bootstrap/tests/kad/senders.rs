//! Peers of one host that pretend to be in many subnets.

use bootstrap::kad::{Key, PeerInfo, Record, Refusal, Reply, Request, Response};

use crate::{
    faults::key,
    lone::{Lone, address},
    network::*,
};

/// An address in a subnet with this number.
fn at(subnet: u8, host: u8) -> Addr {
    Addr([8, subnet, 1, host].into())
}

#[test]
fn a_server_is_counted_in_the_subnet_of_its_connection_and_not_of_the_address_that_it_tells() {
    let mut lone = Lone::new(config());
    for peer in 0..20 {
        lone.connect(peer, address(peer));
        for sent in lone.open.clone() {
            let closer = Vec::new();
            let remote = at(8, sent.peer.0 as u8);
            lone.reply(&sent, remote, Response::FindNode { closer });
        }
    }
    let entries = lone.kad.table().count();
    assert!((1..=3).contains(&entries), "{entries}");
}

#[test]
fn ids_of_one_host_leave_room_for_the_value_of_another_host() {
    let mut lone = Lone::new(config().with_max_values(16));
    let mut keys: Vec<Vec<u8>> = (0..40).map(|number| key(&number.to_string())).collect();
    keys.sort_by_key(|key| Key::of(key).distance(&key_of(Id(40_000))));
    let mut is_stored = |from: u64, remote: Addr, key: &[u8]| {
        let record = Record::new(key.to_vec(), b"v".to_vec());
        let request = Request::PutValue { record };
        let reply =
            lone.with(|kad, now| kad.handle_request(now, &Id(from), Some(&remote), request));
        matches!(reply, Reply::Answer(_))
    };
    // Each id has an eighth of the store, and the keys are the nearest to this node.
    for (number, key) in (0..).zip(&keys[..16]) {
        assert!(is_stored(number / 2, at(8, 1), key));
    }
    assert!(!is_stored(8, at(8, 2), &keys[39]));
    assert!(is_stored(9, at(9, 1), &keys[39]));
}

#[test]
fn a_provider_is_counted_in_the_subnet_of_its_connection_and_not_of_the_address_that_it_tells() {
    let mut lone = Lone::new(config());
    let mut add = |from: u64, remote: Addr| {
        let request = Request::AddProvider {
            key: b"cid".to_vec(),
            providers: vec![PeerInfo::new(Id(from), vec![address(from)])],
        };
        lone.with(|kad, now| kad.handle_request(now, &Id(from), Some(&remote), request))
    };
    for from in 0..8 {
        assert_eq!(add(from, at(8, 1)), Reply::Silence);
    }
    assert_eq!(add(8, at(8, 2)), Reply::Refuse(Refusal::Full));
    assert_eq!(add(9, at(9, 1)), Reply::Silence);
}
