//! The shared handle under a model checker, which decides at every lock and every wake who goes on.
//!
//! It explores schedules at random and by priorities (PCT); those by which a broken handle was found out are kept in
//! [`found`].

mod found;
mod schedule;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use shuttle::{future::block_on, thread};

use super::SharedTracker;
use crate::{
    Action, Closing, ConnectionId, Recommended, Route, State, Subscription, TrackerConfig, Update,
    snapshot::Snapshot,
};

/// Schedules of each kind that each test tries.
const SCHEDULES: usize = 3_000;

fn explore(story: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(story.clone(), SCHEDULES);
    shuttle::check_pct(story, SCHEDULES, 3);
}

fn tracker(history: usize) -> SharedTracker<u8> {
    let config = TrackerConfig::default().with_history(history, history);
    SharedTracker::new(Instant::now(), 0, Recommended::default(), config)
}

/// A peer is dialed and connected: two events.
fn join(tracker: &SharedTracker<u8>, peer: u8) -> ConnectionId {
    let now = Instant::now();
    let id = tracker.handle_dialing(now, Some(&peer)).unwrap();
    tracker
        .handle_authenticated(now, id, &peer, Route::Direct)
        .unwrap();
    id
}

/// And one more.
fn leave(tracker: &SharedTracker<u8>, id: ConnectionId) {
    tracker
        .handle_closed(Instant::now(), id, Closing::Local, None)
        .unwrap();
}

fn visit(tracker: &SharedTracker<u8>, peer: u8) {
    leave(tracker, join(tracker, peer));
}

/// One who reads, and what it knows.
struct Reader {
    subscription: Subscription<u8>,
    known: BTreeMap<u8, (State, u64)>,
    given: u64,
    missed: u64,
}

impl Reader {
    fn new(tracker: &SharedTracker<u8>) -> Self {
        let (snapshot, subscription) = tracker.subscribe();
        Self {
            subscription,
            known: known(&snapshot),
            given: 0,
            missed: 0,
        }
    }

    fn take(&mut self, update: Update<u8>) {
        match update {
            Update::Event(event) => {
                self.given += 1;
                // Who was not connected is in no snapshot, and its numbers go on from any.
                let before = self.known.insert(event.peer, (event.to, event.number));
                let (state, number) = before.unwrap_or((State::NotConnected, event.number - 1));
                assert_eq!((state, number), (event.from, event.number - 1), "{event:?}");
            }
            Update::Lagged { missed, snapshot } => {
                assert!(missed > 0, "nothing was missed");
                self.missed += missed;
                self.known = known(&snapshot);
            }
        }
    }

    /// Reads what there is.
    fn read(&mut self) {
        while let Some(update) = self.subscription.try_next() {
            self.take(update);
        }
    }

    fn state(&self, peer: u8) -> State {
        let known = self.known.get(&peer);
        known.map_or(State::NotConnected, |(state, _)| *state)
    }

    fn agrees_with(&self, tracker: &SharedTracker<u8>, peers: impl IntoIterator<Item = u8>) {
        for peer in peers {
            assert_eq!(self.state(peer), tracker.state(&peer), "of {peer}");
        }
    }
}

fn known(snapshot: &Snapshot<u8>) -> BTreeMap<u8, (State, u64)> {
    let peers = snapshot.peers.iter();
    peers
        .map(|entry| (entry.peer, (entry.state, entry.number)))
        .collect()
}

/// More peers than a snapshot takes at a time come and go while it is taken.
fn subscribing() {
    let tracker = tracker(64);
    let first = join(&tracker, 1);
    visit(&tracker, 2);
    join(&tracker, 3);
    let writer = thread::spawn({
        let tracker = tracker.clone();
        move || {
            join(&tracker, 2);
            join(&tracker, 4);
            leave(&tracker, first);
            visit(&tracker, 5);
        }
    });
    let mut reader = Reader::new(&tracker);
    writer.join().unwrap();
    reader.read();
    assert_eq!(
        reader.missed, 0,
        "the history reaches back to the beginning"
    );
    reader.agrees_with(&tracker, 1..=5);
}

#[test]
fn a_subscription_amid_transitions_misses_none_and_sees_none_twice() {
    explore(subscribing);
}

/// The history is shorter than what comes about while a snapshot is taken.
fn subscribing_with_a_short_history() {
    let tracker = tracker(2);
    let there = [1, 2, 3, 4, 5].map(|peer| join(&tracker, peer));
    let writer = thread::spawn({
        let tracker = tracker.clone();
        move || {
            there.into_iter().for_each(|id| leave(&tracker, id));
            join(&tracker, 6);
        }
    });
    let mut reader = Reader::new(&tracker);
    writer.join().unwrap();
    reader.read();
    reader.agrees_with(&tracker, 1..=6);
}

#[test]
fn a_snapshot_that_events_overtake_begins_again_and_is_right() {
    explore(subscribing_with_a_short_history);
}

/// A reader falls behind, again and again, while there are more transitions.
fn lagging() {
    let tracker = tracker(2);
    let mut reader = Reader::new(&tracker);
    let writer = thread::spawn({
        let tracker = tracker.clone();
        move || {
            for peer in [1, 2, 1] {
                visit(&tracker, peer);
            }
            join(&tracker, 3);
        }
    });
    reader.read();
    thread::yield_now();
    reader.read();
    writer.join().unwrap();
    reader.read();
    assert_eq!(
        reader.given + reader.missed,
        3 * 3 + 2,
        "of what came about"
    );
    reader.agrees_with(&tracker, 1..=3);
}

#[test]
fn a_new_snapshot_after_a_lag_stands_for_exactly_what_was_missed() {
    explore(lagging);
}

