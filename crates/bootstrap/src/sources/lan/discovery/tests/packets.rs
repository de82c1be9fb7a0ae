//! Which packets this node sends, whatever its caller repeats.

use super::*;

/// The questions and the answers.
fn counts(packets: &[Packet]) -> (usize, usize) {
    let questions = packets.iter().filter(|packet| **packet == Packet::Query);
    let questions = questions.count();
    (questions, packets.len() - questions)
}

/// The packets of so many steps of 50 ms. `step` comes before each of them.
fn stepped(
    lan: &mut Lan,
    now: &mut Instant,
    steps: u32,
    step: impl Fn(&mut Lan, Instant),
) -> Vec<Packet> {
    let mut packets = Vec::new();
    for _ in 0..steps {
        step(lan, *now);
        let end = *now + Duration::from_millis(50);
        packets.extend(sent(lan, now, end));
    }
    packets
}

#[test]
fn a_need_and_addresses_that_are_told_again_and_again_cause_no_packets() {
    let mut now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let end = now + 60 * SECOND;
    sent(&mut lan, &mut now, end);
    let addresses = lan.announced.clone();
    let packets = stepped(&mut lan, &mut now, 20 * 60, |lan, now| {
        lan.handle_addresses(now, addresses.clone());
        lan.handle_need(now, Need::new(8, true));
    });
    let (questions, answers) = counts(&packets);
    assert!((7..=18).contains(&questions), "{questions} in a minute");
    assert_eq!(answers, 0, "nobody has asked");
}

#[test]
fn interfaces_that_flap_cause_one_question_and_one_answer_a_second() {
    let mut now = Instant::now();
    let mut lan = node(now, 1, HERE);
    let packets = stepped(&mut lan, &mut now, 20 * 10, |lan, now| {
        lan.handle_interfaces(now, &[HERE]);
    });
    let (questions, answers) = counts(&packets);
    assert!(
        (9..=11).contains(&questions),
        "{questions} questions in 10 s"
    );
    assert!((8..=11).contains(&answers), "{answers} answers in 10 s");
}

#[test]
fn an_answer_has_only_the_addresses_of_its_interface_and_its_name_says_nothing_of_the_node() {
    let mut now = Instant::now();
    let names = [1, 2].map(|seed| {
        let mut lan = node(now, seed, HERE);
        let own: Multiaddr = "/ip4/192.168.1.7/tcp/4077".parse().unwrap();
        let others = ["/ip4/44.1.2.3/tcp/4077", "/ip4/127.0.0.1/tcp/4077"];
        let others = others.map(|text| text.parse().unwrap());
        let all = others.into_iter().chain([own.clone()]).collect();
        lan.handle_addresses(now, all);
        let end = now + SECOND;
        let packets = sent(&mut lan, &mut now, end);
        let answers = packets.into_iter().filter_map(|packet| match packet {
            Packet::Answer(peers) => Some(peers),
            Packet::Query => None,
        });
        let told: Vec<_> = answers.map(|mut peers| peers.remove(0).addresses).collect();
        assert_eq!(told, [[own]]);
        lan.name
    });
    let [one, other] = &names;
    assert_ne!(one, other);
    let is_plain = |name: &String| name.len() == 40 && name.bytes().all(|b| b.is_ascii_lowercase());
    assert!(names.iter().all(is_plain), "{names:?}");
}
