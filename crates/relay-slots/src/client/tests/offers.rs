//! The search for relays among offered peers.

use super::*;

mod hostile;

const SECOND: Duration = Duration::from_secs(1);

fn peer(number: u16) -> PeerId {
    let [high, low] = number.to_be_bytes();
    PeerId::from_bytes(&[0, 2, high, low]).unwrap()
}

/// A client that looks for so many relays.
fn searching(auto: usize) -> Bench {
    with(ClientConfig::default().with_auto(auto))
}

fn with(config: ClientConfig) -> Bench {
    let now = Instant::now();
    let mut client = Client::new(7, config);
    client.handle_timeout(now);
    let start = now;
    Bench { start, now, client }
}

impl Bench {
    fn offer(&mut self, number: u16) {
        let [high, low] = number.to_be_bytes();
        let at = address(&format!("/ip4/198.{high}.{low}.1/tcp/1"));
        self.client.handle_offered(self.now, peer(number), &[at]);
    }

    fn identified(&mut self, number: u16, serves: bool) {
        self.client
            .handle_identified(self.now, &peer(number), serves);
    }

    /// The outcome of an examination.
    fn found(&mut self, number: u16, serves: Option<bool>) {
        self.client.handle_examined(self.now, &peer(number), serves);
    }

    fn answers(&mut self, number: u16, answer: Answer) {
        let unix = UNIX + (self.now - self.start).as_secs();
        self.client
            .handle_answer(self.now, unix, &peer(number), answer);
    }

    /// Lets the time pass, one timeout after the other. Returns the events with their times.
    fn pass(&mut self, time: Duration) -> Vec<(Duration, ClientEvent)> {
        self.pass_with(time, |_, _| {})
    }

    /// Like `pass`. `react` is the host.
    fn pass_with(
        &mut self,
        time: Duration,
        mut react: impl FnMut(&mut Self, &ClientEvent),
    ) -> Vec<(Duration, ClientEvent)> {
        let (begin, end, mut all) = (self.now, self.now + time, Vec::new());
        loop {
            while let Some(event) = self.client.poll_event() {
                react(self, &event);
                all.push((self.now - begin, event));
            }
            let next = self.client.poll_timeout().filter(|next| *next <= end);
            let Some(next) = next else {
                break;
            };
            self.now = next.max(self.now);
            self.client.handle_timeout(self.now);
            let again = self.client.poll_timeout();
            assert!(again.is_none_or(|next| next > self.now), "the core spins");
        }
        self.now = end;
        all
    }
}

fn asked(events: &[(Duration, ClientEvent)]) -> Vec<PeerId> {
    let asked = |(_, event): &(Duration, ClientEvent)| match event {
        ClientEvent::Ask { relay, .. } => Some(*relay),
        _ => None,
    };
    events.iter().filter_map(asked).collect()
}

fn examined(events: &[(Duration, ClientEvent)]) -> Vec<(Duration, PeerId)> {
    let examined = |(at, event): &(Duration, ClientEvent)| match event {
        ClientEvent::Examine { relay, .. } => Some((*at, *relay)),
        _ => None,
    };
    events.iter().filter_map(examined).collect()
}

fn wanted(events: &[(Duration, ClientEvent)]) -> Vec<(Duration, usize)> {
    let wanted = |(at, event): &(Duration, ClientEvent)| match event {
        ClientEvent::Wanted { count } => Some((*at, *count)),
        _ => None,
    };
    events.iter().filter_map(wanted).collect()
}

fn released(events: &[(Duration, ClientEvent)]) -> Vec<PeerId> {
    let released = |(_, event): &(Duration, ClientEvent)| match event {
        ClientEvent::Released { relay } => Some(*relay),
        _ => None,
    };
    events.iter().filter_map(released).collect()
}

#[test]
fn without_auto_nothing_is_wanted_and_an_offer_is_ignored() {
    let mut bench = searching(0);
    bench.offer(1);
    bench.identified(1, true);
    assert_eq!(bench.pass(3600 * SECOND), []);
    assert!(bench.client.relays.is_empty());
}