/// Two wait for what a third brings; one of them for one peer only.
fn waiting() {
    let tracker = tracker(64);
    let of_all = thread::spawn({
        let mut reader = Reader::new(&tracker);
        move || {
            while reader.state(1) != State::Connected || reader.state(2) != State::Connected {
                let update = block_on(reader.subscription.next());
                reader.take(update);
            }
        }
    });
    let of_one = thread::spawn({
        let (snapshot, mut subscription) = tracker.subscribe_to(&2);
        let mut state = snapshot.state(&2);
        move || {
            while state != State::Connected {
                match block_on(subscription.next()) {
                    Update::Event(event) => {
                        assert_eq!((event.peer, event.from), (2, state));
                        state = event.to;
                    }
                    lagged => panic!("{lagged:?}"),
                }
            }
        }
    });
    join(&tracker, 1);
    join(&tracker, 2);
    of_all.join().unwrap();
    of_one.join().unwrap();
    assert!(tracker.shared.ask().waiting.is_empty());
}

#[test]
fn whoever_waits_is_woken_whatever_it_was_doing_when_news_came() {
    explore(waiting);
}

/// A task that has a subscription, and is gone with its waker.
struct Task {
    _other: Mutex<Option<Subscription<u8>>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

/// One that waits is dropped while another is about to wake it; with its waker goes the last handle of a task that has a
/// subscription of its own.
fn dropping() {
    let tracker = tracker(64);
    let (_, mut subscription) = tracker.subscribe();
    let task = Arc::new(Task {
        _other: Mutex::new(Some(tracker.subscribe().1)),
    });
    let is_there = Arc::downgrade(&task);
    let waker = Waker::from(task);
    assert!(
        subscription
            .poll_next(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop(waker);
    let writer = thread::spawn({
        let tracker = tracker.clone();
        move || join(&tracker, 1)
    });
    drop(subscription);
    writer.join().unwrap();
    assert!(is_there.upgrade().is_none(), "a waker was kept");
    assert!(tracker.shared.ask().waiting.is_empty());
}

#[test]
fn a_subscription_dropped_amid_a_wake_leaves_no_waker_and_blocks_nobody() {
    explore(dropping);
}

/// Another waker takes the place of one that was the last handle of a task with a subscription.
fn replacing() {
    let tracker = tracker(64);
    let (_, mut subscription) = tracker.subscribe();
    let task = Arc::new(Task {
        _other: Mutex::new(Some(tracker.subscribe().1)),
    });
    let first = Waker::from(task);
    let _ = subscription.poll_next(&mut Context::from_waker(&first));
    drop(first);
    let writer = thread::spawn({
        let tracker = tracker.clone();
        move || join(&tracker, 1)
    });
    let update = block_on(subscription.next());
    assert!(matches!(update, Update::Event(event) if event.peer == 1));
    writer.join().unwrap();
}

#[test]
fn a_waker_that_is_replaced_is_dropped_without_the_lock() {
    explore(replacing);
}

/// One stream ends and another begins, while their connection begins to be drained and the lock is taken by others.
fn streaming() {
    let tracker = tracker(64);
    let old = join(&tracker, 1);
    let streams = tracker.stream_count(old).unwrap();
    let now = Instant::now();
    streams.handle_opened(now);
    let closer = thread::spawn({
        let streams = streams.clone();
        move || streams.handle_closed(now)
    });
    let opener = thread::spawn({
        let streams = streams.clone();
        move || streams.handle_opened(now)
    });
    join(&tracker, 1);
    closer.join().unwrap();
    opener.join().unwrap();
    assert_eq!(streams.open(), 1);
    // A stream is open, so that the drain may take as long as any.
    let policy = Recommended::default();
    tracker.handle_timeout(now + policy.quiet * 2);
    let actions = std::iter::from_fn(|| tracker.shared.ask().tracker.poll_action());
    assert_eq!(actions.collect::<Vec<_>>(), [Action::Drain(old)]);
    // Without it, it is closed after the quiet time.
    let last = now + policy.quiet * 3;
    streams.handle_closed(last);
    assert_eq!(tracker.poll_timeout(), Some(last + policy.quiet));
}

#[test]
fn a_drained_connection_is_not_cut_while_a_stream_is_open_whoever_reports_first() {
    explore(streaming);
}

/// Whoever does what is to be done waits for it, while another brings it about and a third asks.
fn acting() {
    let tracker = tracker(64);
    let driver = thread::spawn({
        let tracker = tracker.clone();
        move || block_on(std::future::poll_fn(|cx| tracker.poll_action(cx)))
    });
    let asker = thread::spawn({
        let tracker = tracker.clone();
        move || {
            let (one, other) = (tracker.state(&1), tracker.state(&1));
            assert!(one <= other, "{one} and then {other}");
        }
    });
    join(&tracker, 1);
    join(&tracker, 1);
    assert!(matches!(driver.join().unwrap(), Action::Drain(_)));
    asker.join().unwrap();
}

#[test]
fn whoever_acts_is_woken_and_a_peers_state_is_never_seen_to_go_back() {
    explore(acting);
}

#[test]
fn who_waits_is_kept_once_however_often_it_is_polled() {
    let story = || {
        let tracker = tracker(64);
        let mut reader = Reader::new(&tracker);
        for _ in 0..3 {
            let mut cx = Context::from_waker(Waker::noop());
            assert_eq!(reader.subscription.poll_next(&mut cx), Poll::Pending);
        }
        assert_eq!(tracker.shared.ask().waiting.len(), 1);
        drop(reader);
        assert!(tracker.shared.ask().waiting.is_empty());
    };
    shuttle::check_random(story, 1);
}
