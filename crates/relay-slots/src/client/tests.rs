use super::*;

mod announced;
mod hostile;
mod offers;

const UNIX: u64 = 1_700_000_000;

fn id(number: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, number]).unwrap()
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn granted(ttl: u64) -> Answer {
    Answer::Granted {
        reservation: Reservation::new(UNIX + ttl, Vec::new(), None),
        limit: None,
    }
}

fn gone() -> Answer {
    let reason = "connection refused".to_owned();
    Answer::Failed(AskError::Unreachable { reason })
}

fn ask(number: u8) -> ClientEvent {
    ClientEvent::Ask {
        relay: id(number),
        addresses: Vec::new(),
    }
}

struct Bench {
    start: Instant,
    now: Instant,
    client: Client,
}

impl Bench {
    /// Relays 1, 2, … in subnets of their own, the first the nearest.
    fn new(relays: u8) -> Self {
        let now = Instant::now();
        let mut client = Client::new(7, ClientConfig::default());
        for number in (1..=relays).rev() {
            let at = address(&format!("/ip4/192.0.{number}.1/tcp/1"));
            let rtt = Duration::from_millis(10 * u64::from(number));
            client.relays.insert(id(number), Relay::new(now));
            client.handle_rtt(&id(number), rtt);
            client.relays.get_mut(&id(number)).unwrap().subnet = Subnet::of(&at);
        }
        client.fill(now);
        Self {
            start: now,
            now,
            client,
        }
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn asked(&mut self) -> Vec<PeerId> {
        let asked = |event| match event {
            ClientEvent::Ask { relay, .. } => Some(relay),
            _ => None,
        };
        self.events().into_iter().filter_map(asked).collect()
    }

    fn answer(&mut self, relay: u8, answer: Answer) {
        let unix = UNIX + (self.now - self.start).as_secs();
        self.client
            .handle_answer(self.now, unix, &id(relay), answer);
    }

    fn reached(&mut self, relay: u8, at: &str) {
        self.client.handle_reached(&id(relay), &address(at));
    }

    /// To the next timeout.
    fn wait(&mut self) -> Duration {
        let next = self.client.poll_timeout().unwrap();
        let waited = next.saturating_duration_since(self.now);
        self.now = self.now.max(next);
        self.client.handle_timeout(self.now);
        waited
    }

    fn held(&self) -> Vec<PeerId> {
        self.client.held().collect()
    }
}

/// A client that holds relays 1 and 2, of so many.
fn holding(relays: u8) -> Bench {
    let mut bench = Bench::new(relays);
    assert_eq!(bench.asked(), [id(1), id(2)]);
    bench.answer(1, granted(3600));
    bench.answer(2, granted(3600));
    bench.events();
    bench
}

#[test]
fn the_nearest_are_asked_and_two_of_one_subnet_only_if_there_is_nobody_else() {
    let now = Instant::now();
    let mut client = Client::new(1, ClientConfig::default());
    // The first is asked as soon as it is known: nobody waits for something better.
    for (number, at, ms) in [
        (1, "/ip4/192.0.2.1/tcp/1", 10),
        (2, "/ip4/192.0.2.2/tcp/1", 11),
        (3, "/ip6/2001:db8::1/tcp/1", 50),
        (4, "/dns4/relay.example/tcp/1", 90),
    ] {
        let rtt = Some(Duration::from_millis(ms));
        let mut relay = Relay::new(now);
        (relay.subnet, relay.rtt) = (Subnet::of(&address(at)), rtt);
        client.relays.insert(id(number), relay);
    }
    client.fill(now);
    let asked: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    assert_eq!(asked, [ask(1), ask(3)]);
    client.handle_answer(now, UNIX, &id(3), gone());
    assert!(std::iter::from_fn(|| client.poll_event()).any(|event| event == ask(4)));
    client.handle_answer(now, UNIX, &id(4), gone());
    assert!(std::iter::from_fn(|| client.poll_event()).any(|event| event == ask(2)));
}

#[test]
fn a_candidate_is_asked_at_once_while_too_few_are_held() {
    let mut bench = Bench::new(0);
    let at = address("/ip4/192.0.2.1/tcp/1");
    bench.client.handle_candidate(bench.now, id(1), &at, None);
    assert_eq!(bench.asked(), [id(1)]);
    bench.client.handle_candidate(bench.now, id(1), &at, None);
    assert_eq!(bench.asked(), [], "it is asked already");
}

#[test]
fn it_is_renewed_at_about_three_quarters_of_its_time_for_ever() {
    let mut bench = holding(2);
    for _ in 0..20 {
        let waited = bench.wait();
        let renewed = bench.asked();
        assert!(
            !renewed.is_empty() && waited <= Duration::from_secs(2880),
            "{waited:?}"
        );
        for relay in renewed {
            let number = if relay == id(1) { 1 } else { 2 };
            let since = (bench.now - bench.start).as_secs();
            bench.answer(number, granted(since + 3600));
            let events = bench.events();
            assert!(
                matches!(events[..], [ClientEvent::Renewed { .. }]),
                "{events:?}"
            );
        }
        assert_eq!(bench.held().len(), 2);
    }
    let rounds = (bench.now - bench.start).as_secs_f64() / 3600.0;
    assert!(
        (7.0..8.1).contains(&rounds),
        "20 renewals of two took {rounds} of their time"
    );
}

#[test]
fn one_that_is_lost_is_replaced_at_once_and_told() {
    let mut bench = holding(3);
    bench.client.handle_disconnected(bench.now, &id(1));
    let lost = ClientEvent::Lost {
        relay: id(1),
        cause: LostCause::Disconnected,
    };
    assert_eq!(bench.events(), [lost, ask(3)]);
    bench.answer(3, granted(3600));
    let replaced = ClientEvent::Replaced {
        old: id(1),
        new: id(3),
    };
    assert_eq!(bench.events().pop(), Some(replaced));
    assert_eq!(bench.held(), [id(2), id(3)]);
}

#[test]
fn a_relay_that_restarts_is_held_again_within_seconds_of_its_return() {
    let mut bench = holding(2);
    bench.client.handle_disconnected(bench.now, &id(1));
    let down = bench.now;
    let mut asked = Vec::new();
    // Down for half a minute, it refuses connections.
    loop {
        bench.wait();
        if bench.asked() != [id(1)] {
            continue;
        }
        if bench.now - down >= Duration::from_secs(30) {
            break;
        }
        asked.push((bench.now - down).as_secs_f64());
        bench.answer(1, gone());
    }
    assert!(asked[0] <= 1.0 && asked.len() >= 4, "{asked:?}");
    bench.answer(1, granted(7200));
    assert!(bench.now - down < Duration::from_secs(90));
    assert_eq!(bench.held(), [id(1), id(2)]);
}

#[test]
fn who_refuses_is_asked_again_at_most_once_a_minute_and_at_least() {
    let mut bench = Bench::new(1);
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(bench.asked(), [id(1)]);
        bench.answer(1, Answer::Refused(Status::ResourceLimitExceeded));
        let events = bench.events();
        let [ClientEvent::Refused { status, .. }] = events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(
            (status.code(), status.meaning()),
            (201, "the relay has no room")
        );
        waits.push(bench.wait().as_secs_f64());
    }
    assert!((0.5..=1.0).contains(&waits[0]), "{waits:?}");
    assert!(
        waits[7..].iter().all(|wait| (30.0..=60.0).contains(wait)),
        "{waits:?}"
    );
}

