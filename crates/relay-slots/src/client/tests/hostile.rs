//! A relay that steers its client.

use super::{announced::granted_at, *};

fn circuit(at: &str) -> Multiaddr {
    address(&format!("{at}/p2p/{}/p2p-circuit", id(1)))
}

fn named(at: &str) -> Multiaddr {
    address(&format!("{at}/p2p/{}", id(1)))
}

/// The addresses that the client announces, and those that it probes until it asks no more, after relay 1 has told these.
/// `found` says where a probe finds the relay.
fn announced(reached: &str, told: &[&str], found: &[&str]) -> (Vec<Multiaddr>, Vec<Multiaddr>) {
    let mut bench = Bench::new(1);
    bench.reached(1, reached);
    bench.answer(1, granted_at(told));
    let mut probed = Vec::new();
    let mut events = VecDeque::from(bench.events());
    while let Some(event) = events.pop_front() {
        if let ClientEvent::Probe { relay, address } = event {
            let is_found = found.iter().any(|at| named(at) == address);
            let now = bench.now;
            bench.client.handle_probed(now, &relay, &address, is_found);
            probed.push(address);
            events.extend(bench.events());
        }
    }
    (bench.client.addresses().cloned().collect(), probed)
}

#[test]
fn only_addresses_where_the_relay_was_found_are_announced() {
    let (here, quic) = ("/ip4/198.51.100.1/tcp/1", "/ip4/198.51.100.1/udp/2/quic-v1");
    let (there, victim) = ("/ip6/2001:db8::1/tcp/1", "/ip4/203.0.113.9/tcp/80");
    let (name, port) = ("/dns4/relay.example/tcp/1", "/dns4/relay.example/tcp/2");
    let told = [victim, here, name, there, quic, port];
    let (addresses, probed) = announced(here, &told, &[there, name]);
    assert_eq!(addresses, [here, quic, name, there].map(circuit));
    assert_eq!(probed, [victim, name, there, port].map(named));
    // Reached by its name, the relay is proven there only.
    let (addresses, probed) = announced(name, &told, &[]);
    assert_eq!(addresses, [circuit(name)]);
    assert_eq!(probed, [victim, here, there, port, quic].map(named));
    // The QUIC address comes with the TCP address of the same IP, without a dial.
    let (addresses, probed) = announced(name, &[quic, here], &[here]);
    assert_eq!(addresses, [name, here, quic].map(circuit)[..]);
    assert_eq!(probed, [named(here)]);
}

#[test]
fn no_public_relay_learns_of_or_is_announced_in_a_private_network() {
    let local = [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/192.168.0.1/tcp/1",
        "/ip4/169.254.169.254/tcp/80",
        "/ip4/100.64.0.1/tcp/1",
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/255.255.255.255/tcp/1",
        "/ip4/224.0.0.1/tcp/1",
        "/ip6/::1/tcp/1",
        "/ip6/::ffff:10.0.0.1/tcp/1",
        "/ip6/fd00::1/tcp/1",
        "/ip6/fe80::1/tcp/1",
        "/ip6zone/eth0/ip6/fe80::1/tcp/1",
    ];
    for reached in ["/ip4/198.51.100.1/tcp/1", "/dns4/relay.example/tcp/1"] {
        let (addresses, probed) = announced(reached, &local, &[]);
        assert_eq!((addresses, probed), (vec![circuit(reached)], vec![]));
    }
    // A relay in the private network is asked for there, but never at the loopback address of this machine.
    let (_, probed) = announced("/ip4/10.0.0.9/tcp/1", &local, &[]);
    let asked = [1, 2, 3, 4, 9, 10, 11].map(|at| named(local[at]));
    assert_eq!(probed, asked);
    let (_, probed) = announced("/ip4/127.0.0.2/tcp/1", &local, &[]);
    assert!(probed.contains(&named(local[0])), "{probed:?}");
}

#[test]
fn an_address_that_names_two_hosts_or_a_list_is_not_announced_whatever_was_reached() {
    let here = "/ip4/198.51.100.1/tcp/1";
    let other = id(9);
    let told = [
        format!("{here}/p2p/{other}/tcp/5"),
        format!("{here}/ip4/203.0.113.9/tcp/80"),
        format!("{here}/dns4/victim.example/tcp/80"),
        "/dnsaddr/relay.example".to_owned(),
        format!("/p2p/{}", id(1)),
        "/tcp/1".to_owned(),
    ];
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    let (addresses, probed) = announced(here, &told, &told);
    assert_eq!((addresses, probed), (vec![circuit(here)], vec![]));
    // Of an inbound connection only the IP is known, which no peer can dial.
    let (addresses, _) = announced("/ip4/198.51.100.1", &[], &[]);
    assert_eq!(addresses, []);
}

#[test]
fn of_thirty_two_addresses_at_most_eight_are_announced_or_probed() {
    let here: Vec<String> = (1..=32)
        .map(|port| format!("/ip4/198.51.100.1/tcp/{port}"))
        .collect();
    let here: Vec<&str> = here.iter().map(String::as_str).collect();
    let (addresses, probed) = announced(here[0], &here, &[]);
    assert_eq!((addresses.len(), probed.len()), (8, 0));
    let there: Vec<String> = (1..=32)
        .map(|at| format!("/ip4/203.0.113.{at}/tcp/1"))
        .collect();
    let there: Vec<&str> = there.iter().map(String::as_str).collect();
    let (addresses, probed) = announced(here[0], &there, &there);
    // The address that was reached has one of the eight places.
    assert_eq!((addresses.len(), probed.len()), (8, 7), "{addresses:?}");
}

