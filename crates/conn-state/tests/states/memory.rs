//! What is remembered is bounded, whatever nobody reads. It is counted, not timed.

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use conn_state::{
    Action, Closing, Recommended, Route, SharedTracker, State, Tracker, TrackerConfig, Update,
};

/// An id that knows how many there are of it and its like.
#[derive(Debug)]
struct Counted {
    id: u32,
    alive: Arc<AtomicUsize>,
}

impl Counted {
    fn new(id: u32, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        let alive = Arc::clone(alive);
        Self { id, alive }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self::new(self.id, &self.alive)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Counted {}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.id.hash(hasher);
    }
}

#[test]
fn a_hundred_thousand_transitions_pass_a_subscriber_that_never_reads_and_leave_only_the_history() {
    const HISTORY: usize = 1_000;
    const TRANSITIONS: u32 = 100_000;
    let (now, alive) = (Instant::now(), Arc::default());
    let config = TrackerConfig::default().with_history(HISTORY, 64);
    let me = Counted::new(u32::MAX, &alive);
    let tracker = SharedTracker::new(now, me, Recommended::default(), config);
    let stays = Counted::new(0, &alive);
    let id = tracker.handle_dialing(now, Some(&stays)).unwrap();
    tracker
        .handle_authenticated(now, id, &stays, Route::Direct)
        .unwrap();
    let (_, mut never) = tracker.subscribe();
    let (_, mut never_of_one) = tracker.subscribe_to(&stays);

    // Each time a stranger: one who comes and goes.
    for stranger in 1..=TRANSITIONS / 2 {
        let peer = Counted::new(stranger, &alive);
        let id = tracker.handle_inbound(now).unwrap();
        tracker
            .handle_authenticated(now, id, &peer, Route::Direct)
            .unwrap();
        tracker
            .handle_closed(now, id, Closing::Remote { code: None }, None)
            .unwrap();
    }

    // Two events each, so half as many strangers as events are remembered; besides, the host, and the one that stays,
    // twice here and once there, with its filter.
    let remembered = alive.load(Ordering::Relaxed);
    assert!(remembered <= HISTORY / 2 + 4, "{remembered} ids");

    let Some(Update::Lagged { missed, snapshot }) = never.try_next() else {
        panic!("it was not told");
    };
    assert_eq!(missed, u64::from(TRANSITIONS));
    assert_eq!(snapshot.peers.len(), 1);
    let Some(Update::Lagged { snapshot, .. }) = never_of_one.try_next() else {
        panic!("it was not told");
    };
    assert_eq!(snapshot.state(&stays), State::Connected);
}

#[test]
fn of_a_peer_no_more_is_told_than_its_share_and_of_all_no_more_than_the_history() {
    let now = Instant::now();
    let config = TrackerConfig::default().with_history(100, 10);
    let tracker = SharedTracker::new(now, "me", Recommended::default(), config);
    let visit = |peer| {
        let id = tracker.handle_dialing(now, Some(&peer)).unwrap();
        tracker
            .handle_authenticated(now, id, &peer, Route::Direct)
            .unwrap();
        tracker
            .handle_closed(now, id, Closing::Local, None)
            .unwrap();
    };
    for _ in 0..20 {
        visit("bob");
    }
    let numbers: Vec<u64> = tracker
        .history(&"bob")
        .iter()
        .map(|event| event.number)
        .collect();
    assert_eq!(numbers, (51..=60).collect::<Vec<_>>());
    // 97 events later, Bob's latest three are left of the hundred; a hundred later, none.
    for _ in 0..32 {
        visit("eve");
    }
    assert_eq!(tracker.history(&"bob").len(), 4);
    visit("eve");
    assert_eq!(tracker.history(&"bob").len(), 1);
    visit("eve");
    assert_eq!(tracker.history(&"bob").len(), 0);
}

#[test]
fn a_peer_whose_last_word_is_forgotten_is_forgotten_with_its_last_connection() {
    let mut now = Instant::now();
    let config = TrackerConfig::default().with_history(2, 2);
    let mut tracker = Tracker::new(now, "me", Recommended::default(), config);
    let connect = |tracker: &mut Tracker<_>, now, peer| {
        let id = tracker.handle_dialing(now, Some(&peer)).unwrap();
        tracker
            .handle_authenticated(now, id, &peer, Route::Direct)
            .unwrap();
        id
    };
    let old = connect(&mut tracker, now, "bob");
    let new = connect(&mut tracker, now, "bob");
    now += Duration::from_secs(1);
    tracker.handle_timeout(now);
    let actions: Vec<_> = std::iter::from_fn(|| tracker.poll_action()).collect();
    let close = Action::Close(old, Closing::Superseded);
    assert_eq!(actions, [Action::Drain(old), close]);

    // What is about to be closed is no connection to have.
    tracker
        .handle_closed(now, new, Closing::Lost, None)
        .unwrap();
    assert_eq!(tracker.state(&"bob"), State::NotConnected);
    connect(&mut tracker, now, "eve");
    assert_eq!(tracker.history(&"bob"), []);
    assert_eq!(tracker.remembered(), 2);
    tracker
        .handle_closed(now, old, Closing::Superseded, None)
        .unwrap();
    assert_eq!(tracker.remembered(), 1);
}
