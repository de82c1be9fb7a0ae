//! Who is woken by a report: only a task for which there is something new.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use conn_state::{Action, Closing, Recommended, Route, Subscription};

use crate::{Host, LIMITED};

const SECOND: Duration = Duration::from_secs(1);

/// A task that only counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    /// How often it was woken since the last look.
    fn woken(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// The task waits for an action: there is none.
fn waits_to_act(host: &Host, task: &Arc<Task>) {
    let waker = Waker::from(Arc::clone(task));
    let action = host.tracker.poll_action(&mut Context::from_waker(&waker));
    assert_eq!(action, Poll::Pending);
}

/// The task waits for an event. It may be woken once to look again, because there was news lately.
fn waits_to_read(subscription: &mut Subscription<&'static str>, task: &Arc<Task>) {
    let waker = Waker::from(Arc::clone(task));
    for _ in 0..2 {
        let update = subscription.poll_next(&mut Context::from_waker(&waker));
        assert_eq!(update, Poll::Pending);
    }
    task.woken();
}

#[test]
fn a_report_that_leaves_nothing_new_to_do_wakes_no_actor() {
    let host = Host::new(Recommended::default());
    let first = host.dial("bob");
    let task = Arc::new(Task::default());
    waits_to_act(&host, &task);
    // The handshake of the first one ends sooner, and that of the second one at the same time.
    host.dial("eve");
    host.authenticated(first, "bob", Route::Direct);
    host.tracker.handle_alive(host.now, first);
    let streams = host.streams(first);
    streams.handle_opened(host.now);
    streams.handle_closed(host.now);
    host.close(first, Closing::Local);
    host.tracker.handle_timeout(host.now);
    assert_eq!(task.woken(), 0);
}

#[test]
fn an_action_wakes_the_actor_once() {
    let host = Host::new(Recommended::default());
    let old = host.connect("bob", Route::Direct);
    let task = Arc::new(Task::default());
    waits_to_act(&host, &task);
    host.connect("bob", Route::Direct);
    assert_eq!(task.woken(), 1);
    // What is done meanwhile wakes nobody: the actor has not looked since.
    host.connect("bob", Route::Direct);
    assert_eq!(task.woken(), 0);
    assert_eq!(host.actions()[0], Action::Drain(old));
}

#[test]
fn an_action_wakes_the_actor_though_no_deadline_becomes_sooner() {
    let mut host = Host::new(Recommended::default());
    let relayed = host.connect("bob", LIMITED);
    let direct = host.connect("bob", Route::Direct);
    assert_eq!(host.actions(), [Action::Drain(relayed)]);
    let task = Arc::new(Task::default());
    waits_to_act(&host, &task);
    host.close(direct, Closing::Lost);
    assert_eq!(task.woken(), 1);
    assert_eq!(host.actions(), [Action::Resume(relayed)]);
    // Somebody else reports that time has passed.
    let slow = host.dial("eve");
    waits_to_act(&host, &task);
    host.wait(30 * SECOND);
    assert_eq!(task.woken(), 1);
    let close = Action::Close(slow, Closing::TooLongTransient);
    assert_eq!(host.actions(), [close]);
}

#[test]
fn an_actor_is_woken_by_a_deadline_that_is_sooner_than_all_others_and_by_no_later_one() {
    let policy = Recommended::default().with_max_ages(30 * SECOND, Some(10 * SECOND));
    let mut host = Host::new(policy);
    let task = Arc::new(Task::default());
    waits_to_act(&host, &task);
    let first = host.dial("bob");
    assert_eq!(task.woken(), 1, "there was none before");
    waits_to_act(&host, &task);
    host.wait(SECOND);
    let second = host.dial("bob");
    assert_eq!(task.woken(), 0, "it is a second later");
    host.authenticated(second, "bob", LIMITED);
    assert_eq!(task.woken(), 1, "it is 19 s sooner");
    waits_to_act(&host, &task);
    host.close(second, Closing::Lost);
    host.close(first, Closing::Handshake);
    assert_eq!(task.woken(), 0, "nothing is due any more");
}

#[test]
fn an_event_wakes_each_waiting_reader_once_and_a_report_without_an_event_wakes_none() {
    let host = Host::new(Recommended::default());
    let id = host.connect("bob", Route::Direct);
    let tasks = [(); 2].map(|()| Arc::new(Task::default()));
    let mut readers = [(); 2].map(|()| host.tracker.subscribe().1);
    for (reader, task) in readers.iter_mut().zip(&tasks) {
        waits_to_read(reader, task);
    }
    // No state changes.
    host.tracker.handle_inbound(host.now).expect("room");
    host.streams(id).handle_opened(host.now);
    host.tracker.handle_alive(host.now, id);
    host.connect("bob", Route::Direct);
    assert_eq!([tasks[0].woken(), tasks[1].woken()], [0, 0]);
    host.dial("eve");
    host.dial("joe");
    assert_eq!([tasks[0].woken(), tasks[1].woken()], [1, 1]);
}
