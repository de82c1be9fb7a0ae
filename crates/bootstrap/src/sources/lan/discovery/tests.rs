//! The LAN in simulated time.

mod packets;

use super::*;

const HERE: Interface = Interface {
    ip: Ipv4Addr::new(192, 168, 1, 7),
    prefix: 24,
};
const SECOND: Duration = Duration::from_secs(1);

fn sender(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, n)
}

fn node(now: Instant, seed: u64, interface: Interface) -> Lan {
    let mut lan = Lan::new(PeerId::random(), seed);
    lan.handle_addresses(
        now,
        vec![format!("/ip4/{}/tcp/4077", interface.ip).parse().unwrap()],
    );
    lan.handle_interfaces(now, &[interface]);
    lan
}

fn announcement(peer: PeerId, ip: Ipv4Addr, ports: std::ops::Range<u16>) -> Vec<u8> {
    let addresses: Vec<_> = ports
        .map(|port| format!("/ip4/{ip}/tcp/{port}").parse().unwrap())
        .collect();
    packet::answer("x", peer, &addresses).unwrap()
}

fn found(lan: &mut Lan) -> Vec<(bool, PeerId, usize)> {
    std::iter::from_fn(|| lan.poll_found())
        .map(|found| match found {
            Found::Candidate(found) => (true, found.peer.unwrap(), found.addresses.len()),
            Found::Withdrawn(found) => (false, found.peer.unwrap(), found.addresses.len()),
            Found::Problem(problem) => panic!("{problem}"),
        })
        .collect()
}

/// The packets up to `end`.
fn sent(lan: &mut Lan, now: &mut Instant, end: Instant) -> Vec<Packet> {
    let mut packets = Vec::new();
    loop {
        lan.handle_timeout(*now);
        packets.extend(
            std::iter::from_fn(|| lan.poll_transmit())
                .filter_map(|(_, bytes)| packet::decode(&bytes)),
        );
        let Some(next) = lan.poll_timeout().filter(|next| *next <= end) else {
            break;
        };
        *now = next;
    }
    *now = end;
    packets
}

#[test]
fn two_nodes_on_a_lan_find_each_other_within_a_second_whoever_starts_first() {
    let start = Instant::now();
    let other = Interface {
        ip: sender(8),
        prefix: 24,
    };
    let mut nodes = [(node(start, 1, HERE), HERE), (node(start, 2, other), other)];
    let mut now = start;
    let mut known = [false, false];
    while now < start + SECOND {
        for from in 0..2 {
            nodes[from].0.handle_timeout(now);
            while let Some((interface, bytes)) = nodes[from].0.poll_transmit() {
                // Multicast comes back to its sender too.
                nodes
                    .iter_mut()
                    .for_each(|(node, _)| node.handle_packet(now, interface.ip, &bytes));
            }
        }
        for (index, (node, _)) in nodes.iter_mut().enumerate() {
            let found = found(node);
            known[index] |= found
                .iter()
                .any(|(new, peer, _)| *new && *peer != node.local);
            assert!(
                found.iter().all(|(_, peer, _)| *peer != node.local),
                "it found itself"
            );
        }
        now += Duration::from_millis(10);
    }
    assert_eq!(known, [true, true]);
}

#[test]
fn questions_slow_down_to_one_a_minute_and_an_isolated_node_asks_every_ten_seconds() {
    let mut now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let start = now;
    sent(&mut lan, &mut now, start + 300 * SECOND);
    let queries = |packets: &[Packet]| {
        packets
            .iter()
            .filter(|packet| **packet == Packet::Query)
            .count()
    };
    let end = now + 600 * SECOND;
    let slow = queries(&sent(&mut lan, &mut now, end));
    assert!((9..=21).contains(&slow), "{slow} in ten minutes");
    lan.handle_need(now, Need::new(8, true));
    let end = now + 60 * SECOND;
    let quick = queries(&sent(&mut lan, &mut now, end));
    assert!((7..=18).contains(&quick), "{quick} in a minute");
}

#[test]
fn a_flood_of_questions_gets_one_answer_a_second() {
    let mut now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let (mut answers, query) = (0, packet::query().unwrap());
    for _ in 0..1000 {
        lan.handle_packet(now, sender(9), &query);
        let end = now + Duration::from_millis(10);
        let packets = sent(&mut lan, &mut now, end);
        answers += packets
            .iter()
            .filter(|packet| matches!(packet, Packet::Answer(_)))
            .count();
    }
    assert!((8..=10).contains(&answers), "{answers} answers in 10 s");
}