#[test]
fn one_probe_runs_at_a_time_and_a_relay_causes_eight_at_once_and_then_one_a_minute() {
    let mut bench = Bench::new(1);
    bench.reached(1, "/ip4/198.51.100.1/tcp/1");
    let (mut probes, mut asked) = (0, false);
    let (mut last, begun) = (bench.now, bench.now);
    let mut third = 0;
    // Each hour holds about 29 renewals, and each renewal names eight new victims.
    while bench.now - begun < Duration::from_secs(3600) {
        for event in bench.events() {
            match event {
                ClientEvent::Ask { .. } => asked = true,
                ClientEvent::Probe { .. } => {
                    probes += 1;
                    last = bench.now;
                }
                _ => {}
            }
        }
        if std::mem::take(&mut asked) {
            let told: Vec<String> = (0..8)
                .map(|_| {
                    third += 1;
                    format!("/ip4/203.0.{}.{}/tcp/1", third / 256, third % 256)
                })
                .collect();
            let told: Vec<&str> = told.iter().map(String::as_str).collect();
            let since = (bench.now - bench.start).as_secs();
            let mut answer = granted_at(&told);
            if let Answer::Granted { reservation, .. } = &mut answer {
                reservation.expire = UNIX + since + 60;
            }
            bench.answer(1, answer);
        } else {
            bench.wait();
        }
    }
    // No probe is answered: each takes its whole time.
    assert!((60..=68).contains(&probes), "{probes} probes in an hour");
    assert!(
        last - begun > Duration::from_secs(3000),
        "the rate recovers"
    );
}

#[test]
fn a_proof_holds_as_long_as_the_slot() {
    let mut bench = Bench::new(1);
    let (here, there) = ("/ip4/198.51.100.1/tcp/1", "/ip4/203.0.113.9/tcp/1");
    bench.reached(1, here);
    let told = granted_at(&[here, there]);
    bench.answer(1, told.clone());
    let probe = ClientEvent::Probe {
        relay: id(1),
        address: named(there),
    };
    assert_eq!(bench.events().last(), Some(&probe));
    let now = bench.now;
    bench.client.handle_probed(now, &id(1), &named(here), true);
    assert_eq!(bench.events(), [], "nobody asked for it");
    bench.client.handle_probed(now, &id(1), &named(there), true);
    let both = [here, there].map(circuit);
    let proved = ClientEvent::Proved {
        relay: id(1),
        addresses: both.to_vec(),
    };
    assert_eq!(bench.events(), [proved]);
    while !bench.asked().contains(&id(1)) {
        bench.wait();
    }
    // The relay shuffles its addresses, which changes nothing.
    bench.answer(1, granted_at(&[there, here]));
    let events = bench.events();
    let [ClientEvent::Renewed { addresses, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(addresses[..], both);
    bench.client.handle_disconnected(bench.now, &id(1));
    while !bench.asked().contains(&id(1)) {
        bench.wait();
    }
    bench.answer(1, told);
    assert!(bench.events().contains(&probe));
    assert_eq!(bench.client.addresses().count(), 1);
}

#[test]
fn a_reservation_that_ends_too_soon_is_a_failure_and_the_least_one_is_accepted() {
    let mut bench = Bench::new(1);
    bench.asked();
    bench.answer(1, granted(59));
    let events = bench.events();
    let [
        ClientEvent::Failed {
            error: AskError::ShortTtl { ttl, least },
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((ttl.as_secs(), least.as_secs()), (59, 60));
    assert_eq!(bench.held(), []);
    bench.wait();
    assert_eq!(bench.asked(), [id(1)]);
    let since = (bench.now - bench.start).as_secs();
    bench.answer(1, granted(since + 60));
    assert_eq!(bench.held(), [id(1)]);
}

/// The requests, and the grants that change what is announced, of a relay that does its worst for an hour.
fn in_an_hour(mut answer: impl FnMut(&mut Bench)) -> (u32, u32) {
    let mut bench = Bench::new(1);
    let (mut asks, mut grants) = (0, 0);
    while bench.now - bench.start < Duration::from_secs(3600) {
        for event in bench.events() {
            match event {
                ClientEvent::Ask { .. } => {
                    asks += 1;
                    answer(&mut bench);
                }
                ClientEvent::Granted { .. } | ClientEvent::Renewed { .. } => grants += 1,
                _ => {}
            }
        }
        bench.wait();
    }
    (asks, grants)
}

#[test]
fn whatever_a_relay_answers_it_is_asked_at_most_a_hundred_times_an_hour() {
    let ttl = |ttl: u64| {
        move |bench: &mut Bench| {
            let since = (bench.now - bench.start).as_secs();
            bench.answer(1, granted(since + ttl));
        }
    };
    let short = in_an_hour(ttl(2));
    let least = in_an_hour(ttl(60));
    let nonsense = in_an_hour(|bench| bench.answer(1, granted(u64::MAX - UNIX)));
    let leaving = in_an_hour(|bench| {
        let since = (bench.now - bench.start).as_secs();
        bench.answer(1, granted(since + 60));
        bench.client.handle_disconnected(bench.now, &id(1));
    });
    let alternating = {
        let mut turn = 0;
        in_an_hour(move |bench| {
            turn += 1;
            match turn % 2 {
                0 => bench.answer(1, Answer::Failed(AskError::Empty)),
                _ => ttl(60)(bench),
            }
        })
    };
    println!(
        "requests and grants in an hour: ttl of 2 s {short:?}, ttl of 60 s {least:?}, no sensible end {nonsense:?}, \
         closes after each grant {leaving:?}, fails every second time {alternating:?}"
    );
    assert_eq!(short.1, 0);
    for (asks, grants) in [short, least, nonsense, leaving] {
        assert!(asks <= 100 && grants <= 100, "{asks} {grants}");
    }
    assert!(alternating.1 <= 100, "{alternating:?}");
}
