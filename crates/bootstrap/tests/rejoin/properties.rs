//! Invariants under any sequence of inputs, and the states against a simple model.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bootstrap::{AttemptId, Candidate, Origin, Rejoin, RejoinConfig, RejoinEvent, State};
use proptest::prelude::*;

const ORIGINS: [Origin; 6] = [
    Origin::Kept,
    Origin::List,
    Origin::Saved,
    Origin::Lan,
    Origin::Claimed,
    Origin::Other,
];

#[derive(Debug, Clone)]
enum Input {
    Candidate(u32, u32, usize),
    Withdrawn(u32, u32, usize),
    Connected(u32, Option<u32>),
    Disconnected(u32),
    Answered(u32),
    Failed(usize),
    Changed,
    UserDial(u32),
    Pass(u64),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let input = prop_oneof![
        4 => (0u32..12, 0u32..6, 0usize..6).prop_map(|(peer, address, origin)| Input::Candidate(peer, address, origin)),
        1 => (0u32..12, 0u32..6, 0usize..6).prop_map(|(peer, address, origin)| Input::Withdrawn(peer, address, origin)),
        3 => (1u32..12, prop::option::of(0u32..6)).prop_map(|(peer, address)| Input::Connected(peer, address)),
        3 => (1u32..12).prop_map(Input::Disconnected),
        1 => (1u32..12).prop_map(Input::Answered),
        2 => (0usize..8).prop_map(Input::Failed),
        1 => Just(Input::Changed),
        1 => (1u32..12).prop_map(Input::UserDial),
        6 => (0u64..20_000).prop_map(Input::Pass),
    ];
    prop::collection::vec(input, 1..120)
}

/// What is known of the core from the outside.
struct Model {
    core: Rejoin<u32, u32>,
    now: Instant,
    in_flight: BTreeMap<AttemptId, Instant>,
    connected: BTreeMap<u32, Instant>,
    was_joined: bool,
    state: State,
    by_user: usize,
}

impl Model {
    fn new(seed: u64, config: RejoinConfig) -> Self {
        Self {
            core: Rejoin::new(Some(0), seed, config),
            now: Instant::now(),
            in_flight: BTreeMap::new(),
            connected: BTreeMap::new(),
            was_joined: false,
            state: State::Isolated,
            by_user: 0,
        }
    }