#[test]
fn one_sender_fills_only_its_share_and_thousands_of_announcements_are_bounded() {
    let mut now = Instant::now();
    let mut lan = node(now, 1, HERE);
    for n in 0..200 {
        lan.handle_packet(
            now,
            sender(9),
            &announcement(PeerId::random(), sender(9), 1..3),
        );
        now += Duration::from_millis(if n % 10 == 0 { 1000 } else { 0 });
    }
    assert_eq!(found(&mut lan).len(), 16);
    for n in 10..=254 {
        for _ in 0..20 {
            lan.handle_packet(
                now,
                sender(n),
                &announcement(PeerId::random(), sender(n), 1..9),
            );
        }
        now += SECOND;
    }
    assert_eq!(lan.seen.len(), 256);
    assert!(found(&mut lan).len() <= 256);
}

#[test]
fn sixteen_senders_that_announce_sixteen_peers_each_leave_room_for_the_first_peer_of_others() {
    let mut now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let announce = |lan: &mut Lan, now, from, peers: usize| {
        for _ in 0..peers {
            let packet = announcement(PeerId::random(), sender(from), 1..2);
            lan.handle_packet(now, sender(from), &packet);
        }
        found(lan).len()
    };
    let mut taken = 0;
    for from in 100..116 {
        taken += announce(&mut lan, now, from, 16);
        now += SECOND;
    }
    assert_eq!(taken, 8 * 16 + 8);
    let others = (120..=239).map(|from| {
        now += SECOND;
        announce(&mut lan, now, from, 2)
    });
    assert_eq!(others.sum::<usize>(), 120);
    now += SECOND;
    assert_eq!(announce(&mut lan, now, 250, 1), 0, "256 in all");
}

#[test]
fn of_new_peers_only_sixteen_a_second_are_named_and_of_packets_two_hundred_are_read() {
    let now = Instant::now();
    let mut lan = node(now, 1, HERE);
    for n in 0..150 {
        lan.handle_packet(
            now,
            sender(100 + n % 100),
            &announcement(PeerId::random(), sender(100 + n % 100), 1..2),
        );
    }
    assert_eq!(found(&mut lan).len(), 16);
    for _ in 0..100 {
        lan.handle_packet(now, sender(9), &packet::query().unwrap());
    }
    lan.answers.clear();
    lan.handle_packet(now, sender(9), &packet::query().unwrap());
    assert!(lan.answers.is_empty(), "the 251st packet is dropped");
}

#[test]
fn a_peer_that_changes_its_addresses_with_each_packet_is_named_sixteen_times_a_second() {
    let now = Instant::now();
    let (mut lan, peer) = (node(now, 1, HERE), PeerId::random());
    for n in 0..150 {
        let ports = [1..9, 9..17][n % 2].clone();
        lan.handle_packet(now, sender(9), &announcement(peer, sender(9), ports));
    }
    let named = |lan: &mut Lan| found(lan).iter().filter(|(is_new, ..)| *is_new).count();
    assert_eq!(named(&mut lan), 16);
    // The same addresses again are no news, and need no place.
    let later = now + SECOND;
    lan.handle_packet(later, sender(9), &announcement(peer, sender(9), 9..17));
    lan.handle_packet(later, sender(9), &announcement(peer, sender(9), 1..9));
    assert_eq!(named(&mut lan), 1);
}

#[test]
fn this_node_s_own_id_is_not_a_peer_and_another_s_id_displaces_no_address_of_the_owner() {
    let now = Instant::now();
    let mut lan = node(now, 1, HERE);
    lan.handle_packet(now, sender(9), &announcement(lan.local, sender(9), 1..2));
    assert!(found(&mut lan).is_empty());
    let owner = PeerId::random();
    lan.handle_packet(now, sender(8), &announcement(owner, sender(8), 1..3));
    lan.handle_packet(now, sender(9), &announcement(owner, sender(9), 1..2));
    assert_eq!(found(&mut lan), [(true, owner, 2), (true, owner, 1)]);
    let mut goodbye =
        packet::answer("x", owner, &["/ip4/192.168.1.9/tcp/1".parse().unwrap()]).unwrap();
    let ttl = hickory_goodbye(&mut goodbye);
    lan.handle_packet(now, sender(10), &ttl);
    assert!(found(&mut lan).is_empty(), "a goodbye of somebody else");
    lan.handle_packet(now, sender(9), &ttl);
    assert_eq!(found(&mut lan), [(false, owner, 1)]);
}