#[test]
fn an_offered_peer_is_asked_as_soon_as_it_tells_that_it_is_a_relay_and_no_other_peer_is() {
    let mut bench = searching(1);
    assert_eq!(wanted(&bench.pass(Duration::ZERO)), [(Duration::ZERO, 16)]);
    bench.offer(1);
    bench.offer(2);
    assert_eq!(bench.pass(Duration::ZERO), []);
    bench.identified(9, true);
    bench.identified(1, false);
    bench.identified(2, true);
    let events = bench.pass(60 * SECOND);
    assert_eq!(asked(&events)[0], peer(2));
    assert_eq!(examined(&events), [], "identify has told of both");
}

#[test]
fn an_offered_peer_that_nobody_connects_to_is_examined_after_a_second() {
    let mut bench = searching(1);
    bench.pass(Duration::ZERO);
    bench.offer(1);
    bench.offer(2);
    let events = bench.pass(SECOND);
    assert_eq!(examined(&events), [(SECOND, peer(1)), (SECOND, peer(2))]);
    bench.found(1, Some(false));
    assert_eq!(released(&bench.pass(Duration::ZERO)), [peer(1)]);
    bench.found(2, Some(true));
    let events = bench.pass(Duration::ZERO);
    assert_eq!(events.len(), 1);
    assert_eq!(asked(&events), [peer(2)]);
    bench.answers(2, granted(3600));
    let events = bench.pass(Duration::ZERO);
    assert_eq!(wanted(&events), [(Duration::ZERO, 0)], "no more are wanted");
    assert_eq!(bench.held(), [peer(2)]);
}

#[test]
fn an_examination_without_an_outcome_ends_after_fifteen_seconds() {
    let mut bench = searching(1);
    bench.offer(1);
    bench.pass(SECOND);
    assert_eq!(
        released(&bench.pass(15 * SECOND - Duration::from_millis(1))),
        []
    );
    assert_eq!(released(&bench.pass(Duration::from_millis(1))), [peer(1)]);
    bench.found(1, Some(true));
    assert_eq!(asked(&bench.pass(Duration::ZERO)), [], "it comes too late");
}

#[test]
fn as_many_slots_as_wanted_are_held_and_the_next_peer_replaces_a_lost_relay_at_once() {
    let mut bench = searching(1);
    for number in 1..=3 {
        bench.offer(number);
        bench.identified(number, true);
    }
    assert_eq!(asked(&bench.pass(Duration::ZERO)), [peer(1)]);
    bench.answers(1, granted(3600));
    assert_eq!(asked(&bench.pass(60 * SECOND)), []);
    bench.client.handle_disconnected(bench.now, &peer(1));
    let events = bench.pass(Duration::ZERO);
    assert_eq!(asked(&events), [peer(2)]);
    assert_eq!(released(&events), [peer(1)]);
    bench.answers(2, Answer::Refused(Status::ResourceLimitExceeded));
    let events = bench.pass(Duration::ZERO);
    assert_eq!(
        (asked(&events), released(&events)),
        (vec![peer(3)], vec![peer(2)])
    );
}

#[test]
fn the_relays_of_the_host_come_first_and_count() {
    let config = ClientConfig::default().with_auto(1).with_reservations(2);
    let mut bench = with(config);
    bench.offer(1);
    let at = address("/ip4/192.0.2.1/tcp/1");
    bench.client.handle_candidate(bench.now, id(1), &at, None);
    bench.identified(1, true);
    assert_eq!(asked(&bench.pass(SECOND)), [id(1)]);
    bench.answer(1, granted(3600));
    let events = bench.pass(600 * SECOND);
    assert_eq!(asked(&events), [], "the one slot is held");
    // Without it, the offered relay is asked, and then both are kept.
    bench.client.handle_disconnected(bench.now, &id(1));
    assert_eq!(asked(&bench.pass(Duration::ZERO)), [peer(1)]);
    bench.answers(1, granted(3600));
    assert_eq!(asked(&bench.pass(SECOND)), [id(1)]);
    bench.answer(1, granted(3600));
    assert_eq!(bench.held().len(), 2);
    // The host may name a relay that was only offered.
    bench.client.handle_candidate(bench.now, peer(1), &at, None);
    assert!(bench.client.relays[&peer(1)].offer.is_none());
}

#[test]
fn a_peer_that_could_not_be_reached_is_asked_when_it_is_connected() {
    let mut bench = searching(1);
    bench.offer(1);
    bench.pass(SECOND);
    bench.found(1, None);
    assert_eq!(asked(&bench.pass(10 * SECOND)), []);
    bench.identified(1, true);
    assert_eq!(asked(&bench.pass(Duration::ZERO)), [peer(1)]);
}