    fn apply(&mut self, input: &Input) {
        let now = self.now;
        let candidate = |peer: u32, address, origin: usize| {
            // The peer 11 is one whose name no source knows.
            Candidate::new((peer != 11).then_some(peer), vec![address], ORIGINS[origin])
        };
        match *input {
            Input::Candidate(peer, address, origin) => {
                self.core
                    .handle_candidate(now, candidate(peer, address, origin));
            }
            Input::Withdrawn(peer, address, origin) => {
                self.core
                    .handle_withdrawn(now, &candidate(peer, address, origin));
            }
            Input::Connected(peer, address) => {
                self.core.handle_connected(now, &peer, address);
                self.connected.entry(peer).or_insert(now);
            }
            Input::Disconnected(peer) => {
                self.core.handle_disconnected(now, &peer);
                self.connected.remove(&peer);
            }
            Input::Answered(peer) => {
                if let Some((attempt, _)) = self.in_flight.pop_first() {
                    self.core.handle_answered(now, attempt, &peer);
                }
            }
            Input::Failed(index) => {
                if let Some(attempt) = self.in_flight.keys().nth(index).copied() {
                    self.in_flight.remove(&attempt);
                    self.core.handle_failed(now, attempt);
                }
            }
            Input::Changed => self.core.handle_changed(now),
            Input::UserDial(peer) => {
                let candidates = self.core.candidates(now);
                let of_peer = candidates.iter().filter(|view| view.peer == Some(peer));
                self.by_user += of_peer.count();
                self.core.handle_user_dial(now, &peer);
            }
            Input::Pass(ms) => self.pass(Duration::from_millis(ms)),
        }
        self.check();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.check();
        while let Some(next) = self.core.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.core.handle_timeout(self.now);
            self.check();
            assert!(
                self.core.poll_timeout().is_none_or(|next| next > self.now),
                "the core spins"
            );
        }
        self.now = end;
        self.core.handle_timeout(end);
    }

    fn check(&mut self) {
        let config = self.core.config().clone();
        while let Some(event) = self.core.poll_event() {
            match event {
                RejoinEvent::Dial {
                    attempt,
                    addresses,
                    until,
                    ..
                } => {
                    assert!(!addresses.is_empty() && addresses.len() <= config.max_addresses);
                    assert!(until <= self.now + config.attempt);
                    assert!(
                        self.in_flight.insert(attempt, until).is_none(),
                        "a number twice"
                    );
                }
                RejoinEvent::Abandon { attempt } => {
                    assert!(
                        self.in_flight.remove(&attempt).is_some(),
                        "never started, or ended"
                    );
                }
                _ => {}
            }
        }
        self.in_flight.retain(|_, until| *until > self.now);
        assert!(
            self.in_flight.len() <= config.max_in_flight + self.by_user,
            "above the cap"
        );
        self.check_views(&config);
        self.check_state(&config);
    }

    fn check_views(&self, config: &RejoinConfig) {
        let views = self.core.candidates(self.now);
        assert!(views.len() <= config.max_candidates);
        let total: usize = views.iter().map(|view| view.in_flight).sum();
        assert_eq!(total, self.in_flight.len());
        let isolated = self.connected.is_empty();
        let mut named = BTreeSet::new();
        for view in views {
            assert!(view.in_flight <= config.max_per_peer);
            assert!(!view.addresses.is_empty() && view.addresses.len() <= config.max_addresses);
            if let Some(peer) = view.peer {
                assert_eq!(view.connected, self.connected.contains_key(&peer));
                assert!(peer != 0 || view.next.is_none(), "this node dials itself");
                named.insert(peer);
            }
            let cap = match () {
                () if view.lost => config.lost_cap,
                () if isolated => config.isolated_cap,
                () => config.cap,
            };
            assert!(
                !view.connected || view.next.is_none(),
                "a connected peer is due"
            );
            // The cap of its situation bounds each wait, whenever the situation has changed.
            assert!(
                view.next
                    .is_none_or(|next| next <= self.now + cap.max(config.list_delay)),
                "{view:?}"
            );
        }
    }

    fn check_state(&mut self, config: &RejoinConfig) {
        let settled = self
            .connected
            .values()
            .filter(|since| **since + config.settled <= self.now);
        let settled = settled.count();
        let half = config.settled / 2;
        let mut since = self.connected.values();
        let is_young = since.all(|since| *since + half > self.now);
        let state = match self.connected.len() {
            0 => State::Isolated,
            _ if settled >= config.wanted => State::Joined,
            _ if self.was_joined => State::Degraded,
            _ if is_young && self.state == State::Isolated => State::Isolated,
            _ => State::Joining,
        };
        self.state = state;
        self.was_joined = matches!(state, State::Joined | State::Degraded);
        assert_eq!(self.core.state(), state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_the_caps_hold_the_waits_are_bounded_and_the_state_is_the_model_s(
        seed: u64, inputs in inputs(), wanted in 1usize..4, target in 0usize..6, in_flight in 1usize..10,
    ) {
        let config = RejoinConfig::default()
            .with_wanted(wanted)
            .with_target(target)
            .with_candidates(8, 3)
            .with_dials(Duration::from_secs(3), in_flight, 4);
        let mut model = Model::new(seed, config);
        for input in &inputs {
            model.apply(input);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// More candidates than dials may be in flight, and none of them answers.
    #[test]
    fn no_candidate_starves_while_the_others_do_not_answer(seed: u64, candidates in 1u32..30, in_flight in 1usize..8) {
        let config = RejoinConfig::default().with_dials(Duration::from_secs(3), in_flight, 4);
        let mut model = Model::new(seed, config);
        for peer in 1..=candidates {
            let origin = ORIGINS[peer as usize % ORIGINS.len()];
            model.core.handle_candidate(model.now, Candidate::new(Some(peer + 100), vec![peer], origin));
        }
        for _ in 0..4 {
            // Each of the dials in flight ends within 3 s, and a candidate has at most 10 s of backoff.
            model.pass(Duration::from_secs(10 + 3 * 40));
            let views = model.core.candidates(model.now);
            let oldest = views.iter().filter_map(|view| view.next).min();
            prop_assert!(oldest.is_none_or(|oldest| model.now - oldest < Duration::from_secs(3 * 40)));
        }
        let views = model.core.candidates(model.now);
        let (least, most) = (views.iter().map(|view| view.dials).min(), views.iter().map(|view| view.dials).max());
        prop_assert!(least > Some(3), "{least:?} and {most:?} dials");
    }
}
