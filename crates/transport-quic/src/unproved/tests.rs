use std::sync::Arc;

use super::*;

const NOW: Duration = Duration::from_secs(5);
const TOKEN: Token = *b"a secret";

fn address(n: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(n.into()), 1)
}

/// A datagram of this length that ends with a packet.
fn datagram(length: usize, last: u8) -> Vec<u8> {
    vec![last; length]
}

fn send(unproved: &Unproved, now: Duration, to: SocketAddr, contents: &[u8]) -> bool {
    unproved.handle_send(now, to, contents, usize::MAX)
}

#[test]
fn an_unproved_address_gets_three_times_what_came_from_it_and_not_one_byte_more() {
    let unproved = Unproved::default();
    let to = address(1);
    assert!(!send(&unproved, NOW, to, &[0]));
    unproved.handle_received(to, 400);
    assert!(send(&unproved, NOW, to, &[0; 1000]));
    assert!(!send(&unproved, NOW, to, &[0; 201]));
    assert!(send(&unproved, NOW, to, &[0; 200]));
    assert!(!send(&unproved, NOW, to, &[0]));
    assert!(!send(&unproved, NOW, address(2), &[0]));
}

#[test]
fn challenges_beyond_that_are_few_for_all_addresses_together() {
    let unproved = Arc::new(Unproved::default());
    let connection = ProvedBy::new(unproved.clone());
    let challenge = |n: u32, now| {
        connection.handle_challenge(TOKEN, [n as u8; 16]);
        send(&unproved, now, address(n), &datagram(1200, n as u8))
    };
    assert!((0..CHALLENGES).all(|n| challenge(n, NOW)));
    assert!(!challenge(CHALLENGES, NOW));
    assert!(!challenge(
        CHALLENGES + 1,
        NOW + EVERY - Duration::from_nanos(1)
    ));
    assert!(challenge(CHALLENGES + 2, NOW + EVERY));
    assert!(!challenge(CHALLENGES + 3, NOW + EVERY));
    // A datagram that is no challenge gets nothing of this.
    assert!(!send(
        &unproved,
        NOW + 9 * EVERY,
        address(99),
        &datagram(1200, 250)
    ));
}

#[test]
fn the_echo_of_a_challenge_proves_the_address_to_which_it_was_sent_until_the_connection_ends() {
    let unproved = Arc::new(Unproved::default());
    let (one, other) = (
        ProvedBy::new(unproved.clone()),
        ProvedBy::new(unproved.clone()),
    );
    one.handle_challenge(TOKEN, [7; 16]);
    let echo = [b"....".as_slice(), &TOKEN, b".."].concat();
    one.handle_decrypted(&echo);
    assert!(
        !send(&unproved, NOW, address(1), &[0]),
        "it was sent nowhere"
    );
    assert!(send(&unproved, NOW, address(1), &datagram(1200, 7)));
    other.handle_decrypted(&echo);
    one.handle_decrypted(b"no secret at all");
    assert!(!send(&unproved, NOW, address(1), &[0]));
    one.handle_decrypted(&echo);
    assert!(send(&unproved, NOW, address(1), &[0; 60_000]));
    assert!(!send(&unproved, NOW, address(2), &[0]));
    drop(one);
    assert!(!send(&unproved, NOW, address(1), &[0]));
    assert_eq!(unproved.waiting.load(Ordering::Acquire), 0);
}

#[test]
fn a_challenge_proves_no_address_but_its_own() {
    let unproved = Arc::new(Unproved::default());
    let connection = ProvedBy::new(unproved.clone());
    connection.handle_challenge(TOKEN, [1; 16]);
    connection.handle_challenge(*b"to other", [2; 16]);
    assert!(send(&unproved, NOW, address(1), &datagram(1200, 1)));
    assert!(send(&unproved, NOW, address(2), &datagram(1200, 2)));
    connection.handle_decrypted(b"to other");
    assert!(!send(&unproved, NOW, address(1), &[0]));
    assert!(send(&unproved, NOW, address(2), &[0]));
}

#[test]
fn an_address_is_proved_while_one_connection_proves_it() {
    let unproved = Arc::new(Unproved::default());
    let (one, two) = (
        ProvedBy::new(unproved.clone()),
        ProvedBy::new(unproved.clone()),
    );
    one.add(address(1));
    one.add(address(1));
    two.add(address(1));
    drop(one);
    assert!(send(&unproved, NOW, address(1), &[0]));
    drop(two);
    assert!(!send(&unproved, NOW, address(1), &[0]));
}

#[test]
fn nothing_grows_without_bound() {
    let unproved = Arc::new(Unproved::default());
    let connection = ProvedBy::new(unproved.clone());
    for n in 0..3 * ADDRESSES as u32 {
        unproved.handle_received(address(n), 1);
        connection.handle_challenge(TOKEN, [0; 16]);
        unproved.handle_challenge(n as usize, TOKEN, [0; 16]);
        connection.add(address(n));
    }
    let credits = lock(&unproved.credits);
    assert!(credits.recent.len() + credits.older.len() <= 2 * ADDRESSES);
    assert_eq!(lock(&unproved.challenges).len(), WAITING);
    assert_eq!(unproved.proved.read().unwrap().len(), PER_CONNECTION);
}

#[test]
fn an_ipv4_address_in_its_ipv6_form_is_the_same_address() {
    let unproved = Arc::new(Unproved::default());
    let (plain, mapped) = (
        "192.0.2.1:1".parse().unwrap(),
        "[::ffff:192.0.2.1]:1".parse().unwrap(),
    );
    unproved.handle_received(mapped, 1);
    assert!(send(&unproved, NOW, plain, &[0; 3]));
    assert!(!send(&unproved, NOW, mapped, &[0]));
    let connection = ProvedBy::new(unproved.clone());
    connection.add(mapped);
    assert!(send(&unproved, NOW, plain, &[0; 1200]));
}

#[test]
fn one_connection_has_eight_challenges_and_displaces_none_of_another() {
    let unproved = Arc::new(Unproved::default());
    let honest = ProvedBy::new(unproved.clone());
    honest.handle_challenge(TOKEN, [7; 16]);
    for _ in 0..2 * WAITING {
        unproved.handle_challenge(1, *b"attacker", [0; 16]);
    }
    let waiting = unproved.waiting.load(Ordering::Acquire);
    assert_eq!(waiting, 1 + WAITING_PER_CONNECTION);
    assert!(send(&unproved, NOW, address(1), &datagram(1200, 7)));
    honest.handle_decrypted(&TOKEN);
    assert!(send(&unproved, NOW, address(1), &[0]));
}

#[test]
fn a_batch_with_one_datagram_that_is_no_challenge_gets_nothing_beyond_the_factor() {
    let unproved = Arc::new(Unproved::default());
    let connection = ProvedBy::new(unproved.clone());
    connection.handle_challenge(TOKEN, [7; 16]);
    for (first, last) in [(250, 7), (7, 250)] {
        let batch = [datagram(1200, first), datagram(1200, last)].concat();
        assert!(!unproved.handle_send(NOW, address(1), &batch, 1200));
    }
    assert!(unproved.handle_send(NOW, address(1), &datagram(1200, 7), 1200));
}