#[test]
fn an_offered_relay_whose_slot_lasted_is_asked_again_within_a_second_and_a_dead_one_is_a_stranger()
{
    let mut bench = searching(1);
    bench.offer(1);
    bench.identified(1, true);
    bench.pass(Duration::ZERO);
    bench.answers(1, granted(3600));
    bench.pass(60 * SECOND);
    bench.client.handle_disconnected(bench.now, &peer(1));
    assert_eq!(asked(&bench.pass(SECOND)), [peer(1)]);
    let mut pauses = Vec::new();
    while pauses.len() < 8 {
        bench.answers(1, gone());
        let before = bench.now;
        while asked(&bench.pass(SECOND)).is_empty() {}
        pauses.push((bench.now - before).as_secs());
    }
    assert!(pauses[0] <= 3 && pauses[7] >= 150, "{pauses:?}");
}

#[test]
fn a_change_of_the_network_ends_the_pauses_of_relays_and_not_of_other_peers() {
    let mut bench = searching(2);
    for number in [1, 2] {
        bench.offer(number);
        bench.identified(number, number == 1);
    }
    bench.pass(Duration::ZERO);
    bench.answers(1, Answer::Refused(Status::ReservationRefused));
    assert_eq!(asked(&bench.pass(10 * SECOND)), []);
    bench.client.handle_network_changed(bench.now);
    let events = bench.pass(Duration::ZERO);
    assert_eq!((asked(&events), examined(&events)), (vec![peer(1)], vec![]));
}

#[test]
fn the_host_is_asked_for_offers_every_ten_seconds_at_most_and_again_after_the_pause() {
    let mut bench = searching(1);
    // The host knows sixteen peers that are no relays, and offers them again and again.
    let host = |bench: &mut Bench, event: &ClientEvent| match event {
        ClientEvent::Wanted { count } => {
            (0..*count as u16).for_each(|number| bench.offer(number));
            (0..*count as u16).for_each(|number| bench.identified(number, false));
        }
        ClientEvent::Examine { relay, .. } => {
            let now = bench.now;
            bench.client.handle_examined(now, relay, Some(false));
        }
        _ => {}
    };
    let times: Vec<_> = wanted(&bench.pass_with(60 * SECOND, host));
    assert_eq!(times.len(), 7, "{times:?}");
    // A host that knows one peer offers one, and is asked again for its new addresses.
    let mut bench = searching(1);
    bench.offer(1);
    bench.identified(1, false);
    let times = wanted(&bench.pass(600 * SECOND));
    let seconds: Vec<_> = times.iter().map(|(at, _)| at.as_secs()).collect();
    assert_eq!(seconds, [0, 300, 600]);
}

#[test]
fn new_addresses_of_an_offered_peer_replace_the_old_ones() {
    let mut bench = searching(1);
    bench.offer(1);
    let [best, other] = ["/ip4/203.0.113.1/tcp/1", "/ip4/203.0.113.2/tcp/1"].map(address);
    bench
        .client
        .handle_offered(bench.now, peer(1), &[best.clone(), other.clone()]);
    let events = bench.pass(SECOND);
    let told = events.iter().find_map(|(_, event)| match event {
        ClientEvent::Examine { addresses, .. } => Some(addresses.clone()),
        _ => None,
    });
    assert_eq!(
        told,
        Some(vec![other, best]),
        "the best address is the last one"
    );
}

#[test]
fn peers_that_were_never_tried_come_first_and_the_others_take_turns() {
    let config = ClientConfig::default().with_auto(1);
    let mut bench = with(config.with_offers(300 * SECOND, 1, 1000 * SECOND));
    let nobody = |bench: &mut Bench, event: &ClientEvent| {
        if let ClientEvent::Examine { relay, .. } = event {
            let now = bench.now;
            bench.client.handle_examined(now, relay, None);
        }
    };
    bench.offer(1);
    let mut tried = examined(&bench.pass_with(10 * SECOND, nobody));
    bench.offer(2);
    bench.offer(3);
    tried.extend(examined(&bench.pass_with(5000 * SECOND, nobody)));
    let tried: Vec<_> = tried.into_iter().map(|(_, relay)| relay).collect();
    assert_eq!(tried, [1, 2, 3, 1, 2, 3].map(peer));
}
