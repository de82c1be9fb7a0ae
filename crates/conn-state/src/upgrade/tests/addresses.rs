//! What is named, and what of it is dialed.

use super::*;

#[test]
fn a_connect_without_an_address_to_dial_ends_the_upgrade_and_says_what_was_in_it() {
    let now = Instant::now();
    let mut named = named(&["relayed/1", "relayed/2", "private"]);
    named.push(vec![0xff]);
    let bytes = Message::connect(named).encode().unwrap();
    let UpgradeError::NoAddress { skipped } = failure(&received(&mut responder(now), now, &bytes))
    else {
        panic!("another cause");
    };
    let counts = (skipped.relayed, skipped.unwanted, skipped.undecodable);
    assert_eq!(counts, (2, 1, 1));
    assert_eq!(skipped.total(), 4);
    let mut b = connecting(now);
    b.handle_received(now, &connect(&[]), read);
    let skipped = Skipped::default();
    let error = failure(&drain(|| b.poll_event()));
    assert_eq!(error, UpgradeError::NoAddress { skipped });
}

#[test]
fn the_sixteenth_address_is_dialed_and_the_next_is_counted() {
    let now = Instant::now();
    let mut addresses: Vec<String> = (0..16).map(|number| format!("b{number}")).collect();
    let dial = |named: &[String]| {
        let named = named.iter().map(|text| text.as_bytes().to_vec()).collect();
        let bytes = Message::connect(named).encode().unwrap();
        let events = received(&mut responder(now), now, &[bytes, sync()].concat());
        match &events[..] {
            [_, Event::Dial(dial)] => dial.clone(),
            other => panic!("{other:?}"),
        }
    };
    let all = dial(&addresses);
    assert_eq!((all.addresses.len(), all.skipped.total()), (16, 0));
    assert_eq!(all.addresses, addresses);
    addresses.extend(["b16".to_owned(), "relayed".to_owned()]);
    let some = dial(&addresses);
    assert_eq!(some.addresses, all.addresses);
    assert_eq!((some.skipped.surplus, some.skipped.total()), (2, 2));
    let twice = dial(&["b".to_owned(), "relayed".to_owned(), "b".to_owned()]);
    assert_eq!(twice.addresses, ["b"]);
    assert_eq!((twice.skipped.duplicate, twice.skipped.relayed), (1, 1));
}

#[test]
fn our_own_addresses_are_named_as_far_as_a_message_holds_them() {
    let now = Instant::now();
    let config = UpgradeConfig::default();
    let own: Vec<Vec<u8>> = (0..20).map(|number| vec![number; 300]).collect();
    let mut a: Responder<String> = Responder::new(now, config.clone(), own);
    let [Event::Send(bytes)] = &received(&mut a, now, &connect(&["b"]))[..] else {
        panic!("no answer");
    };
    let message = Decoder::default().decode(&mut bytes.as_slice()).unwrap();
    assert_eq!(message.unwrap().addresses.len(), 13);
    let own: Vec<Vec<u8>> = (0..20).map(|number| vec![number; 8]).collect();
    let mut a: Responder<String> = Responder::new(now, config, own);
    let [Event::Send(bytes)] = &received(&mut a, now, &connect(&["b"]))[..] else {
        panic!("no answer");
    };
    let message = Decoder::default().decode(&mut bytes.as_slice()).unwrap();
    assert_eq!(message.unwrap().addresses.len(), 16);
}

#[test]
fn an_end_without_an_address_of_its_own_says_so() {
    let now = Instant::now();
    let config = UpgradeConfig::default();
    let mut a: Responder<String> = Responder::new(now, config.clone(), vec![]);
    let error = failure(&received(&mut a, now, &connect(&["b"])));
    assert_eq!(error, UpgradeError::NoOwnAddress);
    let mut b: Initiator<String> = Initiator::new(now, config, vec![], vec![]);
    let error = failure(&drain(|| b.poll_event()));
    assert_eq!(error, UpgradeError::NoOwnAddress);
}

#[test]
fn an_initiator_without_an_address_still_tries_the_plain_dial() {
    let now = Instant::now();
    let config = UpgradeConfig::default();
    let public = (0..20).map(|number| format!("a{number}")).collect();
    let mut b: Initiator<String> = Initiator::new(now, config, vec![], public);
    let [Event::Dial(dial)] = &drain(|| b.poll_event())[..] else {
        panic!("no dial");
    };
    assert_eq!((dial.attempt, dial.addresses.len()), (0, 16));
    b.handle_dial_result(now, 0, DialResult::Failed);
    let error = failure(&drain(|| b.poll_event()));
    assert_eq!(error, UpgradeError::NoOwnAddress);
}
