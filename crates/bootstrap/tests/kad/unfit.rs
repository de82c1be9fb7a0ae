//! Answers that do not fit their requests.

use bootstrap::kad::{Outcome, QueryError, Record, Request, Response};

use crate::{
    faults::{key, rare},
    lone::{Lone, Sent, address},
};

/// The open requests that `is` accepts.
fn open(lone: &Lone, is: impl Fn(&Sent) -> bool) -> Vec<Sent> {
    let open = lone.open.iter().filter(|sent| is(sent));
    open.cloned().collect()
}

#[test]
fn a_record_of_another_key_is_no_result_of_a_get() {
    let mut lone = Lone::with_entries(rare(), 3);
    lone.with(|kad, now| kad.get(now, key("a"))).unwrap();
    let is_get = |sent: &Sent| matches!(sent.message, Request::GetValue { .. });
    let first = open(&lone, is_get).remove(0);
    // The record is valid under its own key.
    let record = Some(Record::new(key("b"), b"of another key".to_vec()));
    let closer = Vec::new();
    let response = Response::GetValue { record, closer };
    lone.reply(&first, address(first.peer.0), response);
    assert!(lone.done.is_empty(), "{:?}", lone.done);
    while lone.answer(is_get) > 0 {}
    let is_not_found = matches!(
        &lone.done[..],
        [(_, Err(QueryError::NotFound { asked: 3 }))]
    );
    assert!(is_not_found, "{:?}", lone.done);
}

#[test]
fn an_answer_of_another_kind_counts_as_a_failure_and_holds_no_lookup_up() {
    let mut lone = Lone::with_entries(rare(), 20);
    lone.with(|kad, now| kad.closest(now, b"x".to_vec()))
        .unwrap();
    let asked = open(&lone, |sent| sent.looks_for(b"x"));
    assert_eq!(asked.len(), 3);
    let record = Record::new(key("a"), b"v".to_vec());
    let unfit = [
        Response::Empty,
        Response::PutValue { record },
        Response::GetValue {
            record: None,
            closer: Vec::new(),
        },
    ];
    for (sent, response) in asked.iter().zip(unfit) {
        lone.reply(sent, address(sent.peer.0), response);
    }
    assert_eq!(lone.told(), 17);
    while lone.answer(|sent| sent.looks_for(b"x")) > 0 {}
    let [(_, Ok(Outcome::Closest { peers, .. }))] = &lone.done[..] else {
        panic!("{:?}", lone.done)
    };
    assert_eq!(peers.len(), 17);
    assert!(
        asked
            .iter()
            .all(|sent| peers.iter().all(|peer| peer.id != sent.peer))
    );
}

#[test]
fn a_peer_that_confirms_another_value_has_not_stored_it_and_keeps_its_place_in_the_table() {
    let mut lone = Lone::with_entries(rare(), 10);
    lone.with(|kad, now| kad.put(now, key("a"), b"v".to_vec()))
        .unwrap();
    while lone.answer(|sent| !sent.is_put()) > 0 {}
    let puts = open(&lone, Sent::is_put);
    assert_eq!(puts.len(), 10);
    let record = Record::new(key("a"), b"older".to_vec());
    let response = Response::PutValue { record };
    lone.reply(&puts[0], address(puts[0].peer.0), response);
    lone.answer(Sent::is_put);
    let (stored, asked) = (9, 10);
    let [(_, Ok(done))] = &lone.done[..] else {
        panic!("{:?}", lone.done)
    };
    assert_eq!(*done, Outcome::Stored { stored, asked });
    // The peer may have a better value, so the refusal is no failure.
    assert_eq!(lone.told(), 10);
}
