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
    let circuit = format!("/ip4/192.0.1.1/tcp/1/p2p/{one}/p2p-circuit");
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
    assert_eq!((relay, &addresses[..]), (&one, &[address(&circuit)][..]));
    let announced = |bench: &Bench| bench.client.addresses().cloned().collect::<Vec<_>>();
    assert_eq!(announced(&bench), [address(&circuit)]);

    bench.reached(2, "/ip4/192.0.9.9");
    bench.answer(2, granted_at(&[&other]));
    let both = [circuit, format!("{other}/p2p-circuit")].map(|at| address(&at));
    assert_eq!(announced(&bench), both);
    bench.client.handle_disconnected(bench.now, &one);
    assert_eq!(announced(&bench), both[1..]);
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