/// The same answer with a TTL of zero.
fn hickory_goodbye(bytes: &mut [u8]) -> Vec<u8> {
    let mut message = hickory_proto::op::Message::from_vec(bytes).unwrap();
    message
        .answers
        .iter_mut()
        .chain(&mut message.additionals)
        .for_each(|record| record.ttl = 0);
    message.to_vec().unwrap()
}

#[test]
fn a_peer_that_is_silent_longer_than_its_ttl_is_withdrawn_and_changes_are_told() {
    let mut now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let peer = PeerId::random();
    lan.handle_packet(now, sender(9), &announcement(peer, sender(9), 1..3));
    lan.handle_packet(now, sender(9), &announcement(peer, sender(9), 2..4));
    assert_eq!(
        found(&mut lan),
        [(true, peer, 2), (true, peer, 1), (false, peer, 1)]
    );
    let end = now + 119 * SECOND;
    sent(&mut lan, &mut now, end);
    assert!(found(&mut lan).is_empty());
    let end = now + SECOND;
    sent(&mut lan, &mut now, end);
    assert_eq!(found(&mut lan), [(false, peer, 2)]);
}

#[test]
fn packets_from_outside_of_the_lan_are_not_read() {
    let now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let stranger = Ipv4Addr::new(44, 1, 2, 3);
    lan.handle_packet(
        now,
        stranger,
        &announcement(PeerId::random(), stranger, 1..2),
    );
    assert!(found(&mut lan).is_empty());
}

#[test]
fn of_an_announcement_eight_plausible_addresses_are_taken_and_implausible_ones_fill_no_place() {
    let now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let peer = PeerId::random();
    let addresses = |ip: &str, ports: std::ops::RangeInclusive<u16>| -> Vec<Multiaddr> {
        ports
            .map(|port| format!("/ip4/{ip}/tcp/{port}").parse().unwrap())
            .collect()
    };
    let mut announced = addresses("44.1.2.3", 1..=8);
    announced.extend(addresses("192.168.1.9", 1..=9));
    lan.handle_announced(
        now,
        sender(9),
        &HERE,
        Announced {
            peer,
            addresses: announced,
            ttl: 60 * SECOND,
        },
    );
    let Some(Found::Candidate(found)) = lan.poll_found() else {
        panic!("not found")
    };
    assert_eq!(found.addresses, addresses("192.168.1.9", 1..=8));
}

#[test]
fn an_answer_is_believed_for_an_hour_at_most_and_for_a_minute_at_least() {
    for (ttl, believed) in [(1, 60), (u64::from(u32::MAX), 3600)] {
        let mut now = Instant::now();
        let mut lan = node(now, 1, HERE);
        let peer = PeerId::random();
        let announced = Announced {
            peer,
            addresses: vec!["/ip4/192.168.1.9/tcp/1".parse().unwrap()],
            ttl: Duration::from_secs(ttl),
        };
        lan.handle_announced(now, sender(9), &HERE, announced);
        let end = now + Duration::from_secs(believed - 1);
        sent(&mut lan, &mut now, end);
        assert_eq!(found(&mut lan), [(true, peer, 1)]);
        let end = now + SECOND;
        sent(&mut lan, &mut now, end);
        assert_eq!(found(&mut lan), [(false, peer, 1)]);
    }
}

#[test]
fn of_the_interfaces_sixteen_are_used() {
    let mut now = Instant::now();
    let mut lan = Lan::new(PeerId::random(), 1);
    let interface = |n: u8| Interface {
        ip: Ipv4Addr::new(10, n, 0, 1),
        prefix: 24,
    };
    lan.handle_interfaces(now, &(0..40).map(interface).collect::<Vec<_>>());
    let end = now;
    let asked = sent(&mut lan, &mut now, end);
    assert_eq!(asked.len(), 16);
}

#[test]
fn an_address_is_withdrawn_when_its_last_sender_says_goodbye() {
    let now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let peer = PeerId::random();
    // The port of the peer's own address, told by two senders.
    let address: Multiaddr = "/ip4/192.168.1.8/tcp/1".parse().unwrap();
    let tell = |lan: &mut Lan, from: u8, ttl: Duration| {
        let addresses = vec![address.clone()];
        let announced = Announced {
            peer,
            addresses,
            ttl,
        };
        lan.handle_announced(now, sender(from), &HERE, announced);
        found(lan)
    };
    tell(&mut lan, 8, 60 * SECOND);
    tell(&mut lan, 9, 60 * SECOND);
    assert_eq!(tell(&mut lan, 9, Duration::ZERO), []);
    assert_eq!(tell(&mut lan, 8, Duration::ZERO), [(false, peer, 1)]);
}
