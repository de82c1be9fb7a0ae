//! One connection under a clock of its own, and any sequence of pings, pongs and bytes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Arc<LivenessConfig> {
    Arc::new(LivenessConfig::default())
}

/// A dialed connection, its clock and its count of received bytes.
struct Watched {
    liveness: Liveness,
    now: Instant,
    received: u64,
}

impl Watched {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            liveness: Liveness::new(now, Direction::Outbound, config()),
            now,
            received: 0,
        }
    }

    /// Sleeps until something is due, and gives what has to be done.
    fn sleep(&mut self) -> Option<LivenessEvent> {
        self.now = self.liveness.poll_timeout().expect("it is not dead");
        self.liveness.handle_timeout(self.now, self.received);
        self.liveness.poll_event()
    }

    /// A ping begins, and is reported to have failed after its time.
    fn fail(&mut self, failure: PingFailure) -> Option<LivenessEvent> {
        assert_eq!(self.sleep(), Some(LivenessEvent::Ping));
        self.now += 10 * SECOND;
        self.liveness
            .handle_ping_failed(self.now, self.received, failure);
        self.liveness.poll_event()
    }
}

#[test]
fn the_dialer_pings_at_once_and_the_listener_a_second_later() {
    let now = Instant::now();
    let first = |direction| Liveness::new(now, direction, config()).poll_timeout();
    assert_eq!(first(Direction::Outbound), Some(now));
    assert_eq!(first(Direction::Inbound), Some(now + SECOND));
    // Unless it pings more often than that.
    let config = LivenessConfig::default().with_interval(SECOND / 10);
    let quick = Liveness::new(now, Direction::Inbound, Arc::new(config));
    assert_eq!(quick.poll_timeout(), Some(now + SECOND / 10));
}

#[test]
fn a_ping_follows_the_answer_to_the_one_before_after_the_interval() {
    let mut watched = Watched::new();
    assert_eq!(watched.sleep(), Some(LivenessEvent::Ping));
    watched.now += SECOND;
    let rtt = Duration::from_millis(40);
    watched.liveness.handle_pong(watched.now, rtt);
    assert_eq!(watched.liveness.rtt(), Some(rtt));
    let due = watched.liveness.poll_timeout();
    assert_eq!(due, Some(watched.now + 15 * SECOND));
    assert_eq!(watched.sleep(), Some(LivenessEvent::Ping));
}

#[test]
fn two_pings_without_a_byte_are_death_and_it_is_told_once() {
    let mut watched = Watched::new();
    assert_eq!(watched.fail(PingFailure::TimedOut), None);
    assert!(!watched.liveness.is_dead());
    let death = watched.fail(PingFailure::TimedOut);
    assert_eq!(death, Some(LivenessEvent::Dead));
    assert!(watched.liveness.is_dead());
    assert_eq!(watched.liveness.poll_timeout(), None);
    let now = watched.now + 100 * SECOND;
    watched.liveness.handle_timeout(now, 1);
    watched.liveness.handle_pong(now, SECOND);
    watched
        .liveness
        .handle_ping_failed(now, 2, PingFailure::TimedOut);
    assert_eq!(watched.liveness.poll_event(), None);
    assert!(watched.liveness.is_dead());
}

#[test]
fn pings_that_find_no_stream_do_not_kill_a_connection_on_which_bytes_come_in() {
    let mut watched = Watched::new();
    for _ in 0..100 {
        assert_eq!(watched.sleep(), Some(LivenessEvent::Ping));
        watched.received += 1;
        assert_eq!(watched.sleep(), None);
    }
    // None comes in any more.
    assert_eq!(watched.fail(PingFailure::TimedOut), None);
    let death = watched.fail(PingFailure::TimedOut);
    assert_eq!(death, Some(LivenessEvent::Dead));
}

#[test]
fn a_byte_at_any_moment_of_a_ping_or_between_two_is_life() {
    for moment in 0..4 {
        let mut watched = Watched::new();
        assert_eq!(watched.fail(PingFailure::TimedOut), None);
        // Between the pings.
        watched.received += u64::from(moment == 0);
        assert_eq!(watched.sleep(), Some(LivenessEvent::Ping));
        // During the ping, and noticed by a timeout that has nothing else to do.
        watched.received += u64::from(moment == 1);
        watched.now += SECOND;
        watched
            .liveness
            .handle_timeout(watched.now, watched.received);
        // During the ping, and noticed at its end.
        watched.received += u64::from(moment == 2);
        let event = watched.sleep();
        assert_eq!(event, (moment == 3).then_some(LivenessEvent::Dead));
    }
}

#[test]
fn a_peer_that_refuses_every_ping_is_alive() {
    let mut watched = Watched::new();
    for _ in 0..10 {
        assert_eq!(watched.fail(PingFailure::Refused), None);
    }
}

#[test]
fn a_ping_whose_end_nobody_reports_is_given_up_in_time() {
    let mut watched = Watched::new();
    let began = watched.now;
    let events = [(); 4].map(|()| watched.sleep());
    let ping = Some(LivenessEvent::Ping);
    assert_eq!(events, [ping, None, ping, Some(LivenessEvent::Dead)]);
    assert_eq!(watched.now - began, 35 * SECOND);
    assert_eq!(watched.liveness.silent_since(), began);
}

#[test]
fn a_failure_without_a_ping_and_an_early_timeout_change_nothing() {
    let mut watched = Watched::new();
    assert_eq!(watched.fail(PingFailure::TimedOut), None);
    for _ in 0..10 {
        let (now, received) = (watched.now, watched.received);
        let liveness = &mut watched.liveness;
        liveness.handle_ping_failed(now, received, PingFailure::TimedOut);
        liveness.handle_timeout(now, received);
        assert_eq!(liveness.poll_event(), None);
    }
    assert_eq!(watched.sleep(), Some(LivenessEvent::Ping));
}

