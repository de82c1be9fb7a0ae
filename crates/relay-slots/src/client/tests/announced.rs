//! What is announced, and what a shutdown leaves.

use super::*;

pub(super) fn granted_at(at: &[&str]) -> Answer {
    let addresses = at.iter().copied().map(address).collect();
    Answer::Granted {
        reservation: Reservation::new(UNIX + 7200, addresses, None),
        limit: None,
    }
}

#[test]
fn the_addresses_to_announce_are_those_of_the_relays_that_are_held() {
    let mut bench = Bench::new(2);
    bench.asked();
    let (one, two) = (id(1), id(2));
    let there = |port: u16| format!("/ip4/192.0.1.1/tcp/{port}/p2p/{one}/p2p-circuit");
    let circuits = [9, 1].map(|port| address(&there(port)));
    let behind = format!("/ip4/192.0.9.9/tcp/1/p2p/{two}/p2p-circuit");
    let other = format!("/ip4/192.0.9.9/tcp/1/p2p/{two}");
    bench.reached(1, "/ip4/192.0.1.1/tcp/9");
    bench.answer(1, granted_at(&["/ip4/192.0.1.1/tcp/1", &behind, &other]));
    let events = bench.events();
    let [
        ClientEvent::Granted {
            relay, addresses, ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((relay, &addresses[..]), (&one, &circuits[..]));
    let announced = |bench: &Bench| bench.client.addresses().cloned().collect::<Vec<_>>();
    assert_eq!(announced(&bench), circuits);

    bench.reached(2, "/ip4/192.0.9.9");
    bench.answer(2, granted_at(&[&other]));
    let other = address(&format!("{other}/p2p-circuit"));
    let [first, second] = circuits;
    assert_eq!(announced(&bench), [first, second, other.clone()]);
    bench.client.handle_disconnected(bench.now, &one);
    assert_eq!(announced(&bench), [other]);
}

#[test]
fn a_relay_is_asked_at_the_latest_eight_of_its_addresses() {
    let now = Instant::now();
    let mut client = Client::new(7, ClientConfig::default());
    let at = |port| address(&format!("/ip4/192.0.2.1/tcp/{port}"));
    for port in [1, 2, 3, 4, 5, 6, 7, 8, 9, 3] {
        client.handle_candidate(now, id(1), &at(port), None);
    }
    client.poll_event();
    client.handle_answer(now, UNIX, &id(1), gone());
    client.handle_timeout(now + Duration::from_secs(2));
    let asked = std::iter::from_fn(|| client.poll_event()).last();
    let Some(ClientEvent::Ask { addresses, .. }) = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(addresses, [2, 4, 5, 6, 7, 8, 9, 3].map(at));
}

#[test]
fn a_client_that_shuts_down_loses_what_it_holds_and_asks_nobody_any_more() {
    let mut bench = holding(3);
    bench.client.close();
    let lost = |number| ClientEvent::Lost {
        relay: id(number),
        cause: LostCause::Closing,
    };
    assert_eq!(bench.events(), [lost(1), lost(2)]);
    let at = address("/ip4/192.0.2.1/tcp/1");
    bench.client.handle_candidate(bench.now, id(4), &at, None);
    bench
        .client
        .handle_timeout(bench.now + Duration::from_secs(7200));
    assert_eq!(
        (bench.events(), bench.client.poll_timeout()),
        (vec![], None)
    );
    assert_eq!(bench.client.addresses().count(), 0);
    assert_eq!(bench.client.accept(&id(1)), Err(Status::PermissionDenied));
}

#[test]
fn the_address_at_which_the_relay_was_reached_comes_first_and_once() {
    let (forwarder, behind) = ("/ip4/198.51.100.1/tcp/5000", "/ip4/198.51.100.1/tcp/4077");
    let announced = |told: &[&str]| {
        let mut bench = Bench::new(1);
        bench.reached(1, forwarder);
        bench.answer(1, granted_at(told));
        let circuit = |at: &Multiaddr| at.iter().take(2).collect::<Multiaddr>();
        bench.client.addresses().map(circuit).collect::<Vec<_>>()
    };
    // A relay behind a forwarder knows its own addresses only.
    assert_eq!(announced(&["/ip4/10.0.0.2/tcp/4077"]), [address(forwarder)]);
    assert_eq!(announced(&[behind]), [forwarder, behind].map(address));
    let both = [behind, forwarder];
    assert_eq!(announced(&both), [forwarder, behind].map(address));
    // The ninth address of a relay is left out, and never the one that worked.
    let many: Vec<String> = (1..=8)
        .map(|n| format!("/ip4/198.51.100.1/tcp/{n}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let first = announced(&many);
    assert_eq!((first.len(), &first[0]), (8, &address(forwarder)));
}