#[test]
fn a_refused_renewal_is_a_loss_and_a_silent_one_is_tried_again() {
    let mut bench = holding(3);
    while bench.asked().is_empty() {
        bench.wait();
    }
    let renewing = bench
        .client
        .relays
        .iter()
        .find(|(_, relay)| relay.is_asked());
    let number = if *renewing.unwrap().0 == id(1) { 1 } else { 2 };
    bench.wait();
    let events = bench.events();
    let failed = |event: &ClientEvent| matches!(event, ClientEvent::Failed { .. });
    assert!(events.iter().any(failed), "{events:?}");
    assert_eq!(bench.held().len(), 2, "it is still ours");
    while !bench.asked().contains(&id(number)) {
        bench.wait();
    }
    bench.answer(number, Answer::Refused(Status::PermissionDenied));
    let events = bench.events();
    let lost = ClientEvent::Lost {
        relay: id(number),
        cause: LostCause::Refused(Status::PermissionDenied),
    };
    assert!(events.contains(&lost) && events.contains(&ask(3)));
}

#[test]
fn a_reservation_that_cannot_be_renewed_expires() {
    let mut bench = holding(2);
    let mut lost = 0;
    while lost < 2 {
        bench.wait();
        for event in bench.events() {
            match event {
                ClientEvent::Lost { cause, .. } => {
                    assert_eq!(cause, LostCause::Expired);
                    assert_eq!(bench.now - bench.start, Duration::from_secs(3600));
                    lost += 1;
                }
                ClientEvent::Ask { .. } | ClientEvent::Failed { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(bench.held().is_empty());
}

#[test]
fn an_end_that_makes_no_sense_is_five_minutes() {
    for expire in [0, UNIX - 1, UNIX, UNIX + 86_401, u64::MAX] {
        let mut bench = Bench::new(1);
        let reservation = Reservation::new(expire, Vec::new(), None);
        let limit = None;
        bench.answer(1, Answer::Granted { reservation, limit });
        let waited = bench.wait();
        assert!(
            (210.0..=240.0).contains(&waited.as_secs_f64()),
            "{expire}: {waited:?}"
        );
    }
}

#[test]
fn who_was_not_asked_has_no_say_and_opens_no_circuit() {
    let mut bench = holding(3);
    bench.answer(3, granted(3600));
    bench.answer(9, granted(3600));
    assert_eq!(
        (bench.held(), bench.events()),
        (vec![id(1), id(2)], Vec::new())
    );
    assert_eq!(bench.client.accept(&id(1)), Ok(()));
    assert_eq!(bench.client.accept(&id(3)), Err(Status::PermissionDenied));
    assert_eq!(bench.client.accept(&id(9)), Err(Status::PermissionDenied));
}

#[test]
fn a_relay_that_is_removed_is_lost_and_never_asked_again() {
    let mut bench = holding(3);
    bench.client.handle_removed(bench.now, &id(2));
    assert_eq!(bench.asked(), [id(3)]);
    bench.answer(3, granted(3600));
    assert_eq!(bench.held(), [id(1), id(3)]);
    assert!(bench.client.accept(&id(2)).is_err());
}

#[test]
fn one_candidate_more_than_may_be_known_is_not_taken_in() {
    let now = Instant::now();
    let config = ClientConfig::default().with_max_candidates(1);
    let mut client = Client::new(1, config);
    let at = address("/ip4/192.0.2.1/tcp/1");
    for number in [1, 2, 1] {
        client.handle_candidate(now, id(number), &at, None);
    }
    let asked: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    let [ClientEvent::Ask { relay, addresses }] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!((relay, &addresses[..]), (&id(1), &[at][..]));
}

#[test]
fn after_a_change_of_the_network_resting_relays_are_asked_at_once() {
    let mut bench = Bench::new(1);
    bench.asked();
    for _ in 0..5 {
        bench.answer(1, gone());
        bench.now += Duration::from_secs(60);
        bench.client.handle_timeout(bench.now);
        bench.asked();
    }
    bench.answer(1, gone());
    assert!(bench.asked().is_empty());
    bench.client.handle_network_changed(bench.now);
    assert_eq!(bench.asked(), [id(1)]);
    // The first failure after the change causes no pause, and the second one a short pause.
    bench.answer(1, gone());
    assert_eq!(bench.asked(), [id(1)]);
    bench.answer(1, gone());
    assert!(bench.asked().is_empty());
    bench.now += Duration::from_secs(1);
    bench.client.handle_timeout(bench.now);
    assert_eq!(bench.asked(), [id(1)]);
}

#[test]
fn a_slot_that_is_lost_within_ten_seconds_of_a_change_of_the_network_is_asked_for_at_once_and_once()
{
    for (after, expected) in [
        (Duration::from_millis(9_999), 1),
        (Duration::from_secs(10), 0),
    ] {
        let mut bench = Bench::new(1);
        bench.asked();
        bench.answer(1, granted(7200));
        bench.client.handle_network_changed(bench.now);
        assert!(bench.asked().is_empty());
        bench.now += after;
        bench.client.handle_disconnected(bench.now, &id(1));
        assert_eq!(bench.asked().len(), expected, "{after:?}");
        bench.answer(1, granted(7200));
        bench.client.handle_disconnected(bench.now, &id(1));
        assert!(bench.asked().is_empty());
    }
}