#[test]
fn a_ping_that_is_unanswered_for_two_seconds_makes_a_connection_quiet_until_a_byte_comes_in() {
    let mut watched = Watched::new();
    let (asked, received) = (watched.now, watched.received);
    let look = |watched: &mut Watched, after, received, asked| {
        let now = watched.now + after;
        watched.liveness.handle_look(now, received, asked, None);
        watched.liveness.poll_event()
    };
    let almost = 2 * SECOND - Duration::from_nanos(1);
    assert_eq!(look(&mut watched, almost, received, Some(asked)), None);
    assert_eq!(
        look(&mut watched, 9 * SECOND, received, None),
        None,
        "nobody asks"
    );
    let quiet = look(&mut watched, 2 * SECOND, received, Some(asked));
    assert_eq!(quiet, Some(LivenessEvent::Quiet));
    assert!(watched.liveness.is_quiet());
    // The end of the ping is no sign of life, and the silence is told once.
    assert_eq!(look(&mut watched, 12 * SECOND, received, None), None);
    assert!(watched.liveness.is_quiet());
    let heard = look(&mut watched, 13 * SECOND, received + 1, Some(asked));
    assert_eq!(heard, Some(LivenessEvent::Heard));
    // The silence counts from the byte on, however old the ping is.
    assert_eq!(
        look(&mut watched, 14 * SECOND, received + 1, Some(asked)),
        None
    );
    let quiet = look(&mut watched, 15 * SECOND, received + 1, Some(asked));
    assert_eq!(quiet, Some(LivenessEvent::Quiet));
    watched
        .liveness
        .handle_pong(watched.now + 16 * SECOND, SECOND);
    assert_eq!(watched.liveness.poll_event(), Some(LivenessEvent::Heard));
}

#[test]
fn a_transport_that_keeps_itself_alive_is_quiet_two_seconds_after_a_packet_was_due() {
    let mut watched = Watched::new();
    let begun = watched.now;
    let mut look = |after| {
        let expected = Some(3 * SECOND);
        watched
            .liveness
            .handle_look(begun + after, 0, None, expected);
        watched.liveness.poll_event()
    };
    assert_eq!(look(5 * SECOND - Duration::from_nanos(1)), None);
    assert_eq!(look(5 * SECOND), Some(LivenessEvent::Quiet));
    // A time that no clock can reach never comes.
    let mut watched = Watched::new();
    watched
        .liveness
        .handle_look(begun + SECOND, 0, None, Some(Duration::MAX));
    assert_eq!(watched.liveness.poll_event(), None);
}

#[test]
fn times_of_zero_and_without_end_neither_spin_nor_overflow() {
    let now = Instant::now();
    for time in [Duration::ZERO, Duration::MAX] {
        let config = LivenessConfig::default()
            .with_interval(time)
            .with_timeout(time)
            .with_failures(0);
        let mut liveness = Liveness::new(now, Direction::Outbound, Arc::new(config));
        liveness.handle_timeout(now, 0);
        assert!(liveness.poll_timeout().is_none_or(|due| due > now));
        liveness.handle_pong(now, Duration::MAX);
        assert!(liveness.poll_timeout().is_none_or(|due| due > now));
        assert!(liveness.rtt().is_some());
    }
}

/// What happens to a watched connection.
#[derive(Debug, Clone)]
enum Step {
    Receive(u64),
    Wait(u64),
    Sleep,
    Pong,
    Failed(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1..5_u64).prop_map(Step::Receive),
        2 => (0..20_u64).prop_map(Step::Wait),
        8 => Just(Step::Sleep),
        1 => Just(Step::Pong),
        4 => prop::bool::weighted(0.1).prop_map(Step::Failed),
    ]
}

proptest! {
    #[test]
    fn only_silence_that_lasts_for_all_of_the_failed_pings_kills(
        steps in prop::collection::vec(step(), 1..80),
        failures in 1..4_u32,
    ) {
        let config = LivenessConfig::default().with_failures(failures);
        let mut watched = Watched::new();
        watched.liveness = Liveness::new(watched.now, Direction::Outbound, Arc::new(config));
        // How many pings began since the latest sign of life.
        let mut begun = 0;
        for step in steps {
            if watched.liveness.is_dead() {
                break;
            }
            match step {
                Step::Receive(bytes) => {
                    watched.received += bytes;
                    begun = 0;
                }
                Step::Wait(seconds) => watched.now += Duration::from_secs(seconds),
                Step::Sleep => {
                    watched.now = watched.now.max(watched.liveness.poll_timeout().unwrap());
                    watched.liveness.handle_timeout(watched.now, watched.received);
                }
                Step::Pong => {
                    watched.liveness.handle_pong(watched.now, SECOND);
                    begun = 0;
                }
                Step::Failed(refused) => {
                    let failure = match refused {
                        true => PingFailure::Refused,
                        false => PingFailure::TimedOut,
                    };
                    watched.liveness.handle_ping_failed(watched.now, watched.received, failure);
                    begun = if refused { 0 } else { begun };
                }
            }
            match watched.liveness.poll_event() {
                Some(LivenessEvent::Ping) => begun += 1,
                Some(LivenessEvent::Dead) => prop_assert_eq!(begun, failures),
                Some(LivenessEvent::Quiet | LivenessEvent::Heard) | None => {}
            }
        }
    }
}
