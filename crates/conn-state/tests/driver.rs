//! Waiting, under a clock that stands still unless everybody waits.
#![cfg(feature = "tokio")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use conn_state::{
    Action, Closing, ConnectionId, Limit, Path, Reason, Recommended, Remote, Route, SharedTracker,
    State, TrackerConfig,
};
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, sleep, timeout},
};

const LIMITED: Route = Route::Relayed(Some(Limit {
    until: None,
    bytes: Some(1),
}));

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn tracker() -> SharedTracker<&'static str> {
    let policy = Recommended::default();
    SharedTracker::new(now(), "me", policy, TrackerConfig::default())
}

fn connect(
    tracker: &SharedTracker<&'static str>,
    peer: &'static str,
    route: Route,
) -> ConnectionId {
    let id = tracker.handle_dialing(now(), Some(&peer)).expect("room");
    tracker
        .handle_authenticated(now(), id, &peer, route)
        .expect("it is in its handshake");
    id
}

/// What the task gives; a broken one would not end.
async fn in_time<T>(task: JoinHandle<T>) -> T {
    let ended = timeout(Duration::from_secs(3_600), task).await;
    ended.expect("it is not woken").expect("it does not panic")
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_full_connection_has_it_at_once_when_it_comes() {
    let tracker = tracker();
    let relayed = connect(&tracker, "bob", LIMITED);
    let (began, deadline) = (Instant::now(), Instant::now() + Duration::from_secs(60));
    let waiter = tokio::spawn({
        let tracker = tracker.clone();
        async move { tracker.wait_for(&"bob", State::Connected, deadline).await }
    });
    sleep(Duration::from_secs(7)).await;
    tracker.handle_path(now(), relayed, Route::Direct).unwrap();
    assert_eq!(in_time(waiter).await, Ok(State::Connected));
    assert_eq!(began.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_full_connection_that_stays_limited_is_told_so_at_its_own_deadline() {
    let tracker = tracker();
    connect(&tracker, "bob", LIMITED);
    let (began, wait) = (Instant::now(), Duration::from_secs(5));
    let waited = tracker
        .wait_for(&"bob", State::Connected, began + wait)
        .await;
    let error = waited.expect_err("it is limited");
    assert_eq!(error.state, State::Transient(Reason::Limited));
    assert_eq!(
        error.to_string(),
        "still transient (limited) at the deadline"
    );
    assert_eq!(began.elapsed(), wait);
    // One that is content with that has it at once.
    let limited = State::Transient(Reason::Limited);
    let waited = tracker.wait_for(&"bob", limited, began).await;
    assert_eq!(waited, Ok(limited));
}

/// How many of them there are.
struct Resource(Arc<AtomicUsize>);

impl Resource {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(alive))
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_made_when_the_peer_is_fully_connected_and_let_go_when_that_degrades() {
    let (tracker, alive) = (tracker(), Arc::<AtomicUsize>::default());
    let holder = tokio::spawn({
        let (tracker, alive) = (tracker.clone(), Arc::clone(&alive));
        async move {
            tracker
                .when_connected(&"bob", || Resource::new(&alive))
                .await;
        }
    });
    let settle = || async {
        yield_now().await;
        alive.load(Ordering::Relaxed)
    };
    assert_eq!(settle().await, 0);
    let relayed = tracker.handle_dialing(now(), Some(&"bob")).unwrap();
    assert_eq!(settle().await, 0, "it is deferred");
    tracker
        .handle_authenticated(now(), relayed, &"bob", LIMITED)
        .unwrap();
    assert_eq!(settle().await, 0, "and still is");
    tracker.handle_path(now(), relayed, Route::Direct).unwrap();
    assert_eq!(settle().await, 1);
    let second = connect(&tracker, "bob", Route::Direct);
    tracker
        .handle_closed(now(), relayed, Closing::Remote { code: None }, None)
        .unwrap();
    assert_eq!(settle().await, 1, "there is still one");
    tracker.handle_path(now(), second, LIMITED).unwrap();
    assert_eq!(settle().await, 0, "it degraded");
    tracker.handle_path(now(), second, Route::Direct).unwrap();
    assert_eq!(settle().await, 1);
    holder.abort();
    assert!(holder.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(settle().await, 0, "nobody holds it any more");
}

#[tokio::test(start_paused = true)]
async fn whoever_acts_sleeps_until_something_is_due_and_is_woken_by_what_is_due_sooner() {
    let tracker = tracker();
    let began = Instant::now();
    let actor = tokio::spawn({
        let tracker = tracker.clone();
        async move { (tracker.next_action().await, Instant::now()) }
    });
    sleep(Duration::from_secs(1)).await;
    // There was nothing to wait for until now.
    let slow = tracker.handle_inbound(now()).unwrap();
    let (action, at) = in_time(actor).await;
    assert_eq!(action, Action::Close(slow, Closing::TooLongTransient));
    assert_eq!(at - began, Duration::from_secs(31));

    let actor = tokio::spawn({
        let tracker = tracker.clone();
        async move { (tracker.next_action().await, Instant::now()) }
    });
    tracker.handle_inbound(now()).unwrap();
    yield_now().await;
    let old = connect(&tracker, "bob", Route::Direct);
    let _new = connect(&tracker, "bob", Route::Direct);
    let (action, at) = in_time(actor).await;
    assert_eq!((action, at), (Action::Drain(old), Instant::now()));
    assert_eq!(at - began, Duration::from_secs(31), "at once");
    let (action, began) = (tracker.next_action().await, at);
    assert_eq!(action, Action::Close(old, Closing::Superseded));
    assert_eq!(
        began.elapsed(),
        Duration::from_secs(1),
        "and not 30 s later"
    );
}

/// A probed connection and the one that came after it from the same socket.
async fn replaced(tracker: &SharedTracker<&'static str>) -> ConnectionId {
    let remote = Remote::new("quic", ([192, 0, 2, 1], 1).into());
    let path = || Path::new(Route::Direct).with_remote(remote);
    let connect = || {
        let id = tracker.handle_inbound(now()).expect("room");
        let up = tracker.handle_authenticated(now(), id, &"bob", path());
        up.expect("it is in its handshake");
        id
    };
    let old = connect();
    connect();
    assert_eq!(tracker.next_action().await, Action::Probe(old));
    old
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_stopped_reads_the_answer_before_it_takes_a_connection_for_dead() {
    for (late, answers) in [(10, false), (400, true)] {
        let tracker = tracker();
        let old = replaced(&tracker).await;
        // The host runs again this long after the probe's end, and its sockets are read right then.
        tokio::time::advance(Duration::from_millis(500 + late)).await;
        let action = tracker.next_action();
        tokio::pin!(action);
        let mut first = poll_once(&mut action);
        if answers {
            assert_eq!(
                first, None,
                "nothing is decided before what has arrived is read"
            );
            tracker.handle_alive(now(), old);
            first = timeout(Duration::from_secs(60), action).await.ok();
        }
        let closed = matches!(first, Some(Action::Drain(id) | Action::Close(id, _)) if id == old);
        assert_eq!(closed, !answers, "{late} ms late: {first:?}");
    }
}

/// What a future gives when it is polled once.
fn poll_once<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}
