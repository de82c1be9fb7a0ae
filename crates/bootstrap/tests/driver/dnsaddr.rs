//! The source of `/dnsaddr` names.

use std::sync::{Arc, Mutex};

use bootstrap::{
    Driver, Handle, Multiaddr, PeerId,
    sources::{self, TxtLookup},
};
use tokio::time::Instant;

use crate::{SECOND, core, events, problems};

/// A look-up that counts its questions and answers with these records, or fails while there are none.
fn look_up(records: &Arc<Mutex<Vec<String>>>) -> (TxtLookup, Arc<Mutex<Vec<Instant>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (times, records) = (asked.clone(), records.clone());
    let look_up = TxtLookup::new(move |name| {
        assert_eq!(name, "_dnsaddr.example.org");
        times.lock().expect("no panic").push(Instant::now());
        let records: Vec<_> = records
            .lock()
            .expect("no panic")
            .iter()
            .map(|record| record.clone().into_bytes())
            .collect();
        async move {
            if records.is_empty() {
                Err("no such name".to_owned())
            } else {
                Ok(records)
            }
        }
    });
    (look_up, asked)
}

/// A driver whose only source asks for the name `example.org`.
fn asking(look_up: TxtLookup) -> (Driver<PeerId, Multiaddr>, Handle<PeerId, Multiaddr>) {
    let source = sources::dnsaddr(vec![("example.org".into(), None)], look_up, 7);
    Driver::new(core(), vec![Box::new(source)])
}

#[tokio::test(start_paused = true)]
async fn a_dnsaddr_name_that_fails_is_told_once_asked_at_the_backoff_s_pace_and_then_gives_its_peers()
 {
    let records = Arc::new(Mutex::new(Vec::new()));
    let (look_up, asked) = look_up(&records);
    let (mut driver, handle) = asking(look_up);
    let failed = events(&mut driver, 300 * SECOND).await;
    assert_eq!(
        problems(&failed),
        ["cannot resolve /dnsaddr/example.org: no such name"]
    );
    let questions = asked.lock().unwrap().len();
    assert!(
        (40..=100).contains(&questions),
        "{questions} questions in 300 s of isolation"
    );

    let (one, two) = (PeerId::random(), PeerId::random());
    let record = |peer, port| format!("dnsaddr=/ip4/192.0.2.1/tcp/{port}/p2p/{peer}");
    *records.lock().unwrap() = vec![record(one, 1), record(two, 2), record(one, 3)];
    events(&mut driver, 10 * SECOND).await;
    let known = handle.with(|core, now| core.candidates(now));
    let known: Vec<_> = known
        .iter()
        .map(|view| (view.peer.unwrap(), view.addresses.len()))
        .collect();
    assert_eq!(known, [(one, 2), (two, 1)]);

    // With enough peers, nobody is asked, not even after a minute.
    handle
        .with(|core, now| (0..8).for_each(|_| core.handle_connected(now, &PeerId::random(), None)));
    events(&mut driver, SECOND).await;
    let before = asked.lock().unwrap().len();
    events(&mut driver, 600 * SECOND).await;
    assert_eq!(asked.lock().unwrap().len(), before);
    handle.changed();
    events(&mut driver, SECOND).await;
    assert_eq!(
        asked.lock().unwrap().len(),
        before + 1,
        "a new network may have new records"
    );
}

/// One name gives a peer. The other fails, gives the same peer for a time, and fails again.
#[tokio::test(start_paused = true)]
async fn a_dnsaddr_name_that_fails_neither_hastens_the_others_nor_silences_their_failures() {
    let record = format!("dnsaddr=/ip4/192.0.2.1/tcp/1/p2p/{}", PeerId::random());
    let broken = Arc::new(Mutex::new(vec!["_dnsaddr.bad.example"]));
    let asked = Arc::new(Mutex::new(Vec::<String>::new()));
    let (names, failing) = (asked.clone(), broken.clone());
    let look_up = TxtLookup::new(move |name| {
        let fails = failing.lock().expect("no panic").contains(&&*name);
        names.lock().expect("no panic").push(name);
        let answer = match fails {
            true => Err("no such name".to_owned()),
            false => Ok(vec![record.clone().into_bytes()]),
        };
        std::future::ready(answer)
    });
    let names = ["good.example", "bad.example"].map(|name| (name.to_owned(), None));
    let source = sources::dnsaddr(names.into(), look_up, 7);
    let (mut driver, _handle) = Driver::new(core::<PeerId, Multiaddr>(), vec![Box::new(source)]);
    let told = async |driver: &mut _| problems(&events(driver, 301 * SECOND).await);
    let count = |name: &str| {
        let asked = asked.lock().expect("no panic");
        asked.iter().filter(|one| one.contains(name)).count()
    };
    let failure = |name: &str| format!("cannot resolve /dnsaddr/{name}.example: no such name");
    assert_eq!(told(&mut driver).await, [failure("bad")]);
    assert_eq!(count("good"), 6, "once a minute");
    assert!(count("bad") >= 40, "{} questions", count("bad"));
    broken
        .lock()
        .expect("no panic")
        .push("_dnsaddr.good.example");
    assert_eq!(told(&mut driver).await, [failure("good")]);
    broken.lock().expect("no panic").clear();
    assert_eq!(told(&mut driver).await, [""; 0], "both name the same peer");
    broken
        .lock()
        .expect("no panic")
        .push("_dnsaddr.bad.example");
    assert_eq!(told(&mut driver).await, [failure("bad")]);
}

#[tokio::test(start_paused = true)]
async fn records_that_change_in_each_round_keep_a_hundred_candidates_and_no_more() {
    let records = Arc::new(Mutex::new(Vec::new()));
    let (look_up, _) = look_up(&records);
    let (mut driver, handle) = asking(look_up);
    for _ in 0..3 {
        let record = |port| format!("dnsaddr=/ip4/192.0.2.1/tcp/{port}/p2p/{}", PeerId::random());
        *records.lock().unwrap() = (1..=60).map(record).collect();
        events(&mut driver, 61 * SECOND).await;
    }
    let known = handle.with(|core, now| core.candidates(now)).len();
    assert_eq!(known, 100);
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_never_answers_does_not_hold_the_source() {
    let look_up = TxtLookup::new(|_| std::future::pending());
    let (mut driver, _handle) = asking(look_up);
    let events = events(&mut driver, 6 * SECOND).await;
    assert_eq!(
        problems(&events),
        ["cannot resolve /dnsaddr/example.org: no answer within 5s"]
    );
}

#[tokio::test(start_paused = true)]
async fn records_that_stay_the_same_keep_their_candidates() {
    let record = |port| format!("dnsaddr=/ip4/192.0.2.1/tcp/{port}/p2p/{}", PeerId::random());
    let records = Arc::new(Mutex::new((1..=60).map(record).collect::<Vec<_>>()));
    let (look_up, asked) = look_up(&records);
    let (mut driver, handle) = asking(look_up);
    events(&mut driver, 301 * SECOND).await;
    assert_eq!(asked.lock().unwrap().len(), 6);
    let known = handle.with(|core, now| core.candidates(now));
    assert_eq!(known.len(), 60);
    // A candidate that was withdrawn in between would have lost its history.
    let least = known.iter().map(|view| view.dials).min();
    assert!(least > Some(10), "{least:?} dials");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_fails_is_asked_rarely_while_a_peer_is_connected() {
    let (look_up, asked) = look_up(&Arc::default());
    let (mut driver, handle) = asking(look_up);
    handle.with(|core, now| core.handle_connected(now, &PeerId::random(), None));
    events(&mut driver, 3600 * SECOND).await;
    let questions = asked.lock().unwrap().len();
    // Nine pauses grow up to the cap of 300 s, and the mean of the further ones is 150 s.
    assert!((15..=60).contains(&questions), "{questions} in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_name_without_a_peer_is_told_as_such_and_a_name_that_is_given_twice_is_no_failure() {
    let names = || vec![("example.org".into(), None), ("Example.org.".into(), None)];
    let record = format!("dnsaddr=/ip4/192.0.2.1/tcp/1/p2p/{}", PeerId::random());
    let empty = "/dnsaddr/example.org has no record that names a peer and its address";
    for (record, expected) in [
        ("v=spf1".to_owned(), vec![empty]),
        ("dnsaddr=/ip4/192.0.2.1/tcp/1".to_owned(), vec![empty]),
        (record, vec![]),
    ] {
        let (look_up, _) = look_up(&Arc::new(Mutex::new(vec![record])));
        let source = sources::dnsaddr(names(), look_up, 7);
        let (mut driver, _handle) =
            Driver::new(core::<PeerId, Multiaddr>(), vec![Box::new(source)]);
        let told = problems(&events(&mut driver, SECOND).await);
        assert_eq!(told, expected);
    }
}
